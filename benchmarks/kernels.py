"""Native filters against the fastest peer of the same algorithm, interleaved: smallest of N runs each, one thread.

`ms` is CPU time of the calling thread, which other programs on the machine stretch least; `wall` is what two threads are
compared by, and means something on an idle machine only (`load` is the machine's, before and after). Each run is the second
of two in a row, as filters come in chains: the first of all finds its helper thread asleep, which costs it about 20 µs.

    python benchmarks/kernels.py --data DIR [--sizes 224 512 1024 1080] [--rounds 15] [--only dct median5]

Merges its rows into benchmarks/results/kernels.json, so that it can run in slices. Peers (opencv-python, Pillow,
scikit-image) are left out where not installed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ondevice_guard import _core
from ondevice_guard.purification import PRESETS, purify

P = _core.purify
Run = Callable[[], object]


def best(runs: dict[str, Run], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of CPU and of wall time of each, taking turns, so that a slow moment meets all of them."""
    cpu, wall = ({name: float("inf") for name in runs} for _ in range(2))
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            start, begun = time.perf_counter(), time.thread_time()
            run()
            cpu[name] = min(cpu[name], time.thread_time() - begun)
            wall[name] = min(wall[name], time.perf_counter() - start)
    cpu.pop("ours x2", None)  # its CPU time is spread over two threads
    return tuple({name: round(1e3 * t, 4) for name, t in times.items()} for times in (cpu, wall))


def cases(x: np.ndarray) -> dict[str, dict[str, Run]]:
    """Case → {"ours": …, "ours x2": two threads, peer: …}."""
    out, peer_out = np.empty_like(x), np.empty_like(x)
    picture = Image.fromarray(x)

    def pillow_jpeg(quality: int) -> np.ndarray:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    def ours(f: Callable[..., object], *a: object, **k: object) -> dict[str, Run]:
        return {
            "ours": lambda: f(x, *a, out=out, threads=1, **k),
            "ours x2": lambda: f(x, *a, out=out, threads=2, **k),
        }

    found: dict[str, dict[str, Run]] = {
        "dct q25": {**ours(P.dct_quantise, 25), "Pillow": lambda: pillow_jpeg(25)},
        "dct q50": {**ours(P.dct_quantise, 50), "Pillow": lambda: pillow_jpeg(50)},
        "bilateral 9,75,75": ours(P.bilateral, 75.0, 75.0),
        "median3": ours(P.median, 3),
        "median5": ours(P.median, 5),
        "nlm h=10": ours(P.nlm, 10.0),
        "tv 20 iterations": ours(P.total_variation, 0.1, 20),
        "wavelet": ours(P.wavelet_shrink),
        "guided 4": ours(P.guided, 4, 400.0),
        "noise level": {
            "ours": lambda: _core.residual.noise_level(x, threads=1),
            "ours x2": lambda: _core.residual.noise_level(x, threads=2),
        },
        **{f"preset {p}, full": ours(purify, p, strength="full") for p in PRESETS},
    }
    try:
        import cv2

        cv2.setNumThreads(1)

        def opencv_jpeg(quality: int) -> np.ndarray:
            return cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

        found["dct q25"]["OpenCV"] = lambda: opencv_jpeg(25)
        found["dct q50"]["OpenCV"] = lambda: opencv_jpeg(50)
        found["bilateral 9,75,75"]["OpenCV"] = lambda: cv2.bilateralFilter(x, 9, 75, 75, dst=peer_out)
        found["median3"]["OpenCV"] = lambda: cv2.medianBlur(x, 3, dst=peer_out)
        found["median5"]["OpenCV"] = lambda: cv2.medianBlur(x, 5, dst=peer_out)
        found["nlm h=10"]["OpenCV"] = lambda: cv2.fastNlMeansDenoising(x, peer_out, 10, 7, 21)
    except ImportError:
        pass
    try:
        from skimage.restoration import denoise_tv_chambolle, denoise_wavelet

        found["tv 20 iterations"]["scikit-image"] = lambda: denoise_tv_chambolle(
            x, 0.1, eps=0, max_num_iter=20, channel_axis=-1
        )
        found["wavelet"]["scikit-image"] = lambda: denoise_wavelet(x, channel_axis=-1)
    except ImportError:
        pass
    return found


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ONDEVICE_GUARD_DATA", "../shared/data"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512, 1024, 1080], help="1080: 1920x1080")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="parts of case names")
    options = parser.parse_args()
    photo = Image.open(sorted((Path(options.data) / "photos").iterdir())[5]).convert("RGB")
    target = Path(__file__).parent / "results" / "kernels.json"
    target.parent.mkdir(exist_ok=True)
    known = json.loads(target.read_text())["rows"] if target.exists() else []
    rows, load = [], round(os.getloadavg()[0], 1)
    for size in options.sizes:
        shape = (1920, 1080) if size == 1080 else (size, size)
        x = np.asarray(photo.resize(shape, Image.Resampling.LANCZOS))
        for name, runs in cases(x).items():
            if options.only and not any(word in name for word in options.only):
                continue
            slow = name.startswith(("nlm", "tv", "wavelet"))
            times, wall = best(runs, max(2, options.rounds // 5) if slow else options.rounds)
            peers = {k: v for k, v in times.items() if not k.startswith("ours")}
            ratio = round(min(peers.values()) / times["ours"], 2) if peers else None
            scaling = round(wall["ours"] / wall["ours x2"], 2)
            rows.append({"size": size, "case": name, "ms": times, "ratio": ratio, "wall": wall, "two_threads": scaling})
            print(f"{size:5d}  {name:20s} {ratio or '-':>6} x peer   {scaling:4} x on two  {times}", flush=True)
    info = Path("/proc/cpuinfo")
    names = [line for line in (info.read_text().splitlines() if info.exists() else []) if line.startswith("model name")]
    cpu = names[0].split(":")[1].strip() if names else ""
    fresh = {(row["size"], row["case"]) for row in rows}
    rows = [row for row in known if (row["size"], row["case"]) not in fresh] + rows
    result = {
        "load": [load, round(os.getloadavg()[0], 1)],
        "machine": {"cpu": cpu or platform.processor(), "cpus": os.cpu_count(), "backend": _core.backend.active()},
        "rows": rows,
    }
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
