"""Many pictures: sources → GuardBatch → sinks, with a journal, so that nothing is lost and nothing is done twice.

    units (sorted)  ──►  skip what the journal proves done  ──►  read · judge · write  ──►  journal, in order
                                                                 (threads, processes, or Ray)

* A **unit** is one file of the source: a picture, or a shard (`.tar`, `.parquet`) that holds many. It is finished as a
  whole: its output appears under its name when it is complete and durable, and only then is the journal told.
* The **journal** is one JSON object a line, appended only. A unit is done when its last line has the same configuration
  (policy, models, seed, encoding), the file still carries the stamp that was judged (or the same SHA-256), and the output
  is there with the size that was written. So a run that was killed at any moment, or whose policy, models or inputs
  changed since, continues with exactly what is missing.
* **Order and memory.** Results leave in the order of the units. At most `window` pictures are in flight, and at most
  `jobs` of them are decoded at the same time; nothing grows with the number of files but 8 bytes a unit for the report
  and 16 bytes a unit for the journal's index.

Outputs are named by a function of the input's name alone (`target`), so that no other file, no order and no restart
can change where a safe copy lies.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import io
import json
import multiprocessing
import os
import posixpath
import queue
import shutil
import signal
import stat
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from . import _core, decode
from .errors import InputError, OutputError, UnreadableInput, UnsupportedInput
from .policy import Policy
from .types import Decision, Finding, Pixels, Views
from .verdict import Verdict

if TYPE_CHECKING:
    from .guard import Guard

PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
SHARDS = (".tar", ".parquet")
_ENCODED = {"png": (".png",), "jpeg": (".jpg", ".jpeg", ".jpe")}
_CHUNK = 1 << 20


# ---------------------------------------------------------------------- one picture


@dataclass(frozen=True)
class Judged:
    """What came of one picture.

    Attributes:
        record: JSON-able: `decision`, `sha256`, `verdict` (all of it but what the configuration fixes).
        output: The freshly encoded safe copy; None when there is none.
        encoding: `png` or `jpeg`.
    """

    record: dict[str, Any]
    output: bytes | None
    encoding: str


class _Look:
    """A detector that finds nothing: it runs where the decoded picture is at hand, and keeps what reports need of it."""

    name = "look"
    kinds: tuple[str, ...] = ()
    profiles = False

    def __init__(self) -> None:
        self._mine = threading.local()  # a guard calls all detectors of one picture on one thread

    def __call__(self, views: Views) -> tuple[Finding, ...]:
        pixels = views.original.pixels
        dhash, phash, sketch = _core.hash.fingerprint(pixels, threads=1)
        self._mine.seen = ({"dhash": f"{dhash:016x}", "phash": f"{phash:016x}", "sketch": sketch.hex()}, pixels)
        return ()

    def take(self) -> tuple[dict[str, str], Pixels] | None:
        """Return fingerprints and pixels of this thread's last picture, and forget them."""
        seen: tuple[dict[str, str], Pixels] | None = getattr(self._mine, "seen", None)
        self._mine.seen = None
        return seen


class GuardBatch:
    """Judges batches of encoded pictures on any engine: its arguments pickle, and the guard is built in the worker.

    Use it with Ray Data (`ds.map_batches(GuardBatch, concurrency=2)`), with Spark's `mapInPandas`, with Dask, or with a
    plain loop; the local engine of `Batch` calls `judge` for each picture, so that all of them give the same bytes.

    Args:
        policy: As for `Guard`; a TOML file is read here, not in the worker.
        profiles: As for `Guard`.
        models: As for `Guard`; a directory that exists on every worker.
        threads: Native threads inside one picture.
        seed: As for `Guard`.
        encoding: `"same"` (JPEG stays JPEG, all else becomes PNG), `"png"` or `"jpeg"`.
        quality: JPEG quality, 1-100.
        text: The prompt that goes with every picture, or None.
        column: Name of the column with encoded bytes in a batch (or of `{"bytes", "path"}` structs).

    Raises:
        PolicyError: the policy cannot be used.
        UnsupportedInput: an unknown encoding or an impossible quality.
    """

    def __init__(
        self,
        policy: str | Path | Policy | Mapping[str, Any] = "balanced",
        *,
        profiles: Sequence[str] | None = None,
        models: str | Path | None = None,
        threads: int = 1,
        seed: int = 0,
        encoding: str = "same",
        quality: int = 95,
        text: str | None = None,
        column: str = "bytes",
    ) -> None:
        if encoding not in ("same", "png", "jpeg"):
            raise UnsupportedInput(f"encoding must be 'same', 'png' or 'jpeg', got {encoding!r}")
        if not 1 <= quality <= 100:
            raise UnsupportedInput(f"quality must be from 1 to 100, got {quality!r}")
        self.policy = Policy.load(policy)
        self.profiles = tuple(profiles) if profiles is not None else None
        self.models = models
        self.threads = threads
        self.seed = seed
        self.encoding = encoding
        self.quality = quality
        self.text = text
        self.column = column
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._guard: Guard | None = None
        self._look = _Look()
        self._config: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def guard(self) -> Guard:
        """The guard, built on first use."""
        with self._lock:
            if self._guard is None:
                from .guard import Guard

                self._guard = Guard(
                    self.policy,
                    profiles=self.profiles,
                    detectors=[self._look],
                    models=self.models,
                    threads=self.threads,
                    seed=self.seed,
                )
            return self._guard

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the outcome besides the bytes: `id` (a hash), thresholds, models, policy; loads the models."""
        if self._config is None:
            from . import __version__

            guard = self.guard.warm_up()
            parts = (__version__, guard.fingerprint(), self.encoding, self.quality, self.text)
            self._config = {
                "id": hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
                "policy": guard.policy.name,
                "thresholds": {k: round(v, 6) for k, v in guard.thresholds.items()},
            }
        return self._config

    def judge(self, data: bytes, name: str | None = None) -> Judged:
        """Judge one encoded picture.

        Args:
            data: The whole file.
            name: What the file claims to be; a contradiction is a finding.
        """
        verdict = self.guard.check_or_error(data, self.text, claimed=name)
        looked = self._look.take()
        output, encoding = None, self._encoding(verdict.format)
        if verdict:
            try:
                output = verdict.to_bytes(encoding, quality=self.quality, threads=1)  # the others write their own
            except InputError as error:  # a side that JPEG cannot express
                verdict = self._error(str(error))
        record = self._record(verdict, hashlib.sha256(data).hexdigest())
        if looked is not None:
            record.update(looked[0])
            if verdict.counted:
                record["thumb"] = _thumbnail(looked[1], pixelate="unsafe_content" in record["verdict"]["counted"])
        return Judged(record, output, encoding)

    def unreadable(self, reason: str) -> Judged:
        """The outcome for a picture whose bytes cannot be had: ERROR, nothing is handed out."""
        return Judged(self._record(self._error(reason), None), None, "png")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Judge one batch of columns (dict of arrays or lists, or a DataFrame's columns).

        Args:
            batch: Holds `column` (bytes, None, or `{"bytes", "path"}` structs) and maybe `path`, the claimed names.

        Returns:
            All columns of the batch, `column` replaced by the safe bytes (None where there are none), and `decision`,
            `verdict` (JSON) and `sha256` beside them.

        Raises:
            UnsupportedInput: the column is missing or holds something else.
        """
        if self.column not in batch:
            raise UnsupportedInput(f"batch has no column {self.column!r}; it has {', '.join(map(str, batch))}")
        values = list(batch[self.column])
        names = list(batch["path"]) if "path" in batch else [None] * len(values)
        made: dict[str, list[Any]] = {"safe": [], "decision": [], "verdict": [], "sha256": []}
        for value, name in zip(values, names, strict=True):
            struct = isinstance(value, Mapping)
            data, name = (value.get("bytes"), value.get("path") or name) if struct else (value, name)
            if data is None:
                judged = self.unreadable("the row holds no bytes; only bytes inside the row are judged")
            elif isinstance(data, (bytes, bytearray, memoryview)):
                judged = self.judge(bytes(data), str(name) if name else None)
            else:
                raise UnsupportedInput(f"column {self.column!r} holds {type(data).__name__}, expected bytes")
            safe: Any = judged.output
            if struct:
                safe = {
                    "bytes": safe,
                    "path": target(str(name), judged.encoding) if name and safe is not None else None,
                }
            made["safe"].append(safe)
            made["decision"].append(judged.record["decision"])
            made["verdict"].append(json.dumps(judged.record["verdict"], ensure_ascii=False))
            made["sha256"].append(judged.record["sha256"])
        columns = {str(k): list(batch[k]) for k in batch}
        columns[self.column] = made.pop("safe")
        return {k: _objects(v) for k, v in {**columns, **made}.items()}

    def _encoding(self, format: str | None) -> str:
        if self.encoding != "same":
            return self.encoding
        return "jpeg" if format == "jpeg" else "png"

    def _error(self, reason: str) -> Verdict:
        thresholds = self.guard.thresholds
        return Verdict(
            Decision.ERROR,
            reasons=(reason,),
            thresholds=thresholds,
            policy=self.policy.name,
            timings_ms={"total": 0.0},
            seed=self.seed,
        )

    def _record(self, verdict: Verdict, sha256: str | None) -> dict[str, Any]:
        table = verdict.to_dict()
        table["counted"] = sorted({f.kind for f in verdict.counted})
        for key in ("thresholds", "safe", "policy"):  # the configuration's; put back by `Journal.records`
            del table[key]
        return {"decision": table.pop("decision"), "sha256": sha256, "verdict": table}


def _thumbnail(pixels: Pixels, pixelate: bool) -> str:
    """A JPEG of at most 160 pixels a side for reports, base64; unsafe content is shown in 12 blocks a side."""
    height, width = pixels.shape[:2]
    ratio = min(1.0, (12 if pixelate else 160) / max(height, width))
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    return base64.b64encode(
        decode.encode(_core.views.resize(pixels, *size, "area", threads=1), "jpeg", quality=70)
    ).decode()


def _objects(values: list[Any]) -> Any:
    """A 1-D object array, so that bytes never become fixed-width strings that lose trailing zeros."""
    out = np.empty(len(values), object)
    out[:] = values
    return out


def target(name: str, encoding: str) -> str:
    """Return the name of the safe copy of `name`.

    A name whose suffix fits the encoding stays; every other gets the suffix appended (`a.gif` → `a.gif.png`). So that
    two inputs can never share an output, a name that already looks like an appended one gets another (`a.gif.png` →
    `a.gif.png.png`).

    Args:
        name: Path of the input inside its source, with `/`.
        encoding: `"png"` or `"jpeg"`.
    """
    stem, suffix = posixpath.splitext(name)
    fits = suffix.lower() in _ENCODED[encoding]
    appended = posixpath.splitext(stem)[1].lower() in PICTURES
    return name if fits and not appended else name + _ENCODED[encoding][0]


# ---------------------------------------------------------------------- places


@dataclass(frozen=True)
class Content:
    """A file as it was read: at most `limit + 1` bytes of it, the hash of all of it, and its stamp."""

    data: bytes
    sha256: str
    stamp: str


class Place(Protocol):
    """Where files lie: a local folder or an fsspec address. Names are relative, with `/`."""

    def walk(self, accept: Callable[[str], bool]) -> Iterator[str]:
        """Yield the names of all files that `accept` takes, sorted folder by folder."""

    def show(self, name: str) -> str:
        """The name as the user would write it."""

    def stamp(self, name: str) -> str | None:
        """A string that changes when the file does; None when it is not there."""

    def size(self, name: str) -> int | None:
        """Bytes of the file; None when it is not there."""

    def read(self, name: str, limit: int) -> Content:
        """The file's content. Raises `OSError`."""

    def open(self, name: str) -> IO[bytes]:
        """The file for reading in order. Raises `OSError`."""

    def write(self, name: str, data: bytes) -> None:
        """Put a file there whole or not at all. Raises `OutputError`."""

    def create(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file to write to that appears when the block ends without an exception. Raises `OutputError`."""

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all (temporary name, fsync, rename).

    Raises:
        OSError: the file system refused.
    """
    with _created(path) as file:
        file.write(data)


@contextmanager
def _created(path: Path, staging: Path | None = None) -> Iterator[IO[bytes]]:
    # Plain calls and no more than it takes: each gives the interpreter away, and gets it back when others let go of it.
    target = os.fspath(path)
    temporary = os.path.join(staging or os.path.dirname(target), f".{os.urandom(8).hex()}.part")
    try:
        try:
            file = open(temporary, "xb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            os.makedirs(os.path.dirname(temporary), exist_ok=True)
            file = open(temporary, "xb")  # noqa: SIM115
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def staging(output: Path, state: Path) -> Path:
    """Return an empty folder for files that are being written, on the file system of the output.

    What a killed run left there is removed, so call this while the journal is held.

    Raises:
        OutputError: a folder cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        folder = (state if state.stat().st_dev == output.stat().st_dev else output) / ".partial"
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot use {output} and {state}: {error.strerror or error}") from error
    return folder


@dataclass(frozen=True)
class LocalPlace:
    """A folder of this machine.

    Attributes:
        root: The folder.
        follow: Follow links; by default they are left out, since an upload may point anywhere.
        staging: Folder on the same file system for files that are being written; None writes beside the target.
    """

    root: Path
    follow: bool = False
    staging: Path | None = None

    def walk(self, accept: Callable[[str], bool]) -> Iterator[str]:
        """Yield names, sorted folder by folder; holds the names of one branch at a time."""
        yield from self._walk("", accept)

    def _walk(self, prefix: str, accept: Callable[[str], bool]) -> Iterator[str]:
        try:
            with os.scandir(self.root / prefix) as found:
                entries = sorted((e.name, e.is_dir(follow_symlinks=self.follow)) for e in found
                                 if self.follow or not e.is_symlink())  # fmt: skip
        except OSError as error:
            raise UnreadableInput(f"cannot list {self.root / prefix}: {error.strerror or error}") from None
        for entry, folder in entries:
            if folder:
                yield from self._walk(f"{prefix}{entry}/", accept)
            elif accept(f"{prefix}{entry}"):
                yield f"{prefix}{entry}"

    def show(self, name: str) -> str:
        """The path."""
        return str(self.root / name)

    def stamp(self, name: str) -> str | None:
        """Size and time of the last change."""
        try:
            return _stamp(os.stat(self.root / name))
        except OSError:
            return None

    def size(self, name: str) -> int | None:
        """Bytes of the file; None when it is not there."""
        try:
            return os.stat(self.root / name).st_size
        except OSError:
            return None

    def read(self, name: str, limit: int) -> Content:
        """Read the file; a longer one than `limit` is hashed to its end but not kept."""
        with self.open(name) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{self.root / name} is not a regular file")
            data = file.read(min(limit, status.st_size) + 1)  # room for what is there, not for what may be
            digest = hashlib.sha256(data)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            return Content(data, digest.hexdigest(), _stamp(status))

    def open(self, name: str) -> IO[bytes]:
        """Open for reading; a named pipe is never waited for."""
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(self.root / name, flags), "rb")

    def write(self, name: str, data: bytes) -> None:
        """Temporary name, fsync, rename."""
        with self.create(name) as file:
            file.write(data)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Temporary name, fsync, rename."""
        try:
            with _created(self.root / name, self.staging) as file:
                yield file
        except OSError as error:
            if isinstance(error, (InputError, OutputError)):
                raise
            raise OutputError(f"cannot write {self.root / name}: {error.strerror or error}") from error

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self.root / name).unlink()


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


#: Stores in which an object appears whole when its upload ends, so that a rename would only copy it once more.
_ATOMIC_PUT = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2"}


@dataclass(frozen=True)
class RemotePlace:
    """A folder at any address that fsspec knows (`s3://…`, `gs://…`, `sftp://…`, `memory://…`)."""

    url: str

    @property
    def _fs(self) -> Any:
        return _filesystem(self.url)[0]

    def _path(self, name: str) -> str:
        root = str(_filesystem(self.url)[1]).rstrip("/")
        return f"{root}/{name}" if name else root

    def walk(self, accept: Callable[[str], bool]) -> Iterator[str]:
        """Yield names, sorted folder by folder."""
        root = self._path("").lstrip("/")
        for folder, folders, files in self._fs.walk(self._path(""), on_error="raise"):
            folders.sort()
            prefix = folder.lstrip("/")[len(root) :].strip("/")
            for file in sorted(files):
                name = f"{prefix}/{file}" if prefix else file
                if file and accept(name):
                    yield name

    def show(self, name: str) -> str:
        """The address."""
        return f"{self.url.rstrip('/')}/{name}"

    def stamp(self, name: str) -> str | None:
        """Size and what the store says about the version (ETag, checksum, time)."""
        try:
            info = self._fs.info(self._path(name))
        except OSError:
            return None
        known = [
            str(info[k])
            for k in ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created")
            if info.get(k)
        ]
        return "-".join([str(info.get("size")), *known[:2]])

    def size(self, name: str) -> int | None:
        """Bytes of the file; None when it is not there."""
        try:
            size: int | None = self._fs.info(self._path(name)).get("size")
        except OSError:
            return None
        return size

    def read(self, name: str, limit: int) -> Content:
        """Read the file; one that is longer than `limit` is not fetched to its end, its hash covers what was."""
        stamp = self.stamp(name)
        with self.open(name) as file:
            data = file.read(limit + 1)
        return Content(data, hashlib.sha256(data).hexdigest(), stamp or "")

    def open(self, name: str) -> IO[bytes]:
        """Open for reading."""
        file: IO[bytes] = self._fs.open(self._path(name), "rb")
        return file

    def write(self, name: str, data: bytes) -> None:
        """One upload, or a temporary name and a rename where the store shows half an upload."""
        with self.create(name) as file:
            file.write(data)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """One upload, or a temporary name and a rename where the store shows half an upload."""
        path = self._path(name)
        protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        part = path if protocols & _ATOMIC_PUT else f"{path}.{os.getpid()}.{threading.get_ident()}.part"
        try:
            if part != path:
                self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
            file = self._fs.open(part, "wb")
            try:
                yield file
            except BaseException:
                getattr(file, "discard", file.close)()
                if part != path:
                    with contextlib.suppress(OSError):
                        self._fs.rm_file(part)
                raise
            file.close()
            if part != path:
                self._fs.mv(part, path)
        except OSError as error:
            if isinstance(error, (InputError, OutputError)):
                raise
            raise OutputError(f"cannot write {self.show(name)}: {error}") from error

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UnsupportedInput(f"{url} needs fsspec: pip install 'ondevice_guard[remote]'") from None
    try:
        found: tuple[Any, str] = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UnsupportedInput(f"cannot use {url}: {error}") from None
    return found


@dataclass(frozen=True)
class MemoryPlace:
    """Bytes that were handed over (standard input)."""

    data: bytes

    def walk(self, accept: Callable[[str], bool]) -> Iterator[str]:
        """One name."""
        yield "stdin"

    def show(self, name: str) -> str:
        """A dash."""
        return "-"

    def stamp(self, name: str) -> str | None:
        """Never changes."""
        return "memory"

    def size(self, name: str) -> int | None:
        """Bytes held."""
        return len(self.data)

    def read(self, name: str, limit: int) -> Content:
        """The bytes."""
        return Content(self.data, hashlib.sha256(self.data).hexdigest(), "memory")

    def open(self, name: str) -> IO[bytes]:
        """The bytes."""
        return io.BytesIO(self.data)


def place(where: str | os.PathLike[str], follow: bool = False) -> LocalPlace | RemotePlace:
    """Return the place for a local folder or an fsspec address."""
    text = os.fspath(where)
    return RemotePlace(text) if "://" in text else LocalPlace(Path(text), follow)


# ---------------------------------------------------------------------- sources


@dataclass(frozen=True)
class Unit:
    """One file of the source.

    Attributes:
        key: Its name in the output and the journal; unique among all units of a run.
        place: Where it lies.
        name: Its name there.
    """

    key: str
    place: Any
    name: str

    @property
    def shard(self) -> str | None:
        """`"tar"` or `"parquet"` for a file that holds many pictures."""
        suffix = posixpath.splitext(self.name)[1].lower()
        return suffix[1:] if suffix in SHARDS else None

    def show(self) -> str:
        """The path or address as the user would write it."""
        return str(self.place.show(self.name))


class Sources:
    """The units behind command-line arguments or a list, in a fixed order.

    Args:
        inputs: Folders (searched recursively), files, or fsspec addresses (`s3://bucket/folder`).
        include: Patterns (`fnmatch`, on the name inside the folder and on the last part alone) of the files taken from
            folders; None takes pictures and shards by their suffix.
        exclude: Patterns of files that are left out.
        skip: Folders that are never entered (the outputs of this very run).
        follow: Follow links inside folders.
        listed: Names of more files, e.g. the lines of standard input.
    """

    def __init__(
        self,
        inputs: Iterable[str | os.PathLike[str]] = (),
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        skip: Sequence[Path] = (),
        follow: bool = False,
        listed: Iterable[str] | None = None,
    ) -> None:
        self._include = tuple(include) if include else None
        self._exclude = tuple(exclude)
        self._skip = [p.resolve() for p in skip]
        self._listed = listed
        self._roots: list[tuple[str, Any, str | None]] = []  # (prefix of the key, place, one file's name or None)
        named = [os.fspath(i) for i in inputs]
        folders = [n for n in named if self._is_folder(n)]
        taken: set[str] = set()
        for name in named:
            if name in folders:
                prefix = "" if len(named) == 1 else _unused(_last_part(name), taken) + "/"
                self._roots.append((prefix, place(name, follow), None))
            elif "://" in name:
                head, _, tail = name.rstrip("/").rpartition("/")
                self._roots.append((_unused(tail, taken), RemotePlace(head), tail))
            else:
                path = Path(name)
                self._roots.append((_unused(path.name or name, taken), LocalPlace(path.parent, True), path.name))

    @staticmethod
    def _is_folder(name: str) -> bool:
        if "://" not in name:
            return os.path.isdir(name)
        fs, path = _filesystem(name)
        try:
            return bool(fs.isdir(path))
        except OSError as error:
            raise UnreadableInput(f"cannot reach {name}: {error}") from None

    @property
    def single(self) -> bool:
        """True when exactly one file was named."""
        return self._listed is None and len(self._roots) == 1 and self._roots[0][2] is not None

    def accept(self, name: str) -> bool:
        """True when a file of a folder belongs to the source."""
        last = posixpath.basename(name)
        if last.endswith(".part") and last.startswith("."):  # a temporary name of ours
            return False
        if any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(last, p) for p in self._exclude):
            return False
        if self._include is not None:
            return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(last, p) for p in self._include)
        return posixpath.splitext(last)[1].lower() in PICTURES + SHARDS

    def __iter__(self) -> Iterator[Unit]:
        for prefix, where, file in self._roots:
            if file is not None:
                yield Unit(prefix, where, file)
                continue
            inside = [s for s in self._skip if isinstance(where, LocalPlace) and s.is_relative_to(where.root.resolve())]
            barred = [s.relative_to(where.root.resolve()).as_posix() + "/" for s in inside]
            for name in where.walk(lambda n: self.accept(n) and not any(n.startswith(b) for b in barred)):  # noqa: B023
                yield Unit(prefix + name, where, name)
        for line in self._listed or ():
            if name := line.rstrip("\r\n"):
                yield listed(name)


def listed(name: str) -> Unit:
    """Return the unit for one line of a list: a path keeps its folders in the output, without any way out of it."""
    if "://" in name:
        head, _, tail = name.rpartition("/")
        return Unit(name.split("://", 1)[1].lstrip("/"), RemotePlace(head), tail)
    path = Path(name)
    parts = [p for p in path.parts if p not in (path.anchor, "..", ".")]
    return Unit("/".join(parts), LocalPlace(path.parent, True), path.name)


def _last_part(name: str) -> str:
    return posixpath.basename(name.rstrip("/")) if "://" in name else Path(name).resolve().name or "root"


def _unused(name: str, taken: set[str]) -> str:
    """The name, or name-2, name-3 …; only for what is named on the command line, in its order."""
    stem, suffix = posixpath.splitext(name)
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{stem}-{count}{suffix}"
    taken.add(free)
    return free


# ---------------------------------------------------------------------- the journal


class Journal:
    """An append-only file of what was done: one JSON object a line, the last line about a unit counts.

    Lines: `{"config": {...}}` before the first result under a configuration; a result with `unit` and, for pictures
    inside a shard, `attempt`; a shard's own line comes last and names the attempt that was completed, so that the lines
    of an attempt that was cut off mean nothing.

    A torn last line (the machine went down while it was written) is cut off when the file is opened.

    Args:
        path: The file; its folder is made.

    Raises:
        OutputError: it cannot be written, or another run holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configs: dict[str, dict[str, Any]] = {}
        self.damaged = 0
        self._unsynced = 0
        self._synced_at = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
            _lock(self._file, path)
            self._end = self._mend()
            self._index()
        except OSError as error:
            if hasattr(self, "_file"):
                self._file.close()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot use journal {path}: {error.strerror or error}") from error

    def _mend(self) -> int:
        """Cut a torn last line off; returns the length."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            self._file.seek(start)
            cut = self._file.read(end - start).rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        self._file.truncate(end)
        return end

    def _index(self) -> None:
        """Read the file once: 16 bytes a final line (hash of the unit, offset), sorted by hash, the last offset first."""
        keys, offsets = array("Q"), array("Q")
        for offset, record in self._lines():
            if "config" in record and isinstance(record["config"], dict):
                self.configs[record["config"]["id"]] = record["config"]
            elif record.get("final"):
                keys.append(_key(record["unit"]))
                offsets.append(offset)
        hashes, places = np.array(keys, np.uint64), np.array(offsets, np.int64)
        order = np.lexsort((-places, hashes))
        self._keys, self._offsets = hashes[order], places[order]
        self._new: dict[int, list[int]] = {}

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with open(self.path, "rb") as file:
            offset = 0
            for line in file:
                try:
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise ValueError("not an object")
                    yield offset, record
                except ValueError:  # a block that the disk lost: that unit is simply done again
                    self.damaged += 1
                offset += len(line)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line; final ones are made durable in groups, at least once a second.

        Raises:
            OutputError: the disk is full or gone.
        """
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise OutputError(f"cannot write journal {self.path}: {error.strerror or error}") from error
        if record.get("final"):
            self._new.setdefault(_key(record["unit"]), []).append(self._end)
        self._end += len(line)
        self._unsynced += 1
        if self._unsynced >= 256 or time.monotonic() - self._synced_at > 1.0:
            self.sync()

    def configure(self, config: Mapping[str, Any]) -> None:
        """State the configuration of the lines that follow."""
        if self.configs.get(config["id"]) != config:
            self.append({"config": config})
            self.configs[config["id"]] = dict(config)

    def sync(self) -> None:
        """Make everything that was appended durable."""
        os.fsync(self._file.fileno())
        self._unsynced, self._synced_at = 0, time.monotonic()

    def find(self, unit: str) -> dict[str, Any] | None:
        """Return the last final line about a unit."""
        found = self._at(unit)
        return found[1] if found else None

    def _at(self, unit: str) -> tuple[int, dict[str, Any]] | None:
        key = _key(unit)
        first = int(np.searchsorted(self._keys, np.uint64(key)))
        old: list[int] = []
        while first < len(self._keys) and int(self._keys[first]) == key:
            old.append(int(self._offsets[first]))
            first += 1
        for offset in [*reversed(self._new.get(key, [])), *old]:
            record = self._read(offset)
            if record["unit"] == unit:  # two units may share a hash
                return offset, record
        return None

    def _read(self, offset: int) -> dict[str, Any]:
        with open(self.path, "rb") as file:
            file.seek(offset)
            record: dict[str, Any] = json.loads(file.readline())
            return record

    def records(self, units: np.ndarray[Any, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the results that count, one for each picture, in the order they were written.

        Args:
            units: Sorted 64-bit hashes (`Batch.seen`) of the units to yield; None yields all.
        """
        last: tuple[str, int, dict[str, Any]] | None = None
        for offset, record in self._lines():
            if "unit" not in record:
                continue
            if units is not None:
                key = np.uint64(_key(record["unit"]))
                at = int(np.searchsorted(units, key))
                if at >= len(units) or units[at] != key:
                    continue
            if last is None or last[0] != record["unit"]:  # the lines of a shard share one look-up
                found = self._at(record["unit"])
                last = (record["unit"], *found) if found else None
            if last is None:
                continue
            if (record["final"] and offset == last[1] and not record.get("shard")) or (
                not record["final"] and last[2].get("attempt") == record["attempt"] and last[2]["attempt"]
            ):
                yield self.complete(record)

    def complete(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record with what its configuration fixes put back into the verdict."""
        config = self.configs.get(record["configuration"], {})
        decision = record["decision"]
        verdict = {"decision": decision, "safe": decision in ("ALLOW", "SANITIZED"), **record["verdict"]}
        verdict.update(thresholds=config.get("thresholds", {}), policy=config.get("policy", ""))
        return {**record, "verdict": verdict}

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        with contextlib.suppress(OSError):
            self.sync()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(unit: str) -> int:
    return int.from_bytes(hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: an open file cannot be replaced there, and two writers are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise OutputError(f"journal {path} is in use by another run") from None


# ---------------------------------------------------------------------- one unit


@dataclass(frozen=True)
class Task:
    """A unit to do, and the last result about it when only its stamp differs."""

    unit: Unit
    previous: dict[str, Any] | None = None
    single: str | None = None  # the one output's own name, in place of `target`


@dataclass(frozen=True)
class Worker:
    """Does units: reads, judges, writes the safe copy or fills the quarantine. Picklable, and safe to repeat.

    Attributes:
        job: The guard and the encoding.
        output: Where safe copies go; None only looks.
        quarantine: Where unsafe pictures go, with their verdict beside them; None keeps none.
        column: The Parquet column with the pictures; None finds it.
    """

    job: GuardBatch
    output: Any = None
    quarantine: LocalPlace | None = None
    column: str | None = None

    def picture(self, task: Task, gate: contextlib.AbstractContextManager[Any] | None = None) -> dict[str, Any]:
        """Do a picture; returns its final line for the journal.

        Args:
            task: The unit.
            gate: Held while pixels are in memory, so that reading and writing overlap with other pictures' judging.

        Raises:
            OutputError: the safe copy or the quarantine cannot be written.
        """
        unit, limit = task.unit, self.job.policy.limits.bytes
        for _ in range(3):
            try:
                content = unit.place.read(unit.name, limit)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                reason = getattr(error, "strerror", None) or error
                return self._line(unit, self.job.unreadable(f"cannot read image path {unit.show()}: {reason}"), None)
            if task.previous is not None and task.previous["sha256"] == content.sha256:
                return {**task.previous, "stamp": content.stamp}
            with gate or contextlib.nullcontext():
                judged = self.job.judge(content.data, posixpath.basename(unit.name))
            if unit.place.stamp(unit.name) == content.stamp:
                break
        else:
            return self._line(
                unit, self.job.unreadable(f"{unit.show()} changed again and again while it was judged"), None
            )
        judged.record["sha256"] = content.sha256  # of the whole file, also where only its beginning was looked at
        line = self._line(unit, judged, content.stamp)
        line["encoding"] = judged.encoding
        if judged.output is not None and self.output is not None:
            line["output"] = task.single or target(unit.key, judged.encoding)
            line["output_size"] = len(judged.output)
            self._keep_off(unit, line["output"])
            self.output.write(line["output"], judged.output)
        elif judged.output is None and self.quarantine is not None:
            whole = content.data if len(content.data) <= limit else None
            line["quarantined"] = self._quarantine(unit.key, line, whole)
        return line

    def _keep_off(self, unit: Unit, output: str) -> None:
        """Originals are never touched, whatever the folders are called."""
        if isinstance(self.output, LocalPlace) and isinstance(unit.place, LocalPlace):
            written, original = self.output.root / output, unit.place.root / unit.name
            with contextlib.suppress(FileNotFoundError):
                if written.samefile(original):
                    raise UnreadableInput(f"{written} would overwrite its own input; choose another output folder")

    def _line(self, unit: Unit, judged: Judged, stamp: str | None) -> dict[str, Any]:
        return {
            "unit": unit.key,
            "final": True,
            "path": unit.show(),
            "configuration": self.job.config["id"],
            "stamp": stamp,
            "output": None,
            **judged.record,
        }

    def _quarantine(self, key: str, line: Mapping[str, Any], data: bytes | None) -> str:
        """Keep an unsafe picture under a name that no viewer and no glob takes for one, and say beside it why."""
        assert self.quarantine is not None
        name = f"{key.replace('::', '/')}.quarantined"
        if data is not None:
            self.quarantine.write(name, data)
            with contextlib.suppress(OSError):
                os.chmod(self.quarantine.root / name, 0o600)
        about = {"path": line["path"], "sha256": line["sha256"], "decision": line["decision"], "kept": data is not None}
        text = json.dumps({**about, **line["verdict"]}, indent=2, ensure_ascii=False)
        self.quarantine.write(f"{key.replace('::', '/')}.json", text.encode("utf-8", "replace"))
        return name

    def drop_stale(self, line: Mapping[str, Any], previous: Mapping[str, Any] | None) -> None:
        """Remove what an earlier configuration left and this one would not: nothing that is unsafe now stays."""
        if previous is None:
            return
        if previous.get("output") and previous["output"] != line.get("output") and self.output is not None:
            self.output.remove(previous["output"])
        if previous.get("quarantined") and not line.get("quarantined") and self.quarantine is not None:
            self.quarantine.remove(previous["quarantined"])
            self.quarantine.remove(previous["quarantined"].removesuffix(".quarantined") + ".json")

    def shard(
        self, task: Task, submit: Callable[..., Future[Any]], window: int, stop: threading.Event
    ) -> Iterator[dict[str, Any]]:
        """Do a shard: yields one line for each picture, then the shard's own, final line.

        Args:
            task: The unit.
            submit: Runs a function on another thread.
            window: Samples in flight.
            stop: Set when the run must end early; the shard is then left undone.

        Raises:
            OutputError: the safe shard cannot be written.
            Stopped: `stop` was set.
        """
        from .shards import open_shard

        unit = task.unit
        stamp = unit.place.stamp(unit.name)
        attempt = os.urandom(8).hex()
        counts: Counter[str] = Counter()
        kept = 0
        name = task.single or unit.key
        target_file = self.output.create(name) if self.output is not None else contextlib.nullcontext(None)
        try:
            if self.output is not None:
                self._keep_off(unit, name)
            with target_file as out, open_shard(unit, out, self.job.policy.limits.bytes, self.column) as shard:
                pending: deque[tuple[Any, list[Future[Judged]]]] = deque()

                def finish() -> Iterator[dict[str, Any]]:
                    sample, futures = pending.popleft()
                    judged = [future.result() for future in futures]
                    for picture, one in zip(sample.pictures, judged, strict=True):
                        line = {**self._line(unit, one, None), "final": False, "attempt": attempt}
                        line["path"] = f"{unit.show()}::{picture.name}"
                        if one.output is None and self.quarantine is not None:
                            line["quarantined"] = self._quarantine(f"{unit.key}::{picture.name}", line, picture.data)
                        elif self.output is not None:
                            line["output"] = f"{name}::{picture.name}"
                        counts[one.record["decision"]] += 1
                        yield line
                    shard.write(sample, judged)

                for sample in shard.samples():
                    if stop.is_set():
                        raise Stopped
                    pending.append((sample, [submit(self.inside, picture) for picture in sample.pictures]))
                    if len(pending) >= window:
                        yield from finish()
                while pending:
                    yield from finish()
                shard.close()
                kept = shard.kept
                if stamp is None or unit.place.stamp(unit.name) != stamp:
                    raise UnreadableInput("it changed while it was read")
        except (UnreadableInput, UnsupportedInput) as error:
            yield self._line(unit, self.job.unreadable(f"cannot read shard {unit.show()}: {error}"), None)
            return
        output = name if self.output is not None else None
        size = self.output.size(name) if self.output is not None else None
        yield {
            "unit": unit.key, "final": True, "shard": True, "attempt": attempt, "path": unit.show(),
            "configuration": self.job.config["id"], "stamp": stamp, "sha256": None, "counts": dict(counts), "kept": kept,
            "output": output, "output_size": size,
        }  # fmt: skip

    def inside(self, picture: Any) -> Judged:
        """Judge one picture of a shard."""
        if picture.data is None:
            return self.job.unreadable(picture.problem)
        return self.job.judge(picture.data, picture.claim)


class Stopped(Exception):
    """The run was asked to end."""


# ---------------------------------------------------------------------- many units


class Engine(Protocol):
    """Runs tasks: yields (task, lines so far of its unit), in the order of the tasks; the last line of a unit is final."""

    def __call__(
        self, worker: Worker, tasks: Iterator[Task], jobs: int, stop: threading.Event
    ) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Run the tasks."""


def local_engine(
    worker: Worker, tasks: Iterator[Task], jobs: int, stop: threading.Event
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Run tasks on threads of this process.

    `jobs` pictures are decoded and judged at the same time (the native code and the codecs release the GIL); reading,
    fsync and renaming of others happen meanwhile on further threads, because a disk that makes a file durable takes as
    long as judging one. The window bounds what is in flight, and results leave in order, so a slow consumer, disk or
    picture holds the reading back.
    """
    gate = threading.BoundedSemaphore(jobs)
    window = 4 * jobs + 4
    pending: deque[tuple[Task, Future[dict[str, Any]]]] = deque()

    def gated(function: Callable[..., Any], *arguments: Any) -> Any:
        with gate:
            return function(*arguments)

    with ThreadPoolExecutor(3 * jobs + 2, thread_name_prefix="ondevice-guard-batch") as pool:
        try:
            for task in tasks:
                if task.unit.shard:
                    while pending:
                        yield _settled(pending)
                    lines = worker.shard(task, lambda f, *a: pool.submit(gated, f, *a), window, stop)
                    yield from ((task, line) for line in lines)
                    continue
                pending.append((task, pool.submit(worker.picture, task, gate)))
                if len(pending) >= window:
                    yield _settled(pending)
            while pending:
                yield _settled(pending)
        finally:
            for _, future in pending:
                future.cancel()


def _settled(pending: deque[tuple[Task, Future[dict[str, Any]]]]) -> tuple[Task, dict[str, Any]]:
    task, future = pending.popleft()
    return task, future.result()


#: Pictures a process is given at a time: enough that reading and writing of one overlap with judging the next.
_CHUNK_OF_TASKS = 8


def process_engine(
    worker: Worker, tasks: Iterator[Task], jobs: int, stop: threading.Event
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Run tasks in `jobs` processes of this machine, each with a guard of its own: nothing waits for another's Python.

    Each process runs `local_engine` with one job on a few pictures at a time. Lines travel back, bytes do not. Results
    leave in order; at most two chunks for each process are ahead of a slow consumer. A process ends with its parent,
    however that ends. As with every use of `multiprocessing`, a script that calls this needs the `__main__` guard.

    Raises:
        OutputError: an output cannot be written, or a process died (out of memory, killed): run again with `resume`.
    """
    pending: deque[tuple[list[Task], Future[list[dict[str, Any]]]]] = deque()

    def settled() -> Iterator[tuple[Task, dict[str, Any]]]:
        chunk, future = pending.popleft()
        yield from zip(chunk, future.result(), strict=True)

    with ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_begin_process, initargs=(worker, os.getpid())
    ) as pool:
        try:
            chunk: list[Task] = []
            for task in tasks:
                if not task.unit.shard:
                    chunk.append(task)
                    if len(chunk) < _CHUNK_OF_TASKS:
                        continue
                if chunk:
                    pending.append((chunk, pool.submit(_do_pictures, chunk)))
                    chunk = []
                while pending and (task.unit.shard or len(pending) >= 3 * jobs):
                    yield from settled()
                if task.unit.shard:
                    lines = worker.shard(task, lambda _, picture: pool.submit(_do_inside, picture), 4 * jobs + 4, stop)
                    yield from ((task, line) for line in lines)
            if chunk:
                pending.append((chunk, pool.submit(_do_pictures, chunk)))
            while pending:
                yield from settled()
        except BrokenProcessPool:
            raise OutputError(
                "a worker process died (out of memory, or killed); what was done is in the journal"
            ) from None
        finally:
            for _, future in pending:
                future.cancel()


_mine: Worker  # of a worker process


def _begin_process(worker: Worker, parent: int) -> None:
    """Take the work; leave Ctrl-C to the parent; end when the parent does, even if it was killed."""
    global _mine
    _mine = worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="ondevice-guard-parent", daemon=True).start()


def _do_pictures(chunk: list[Task]) -> list[dict[str, Any]]:
    return [line for _, line in local_engine(_mine, iter(chunk), 1, threading.Event())]


def _do_inside(picture: Any) -> Judged:
    return _mine.inside(picture)


@dataclass
class Summary:
    """What a run did.

    Attributes:
        decisions: Decision → pictures, those that were done before included.
        found: Pictures with a finding that counted.
        done: Pictures done now.
        skipped: Pictures that the journal proved done.
        reconfigured: Units done again because policy, models or encoding changed.
        changed: Units done again because the file changed.
        seconds: Wall time.
        stopped: True when the run was asked to end before its end.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    found: int = 0
    done: int = 0
    skipped: int = 0
    reconfigured: int = 0
    changed: int = 0
    seconds: float = 0.0
    stopped: bool = False

    def count(self, line: Mapping[str, Any]) -> int:
        """Count one line of the journal; returns how many pictures it stands for."""
        if line.get("shard"):
            self.decisions.update(line["counts"])
            self.found += sum(n for d, n in line["counts"].items() if d != "ALLOW")
            return sum(line["counts"].values())
        self.decisions[line["decision"]] += 1
        self.found += line["decision"] != "ALLOW" or bool(line["verdict"]["counted"])
        return 1


class Batch:
    """One run over a source.

    Args:
        worker: What is done with each unit.
        journal: What was done, also by earlier runs.
        jobs: Pictures judged at the same time.
        resume: Skip what the journal proves done.
        single: Name of the one output, for a source of one file.
        engine: `local_engine`, or another machine park.

    Example:
        >>> batch = Batch(Worker(GuardBatch("balanced"), place("safe"), LocalPlace(Path("held"))), Journal(Path("j.jsonl")))
        >>> for line in batch.run(Sources(["uploads"])):
        ...     print(line["path"], line["decision"])
    """

    def __init__(
        self,
        worker: Worker,
        journal: Journal,
        *,
        jobs: int = 0,
        resume: bool = False,
        single: str | None = None,
        engine: Engine = local_engine,
    ) -> None:
        self.worker = worker
        self.journal = journal
        self.jobs = jobs or os.cpu_count() or 1
        self.resume = resume
        self.single = single
        self.engine = engine
        self.summary = Summary()
        self.stop = threading.Event()
        self._seen = array("Q")  # hashes of the units met
        self._previous: dict[str, dict[str, Any] | None] = {}  # of the tasks in flight

    @property
    def seen(self) -> np.ndarray[Any, Any]:
        """Sorted 64-bit hashes of the units this run met, for `Journal.records`."""
        return np.unique(np.array(self._seen, np.uint64))

    def compact(self) -> None:
        """Between two rounds of a watch: forget that units were met before, and count from the start."""
        self._seen = array("Q", self.seen.tobytes())
        self.summary = Summary()

    def run(self, units: Iterable[Unit]) -> Iterator[dict[str, Any]]:
        """Do every unit that is not done; yields a complete record for each picture once it is safe on disk.

        Setting `stop` ends the run after what is in flight; everything yielded is in the journal.

        Raises:
            OutputError: the disk is full or gone; the journal holds everything that was finished.
        """
        config = self.worker.job.config
        self.journal.configure(config)
        start = time.perf_counter()
        tasks = self._todo(units, config["id"])
        try:
            for task, line in self.engine(self.worker, tasks, self.jobs, self.stop):
                if line["final"]:
                    self.worker.drop_stale(line, self._previous.pop(task.unit.key, None))
                    self.summary.done += self.summary.count(line)
                self.journal.append(line)
                if not line.get("shard"):
                    yield self.journal.complete(line)
        except Stopped:
            pass
        finally:
            self.summary.stopped = self.stop.is_set()
            self.summary.seconds += time.perf_counter() - start
            self.journal.sync()

    def _todo(self, units: Iterable[Unit], config: str) -> Iterator[Task]:
        for unit in units:
            if self.stop.is_set():
                return
            self._seen.append(_key(unit.key))
            previous = self.journal.find(unit.key)
            kept = None
            if self.resume and previous is not None:
                if previous["configuration"] != config:
                    self.summary.reconfigured += 1
                elif self._present(previous):
                    if previous["stamp"] is not None and previous["stamp"] == unit.place.stamp(unit.name):
                        self.summary.skipped += self.summary.count(previous)
                        continue
                    self.summary.changed += previous["stamp"] is not None
                    kept = previous if previous["sha256"] else None
            self._previous[unit.key] = previous
            yield Task(unit, kept, self.single)

    def _present(self, previous: Mapping[str, Any]) -> bool:
        """True when what the line says was written is there."""
        worker = self.worker
        if previous["output"] is not None and worker.output is not None:
            return bool(worker.output.size(previous["output"]) == previous["output_size"])
        if previous.get("quarantined") and worker.quarantine is not None:
            return worker.quarantine.size(previous["quarantined"].removesuffix(".quarantined") + ".json") is not None
        return worker.output is None or previous["output"] is None


# ---------------------------------------------------------------------- watching


def watch(
    sources: Sources, folders: Sequence[Path], interval: float, stop: threading.Event, settle: float = 1.0
) -> Iterator[Iterator[Unit]]:
    """Yield rounds of the units that are at rest, again and again; run each with `resume`, so that only news is done.

    A file that was written to less than `settle` seconds ago is left for the next round. With the package `watchfiles`
    the system reports changes at once; without it, or where a report is lost, every `interval` seconds are enough.

    Args:
        sources: The folders' units.
        folders: The same folders, to be watched.
        interval: Seconds between two full looks.
        stop: Ends the watch.
        settle: Seconds a file must rest.
    """
    woken = _notifier(folders, stop)
    waiting = False

    def at_rest() -> Iterator[Unit]:
        nonlocal waiting
        for unit in sources:
            if _rests(unit, settle):
                yield unit
            else:
                waiting = True

    while not stop.is_set():
        waiting = False
        yield at_rest()
        with contextlib.suppress(queue.Empty):
            woken.get(timeout=settle if waiting else interval)
        while not woken.empty():
            woken.get_nowait()


def _rests(unit: Unit, settle: float) -> bool:
    stamp = unit.place.stamp(unit.name) if isinstance(unit.place, LocalPlace) else None
    return stamp is None or time.time() - int(stamp.split("-")[1]) / 1e9 >= settle


def _notifier(folders: Sequence[Path], stop: threading.Event) -> queue.Queue[None]:
    """A queue that gets an entry when something changes in the folders (never, without `watchfiles`) or on stop."""
    woken: queue.Queue[None] = queue.Queue()

    def listen() -> None:
        with contextlib.suppress(ImportError):
            import watchfiles

            for _ in watchfiles.watch(*folders, stop_event=stop, raise_interrupt=False, watch_filter=None):
                woken.put(None)
        stop.wait()
        woken.put(None)

    threading.Thread(target=listen, name="ondevice-guard-watch", daemon=True).start()
    return woken
