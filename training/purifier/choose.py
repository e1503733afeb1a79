"""Try chains of purification steps on the `choose` photographs: what presets are picked by.

    ONDEVICE_GUARD_MODELS=DIR PYTHONPATH=python python training/purifier/choose.py --data DIR --cache DIR \
        '[["learned", {}]]' '[["learned", {"gain": 1.5}], ["dct", {"quality": 50}]]'

Victim Lite1, MI-FGSM made on Lite2: both trained the purifier, but none of these photographs did. All steps run whatever the
picture's noise (a preset's `noisy` half).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from attacks import Session, attack_sets, logits_of

from ondevice_guard.purification import purify


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--photos", type=int, default=10**6)
    p.add_argument("chains", nargs="+", help="JSON: list of [name, parameters]")
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sets, model = attack_sets(a.data, a.cache, "choose", "lite1", "lite2"), Session("lite1", a.cache)
    y = sets["labels"][: a.photos]
    noise = np.random.default_rng(6).standard_normal(sets["clean"].shape, np.float32) * 6
    sets["sigma6"] = np.clip(np.rint(sets["clean"] + noise), 0, 255).astype(np.uint8)
    for chain in a.chains:
        steps, row = [(name, parameters) for name, parameters in json.loads(chain)], {}
        for key in ("clean", "sigma6", "pgd8", "pgd16", "mi16"):
            made = [purify(image, steps=steps, threads=1) for image in sets[key][: a.photos]]
            row[key] = round(float((logits_of(model, np.stack(made), 12).argmax(1) == y).mean()), 3)
        row["recovery"] = round((row["pgd8"] + row["pgd16"] + row["mi16"]) / 3, 3)
        print(row, chain, flush=True)


if __name__ == "__main__":
    main()
