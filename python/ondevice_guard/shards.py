"""Files that hold many pictures: WebDataset tar shards and Parquet tables, read in order and written in the same order.

A shard is a sequence of samples. A sample is kept with its pictures replaced by their safe copies, or, when one of its
pictures is unsafe, left out as a whole: a caption without its picture would only shift what comes after it.

* **tar** (WebDataset): members that follow each other and share the name up to the first dot are one sample; members
  whose suffix is that of a picture are judged, all others pass as they are. Owner, times, links, devices and extended
  headers are dropped; the output is the same for the same input.
* **Parquet**: a row is a sample. The column with pictures is binary, or a struct of `bytes` and `path` as Hugging Face
  datasets have it. All other columns, the schema and its metadata stay; a row whose picture is null stays.

A tar may come from anyone. Parquet is parsed by pyarrow: take tables only from places you would take a program from.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from .batch import PICTURES, Judged, Unit, target
from .errors import UnreadableInput, UnsupportedInput

_HEADER_LIMIT = 1 << 20  # bytes of one extended tar header; real ones hold a name
_BATCH_ROWS = 64  # rows of a table that are in memory at the same time, and rows of one written row group


@dataclass(frozen=True)
class Picture:
    """One picture of a sample.

    Attributes:
        name: Its name in records: the member, or the row.
        claim: The file name it states, if any.
        data: Encoded bytes; None when they cannot be had.
        problem: Why not.
    """

    name: str
    claim: str | None
    data: bytes | None
    problem: str = ""


@dataclass
class Sample:
    """Pictures, and what the shard needs to write the sample again."""

    pictures: list[Picture]
    payload: Any


class _Header(tarfile.TarInfo):
    """A member whose extended headers are refused when they are large: tarfile reads them whole into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        extended = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.type in extended and self.size > _HEADER_LIMIT:
            raise tarfile.ReadError(f"an extended header has {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


class TarShard:
    """A WebDataset shard.

    Args:
        file: The shard, read once from its beginning.
        out: Where the safe shard goes; None only reads.
        limit: Bytes of one member.
    """

    def __init__(self, file: IO[bytes], out: IO[bytes] | None, limit: int) -> None:
        self._in = tarfile.open(fileobj=file, mode="r|", tarinfo=_Header)  # noqa: SIM115 - the file is the caller's
        self._out = tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) if out is not None else None  # noqa: SIM115
        self._limit = limit
        self.kept = 0

    def samples(self) -> Iterator[Sample]:
        """Yield the samples in order. Raises `tarfile.TarError` where the archive is damaged."""
        group: str | None = None
        members: list[tuple[str, bytes | None]] = []
        while (member := self._in.next()) is not None:
            self._in.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            if not member.isfile():
                continue
            folder, last = posixpath.split(member.name)
            key = posixpath.join(folder, last.partition(".")[0])
            if key != group and members:
                yield self._sample(members)
                members = []
            group = key
            data = None
            if member.size <= self._limit:
                stream = self._in.extractfile(member)
                data = stream.read() if stream is not None else b""
                if len(data) != member.size:
                    raise tarfile.ReadError(f"member {member.name!r} is cut off")
            members.append((member.name, data))
        if members:
            yield self._sample(members)

    def _sample(self, members: Sequence[tuple[str, bytes | None]]) -> Sample:
        pictures = []
        for name, data in members:
            parts = name.split("/")
            problem = ""
            if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
                problem = "its name leads out of the archive"
            elif data is None:
                problem = f"it has more bytes than the limit of {self._limit}"
            if problem or posixpath.splitext(name)[1].lower() in PICTURES:
                pictures.append(
                    Picture(name, posixpath.basename(name), None if problem else data, f"{name}: {problem}")
                )
        return Sample(pictures, members)

    def write(self, sample: Sample, judged: Sequence[Judged]) -> None:
        """Write the sample with its safe pictures; nothing when one of them is unsafe."""
        safe = {p.name: j for p, j in zip(sample.pictures, judged, strict=True)}
        if any(j.output is None for j in safe.values()):
            return
        self.kept += 1
        if self._out is None:
            return
        for name, data in sample.payload:
            if name in safe:
                name, data = target(name, safe[name].encoding), safe[name].output
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            self._out.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        """Write the end of the archive."""
        if self._out is not None:
            self._out.close()


class ParquetShard:
    """A table with pictures.

    Args:
        file: The table.
        out: Where the safe table goes; None only reads.
        limit: Bytes of one picture.
        column: Name of the column; None takes the only column that can hold pictures.

    Raises:
        UnsupportedInput: no column, or several, could be meant.
    """

    def __init__(self, file: IO[bytes], out: IO[bytes] | None, limit: int, column: str | None) -> None:
        self._pa, pq = _arrow()
        self._table = pq.ParquetFile(file, pre_buffer=False)
        schema = self._table.schema_arrow
        fit = [f.name for f in schema if self._holds_pictures(f.type)]
        if column is None and len(fit) > 1:
            fit = [n for n in fit if n.lower() in ("image", "bytes", "jpg", "png", "content", "data")]
        chosen = [column] if column in fit else fit if column is None else []
        if len(chosen) != 1:
            raise UnsupportedInput(f"choose the column with pictures (--column); columns: {', '.join(schema.names)}")
        self._at = schema.get_field_index(chosen[0])
        self._type = schema.field(self._at).type
        self._limit = limit
        codec = "NONE"
        if self._table.metadata.num_row_groups:
            codec = self._table.metadata.row_group(0).column(0).compression
        compression = {"UNCOMPRESSED": "NONE"}.get(codec, codec)
        self._out = pq.ParquetWriter(out, schema, compression=compression) if out is not None else None
        self._done: deque[tuple[int, Any]] = deque()
        self.kept = 0

    def _holds_pictures(self, type: Any) -> bool:
        types = self._pa.types
        if types.is_struct(type):
            names = {type.field(i).name for i in range(type.num_fields)}
            return {"bytes", "path"} <= names and types.is_binary(type.field("bytes").type)
        return bool(types.is_binary(type) or types.is_large_binary(type))

    def samples(self) -> Iterator[Sample]:
        """Yield the rows in order."""
        first = 0
        for batch in self._table.iter_batches(batch_size=_BATCH_ROWS):
            column = batch.column(self._at)
            for index in range(batch.num_rows):
                value = column[index].as_py()
                claim = None
                data = value
                if isinstance(value, dict):
                    data, claim = value["bytes"], value["path"]
                name = f"row {first + index}"
                pictures = []
                if data is not None:
                    problem = (
                        f"{name}: it has more bytes than the limit of {self._limit}" if len(data) > self._limit else ""
                    )
                    pictures = [Picture(name, claim, None if problem else data, problem)]
                elif value is not None:
                    pictures = [
                        Picture(name, claim, None, f"{name}: it holds a path but no bytes; nothing is ever fetched")
                    ]
                yield Sample(pictures, (batch, index))
            first += batch.num_rows

    def write(self, sample: Sample, judged: Sequence[Judged]) -> None:
        """Write the row's batch when its last row is settled; rows with an unsafe picture are left out."""
        batch, index = sample.payload
        value: Any = None
        keep = all(j.output is not None for j in judged)
        if judged and keep:
            value = judged[0].output
            if self._pa.types.is_struct(self._type):
                claim = sample.pictures[0].claim
                original = batch.column(self._at)[index].as_py()
                value = {**original, "bytes": value, "path": target(claim, judged[0].encoding) if claim else claim}
        self.kept += keep
        self._done.append((index if keep else -1, value))
        if index + 1 < batch.num_rows:
            return
        rows = [i for i, _ in self._done if i >= 0]
        values = [v for i, v in self._done if i >= 0]
        self._done.clear()
        if rows and self._out is not None:
            taken = batch.take(self._pa.array(rows))
            columns = [*taken.columns]
            columns[self._at] = self._pa.array(values, self._type)
            self._out.write_batch(self._pa.RecordBatch.from_arrays(columns, schema=batch.schema))

    def close(self) -> None:
        """Write the footer."""
        if self._out is not None:
            self._out.close()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedInput("Parquet needs pyarrow: pip install 'ondevice_guard[parquet]'") from None
    return pyarrow, pyarrow.parquet


class _Reading:
    """A shard whose reading errors are the input's fault, and whose writing errors are not."""

    def __init__(self, shard: TarShard | ParquetShard, errors: tuple[type[Exception], ...]) -> None:
        self._shard = shard
        self._errors = errors
        self.write = shard.write
        self.close = shard.close

    @property
    def kept(self) -> int:
        """Samples that were kept."""
        return self._shard.kept

    def samples(self) -> Iterator[Sample]:
        """Yield the samples. Raises `UnreadableInput` where the shard is damaged."""
        samples = self._shard.samples()
        while True:
            try:
                sample = next(samples, None)
            except self._errors as error:
                raise UnreadableInput(f"{type(error).__name__}: {error}") from None
            if sample is None:
                return
            yield sample


@contextmanager
def open_shard(unit: Unit, out: IO[bytes] | None, limit: int, column: str | None = None) -> Iterator[_Reading]:
    """Open a shard for reading and its safe copy for writing.

    Args:
        unit: The shard.
        out: The safe copy; None only reads.
        limit: Bytes of one picture.
        column: The Parquet column with pictures.

    Raises:
        UnreadableInput: the shard cannot be opened or is damaged.
        UnsupportedInput: pyarrow is missing, or no column can be chosen.
    """
    errors: tuple[type[Exception], ...] = (OSError, EOFError, tarfile.TarError)
    if unit.shard == "parquet":
        errors = (OSError, _arrow()[0].ArrowException)
    try:
        file = unit.place.open(unit.name)
    except (OSError, ValueError) as error:
        raise UnreadableInput(str(getattr(error, "strerror", None) or error)) from None
    with file:
        try:
            shard = TarShard(file, out, limit) if unit.shard == "tar" else ParquetShard(file, out, limit, column)
        except errors as error:
            if isinstance(error, (UnreadableInput, UnsupportedInput)):
                raise
            raise UnreadableInput(f"{type(error).__name__}: {error}") from None
        yield _Reading(shard, errors)
