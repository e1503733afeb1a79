"""What the default policy does to pictures that mean no harm. Writes benchmarks/results/harmless.json.

    PYTHONPATH=python python benchmarks/harmless.py --data DATA [--photos 48]

Photographs of the test part as they are, as cameras, editors and web sites leave them, and as many pictures full of fine
structure (`MAKERS` and `DRAWN` of training/adversarial/benign.py, which also trained the detectors, with other photographs and
seeds), handed over as PNG: how many are allowed, sanitized and blocked, and for which findings. Half as many large pictures:
photographs enlarged to 12 megapixels and grained, as JPEG, and drawn grounds of 8 (`artwork` of training/adversarial/benign.py,
which trained the text map). `--folder` adds a row for pictures of your own, such as desktop backgrounds. Documents and
screenshots are in benchmarks/typographic.py and training/linesense/evaluate.py, prompts in benchmarks/text.py.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "adversarial"))
import assets
from benign import DRAWN, MAKERS, artwork, drawn, enlarged, film

from ondevice_guard import Guard

RESULTS = Path(__file__).parent / "results" / "harmless.json"


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def grained(photo: np.ndarray, rng: np.random.Generator) -> bytes:
    """12 megapixels with film grain, JPEG quality 90."""
    large = film(enlarged(photo, 12e6), rng)
    return cv2.imencode(".jpg", large[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


LARGE = {
    "enlarged to 12 megapixels, grained": grained,
    "drawn grounds of 8 megapixels": lambda photo, rng: png(artwork(rng, 2160, 3840)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--policy", default="balanced")
    parser.add_argument(
        "--folder", type=Path, help="also every PNG and JPEG file of at least a megapixel below this folder"
    )
    parser.add_argument("--only", nargs="*", help="parts of row names; the other rows stay as they are")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    part = assets.photos(assets.data_dir(options.data), "test")
    chosen = part[:: max(1, len(part) // options.photos)][: options.photos]
    photos = [cv2.cvtColor(cv2.imread(str(p), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for p in chosen]
    guard = Guard(policy=options.policy)
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = known.get("rows", {}) if options.only and known.get("policy") == options.policy else {}

    def judge(name: str, files: Iterable[bytes | Path]) -> None:
        if options.only and not any(word in name for word in options.only):
            return
        decisions, kinds = collections.Counter(), collections.Counter()
        for file in files:
            verdict = guard.check(file)
            decisions[verdict.decision.name] += 1
            kinds.update({f.kind for f in verdict.counted})
        rows[name] = {**decisions, "findings": dict(kinds.most_common())}
        print(name, rows[name], flush=True)

    for name in (*MAKERS, *DRAWN):
        rng = np.random.default_rng(20261123)
        judge(name, (png(MAKERS[name](p, rng) if name in MAKERS else drawn(p, rng, name)) for p in photos))
    for name, make in LARGE.items():
        rng = np.random.default_rng(20261123)
        judge(name, (make(p, rng) for p in photos[::2]))
    if options.folder:
        every = sorted({p.resolve() for p in options.folder.rglob("*")})  # one picture often has links of other names
        found = (p for p in every if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        judge("folder", (p for p in found if np.prod(Image.open(p).size) >= 1e6))
    result = {"policy": options.policy, "pictures_a_row": len(photos), "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
