"""Splits that every training and benchmark script shares: photographs and font families, by hash of their name.

A name is in the test part when the first byte of its SHA-1 is below 64 (about a quarter). The split depends on the
name alone, so that adding files never moves one across.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path


def data_dir(explicit: str | None = None) -> Path:
    """Return the folder with photos/, text/, cbsd/ …: the argument, else $ONDEVICE_GUARD_DATA, else ../shared/data."""
    path = Path(explicit or os.environ.get("ONDEVICE_GUARD_DATA", "../shared/data")).resolve()
    if not path.is_dir():
        raise SystemExit(f"data folder {path} not found; pass --data or set ONDEVICE_GUARD_DATA")
    return path


def is_test(name: str) -> bool:
    """True when `name` (a file name or a font family) belongs to the test part."""
    return hashlib.sha1(name.encode()).digest()[0] < 64


def photos(data: Path, part: str) -> list[Path]:
    """Return the photographs of a part (`"train"` or `"test"`), sorted by name."""
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    return [p for p in sorted((data / "photos").glob("*.jpg")) if is_test(p.name) == (part == "test")]


def fonts(part: str, lang: str | None = None) -> list[tuple[str, str]]:
    """Return (family, file) of installed scalable fonts of a part, one file per style, sorted.

    The text map learned from the fonts of the Debian packages in fonts.txt.

    Args:
        part: `"train"` or `"test"`; the split is by family, so that no style of a test family is ever trained on.
        lang: fontconfig language code (`"en"`, `"ru"`, `"zh-cn"` …) the font must cover; None for all.
    """
    pattern = f":scalable=true:lang={lang}" if lang else ":scalable=true"
    out = subprocess.run(["fc-list", pattern, "family", "file"], capture_output=True, text=True, check=True).stdout
    found = set()
    for line in out.splitlines():
        file, _, family = line.partition(": ")
        family = re.split(r"[,:]", family)[0].strip()
        if file.lower().endswith((".ttf", ".otf", ".ttc")) and is_test(family) == (part == "test"):
            found.add((family, file))
    return sorted(found)
