"""Milliseconds a line of `LineReader.read`, one thread: batches of 32 lines of 320 pixels (24 letters) and of 640.

python training/linesense/speed.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from ondevice_guard.linereader import LineReader

if __name__ == "__main__":
    reader = LineReader(threads=1)
    rng = np.random.default_rng(1)
    for width in (320, 640):
        strips = [rng.integers(0, 256, (32, width), dtype=np.uint8) for _ in range(32)]
        reader.read(strips)
        took = []
        for _ in range(15):
            start = time.process_time()
            reader.read(strips)
            took.append((time.process_time() - start) / len(strips) * 1e3)
        print(f"32 x {width}: {np.median(took):.3f} ms a line (best {min(took):.3f})")
