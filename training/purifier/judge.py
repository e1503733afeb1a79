"""The network, with or without filters behind it, on attacked photographs: how checkpoints and chains are compared.

    PYTHONPATH=python python training/purifier/judge.py --data DIR --cache DIR --checkpoint training/purifier/purifier.pt \
        '[]' '[["bilateral", {"sigma_color": 35.0, "radius": 2}], ["dct", {"quality": 50}]]'

`--part choose`: victim Lite1 and MI-FGSM made on Lite2, which trained the network, on photographs that did not; chains are
chosen there. `--part report`: victim Lite0, the photographs of docs/purification.md, once a chain is chosen. Everything runs
whatever the picture's noise ("full strength"); `--kernels` leaves the network out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from attacks import Session, attack_sets, logits_of
from net import load
from train import purify as through

from ondevice_guard.purification import purify


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--part", choices=("choose", "report"), default="choose")
    p.add_argument("--photos", type=int, default=10**6)
    p.add_argument("--kernels", action="store_true")
    p.add_argument("chains", nargs="+", help="JSON: list of [name, parameters]")
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    victim, surrogate = ("lite1", "lite2") if a.part == "choose" else ("lite0", "lite1")
    sets, model = attack_sets(a.data, a.cache, a.part, victim, surrogate), Session(victim, a.cache)
    noise = np.random.default_rng(6).standard_normal(sets["clean"].shape, np.float32) * 6
    sets["sigma6"] = np.clip(np.rint(sets["clean"] + noise), 0, 255).astype(np.uint8)
    net = load(a.checkpoint)
    y = sets["labels"][: a.photos]
    keys = ("clean", "sigma6", "pgd8", "pgd16", "mi16")
    seen = {k: sets[k][: a.photos] if a.kernels else through(net, sets[k][: a.photos]) for k in keys}
    for chain in a.chains:
        steps, row = [(name, parameters) for name, parameters in json.loads(chain)], {}
        for key in keys:
            made = [purify(image, steps=steps, threads=1) if steps else image for image in seen[key]]
            row[key] = round(float((logits_of(model, np.stack(made), 12).argmax(1) == y).mean()), 4)
        row["recovery"] = round((row["pgd8"] + row["pgd16"] + row["mi16"]) / 3, 4)
        print(row, chain, flush=True)


if __name__ == "__main__":
    main()
