"""`ondevice-guard`: scan, sanitize, doctor, models.

Exit codes: 0 everything is clean · 1 something was found · 2 wrong usage · 3 some inputs could not be read.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import GuardError, UnreadableInput
from .types import Decision

EXIT_CLEAN, EXIT_FOUND, EXIT_USAGE, EXIT_UNREADABLE = 0, 1, 2, 3
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
FORMATS = ("text", "json", "jsonl", "csv", "html")


@dataclass(frozen=True)
class Row:
    """One input and what came of it."""

    path: str
    verdict: Any
    output: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        return int(options.run(options))
    except GuardError as error:
        print(f"ondevice-guard: {error}", file=sys.stderr)
        return EXIT_UNREADABLE if isinstance(error, UnreadableInput) else EXIT_USAGE
    except BrokenPipeError:  # `ondevice-guard scan … | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - keeps the interpreter's last flush quiet
        return EXIT_CLEAN
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="ondevice-guard", description="Guards local multimodal models.", epilog=__doc__)
    parser.add_argument("--version", action="version", version=f"ondevice-guard {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    scan = commands.add_parser("scan", help="say what is in pictures; change nothing")
    _common(scan)
    scan.add_argument("--text", help="the prompt that goes with the pictures")
    scan.set_defaults(run=_scan)

    clean = commands.add_parser("sanitize", help="write safe copies of pictures")
    _common(clean)
    clean.add_argument("-o", "--output", help="folder (or file, or - for stdout) for the safe copies")
    clean.add_argument("--as", dest="encoding", choices=("same", "png", "jpeg"), default="same",
                       help="encoding of the copies: same = JPEG stays JPEG, all else becomes PNG (default)")  # fmt: skip
    clean.add_argument("--quality", type=int, default=95, metavar="1-100", help="JPEG quality (default 95)")
    clean.add_argument("--dry-run", action="store_true", help="say what would be written; write nothing")
    clean.set_defaults(run=_sanitize)

    doctor = commands.add_parser("doctor", help="check the installation: native core, backends, libraries, models")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.set_defaults(run=_doctor)

    models = commands.add_parser("models", help="list the shipped models, or verify their checksums")
    models.add_argument("action", nargs="?", choices=("list", "verify"), default="list")
    models.add_argument("--format", choices=("text", "json"), default="text")
    models.set_defaults(run=_models)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders (searched recursively), or - for stdin")
    parser.add_argument("--policy", default="balanced", help="permissive, balanced, strict, or a .toml file (default balanced)")
    parser.add_argument("--profile", action="append", help="preprocessing of the model that will see the pictures; may repeat")
    parser.add_argument("--format", choices=FORMATS, default="text", help="form of the report (default text)")
    parser.add_argument("--report", help="write the report to this file in place of stdout")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="pictures judged at the same time")
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")


# ---------------------------------------------------------------------- inputs


def find(inputs: Iterable[str]) -> Iterator[tuple[Path | None, Path]]:
    """Yield (root, path) of every picture named by the arguments; folders are searched recursively, sorted.

    A folder's picture has that folder as root, so that outputs can mirror the tree; `-` is yielded as it is. A path
    that does not exist is yielded too, so that it shows in the report and in the exit code.
    """
    for name in inputs:
        path = Path(name)
        if name != "-" and path.is_dir():
            for found in sorted(path.rglob("*")):
                if found.suffix.lower() in SUFFIXES and found.is_file():
                    yield path, found
        else:
            yield None, path


def _guard(options: argparse.Namespace) -> Any:
    from .guard import Guard

    return Guard(options.policy, profiles=options.profile)


def _verdicts(options: argparse.Namespace, paths: list[Path], text: str | None = None) -> Iterator[Any]:
    guard = _guard(options)
    items = (sys.stdin.buffer.read() if str(path) == "-" else path for path in paths)
    texts = None if text is None else [text] * len(paths)
    show = not options.quiet and sys.stderr.isatty()
    start = time.perf_counter()
    for done, verdict in enumerate(guard.check_many(items, texts, workers=max(1, options.jobs)), 1):
        if show:
            rate = done / max(time.perf_counter() - start, 1e-9)
            sys.stderr.write(f"\r\x1b[K{done}/{len(paths)} pictures, {rate:.1f}/s, {(len(paths) - done) / rate:.0f} s left")
        yield verdict
    if show:
        sys.stderr.write("\r\x1b[K")


# ---------------------------------------------------------------------- commands


def _scan(options: argparse.Namespace) -> int:
    paths = [path for _, path in find(options.inputs)]
    rows = [Row(str(path), verdict) for path, verdict in zip(paths, _verdicts(options, paths, options.text), strict=True)]
    return _finish(options, rows)


def _sanitize(options: argparse.Namespace) -> int:
    found = list(find(options.inputs))
    paths = [path for _, path in found]
    if options.output is None and not options.dry_run:
        print("ondevice-guard: sanitize needs -o OUTPUT (a folder, a file, or - for stdout), or --dry-run", file=sys.stderr)
        return EXIT_USAGE
    if not 1 <= options.quality <= 100:
        print(f"ondevice-guard: --quality must be from 1 to 100, got {options.quality}", file=sys.stderr)
        return EXIT_USAGE
    if options.output == "-" and len(paths) != 1:
        print("ondevice-guard: -o - takes exactly one picture", file=sys.stderr)
        return EXIT_USAGE
    taken: set[Path] = set()
    rows = []
    for (root, path), verdict in zip(found, _verdicts(options, paths), strict=True):
        target = None
        if verdict:
            encoding = _encoding(options.encoding, verdict.format)
            target = _target(options.output, root, path, encoding, taken, single=len(paths) == 1)
            if not options.dry_run:
                data = verdict.to_bytes(encoding, quality=options.quality)
                if target == Path("-"):
                    sys.stdout.buffer.write(data)
                else:
                    write_atomic(target, data)
        rows.append(Row(str(path), verdict, str(target) if target else None))
    if options.output == "-":
        options.quiet = True
        return _exit_code(rows)
    return _finish(options, rows)


def _encoding(wanted: str, format: str | None) -> str:
    if wanted != "same":
        return wanted
    return "jpeg" if format == "jpeg" else "png"


def _target(output: str | None, root: Path | None, path: Path, encoding: str, taken: set[Path], single: bool) -> Path:
    """Where the safe copy goes: the tree of a folder is mirrored, and no two inputs share a file."""
    if output == "-":
        return Path("-")
    folder = Path(output or "sanitized")
    if single and root is None and folder.suffix.lower() in (".png", ".jpg", ".jpeg"):
        return folder
    name = path.relative_to(root) if root is not None else Path("stdin" if str(path) == "-" else path.name)
    keep = encoding == "jpeg" and name.suffix.lower() in (".jpg", ".jpeg", ".jpe")
    suffix = name.suffix if keep else {"png": ".png", "jpeg": ".jpg"}[encoding]
    target = folder / name.with_suffix(suffix)
    if target in taken:  # a.gif and a.png would both become a.png
        target = folder / name.with_name(f"{name.name}{suffix}")
    count = 2
    while target in taken:
        target = folder / name.with_name(f"{name.stem}-{count}{suffix}")
        count += 1
    taken.add(target)
    if path.exists() and target.exists() and target.samefile(path):
        raise UnreadableInput(f"{target} would overwrite its own input; choose another output folder")
    return target


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all (temporary name, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _doctor(options: argparse.Namespace) -> int:
    report: dict[str, Any] = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    healthy = True
    from . import __version__

    report["ondevice_guard"] = __version__
    try:
        from . import _core

        report["backend"] = _core.backend.active()
        report["backends"] = list(_core.backend.available())
    except ImportError as error:
        report["backend"] = f"native core missing: {error}"
        healthy = False
    for name in ("numpy", "PIL", "onnxruntime", "cv2", "torch"):
        try:
            module = __import__(name)
            report[name] = str(getattr(module, "__version__", "installed"))
        except ImportError:
            report[name] = "not installed"
            healthy = healthy and name in ("cv2", "torch")
    from . import runtime

    listed = runtime.verify()
    broken = [f"{model.name}: {model.error}" for model in listed if model.error]
    report["models"] = broken or [model.name for model in listed]
    healthy = healthy and bool(listed) and not broken
    if options.format == "json":
        print(json.dumps({**report, "healthy": healthy}, indent=2))
    else:
        print("\n".join(f"{key:15} {value if not isinstance(value, list) else ', '.join(value)}" for key, value in report.items()))
        print("healthy" if healthy else "NOT healthy")
    return EXIT_CLEAN if healthy else EXIT_FOUND


def _models(options: argparse.Namespace) -> int:
    from . import runtime

    listed = runtime.models(check=options.action == "verify")
    if options.format == "json":
        print(json.dumps([{"name": m.name, "bytes": m.bytes, "error": m.error, "config": dict(m.config)} for m in listed], indent=2))
    else:
        for model in listed:
            print(f"{model.name:24} {model.bytes / 1e6:6.2f} MB  {model.error or model.config.get('licence', '')}")
        if options.action == "verify":
            print(f"{sum(m.error is None for m in listed)} of {len(listed)} models verified")
    return EXIT_FOUND if any(model.error for model in listed) else EXIT_CLEAN


# ---------------------------------------------------------------------- reports


def _finish(options: argparse.Namespace, rows: list[Row]) -> int:
    text = render(rows, options.format)
    if options.report:
        write_atomic(Path(options.report), text.encode("utf-8"))
    else:
        sys.stdout.write(text)
    return _exit_code(rows)


def _exit_code(rows: Sequence[Row]) -> int:
    if any(row.verdict.decision is Decision.ERROR for row in rows):
        return EXIT_UNREADABLE
    found = any(row.verdict.decision is not Decision.ALLOW or row.verdict.counted for row in rows)
    return EXIT_FOUND if found else EXIT_CLEAN


def render(rows: Sequence[Row], format: str) -> str:
    """Return the report on `rows` as `text`, `json`, `jsonl`, `csv` or `html`."""
    if format == "json":
        return json.dumps([_record(row) for row in rows], indent=2, ensure_ascii=False) + "\n"
    if format == "jsonl":
        return "".join(json.dumps(_record(row), ensure_ascii=False) + "\n" for row in rows)
    if format == "csv":
        return _csv(rows)
    if format == "html":
        from .report import page

        return page([(row.path, row.verdict) for row in rows])
    return _text(rows)


def _record(row: Row) -> dict[str, Any]:
    return {"path": row.path, "output": row.output, **row.verdict.to_dict()}


def _csv(rows: Sequence[Row]) -> str:
    out: IO[str] = io.StringIO()
    kinds = sorted({kind for row in rows for kind in row.verdict.scores})
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["path", "decision", "output", "total_ms", "reasons", *kinds])
    for row in rows:
        v = row.verdict
        scores = [f"{v.scores[k]:.4f}" if k in v.scores else "" for k in kinds]
        writer.writerow([row.path, v.decision, row.output or "", f"{v.timings_ms['total']:.2f}", " | ".join(v.reasons), *scores])
    return out.getvalue()


def _text(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        arrow = f"  → {row.output}" if row.output else ""
        lines.append(f"{row.verdict.decision!s:9} {row.path}{arrow}")
        lines += [f"          · {reason}" for reason in row.verdict.reasons]
    counts = Counter(str(row.verdict.decision) for row in rows)
    summary = ", ".join(f"{counts[str(d)]} {d}" for d in Decision if counts[str(d)])
    lines.append(f"{len(rows)} pictures: {summary}" if rows else "no pictures found")
    return "\n".join(lines) + "\n"
