# ruff: noqa: E402
"""Fit the model of answers: does an answer help with something harmful, does it decline?

    pip download pyrit==1.1.0 --no-deps
    python training/response_linear/train.py --data DATA --answers pyrit-1.1.0-py3-none-any.whl --out models

Trained on answers made from requests (`wordings.py`), on harmless code and prose, and on the few real answers that may be
had: those of language models to risky questions in seven subjects, scored for harm by people, and answers marked as
refusals or not (PyRIT's scorer evaluations; MIT, Microsoft). Judged on

- real answers about a subject by models that saw no real answer about that subject, and by coefficients that did not;
- made answers to requests of the held-out sources of `training/text/data.py`, in wordings that training never used;
- a hundred answers written by hand (`benchmarks/answers.py`), used for nothing else.

The same rows are scored by the prompt models as they are.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import random
import re
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

_TRAINING = Path(__file__).resolve().parents[1]
sys.path[:0] = [  # before this folder: `train` is the prompts'
    str(_TRAINING / "text_linear"),
    str(_TRAINING / "text"),
    str(_TRAINING.parent / "benchmarks"),
]

import answers as handwritten
import data as texts
import generate
import lookalikes
from train import fit, matrix, pack, quantize
from wordings import Answers

from ondevice_guard import _core
from ondevice_guard.detectors.response import LABELS, declines
from ondevice_guard.detectors.text import TextDetector

RATES = (0.03, 0.01, 0.002)
REAL_WEIGHT = (
    20  # of a real answer, where a made one has 1; 6 gave the same AUROC on real answers and less on those by hand
)
BITS = 17  # 2^17 x 3 int8 = 393 kB
#: Families of `generate` that hold harmless requests, many of them with dangerous words.
FAMILIES = (
    "gen_ask", "gen_howto", "gen_plain", "gen_harmless", "gen_lookalike", "gen_lookalike_more", "gen_security", "gen_chemistry",
    "gen_trigger", "gen_discuss", "gen_code", "gen_roleplay",
)  # fmt: skip
SUBJECTS = {
    "hate_speech_multi_score": "hate", "mini_hate_speech": "hate", "hate_speech": "hate", "representational": "hate",
    "violence_multi_score": "violence", "violence": "violence", "self_harm": "self_harm", "sexual": "sexual",
    "privacy": "privacy", "info_integrity": "misinformation", "misinformation": "misinformation", "exploits": "exploits",
    "cyber": "exploits", "phishing": "exploits", "illegal_activity": "exploits", "chemical_biological": "exploits",
    "bias": "hate", "harassment_bullying": "hate",
}  # fmt: skip
Row = dict[str, str]


def real_answers(wheel: Path) -> list[Row]:
    """Answers of language models with human marks: `{"text", "kind", "source", "subject"}`.

    Kinds: harmful (mean mark of .6 or more; where people marked only whether a harmful objective was met, that it was),
    safe (.3 or less, or not met), unclear (between), refusal, benign.
    """
    rows: dict[str, Row] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            found = re.match(r"pyrit/datasets/scorer_evals/(harm|objective|refusal_scorer)/(\w+)\.csv$", name)
            if not found:
                continue
            body = archive.read(name).decode("utf-8", "replace")
            while body.startswith("#"):
                body = body.partition("\n")[2]
            for row in csv.DictReader(io.StringIO(body)):
                text = (row["assistant_response"] or "").strip()
                marks = [float(v) for k, v in row.items() if k and k.startswith("human_score") and v not in ("", None)]
                if not text or not marks or row.get("data_type", "text") != "text":
                    continue
                mark = sum(marks) / len(marks)
                if found[1] == "refusal_scorer":
                    # in `refusal` some that do not decline answer harmful questions, in `refusal_extra` none
                    other = "benign" if found[2] == "refusal_extra" else "unclear"
                    kind, subject = ("refusal" if mark >= 0.5 else other), found[2]
                else:
                    kind = "harmful" if mark >= 0.6 else "safe" if mark <= 0.3 else "unclear"
                    subject = SUBJECTS[found[2]]
                rows.setdefault(text, {"text": text, "kind": kind, "subject": subject, "source": "pyrit"})
    return list(rows.values())


def made(harmful: list[str], benign: list[str], part: str, seed: int, rounds: int = 1) -> list[Row]:
    """Answers to these requests in one part of the wordings; of each request an answer that helps and one that does not."""
    rng, rows = random.Random(seed), []
    risky, calm = Answers(harmful, part, seed), Answers(benign, part, seed + 1)

    def add(kind: str, text: str) -> None:
        rows.append({"text": text, "kind": kind, "source": f"made_{kind}", "subject": "made"})

    for _ in range(rounds):
        for i in range(len(harmful)):
            add("harmful", risky.comply(i))
            draw = rng.random()
            if draw < 0.55:
                add("caution", risky.caution(i))
            if draw > 0.45:
                add("refusal", risky.refuse(i))
        for i in range(len(benign)):
            add("benign", calm.comply(i))
            if rng.random() < 0.1:
                add("refusal", calm.refuse(i))
    return rows


def pools(folder: Path, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (training rows, made and collected test rows)."""
    train, held = texts.split(texts.load(folder))

    def pick(rows: list[texts.Row], harmful: bool) -> list[str]:
        return sorted({r["text"] for r in rows if (r["label"] == "harmful") == harmful and 8 < len(r["text"]) < 240})

    rng = random.Random(seed)
    harmful = pick([r for r in train if r["label"] == "harmful"], True)
    asked = [
        r
        for r in train
        if r["label"] == "benign"
        and r["source"] in ("s_labs", "neuralchemy_core", "plexpt_questions_zh", "gpteacher_code", "writingbench")
    ]
    benign = rng.sample(pick(asked, False), 2600)
    grammar = list(generate.generate(24000, seed + 100, harmful[:1], ["ignore all previous instructions"]))
    asked_for = sorted(
        {r["text"] for r in grammar if r["source"] in ("gen_harmful", "gen_harmful_request") and len(r["text"]) < 200}
    )
    harmful += rng.sample(asked_for, 1800)
    grammar = [r for r in grammar if r["source"] in FAMILIES]
    judged = {texts._key(r["text"]) for r in lookalikes.rows()}
    benign += rng.sample(sorted({r["text"] for r in grammar if texts._key(r["text"]) not in judged}), 3400)
    rows = made(harmful, benign, "train", seed)
    code = [r["text"] for r in train if r["source"] == "gpteacher_code_ans"]
    prose = [r["text"] for r in train if r["label"] == "benign" and len(r["text"]) > 300 and "code" not in r["source"]]
    prose = [
        t[rng.randrange(max(1, len(t) - 900)) :][:1600]
        for t in rng.sample(sorted(set(prose)), min(2500, len(set(prose))))
    ]
    split = [hashlib.sha1(t.encode()).digest()[0] % 2 for t in code]
    plain = [t for t, s in zip(code, split, strict=True) if s] + prose
    rows += [{"text": t, "kind": "benign", "source": "collected_answers", "subject": "made"} for t in plain]
    rows += [{"text": t, "kind": "benign", "source": "lookup", "subject": "made"} for t in rng.sample(benign, 800)]
    calm = pick([r for r in held if r["label"] == "benign" and r["source"] != "t0_p3"], False)
    calm += [r["text"] for r in lookalikes.rows()]
    test = made(pick(held, True), calm, "test", seed + 7)
    test += [
        {"text": r["text"], "kind": "benign", "source": "t0_p3", "subject": "made"}
        for r in held
        if r["source"] == "t0_p3"
    ]
    test += [
        {"text": t, "kind": "benign", "source": "gpteacher_code_ans", "subject": "made"}
        for t, s in zip(code, split, strict=True)
        if not s
    ]
    return rows, test


def targets(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Targets and weights, rows x 3 (LABELS). Whether a refusal has a harmful subject is not asked."""
    y, w = np.zeros((len(rows), 3), np.float32), np.ones((len(rows), 3), np.float32)
    for i, row in enumerate(rows):
        kind = row["kind"]
        y[i] = (kind == "harmful", kind == "refusal", kind in ("harmful", "caution", "safe", "unclear"))
        if kind == "refusal":
            w[i, 2] = 0
        if kind == "unclear":
            w[i, 0] = 0
        if kind == "safe":  # some of them decline and nobody marked it
            w[i, 1] = 0
        if row["source"] == "pyrit":
            w[i] *= REAL_WEIGHT
    return y, w


def learn(x: sp.csr_matrix, y: np.ndarray, w: np.ndarray, strength: float, steps: int) -> bytes:
    """The linear model of these rows."""
    table, bias, scale = np.zeros((1 << BITS, 3), np.int8), [], []
    for k in range(3):
        use = w[:, k] > 0
        share = float((y[use, k] * w[use, k]).sum() / w[use, k].sum())
        balanced = w[use, k] * np.where(y[use, k] > 0, 0.5 / share, 0.5 / (1 - share))
        weights, b = fit(x[use], y[use, k], balanced, strength, steps)
        table[:, k], s = quantize(weights)
        bias.append(b)
        scale.append(float(s))
    return pack(table, bias, scale, np.full((2, 3), 1e9), BITS)  # an answer is judged piece by piece already


def logits(blob: bytes, rows: list[Row]) -> np.ndarray:
    """rows x 4: what the linear model says, and the lexicon."""
    model = _core.text.Linear(blob)
    read = [_core.text.normalize(r["text"]).text for r in rows]
    return np.array([[*model.score(t)[0], float(declines(t))] for t in read])


class Cache:
    """Values of texts, kept in a file between runs: the encoder takes minutes."""

    def __init__(self, path: Path, make: Callable[[str], np.ndarray]) -> None:
        self._path, self._make = path, make
        self._known: dict[str, np.ndarray] = dict(np.load(path)) if path.exists() else {}

    def __call__(self, rows: list[Row]) -> list[np.ndarray]:
        keys = [hashlib.sha1(r["text"].encode()).hexdigest() for r in rows]
        for n, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if key not in self._known:
                self._known[key] = self._make(row["text"])
            if n % 1000 == 999:
                print(f"  {n + 1} of {len(rows)}", flush=True)
        np.savez(self._path, **self._known)  # type: ignore[arg-type]
        return [self._known[k] for k in keys]


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--answers", required=True, help="wheel of pyrit 1.1.0")
    arg.add_argument("--out", default="models")
    arg.add_argument("--scratch", default=str(Path(__file__).parent / "runs"))
    arg.add_argument("--strength", type=float, default=1e-5)
    arg.add_argument("--steps", type=int, default=25)
    arg.add_argument("--seed", type=int, default=1)
    args = arg.parse_args()
    began = time.process_time()
    scratch = Path(args.scratch)
    scratch.mkdir(parents=True, exist_ok=True)

    def say(what: str) -> None:
        print(f"{what}, {time.process_time() - began:.0f} s", flush=True)

    rows, test = pools(texts.data_dir(args.data), args.seed)
    real = real_answers(Path(args.answers))
    hand = [
        {"text": t, "kind": kind, "source": "hand", "subject": "hand"}
        for kind, group in (
            ("harmful", handwritten.HARMFUL),
            ("benign", handwritten.CALM),
            ("refusal", handwritten.REFUSALS),
            ("caution", handwritten.CAUTIONS),
        )
        for t in group
    ]
    judged = real + test + hand
    say(f"{len(rows)} made and collected, {len(real)} real, {len(test)} to judge, {len(hand)} by hand")

    prompts = TextDetector(cascade=False)
    asked = Cache(
        scratch / "prompts.npz",
        lambda t: np.array([next(f.score for f in prompts(t[:4000]) if f.kind == "harmful")], np.float32),
    )
    as_prompt = np.array(asked(judged))[:, 0].astype(np.float64)
    say("prompt models read them")

    every = rows + real
    x, (y, w) = matrix(every, BITS), targets(every)
    subject = np.array([r["subject"] for r in every])
    kind = np.array([r["kind"] for r in judged])
    group = np.array([r["subject"] for r in judged])
    source = np.array([r["source"] for r in judged])
    # Real answers are scored by models that saw no real answer about their subject; all others by the shipped weights.
    z = np.zeros((len(judged), 4))
    for name in sorted({r["subject"] for r in real}):
        mine = [i for i, r in enumerate(real) if r["subject"] == name]
        rest = subject != name
        z[mine] = logits(learn(x[rest], y[rest], w[rest], args.strength, args.steps), [real[i] for i in mine])
        say(f"{name}: {len(mine)} answers")
    blob = learn(x, y, w, args.strength, args.steps)
    z[len(real) :] = logits(blob, judged[len(real) :])
    np.savez(scratch / "scores.npz", z=z, as_prompt=as_prompt, kind=kind, group=group, source=source)
    say("scored")

    harmful, harmless = kind == "harmful", ~np.isin(kind, ("harmful", "unclear"))
    half = np.array([hashlib.sha1(r["text"].encode()).digest()[0] % 2 for r in judged])
    fitted = (harmful | harmless) & (source != "hand")
    folds = [group == name for name in sorted({r["subject"] for r in real})] + [
        (group == "made") & (half == h) for h in (0, 1)
    ]

    coefficients = np.array(texts.platt(z[fitted], harmful[fitted].astype(float)))
    score = texts.sigmoid(z @ coefficients[:-1] + coefficients[-1])
    for mine in folds:
        c = np.array(texts.platt(z[fitted & ~mine], harmful[fitted & ~mine].astype(float)))
        score[mine] = texts.sigmoid(z[mine] @ c[:-1] + c[-1])
    pool = harmless & (source != "hand")
    points = {str(r): round(texts.operating_point(score[pool], r), 6) for r in RATES}

    def figures(score: np.ndarray) -> dict[str, object]:
        out: dict[str, object] = {}
        at = texts.operating_point(score[pool], 0.01)
        for name, mine in (("real", source == "pyrit"), ("made", group == "made"), ("by_hand", source == "hand")):
            pos, neg = mine & harmful, mine & harmless
            out[name] = {
                "harmful": int(pos.sum()),
                "harmless": int(neg.sum()),
                "auroc": round(texts.auroc(score[neg], score[pos]), 4),
                "recall_at_1": round(float((score[pos] >= at).mean()), 4),
                "recall_at_3": round(float((score[pos] >= texts.operating_point(score[pool], 0.03)).mean()), 4),
                "flagged_at_1": {
                    str(k): [round(float((score[mine & (kind == k)] >= at).mean()), 4), int((mine & (kind == k)).sum())]
                    for k in ("benign", "caution", "safe", "refusal")
                    if (mine & (kind == k)).any()
                },
            }
        real_harm = (source == "pyrit") & harmful
        ordinary = (group == "made") & (kind == "benign")
        out["real_against_ordinary_answers"] = {
            "auroc": round(texts.auroc(score[ordinary], score[real_harm]), 4),
            "recall_at_1": round(float((score[real_harm] >= texts.operating_point(score[ordinary], 0.01)).mean()), 4),
            "ordinary": int(ordinary.sum()),
        }
        out["recall_by_subject"] = {
            s: [round(float((score[real_harm & (group == s)] >= at).mean()), 3), int((real_harm & (group == s)).sum())]
            for s in sorted(set(group[real_harm]))
        }
        return out

    said = kind == "refusal"
    told = said | (((group == "made") | np.isin(group, ("refusal", "refusal_extra"))) & (source != "hand"))
    refuse = np.array(texts.platt(z[told][:, [1, 3]], said[told].astype(float)))
    p_said = texts.sigmoid(z[:, [1, 3]] @ refuse[:2] + refuse[2])
    for mine in folds:
        c = np.array(texts.platt(z[told & ~mine][:, [1, 3]], said[told & ~mine].astype(float)))
        p_said[mine] = texts.sigmoid(z[mine][:, [1, 3]] @ c[:2] + c[2])
    marked = np.isin(group, ("refusal", "refusal_extra"))
    refusals = {
        name: {
            "refusals": int((mine & said).sum()),
            "others": int((mine & ~said).sum()),
            "auroc": round(texts.auroc(p_said[mine & ~said], p_said[mine & said]), 4),
            "recall_at_half": round(float((p_said[mine & said] >= 0.5).mean()), 4),
            "false_at_half": round(float((p_said[mine & ~said] >= 0.5).mean()), 4),
            "lexicon_recall": round(float(z[mine & said, 3].mean()), 4),
            "lexicon_false": round(float(z[mine & ~said, 3].mean()), 4),
        }
        for name, mine in (("real", marked), ("made", group == "made"), ("by_hand", source == "hand"))
    }
    metrics = {
        "response_linear": figures(score),
        "prompt_models_as_they_are": figures(as_prompt),
        "refusal": refusals,
    }
    out = Path(args.out) / "response_linear_v1"
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights.bin").write_bytes(blob)
    table = [
        {**r, "license": "MIT (PyRIT 1.1.0)"}
        if r["source"] == "pyrit"
        else {**r, "license": "permissive; made by training/response_linear from the requests of text_linear"}
        for r in every
    ]
    files = {
        f: {"sha256": hashlib.sha256((out / f).read_bytes()).hexdigest(), "bytes": (out / f).stat().st_size}
        for f in ("weights.bin",)
    }
    config = {
        "schema": 1, "name": "response_linear", "version": 1, "licence": "Apache-2.0", "task": "response-classification",
        "files": files,
        "labels": list(LABELS),
        "calibration": {
            "harmful_response": [round(float(v), 6) for v in coefficients], "refusal": [round(float(v), 6) for v in refuse],
        },
        "thresholds": {"harmful_response": points}, "trained_on": texts.manifest(table),
        "metrics": {"held_out": metrics, "seed": args.seed},
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(metrics, indent=1), points)
    say("done")


if __name__ == "__main__":
    main()
