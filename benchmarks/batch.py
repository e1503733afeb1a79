"""A batch of mixed pictures: pictures a second beside a plain Pillow loop, and memory over the length of the run.

    python benchmarks/batch.py make out/mixed --count 10000          # 512-pixel crops of photographs, half JPEG, half PNG
    python benchmarks/batch.py time out/mixed --part 0 --parts 10    # one interleaved timing; repeat for each part
    python benchmarks/batch.py memory out/mixed                      # one run over everything, resident memory as it goes
    python benchmarks/batch.py hash                                  # distances of fingerprints; shared residuals
    python benchmarks/batch.py ray out/mixed --count 2000            # the same run on a local Ray of two CPUs
    python benchmarks/batch.py driver                                # what one driver can list, skip and journal a second
    python benchmarks/batch.py estimate                              # from all of these: a million pictures, 1 to 100 nodes

Every command adds its figures to benchmarks/results/batch.json. `time` runs, on the same pictures, in turns: a Pillow loop
on two threads that decodes and encodes with the very encoder settings of the guard (JPEG 95 at 4:4:4, PNG level 1) and no
fsync; the same loop with Pillow's default settings; the guard with the structural detectors; the guard with all detectors
of the `balanced` policy; then both guards in two processes in place of threads. Models are loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "training")]

from ondevice_guard import _core, batch, campaign  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "batch.json"
ROUNDS = 5
STRUCTURAL = {"name": "structural", "detectors": ["structural"]}
LOOPS = ["pillow", "pillow_defaults", "structural", "all", "structural processes", "all processes"]


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "cpus": os.cpu_count(), "python": platform.python_version(), "backend": _core.backend.active()}


def note(section: str, value: Any, key: str | None = None) -> None:
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    table["machine"] = machine()
    if key is None:
        table[section] = value
    else:
        table.setdefault(section, {})[key] = value
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps({section: value}, indent=1))


def make(folder: Path, count: int, data: str | None) -> None:
    """Crops of 512 x 384 up to 512 x 512 from photographs enlarged to fit, mirrored and shaded at random (seed 0)."""
    import cv2
    from assets import data_dir

    photos = sorted((data_dir(data) / "photos").glob("*.jpg"))
    rng = random.Random(0)
    cv2.setNumThreads(1)
    for i in range(count):
        target = folder / f"d{i % 10}" / (f"{i:05}.jpg" if i % 2 else f"{i:05}.png")
        size = (512, rng.randrange(384, 513))
        seed = rng.random()
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.imread(str(photos[i % len(photos)]))
        height, width = image.shape[:2]
        ratio = max(size[0] / width, size[1] / height) * (1 + 0.3 * seed)
        image = cv2.resize(
            image, (max(512, round(width * ratio)), max(size[1], round(height * ratio))), interpolation=cv2.INTER_CUBIC
        )
        left, top = int(seed * (image.shape[1] - 512)), int((1 - seed) * (image.shape[0] - size[1]))
        image = image[top : top + size[1], left : left + 512]
        if seed < 0.5:
            image = image[:, ::-1]
        options = [cv2.IMWRITE_JPEG_QUALITY, 85 + i % 11] if i % 2 else [cv2.IMWRITE_PNG_COMPRESSION, 2]
        cv2.imwrite(str(target), image, options)


def pillow(files: list[Path], out: Path, options: dict[str, dict[str, Any]]) -> float:
    def one(file: Path) -> None:
        image = Image.open(file).convert("RGB")
        image.save(out / file.name, **options[file.suffix])

    out.mkdir()
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(one, files):
            pass
    return time.perf_counter() - start


def guarded(
    job: batch.GuardBatch, source: batch.Sources, out: Path, engine: batch.Engine = batch.local_engine
) -> tuple[float, dict[str, int]]:
    job.config  # noqa: B018 - loads the models
    state = out.with_name(out.name + ".guard")
    with batch.Journal(state / "journal.jsonl") as journal:
        partial = batch.staging(out, state)
        worker = batch.Worker(
            job, batch.LocalPlace(out, staging=partial), batch.LocalPlace(state / "quarantine", staging=partial)
        )
        run = batch.Batch(worker, journal, jobs=2, engine=engine)
        for _ in run.run(source):
            pass
        return run.summary.seconds, dict(run.summary.decisions)


def timed(folder: Path, part: int, parts: int, only: list[str]) -> None:
    files = sorted(folder.rglob("*.*"))[part::parts]
    source = lambda some: batch.Sources(listed=[os.path.relpath(f) for f in some])  # noqa: E731
    same = {".jpg": {"quality": 95, "subsampling": 0}, ".png": {"compress_level": 1}}
    policies = {"structural": STRUCTURAL, "all": "balanced"}
    jobs = {k: batch.GuardBatch(v) for k, v in policies.items() if {k, f"{k} processes"} & set(only)}
    for job in jobs.values():
        for file in files[:4]:
            job.judge(file.read_bytes(), file.name)
    loops: dict[str, Any] = {"pillow": same, "pillow_defaults": {".jpg": {}, ".png": {}}}
    seconds, cpu, decisions = Counter[str](), Counter[str](), {name: Counter[str]() for name in jobs}
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        at = Path(scratch)
        for i in range(ROUNDS):  # in turns, so that what else the machine does falls on all of them
            piece = files[i::ROUNDS]
            for name in (name for name in (*loops, *jobs) if name in only):
                begin, out = time.process_time(), at / f"{name} {i}"
                if name in loops:
                    seconds[name] += pillow(piece, out, loops[name])
                else:
                    took, counts = guarded(jobs[name], source(piece), out)
                    seconds[name] += took
                    decisions[name].update(counts)
                cpu[name] += time.process_time() - begin
        for name, job in jobs.items():  # what starting them takes is measured by itself
            if f"{name} processes" not in only:
                continue
            start, _ = guarded(job, source(files[:16]), at / f"{name} start", batch.process_engine)
            took, _ = guarded(job, source(files), at / f"{name} processes", batch.process_engine)
            seconds[f"{name} processes"] = (took - start) * len(files) / (len(files) - 16)
    figures = {
        "pictures": len(files),
        "parts": parts,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "cpu_ms_per_picture": {k: round(v / len(files) * 1e3, 1) for k, v in cpu.items()},
        "decisions": {k: dict(v) for k, v in decisions.items()},
    }
    figures["per_second"] = {k: round(len(files) / v, 1) for k, v in seconds.items()}
    if "pillow" in seconds:
        figures["of_pillow"] = {k: round(seconds["pillow"] / v, 3) for k, v in seconds.items()}
    note("speed", figures, f"part {part}")


def memory(folder: Path, policy: Any, key: str) -> None:
    """Resident memory each second while one run goes over everything."""
    samples: list[tuple[int, int]] = []
    run_done = threading.Event()
    count = 0

    def resident(field: str = "VmRSS") -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024

    def sample() -> None:
        while not run_done.wait(1.0):
            samples.append((count, resident()))

    job = batch.GuardBatch(policy)
    job.config  # noqa: B018
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, batch.Journal(Path(scratch) / "j") as journal:
        threading.Thread(target=sample, daemon=True).start()
        run = batch.Batch(batch.Worker(job, batch.LocalPlace(Path(scratch) / "out")), journal, jobs=2)
        for _ in run.run(batch.Sources([folder])):
            count += 1
        run_done.set()
    quarter = [max((m for c, m in samples if i * count / 4 <= c <= (i + 1) * count / 4), default=0) for i in range(4)]
    note("memory", {"pictures": count, "peak_mb": resident("VmHWM"), "largest_mb_in_each_quarter": quarter}, key)


def hashes(data: str | None) -> None:
    """Distances between copies of one photograph and between different ones; the hint about shared residuals."""
    from assets import data_dir

    photos = sorted((data_dir(data) / "photos").glob("*.jpg"))
    codes, sketches, far = [], [], {}
    laid: list[str] = []
    pattern = np.random.default_rng(0).choice(np.array([-8, 8]), (600, 600, 3))
    for n, path in enumerate(photos):
        image = Image.open(path).convert("RGB")
        width, height = image.size
        code, sketch = fingerprint(np.asarray(image))
        codes.append(code)
        sketches.append(sketch)
        copies = {f"resized {p} %": image.resize((width * p // 100, height * p // 100)) for p in (66, 50)}
        copies["cut 1 % a side"] = image.crop(
            (width // 100, height // 100, width - width // 100, height - height // 100)
        )
        for quality in (90, 60, 30):
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality)
            copies[f"JPEG {quality}"] = Image.open(out).convert("RGB")
        for name, copy in copies.items():
            far.setdefault(name, []).append(bin(fingerprint(np.asarray(copy))[0] ^ code).count("1"))
        if n % 10 == 0:
            attacked = np.clip(np.asarray(image).astype(int) + pattern[:height, :width], 0, 255).astype(np.uint8)
            laid.append(fingerprint(attacked)[1])
    nearest = min(bin(a ^ b).count("1") for i, a in enumerate(codes) for b in codes[:i])
    clean, some = campaign.Residuals(), campaign.Residuals()
    for n, sketch in enumerate(sketches):
        clean.add(sketch, f"clean {n}")
        some.add(laid[n // 10] if n % 10 == 0 else sketch, f"{'laid' if n % 10 == 0 else 'clean'} {n}")
    hint = some.hint()
    note("hash", {
        "photographs": len(photos),
        "distance_of_copies": {k: {"99 %": float(np.percentile(v, 99)), "largest": max(v)} for k, v in far.items()},
        "within_12": {k: round(float(np.mean(np.array(v) <= campaign.NEAR)), 4) for k, v in far.items()},
        "nearest_different": nearest,
        "residual": {
            "hint_on_clean": clean.hint() is not None,
            "one_in_ten_with_the_same_8/255_pattern": hint
            and {"coherence": round(hint.coherence, 2), "named": hint.carriers, "true": len(laid)},
        },
    })  # fmt: skip


def driver(count: int = 50_000) -> None:
    """Lines a second that the one journal takes, and units a second that a resume skips (files of this machine)."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "in"
        for i in range(count // 10):
            (root / f"{i % 100:02}").mkdir(parents=True, exist_ok=True)
            (root / f"{i % 100:02}" / f"{i}.png").write_bytes(b"x")
        job = batch.GuardBatch({"name": "none", "detectors": []})
        line = {"final": True, "path": "x" * 40, "configuration": job.config["id"], "sha256": "0" * 64, "output": None,
                "decision": "ALLOW", "verdict": {"counted": [], "padding": "x" * 600}}  # fmt: skip
        with batch.Journal(Path(scratch) / "j") as journal:
            start = time.perf_counter()
            for unit in batch.Sources([root]):
                journal.append({**line, "unit": unit.key, "stamp": unit.place.stamp(unit.name)})
            listed = time.perf_counter() - start
            start = time.perf_counter()
            for i in range(count):
                journal.append({**line, "unit": f"other/{i}", "stamp": "1-1"})
            appended = time.perf_counter() - start
        with batch.Journal(Path(scratch) / "j") as journal:
            start = time.perf_counter()
            run = batch.Batch(batch.Worker(job), journal, resume=True)
            assert list(run.run(batch.Sources([root]))) == []
            skipped = time.perf_counter() - start
        begin = time.perf_counter()
        batch.Journal(Path(scratch) / "j").close()
        opened = time.perf_counter() - begin
    note("driver", {
        "journal_lines_per_second": round(count / appended), "skipped_per_second": round(count / 10 / skipped),
        "listed_and_journalled_per_second": round(count / 10 / listed), "lines_indexed_per_second": round(1.1 * count / opened),
    })  # fmt: skip


#: Published limits of one S3 prefix ("Best practices design patterns: optimizing Amazon S3 performance").
_GETS, _PUTS = 5_500, 3_500
_NODE_CPUS, _NODE_GBIT, _KB_IN, _KB_OUT = 16, 12.5, 220, 240


def estimate() -> None:
    """Throughput of N nodes as the least of: their CPUs, their network, one prefix of the store, the one journal."""
    table = json.loads(RESULTS.read_text())
    parts = table["speed"].values()
    pictures = sum(p["pictures"] for p in parts)
    rows: dict[str, Any] = {}
    for name in ("structural", "all"):
        core_s = 2 * sum(p["seconds"].get(name, float("nan")) for p in parts) / pictures  # two threads were busy
        rows[name] = {
            "core_seconds_per_million": round(core_s * 1e6),
            "core_hours_per_million": round(core_s * 1e6 / 3600, 1),
            "nodes": {},
        }
        for nodes in (1, 4, 16, 64, 100):
            limits = {
                "cpu": nodes * _NODE_CPUS / core_s,
                "network": nodes * _NODE_GBIT * 1e9 / 8 / ((_KB_IN + _KB_OUT) * 1e3),
                "store, one prefix": min(_GETS, _PUTS),
                "journal of one driver": table["driver"]["journal_lines_per_second"],
            }
            least = min(limits, key=limits.__getitem__)
            rows[name]["nodes"][str(nodes)] = {
                "pictures_per_second": round(limits[least]), "bound_by": least,
                "minutes_per_million": round(1e6 / limits[least] / 60, 1), "cpus_alone_per_second": round(limits["cpu"]),
            }  # fmt: skip
    note(
        "estimate",
        {"node": {"cpus": _NODE_CPUS, "gbit": _NODE_GBIT}, "kilobytes": {"in": _KB_IN, "out": _KB_OUT}, **rows},
    )


def fingerprint(pixels: np.ndarray[Any, Any]) -> tuple[int, str]:
    dhash, phash, sketch = _core.hash.fingerprint(pixels)
    return dhash << 64 | phash, sketch.hex()


def on_ray(folder: Path, count: int, policy: Any) -> None:
    """The same units on threads and on two actors of a local Ray, which is started and warmed before the clock."""
    import ray

    from ondevice_guard.integrations.ray import ray_engine

    files = [os.path.relpath(f) for f in sorted(folder.rglob("*.*"))[:count]]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        at = Path(scratch)
        warm, _ = guarded(batch.GuardBatch(policy), batch.Sources(listed=files[:32]), at / "warm", ray_engine)
        far, _ = guarded(batch.GuardBatch(policy), batch.Sources(listed=files), at / "ray", ray_engine)
        near, _ = guarded(batch.GuardBatch(policy), batch.Sources(listed=files), at / "local")
        trees = [
            {p.relative_to(at / n): p.read_bytes() for p in (at / n).rglob("*") if p.is_file()}
            for n in ("ray", "local")
        ]
    ray.shutdown()
    note("ray", {
        "pictures": len(files), "local_s": round(near, 2), "ray_s": round(far, 2), "ray_of_32_pictures_s": round(warm, 2),
        "overhead_with_start_of_actors": round(far / near - 1, 3), "identical": trees[0] == trees[1],
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("make", "time", "memory", "hash", "ray", "driver", "estimate"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--data")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=LOOPS, choices=LOOPS, help="what `time` times")
    parser.add_argument("--structural", action="store_true", help="`memory` and `ray`: leave the models out")
    options = parser.parse_args()
    policy = STRUCTURAL if options.structural else "balanced"
    if options.command == "make":
        make(options.folder, options.count, options.data)
    elif options.command == "time":
        timed(options.folder, options.part, options.parts, options.only)
    elif options.command == "memory":
        memory(options.folder, policy, "structural" if options.structural else "all")
    elif options.command == "hash":
        hashes(options.data)
    elif options.command == "driver":
        driver()
    elif options.command == "estimate":
        estimate()
    else:
        on_ray(options.folder, options.count, policy)


if __name__ == "__main__":
    main()
