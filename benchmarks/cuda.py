"""What the CUDA kernels need, and what they should take: no GPU is run here.

nvcc's log → benchmarks/results/cuda_resources.json (registers, shared memory, spills of every kernel and architecture):
    cmake -S . -B build-cuda -DOG_PYTHON=OFF -DOG_CAPI=OFF -DONDEVICE_GUARD_CUDA=ON
    cmake --build build-cuda --target ondevice_guard_cuda > build-cuda.log 2>&1
    python benchmarks/cuda.py resources build-cuda.log [build-cuda/libondevice_guard_cuda.so]
With the library, cuobjdump (of PATH) reads the same out of its machine code; where the two differ, nothing is written.
Published peaks → benchmarks/results/cuda_roofline.json, paper estimates:
    python benchmarks/cuda.py roofline
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

#: Memory bandwidth in GB/s, 32-bit integer rate in 10^12/s (64 a clock and multiprocessor at boost clock), host link in GB/s
#: (practical, one direction; Orin's memory is the host's). NVIDIA's data sheets and architecture white papers.
DEVICES = {
    "H100 SXM": {"memory": 3350, "integer": 132 * 64 * 1.755e-3, "link": 50},
    "RTX 4090": {"memory": 1008, "integer": 128 * 64 * 2.52e-3, "link": 25},
    "Jetson AGX Orin": {"memory": 204.8, "integer": 16 * 64 * 1.3e-3, "link": None},
}
#: Share of both peaks that such kernels reach in practice; a guess, and the least certain number here.
EFFICIENCY = 0.5
SIDE = 1024
#: name → bytes moved for each RGB sample, and integer or float operations for each pixel, as counted in the .cu files.
KERNELS = {
    "median 3": (2.0, 3 * 70),
    "median 5": (2.0, 3 * 260),
    "bit depth": (2.0, 3 * 8),
    "DCT quality 50, 4:2:0": (2.0, 1.5 * 16 * 16 * 3 / 4 + 90),
    "bilateral radius 4": (2.0, 52 * 35),
    "guided radius 4": (19.0, 3 * 2 * 2 * 30),
    "total variation, 20 iterations": (19 * 17 + 10.0, 20 * 3 * 22),
    "non-local means, 21 x 21": (2.0, 441 * 55),
    "wavelet, 4 shifts": (4 * 30.0, 4 * 3 * 60),
    "resize to 336, bicubic": (1.8, 3 * 14 * 2 * 0.44),
    "local contrast": (2.0, 3 * 130),
    "text-map patches": (2.33, 3 * 130),
    "residual, one distance": (2.33, 30),
}


def _name(rows: list[dict]) -> None:
    """Replace each row's mangled `kernel` by its plain name and `file`."""
    plain = subprocess.run(
        ["c++filt"], input="\n".join(r["kernel"] for r in rows), capture_output=True, text=True, check=True
    )
    for row, full in zip(rows, plain.stdout.splitlines(), strict=True):
        row["file"] = (re.search(r"_GLOBAL__N_\w*?_\d+_(\w+?)_cu_", row["kernel"]) or ["", ""])[1] + ".cu"
        bare = re.sub(r"\(anonymous namespace\)|_GLOBAL__N_\w+", "", full).split("(")[0]
        row["kernel"] = bare.split("::")[-1]


def machine_code(library: Path) -> list[dict]:
    """What cuobjdump reads out of the built library: a row for each kernel and architecture."""
    command = ["cuobjdump", "--dump-resource-usage", str(library)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows, architecture = [], ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if match := re.match(r"arch = sm_(\w+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function (\S+):$", line):
            used = {k: int(v) for k, v in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", below)}
            rows.append(
                {"kernel": match[1], "sm": architecture, "registers": used["REG"], "shared_bytes": used["SHARED"],
                 "stack_bytes": used["STACK"], "local_bytes": used["LOCAL"]}
            )  # fmt: skip
    _name(rows)
    return rows


def resources(log: Path) -> list[dict]:
    """Parse what ptxas says: a row for each kernel and architecture; raises when nothing is there."""
    rows, name, spills = [], None, None
    for line in log.read_text(errors="replace").splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for 'sm_(\w+)'", line):
            name, architecture = match[1], match[2]
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif (match := re.search(r"Used (\d+) registers", line)) and name and spills is not None:
            shared = re.search(r"(\d+) bytes smem", line)
            rows.append(
                {"kernel": name, "sm": architecture, "registers": int(match[1]), "shared_bytes": int(shared[1]) if shared else 0,
                 "stack_bytes": stack, "spill_bytes": spills}
            )  # fmt: skip
            name = spills = None
    if not rows:
        raise SystemExit(f"{log}: no lines of ptxas; build with --resource-usage")
    _name(rows)
    rows.sort(key=lambda r: (r["file"], r["kernel"], int(r["sm"])))
    return rows


def report(log: Path, library: Path | None) -> dict[str, object]:
    """Sum up the rows of nvcc's log; with the library, raise where its machine code says otherwise."""
    rows = resources(log)
    extra: dict[str, object] = {}
    if library:
        key = lambda r: (r["file"], r["kernel"], r["sm"])  # noqa: E731
        built = {key(r): r for r in machine_code(library)}
        for row in rows:
            other = built.pop(key(row), None)
            # From 9.0 on cuobjdump adds the 1,024 bytes that the system keeps in every block with shared memory.
            kept = 1024 if row["shared_bytes"] and int(row["sm"]) >= 90 else 0
            wanted = {
                k: row[k] + (kept if k == "shared_bytes" else 0) for k in ("registers", "shared_bytes", "stack_bytes")
            }
            if other is None or any(other[k] != v for k, v in wanted.items()) or other["local_bytes"]:
                raise SystemExit(f"{library}: {other} where the log says {row}")
        if built:
            raise SystemExit(f"{library}: not in the log: {sorted(built)}")
        extra = {"cuobjdump": {"functions": len(rows), "agree": True, "local_bytes": 0}}
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    return {
        "compiler": (re.search(r"V([\d.]+)", version) or ["", ""])[1],
        "source": "ptxas --resource-usage",
        "architectures": sorted({r["sm"] for r in rows}, key=int),
        "kernels": len({(r["file"], r["kernel"]) for r in rows}),
        "most_registers": max(r["registers"] for r in rows),
        "most_shared_bytes": max(r["shared_bytes"] for r in rows),
        "spill_bytes": sum(r["spill_bytes"] for r in rows),
        **extra,
        "rows": rows,
    }


def roofline() -> dict[str, object]:
    """Return milliseconds per kernel for one RGB picture of SIDE x SIDE: the slower of memory and arithmetic."""
    samples, pixels = 3 * SIDE * SIDE, SIDE * SIDE
    table = {}
    for name, (moved, operations) in KERNELS.items():
        row: dict[str, object] = {
            "megabytes": round(moved * samples / 1e6, 1),
            "operations_per_pixel": round(operations),
        }
        for device, peak in DEVICES.items():
            memory = moved * samples / (peak["memory"] * 1e9 * EFFICIENCY)
            arithmetic = operations * pixels / (peak["integer"] * 1e12 * EFFICIENCY)
            row[device] = {
                "ms": round(1e3 * max(memory, arithmetic), 4),
                "bound": "memory" if memory > arithmetic else "arithmetic",
            }
        table[name] = row
    link = {d: round(2e3 * samples / (p["link"] * 1e9), 3) for d, p in DEVICES.items() if p["link"]}
    return {
        "status": "paper estimate, not measured",
        "picture": f"{SIDE}x{SIDE} RGB",
        "efficiency": EFFICIENCY,
        "copy_in_and_out_ms": link,
        "kernels": table,
    }


def main() -> None:
    match sys.argv[1:]:
        case ["resources", log, *library] if len(library) <= 1:
            name, data = "cuda_resources.json", report(Path(log), Path(library[0]) if library else None)
        case ["roofline"]:
            name, data = "cuda_roofline.json", roofline()
        case _:
            raise SystemExit(__doc__)
    (RESULTS / name).write_text(json.dumps(data, indent=1) + "\n")
    print(json.dumps({k: v for k, v in data.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
