"""Cost of the guard as a whole, beside what any application pays anyway. Writes benchmarks/results/guard.json.

    python benchmarks/guard.py [--photos examples/photos] [--repeat 15]

Rows, each the median over interleaved repeats, one thread:

* `structural 1080p jpeg`: decode, structural checks, fresh PNG against Pillow decode + Pillow PNG encode (same settings)
* `structural 224 png`: the guard's time beyond Pillow decode + encode
* `balanced …`: the same with every detector of the policy
* `import`: `import ondevice_guard` beyond a bare interpreter
* `load`: every shipped model verified and ready to run (`Guard().warm_up()`), onnxruntime, numpy and Pillow imported before
* `encoder_100_tokens`: one run of text_encoder_v1 over 102 ids
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ondevice_guard import Guard, Policy, _core, decode, runtime


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def interleaved(repeat: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Return the median milliseconds of each call, all timed in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeat):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def encoded(pixels: np.ndarray, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def pillow(data: bytes) -> bytes:
    """Decode and encode with Pillow alone, with the PNG settings the guard uses."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return decode.encode(np.asarray(picture), "png")


def import_ms(module: str, repeat: int) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1e3)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(repeat)
    ]
    return round(statistics.median(runs), 2)


def load_ms(repeat: int) -> float:
    """Median over fresh interpreters."""
    code = (
        "import time, numpy, onnxruntime, PIL.Image; from ondevice_guard import Guard, runtime; t = time.perf_counter();"
        "Guard('balanced').warm_up(); ready = [runtime.load(m.name) for m in runtime.models()];"
        "[m._open() for m in ready if m.config.get('graph')]; print((time.perf_counter() - t) * 1e3)"
    )
    runs = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(repeat)]
    return round(statistics.median(runs), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=Path("examples/photos"))
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/guard.json"))
    options = parser.parse_args()
    photo = Image.open(sorted(options.photos.glob("*.jpg"))[0]).convert("RGB")
    big = encoded(np.asarray(photo.resize((1920, 1080), Image.Resampling.LANCZOS)), "JPEG", quality=90)
    small = encoded(np.asarray(photo.resize((224, 224), Image.Resampling.LANCZOS)), "PNG")
    structural = Guard(Policy().replace(name="structural", detectors=["structural"]))
    balanced = Guard("balanced").warm_up()
    result: dict[str, object] = {
        "machine": {"cpu": cpu_name(), "python": platform.python_version(), "backend": _core.backend.active()},
        "import_ms": import_ms("ondevice_guard", options.repeat),
        "load_ms": load_ms(5),
    }
    encoder, ids = runtime.load("text_encoder"), {"ids": np.arange(100, 202)[None]}
    result["encoder_100_tokens_ms"] = interleaved(4 * options.repeat, encoder=lambda: encoder.run(ids))["encoder"]
    for name, data in (("1080p jpeg", big), ("224 png", small)):
        row = interleaved(
            options.repeat,
            pillow=lambda data=data: pillow(data),
            structural=lambda data=data: structural.check(data).to_bytes("png"),
            balanced=lambda data=data: balanced.check(data).to_bytes("png"),
        )
        stages = {k: round(v, 3) for k, v in balanced.check(data).timings_ms.items()}
        result[name] = {
            "ms": row,
            "structural_ratio": round(row["structural"] / row["pillow"], 3),
            "structural_beyond_ms": round(row["structural"] - row["pillow"], 3),
            "balanced_stages_ms": stages,
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
