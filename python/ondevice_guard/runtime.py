"""Model directory → verified ONNX Runtime session. The sole importer of onnxruntime, and only when a graph first runs.

A model is a directory `<name>_v<N>` that holds `config.json`, the files it names, and a model card. Nothing is used
before its SHA-256 matches, and the session is built from the very bytes that were hashed, so that a file swapped
between check and use cannot take part. Graphs may not refer to data outside their own file.

`config.json`:

| key | meaning |
|---|---|
| `schema` | 1 |
| `name`, `version` | together the directory's name, `<name>_v<version>` |
| `licence` | SPDX expression of the weights |
| `files` | file name → `{"sha256": hex, "bytes": n}`; every file the model needs, plain names only |
| `graph` | which of `files` is the ONNX graph; absent for weights that the native core reads |
| `inputs` | input name → what the detector must know to fill it (dtype, shape, mean, scale, layout, size …) |
| `labels` | class names in output order |
| `thresholds` | kind → false-positive rate as a string → operating point: flag when score >= value |
| `trained_on` | list of `{"source", "licence", "rows" | "files", "sha256"}` |
| `metrics` | figures measured when the model was made |

Searched in this order, first match wins: the `directory` argument, `$ONDEVICE_GUARD_MODELS`, `models/` inside the
package, `models/` of a source checkout. A directory that is found but does not verify is an error, never skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelError

SCHEMA = 1
ENVIRONMENT = "ONDEVICE_GUARD_MODELS"
_NAME = re.compile(r"([a-z][a-z0-9_]*?)_v([1-9][0-9]*)\Z")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_CONFIG_LIMIT = 4 << 20  # bytes; the largest config of ours, with its calibration tables, is under 100 kB
_FILE_LIMIT = 1 << 31  # bytes; protobuf cannot hold a larger graph
_PACKAGE = Path(__file__).resolve().parent

# Where tensors live in an ONNX protobuf: message → field number → message. Only these paths are walked.
_ONNX: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("varint too long")


def _external_data(data: memoryview, message: str = "model", depth: int = 0) -> bool:
    """True when any tensor of the graph keeps its data in another file (TensorProto.data_location or external_data)."""
    if depth > 32:
        raise ValueError("nested too deeply")
    at, children = 0, _ONNX[message]
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            if message == "tensor" and number == 14 and value:
                return True
        elif wire == 2:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError("field runs past the end")
            if message == "tensor" and number == 13:
                return True
            if number in children and _external_data(data[at : at + length], children[number], depth + 1):
                return True
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
    return False


def _directories(directory: str | os.PathLike[str] | None) -> Iterator[Path]:
    if directory is not None:
        yield Path(directory)
    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT])
    yield _PACKAGE / "models"
    if (_PACKAGE.parents[1] / "CMakeLists.txt").is_file():  # a source checkout keeps them beside python/
        yield _PACKAGE.parents[1] / "models"


def find(name: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of a model.

    Args:
        name: `"text_linear_v1"`, or `"text_linear"` for the highest version of the first place that has one.
        directory: Looked into first: a folder of models, or one model's own folder.

    Raises:
        ModelError: No such model in any place; the message lists the places.
    """
    looked = []
    for place in _directories(directory):
        looked.append(str(place))
        if (place / "config.json").is_file() and (place.name == name or place.name.rpartition("_v")[0] == name):
            return place
        if _NAME.match(name):
            if (place / name / "config.json").is_file():
                return place / name
        elif place.is_dir():
            versions = [
                (int(m[2]), p)
                for p in place.iterdir()
                if (m := _NAME.match(p.name)) and m[1] == name and (p / "config.json").is_file()
            ]
            if versions:
                return max(versions)[1]
    raise ModelError(f"model {name!r} not found; looked in {', '.join(looked)}")


def read_config(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read and validate `config.json` of a model directory; file contents are not touched.

    Raises:
        ModelError: Missing, oversized, not JSON, of another schema, or with a key of the wrong shape.
    """
    path = Path(path)
    try:
        raw = _read(path / "config.json", _CONFIG_LIMIT)
        config = json.loads(raw)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: config.json cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise ModelError(f"{path.name}: config.json must be an object with schema {SCHEMA}")
    if f"{config.get('name')}_v{config.get('version')}" != path.name or not _NAME.match(path.name):
        raise ModelError(f"{path.name}: name and version in config.json do not match the directory")
    files = config.get("files")
    if not isinstance(files, dict) or not files:
        raise ModelError(f"{path.name}: files must name at least one file")
    for file, facts in files.items():
        digest = facts.get("sha256") if isinstance(facts, dict) else None
        if not _FILE.match(file) or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ModelError(f"{path.name}: files[{file!r}] needs a plain name and a sha256 in hex")
    if config.get("graph") is not None and config["graph"] not in files:
        raise ModelError(f"{path.name}: graph {config['graph']!r} is not among files")
    labels = config.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"{path.name}: labels must be a list of strings")
    thresholds = config.get("thresholds", {})
    try:
        points = [(float(rate), float(value)) for table in thresholds.values() for rate, value in table.items()]
    except (AttributeError, TypeError, ValueError):
        points = [(-1.0, -1.0)]
    if not all(0.0 < rate < 1.0 and 0.0 <= value <= 1.0 for rate, value in points):
        raise ModelError(f"{path.name}: thresholds must map kind → rate in (0, 1) → score in [0, 1]")
    return MappingProxyType(config)


def _read(path: Path, limit: int) -> bytes:
    with open(path, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return data


def _verified(path: Path, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files' bytes after each matched its checksum."""
    contents = {}
    for file, facts in config["files"].items():
        try:
            data = _read(path / file, int(facts.get("bytes", _FILE_LIMIT)))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{path.name}: {file} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ModelError(
                f"{path.name}: {file} does not match its sha256; reinstall the package or restore the file"
            )
        contents[file] = data
    return contents


class Model:
    """A verified model. Thread-safe; made by `load`, not by hand.

    Attributes:
        name: Directory name, `<name>_v<version>`: what verdicts report.
        path: The directory it came from.
        config: `config.json`, read-only at the top level.
        labels: Class names in output order.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self.name = path.name
        self.config = read_config(path)
        self.labels: tuple[str, ...] = tuple(self.config.get("labels", ()))
        self._threads = threads
        self._files = _verified(path, self.config)
        self._session: Any = None
        self._lock = threading.Lock()
        graph = self.config.get("graph")
        if graph is not None:
            try:
                external = _external_data(memoryview(self._files[graph]))
            except (ValueError, IndexError) as error:
                raise ModelError(f"{self.name}: {graph} is not an ONNX file: {error}") from error
            if external:
                raise ModelError(f"{self.name}: {graph} keeps tensors in another file, which is not allowed")

    def file(self, name: str) -> bytes:
        """Return the verified bytes of one of the model's files (the graph's go once a session exists)."""
        try:
            return self._files[name]
        except KeyError:
            raise ModelError(f"{self.name}: no file {name!r}") from None

    def threshold(self, kind: str, rate: float) -> float:
        """Return the operating point of `kind` at a false-positive rate: flag when score >= this.

        Raises:
            ModelError: The config has no such point.
        """
        for key, value in self.config.get("thresholds", {}).get(kind, {}).items():
            if abs(float(key) - rate) < 1e-9:
                return float(value)
        raise ModelError(f"{self.name}: no operating point for {kind!r} at rate {rate:g}")

    def points(self, rate: float) -> dict[str, float]:
        """Return kind → operating point for a false-positive rate: the recorded point at the largest rate that is not
        above `rate`, else at the smallest recorded one: never more false alarms than asked for, where known."""
        result = {}
        for kind, table in self.config.get("thresholds", {}).items():
            rates = sorted((float(key), float(value)) for key, value in table.items())
            below = [value for key, value in rates if key <= rate * (1 + 1e-9)]
            if rates:
                result[kind] = below[-1] if below else rates[0][1]
        return result

    @property
    def tag(self) -> str:
        """Version and the first characters of a checksum over all files, e.g. `"1+3f2a9c01"`."""
        digest = hashlib.sha256("".join(f["sha256"] for _, f in sorted(self.config["files"].items())).encode())
        return f"{self.config['version']}+{digest.hexdigest()[:8]}"

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> list[npt.NDArray[Any]]:
        """Run the graph once.

        Args:
            inputs: Graph input name → array of the dtype and shape the graph declares.
            outputs: Names to compute, in this order; None for all.

        Raises:
            ModelError: The model has no graph, or onnxruntime refused the graph or the inputs.
        """
        session = self._session or self._open()
        try:
            return [np.asarray(x) for x in session.run(outputs, dict(inputs))]
        except Exception as error:  # onnxruntime raises its own untyped hierarchy
            raise ModelError(f"{self.name}: inference failed: {error}") from error

    def _open(self) -> Any:
        with self._lock:
            if self._session is not None:
                return self._session
            graph = self.config.get("graph")
            if graph is None:
                raise ModelError(f"{self.name}: this model has no ONNX graph")
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.log_severity_level = 4
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.add_session_config_entry("session.inter_op.allow_spinning", "0")
            try:
                self._session = onnxruntime.InferenceSession(
                    self._files[graph], options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime raises its own untyped hierarchy
                raise ModelError(f"{self.name}: {graph} was refused by onnxruntime: {error}") from error
            self._files = {name: data for name, data in self._files.items() if name != graph}
            return self._session


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One installed model, or one that failed to verify.

    Attributes:
        name: Directory name.
        path: The directory.
        bytes: Size of the files its config names; 0 when the config is unusable.
        error: Why it cannot be used; None when it verified (or was not asked to).
        config: `config.json`; empty when unusable.
    """

    name: str
    path: Path
    bytes: int = 0
    error: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


_cache: dict[tuple[int, Path, int], Model] = {}
_cache_lock = threading.Lock()
#: What was asked for → the model, and when the folders that decided on it were last changed.
_answers: dict[tuple[int, str, str | None, str | None, int], tuple[Model, dict[str, int | None]]] = {}


def _changed(folders: Iterable[str]) -> dict[str, int | None]:
    """Return when something was last added to or taken from each folder; None where there is none."""
    times: dict[str, int | None] = {}
    for folder in folders:
        try:
            times[folder] = os.stat(folder).st_mtime_ns
        except OSError:
            times[folder] = None
    return times


def load(name: str, directory: str | os.PathLike[str] | None = None, threads: int = 1) -> Model:
    """Return a verified model; the same object for the same directory and thread count.

    Args:
        name: As for `find`.
        directory: As for `find`.
        threads: Threads onnxruntime may use for one call, the caller included.

    Raises:
        ModelError: Not found, altered, or of another schema.
        ValueError: `threads` is not positive.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    process = os.getpid()  # a session must not be used on both sides of a fork
    first = None if directory is None else os.path.abspath(directory)
    question = (process, name, first, os.environ.get(ENVIRONMENT), threads)
    if question in _answers:  # searching takes a tenth of the time of a small network
        model, times = _answers[question]
        if _changed(times) == times:
            return model
    times = _changed(str(place) for place in _directories(directory))
    path = find(name, directory).resolve()
    times |= _changed([str(path)])
    with _cache_lock:
        key = (process, path, threads)
        model = _cache.get(key)
        if model is None:
            model = _cache[key] = Model(path, threads)
    _answers[question] = model, times
    return model


def models(directory: str | os.PathLike[str] | None = None, *, check: bool = False) -> list[ModelInfo]:
    """List every model that `load` could find, by name; shadowed ones are left out.

    Args:
        directory: As for `find`.
        check: Also compare every file with its checksum.
    """
    found: dict[str, ModelInfo] = {}
    for place in _directories(directory):
        candidates = [place] if (place / "config.json").is_file() else sorted(place.iterdir()) if place.is_dir() else []
        for path in candidates:
            if path.name in found or not (path / "config.json").is_file():
                continue
            try:
                config = read_config(path)
                size = sum((path / file).stat().st_size for file in config["files"])
                if check:
                    _verified(path, config)
                found[path.name] = ModelInfo(path.name, path, size, None, config)
            except (ModelError, OSError) as error:
                found[path.name] = ModelInfo(path.name, path, error=str(error))
    return [found[name] for name in sorted(found)]


def verify(directory: str | os.PathLike[str] | None = None) -> list[ModelInfo]:
    """Check every installed model's files against their checksums; look at `error` of each result."""
    return models(directory, check=True)
