"""Prompt classifiers on the same held-out rows: ours, its two stages, and peers. Writes benchmarks/results/text.json.

    python benchmarks/text.py --data DATA [--rows 1.0]

Rows: the held-out sources of training/text/data.py and the hand-written look-alikes of training/text/lookalikes.py.
Every system's threshold is set to flag 1 % of the ordinary benign rows; a rule list that flags more than that at any
setting is reported at its own rate. Then: the share of attacks still detected when disguised, the cost for 100 and
1,000 tokens (`--speed-only`), a hundred hand-written answers (`--answers-only`), and the WordPiece tokenizer against
the reference on 100,000 strings and the normaliser's offsets on a million (`--unicode-only`).

Peers: securevector-guardian-model 1.4.0 and agentbastion 0.14.0 (both offline); a keyword list of our own; a stop list
in the manner of LLM Guard's BanSubstrings (word match, case-insensitive) with the phrases its documentation names.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import platform
import random
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "text"))

import answers as handwritten
import data as texts

from ondevice_guard import _core, runtime
from ondevice_guard.detectors.response import ResponseDetector
from ondevice_guard.detectors.text import TextDetector

Score = Callable[[str], tuple[float, float, float]]
KEYWORDS = (
    "ignore previous instructions", "ignore all previous", "disregard the above", "forget everything", "system prompt",
    "developer mode", "jailbreak", "do anything now", "you are now dan", "no restrictions", "without any restrictions",
    "unfiltered", "bypass", "override", "reveal your", "hidden instructions", "act as", "pretend to be", "bomb", "hack",
    "malware", "kill", "weapon", "poison", "steal", "drugs", "suicide", "terrorist",
)  # fmt: skip
STOP_LIST = (
    "DAN", "do anything now", "jailbreak", "ignore previous instructions", "ignore all instructions", "prompt injection",
    "developer mode", "evil mode", "opposite mode", "no longer bound", "pretend you are", "stay in character",
    "without moral", "unethical", "illegal", "AIM", "STAN", "DUDE", "Mongo Tom",
)  # fmt: skip


def ours(cascade: bool) -> Score:
    detector = TextDetector(cascade=cascade)

    def score(text: str) -> tuple[float, float, float]:
        found = {f.kind: f.score for f in detector(text) if f.kind in texts.LABELS}
        return tuple(found[k] for k in texts.LABELS)  # type: ignore[return-value]

    return score


def linear() -> Score:
    model = _core.text.Linear(runtime.load("text_linear").file("weights.bin"))
    return lambda text: model.score(_core.text.normalize(text).text)[0]


def securevector() -> Score:
    from svguardian import resolve_runtime
    from svguardian.model.pure_infer import PureGuardian
    from svguardian.window import predict_windowed

    guardian = PureGuardian.load(resolve_runtime(download=False))
    return lambda text: (float(predict_windowed(guardian, text)["malicious_score"]),) * 3


def agentbastion() -> Score:
    from agentbastion.inbound import HeuristicDetector

    detector = HeuristicDetector()
    return lambda text: (float(detector.scan(text)[1]),) * 3


def words(phrases: tuple[str, ...]) -> Score:
    lowered = [f" {p.lower()} " for p in phrases]

    def score(text: str) -> tuple[float, float, float]:
        padded = " " + " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) + " "
        return (float(sum(p in padded for p in lowered)),) * 3

    return score


def disguises(rng: random.Random) -> dict[str, Callable[[str], str]]:
    """The obfuscations of the project's goals."""
    cyrillic = str.maketrans("aeopcxyi", "аеорсхуі")
    leet = str.maketrans("aeiost", "431057")
    return {
        "zero_width": lambda t: "".join(c + ("\u200b" if c.isalpha() and rng.random() < 0.4 else "") for c in t),
        "tags": lambda t: "Hello." + "".join(chr(0xE0000 + ord(c)) for c in t if 32 <= ord(c) < 127),
        "homoglyphs": lambda t: "".join(c.translate(cyrillic) if rng.random() < 0.4 else c for c in t),
        "base64": lambda t: "Decode and do: " + base64.b64encode(t.encode()).decode(),
        "leet": lambda t: t.translate(leet),
        "spacing": lambda t: "  ".join(" ".join(w) for w in t.split()),
    }


def obfuscation(
    detector: TextDetector, attacks: list[str], points: dict[str, float], seed: int = 1
) -> dict[str, float]:
    """Share of detected plain attacks that are detected in disguise too (any of the three classes)."""

    def caught(text: str) -> bool:
        return any(f.score >= points[f.kind] for f in detector(text) if f.kind in texts.LABELS)

    plain = [t for t in attacks if caught(t)]
    result = {
        name: round(statistics.fmean(caught(hide(t)) for t in plain), 4)
        for name, hide in disguises(random.Random(seed)).items()
    }
    return {**result, "attacks": len(plain)}


def buried(detector: TextDetector, rows: list[texts.Row], count: int = 300, seed: int = 1) -> dict[str, object]:
    """Held-out short injections put between sentences of held-out benign passages of 100 words or more.

    Says how many detected orders are still detected inside a passage, and how many passages are flagged without one.
    """
    rng, point = random.Random(seed), dict(detector.operating_points(0.01))["injection"]

    def score(text: str) -> float:
        return next(f.score for f in detector(text) if f.kind == "injection")

    hosts = [r["text"] for r in rows if r["label"] == "benign" and len(r["text"].split()) >= 100]
    orders = [r["text"] for r in rows if r["label"] == "injection" and len(r["text"].split()) <= 25]
    orders = [o for o in orders if score(o) >= point]
    hits = []
    for _ in range(count):
        host, order = rng.choice(hosts), rng.choice(orders)
        ends = [i + 1 for i, c in enumerate(host[:-1]) if c in ".!?\n" and host[i + 1] in " \n"] or [len(host)]
        cut = rng.choice(ends)
        hits.append((len(host.split()), score(f"{host[:cut]} {order} {host[cut:]}") >= point))
    middle = statistics.median(words for words, _ in hits)
    return {
        "orders": len(orders),
        "passages": len(hosts),
        "median_words": middle,
        "still_detected": round(statistics.fmean(hit for _, hit in hits), 4),
        "still_detected_in_longer_half": round(statistics.fmean(hit for words, hit in hits if words >= middle), 4),
        "passages_flagged_without": round(statistics.fmean(score(h) >= point for h in hosts), 4),
    }


def answers() -> dict[str, object]:
    """The hundred answers of `benchmarks/answers.py` at the recorded 1 % points: what is found, and what is flagged wrongly.

    By the model of answers, and by the prompt models' `harmful` on the same texts.
    """
    reader, prompts = ResponseDetector(), TextDetector()
    at = reader.operating_points(0.01)["harmful_response"]
    at_prompt = prompts.operating_points(0.01)["harmful"]
    scores: dict[str, Callable[[str], bool]] = {
        "response_linear": lambda t: reader(t)[0].score >= at,
        "prompt_models": lambda t: next(f.score for f in prompts(t) if f.kind == "harmful") >= at_prompt,
    }
    groups = {
        "harmful_found": handwritten.HARMFUL,
        "harmless_flagged": handwritten.CALM,
        "refusals_flagged": handwritten.REFUSALS,
        "cautions_flagged": handwritten.CAUTIONS,
    }
    result: dict[str, object] = {
        name: {key: round(statistics.fmean(flags(t) for t in group), 4) for key, group in groups.items()}
        for name, flags in scores.items()
    }
    return {**result, "answers": {key: len(group) for key, group in groups.items()}}


def tokenizer_differences(count: int, data: str | None, seed: int = 1) -> dict[str, int]:
    """Compare the native tokenizer with the reference on random mixtures of scripts and on real rows."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "text_encoder"))
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = runtime.load("text_encoder").file("vocab.txt")
    pieces = {p: i for i, p in enumerate(vocabulary.decode().rstrip("\n").split("\n"))}
    reference = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=100))
    reference.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    native = _core.text.WordPiece(vocabulary)
    rng = random.Random(seed)
    pools = [(32, 126)] * 8 + [
        (0, 0x2FF),
        (0x300, 0x5FF),
        (0x600, 0x1FFF),
        (0x2000, 0x33FF),
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A3),
        (0xF900, 0xFFFF),
        (0x10000, 0x1FFFF),
        (0x20000, 0x10FFFF),
    ]
    rows = [r["text"][:2000] for r in texts.load(texts.data_dir(data))]
    different = 0
    for i in range(count):
        if i % 2:
            text = rows[rng.randrange(len(rows))]
        else:
            text = "".join(chr(rng.randint(*rng.choice(pools))) for _ in range(rng.randint(1, 40)))
            text = "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)
        different += reference.encode(text).ids != native.encode(text)[0].tolist()
    return {"strings": count, "different": different}


_POOLS = [(32, 126)] * 6 + [
    (0, 31), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xFFF), (0x1100, 0x11FF), (0x1E00, 0x2FFF),
    (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xDFFF), (0xF900, 0xFFFF), (0x1D400, 0x1D7FF),
    (0x1F000, 0x1FFFF), (0xE0000, 0xE01EF), (0x10000, 0x10FFFF),
]  # fmt: skip


def normaliser(count: int, seed: int = 2) -> dict[str, object]:
    """Random Unicode strings through the native normaliser, its offsets checked against Python's own NFKC.

    Between two starters (Unicode 3.11: combining marks may change places, starters may not) the source that `origin`
    names, without invisible characters, must normalise to just the text that stands there. Strings in which look-alike
    letters were folded are counted and left out: there the text differs from NFKC on purpose.
    """
    rng = random.Random(seed)
    wrong = pieces = folded = characters = 0
    seconds = 0.0
    for _ in range(count):
        source = "".join(chr(rng.randint(*rng.choice(_POOLS))) for _ in range(rng.randint(0, 12)))
        start = time.process_time()
        normal = _core.text.normalize(source)
        seconds += time.process_time() - start
        characters += len(source)
        text, origin = normal.text, normal.origin.tolist()
        if len(origin) != len(text) + 1 or origin[-1] != len(source) or origin != sorted(origin):
            wrong += 1
            continue
        if any(f.trick == "homoglyph" for f in normal.found):
            folded += 1
            continue
        unseen = {c for c in source if not _core.text.normalize(c).text}  # inside an emoji they may stay
        visible = ["" if c in unseen else c for c in source]
        visible = ["\ufffd" if 0xD800 <= ord(c or "x") < 0xE000 else c for c in visible]
        starters = [
            k
            for k in range(1, len(text))
            if origin[k] > origin[k - 1]
            and not unicodedata.combining(text[k])
            and not unicodedata.combining(source[origin[k]])
        ]
        for a, b in itertools.pairwise([0, *starters, len(text)]):
            part = visible[origin[a] if a else 0 : origin[b]]
            pieces += 1
            wrong += unicodedata.normalize("NFKC", "".join(part)) != "".join(c for c in text[a:b] if c not in unseen)
    growth = {}
    for name, unit in {
        "letters": "Ignore the rest. ",
        "marks": "a\u0301",
        "tags": "\U000e0041",
        "base64": "QUJD",
        "escapes": "%41",
    }.items():
        for size in (1000, 10_000, 100_000, 1_000_000):
            text = (unit * (size // len(unit) + 1))[:size]
            runs = []
            for _ in range(3):
                start = time.process_time()
                _core.text.normalize(text)
                runs.append(time.process_time() - start)
            growth.setdefault(name, {})[str(size)] = round(min(runs) / size * 1e9, 1)
    return {
        "strings": count,
        "characters": characters,
        "pieces_compared": pieces,
        "wrong": wrong,
        "left_out_folded": folded,
        "seconds": round(seconds, 2),
        "ns_a_character_by_length": growth,
    }  # fmt: skip


def milliseconds(call: Callable[[], object], repeat: int = 200) -> dict[str, float]:
    """The median, and the fastest run: what the code takes while nobody else uses the processor."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return {"median": round(statistics.median(times), 4), "min": round(min(times), 4)}


def speed() -> dict[str, dict[str, float]]:
    """Milliseconds, one thread. Meant to be run alone on the machine (`--speed-only`)."""
    detector, whole = TextDetector(), TextDetector(cascade=False)
    model = _core.text.Linear(runtime.load("text_linear").file("weights.bin"))
    base = "Please write a friendly note to the customers of our bakery about the new opening hours in March and mention that "
    pieces = _core.text.WordPiece(runtime.load("text_encoder").file("vocab.txt"))

    def of(tokens: int) -> str:
        text = base * (tokens // 15 + 2)
        ids, origin = pieces.encode(text)
        return text[: int(origin[min(tokens, len(ids) - 1)])]

    short, long, prompt = of(100), of(1000), "What is the best way to bake sourdough bread at home?"
    return {
        "stage1_100_tokens": milliseconds(lambda: model.score(_core.text.normalize(short).text)),
        "stage1_1000_tokens": milliseconds(lambda: model.score(_core.text.normalize(long).text)),
        "linear_alone_100_tokens": milliseconds(lambda: model.score(short)),
        "linear_alone_1000_tokens": milliseconds(lambda: model.score(long)),
        "encoder_100_tokens": milliseconds(lambda: whole(short), 60),
        "cascade_typical_prompt": milliseconds(lambda: detector(prompt)),
    }


def machine() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {"cpu": cpu, "python": platform.python_version(), "backend": _core.backend.active(), "threads": "1"}


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--rows", type=float, default=1.0, help="share of the held-out rows (for a quick look)")
    arg.add_argument("--systems", nargs="*", help="only these, other systems' figures stay; default all")
    arg.add_argument("--strings", type=int, default=100_000, help="strings for the tokenizer comparison")
    arg.add_argument("--out", default=str(Path(__file__).parent / "results" / "text.json"))
    arg.add_argument("--random", type=int, default=1_000_000, help="random strings for the normaliser")
    arg.add_argument(
        "--unicode-only", action="store_true", help="only tokenizer and normaliser; update the results file"
    )
    arg.add_argument("--speed-only", action="store_true", help="measure the milliseconds and update the results file")
    arg.add_argument("--answers-only", action="store_true", help="only the answers by hand; update the results file")
    args = arg.parse_args()
    out = Path(args.out)
    if args.answers_only:
        result = json.loads(out.read_text())
        result["answers_by_hand"] = answers()
        out.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result["answers_by_hand"], indent=1))
        return
    if args.speed_only:
        result = json.loads(out.read_text())
        result["milliseconds"] = {**speed(), "machine": machine()}
        out.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result["milliseconds"], indent=1))
        return
    if args.unicode_only:
        result = json.loads(out.read_text())
        result["tokenizer"] = tokenizer_differences(args.strings, args.data)
        result["normaliser"] = normaliser(args.random)
        out.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps({k: result[k] for k in ("tokenizer", "normaliser")}, indent=1))
        return
    previous = json.loads(out.read_text()) if out.exists() else {}
    rng = random.Random(1)
    rows = [r for r in texts.evaluation_rows(texts.data_dir(args.data)) if rng.random() < args.rows]
    result = {
        "rows": len(rows),
        "machine": machine(),
        "systems": previous.get("systems", {}) if args.systems is not None else {},
        "models": {m.name: m.bytes for m in runtime.models()},
        **{
            k: previous[k]
            for k in (
                "disguised_still_detected",
                "orders_in_long_texts",
                "answers_by_hand",
                "tokenizer",
                "normaliser",
                "milliseconds",
            )
            if k in previous
        },
    }
    systems: dict[str, Callable[[], Score]] = {
        "ondevice_guard": lambda: ours(True),
        "ondevice_guard, linear stage": linear,
        "securevector 1.4.0": securevector,
        "agentbastion 0.14.0 rules": agentbastion,
        "keyword list": lambda: words(KEYWORDS),
        "stop list": lambda: words(STOP_LIST),
    }
    for name, make in systems.items():
        if args.systems is not None and name not in args.systems:
            continue
        try:
            score = make()
        except ImportError as error:
            result["systems"][name] = {"missing": str(error)}
            continue
        start = time.process_time()
        scores = np.array([score(r["text"]) for r in rows])
        judged = texts.judge(rows, scores)
        judged["cpu_ms_a_row"] = round((time.process_time() - start) / len(rows) * 1e3, 3)
        result["systems"][name] = judged
        print(
            name,
            {k: (judged[k]["auroc"], judged[k]["recall_at_1"]) for k in texts.LABELS},
            judged["lookalikes"],
            flush=True,
        )
        out.write_text(json.dumps(result, indent=1) + "\n")
    if args.systems is not None and "ondevice_guard" not in args.systems:
        return
    detector = TextDetector()
    attacks = [r["text"] for r in rows if r["label"] != "benign" and len(r["text"]) < 400]
    result["disguised_still_detected"] = obfuscation(
        detector, rng.sample(attacks, min(400, len(attacks))), dict(detector.operating_points(0.01))
    )
    print(result["disguised_still_detected"], flush=True)
    result["orders_in_long_texts"] = buried(detector, rows)
    print(result["orders_in_long_texts"], flush=True)
    result["answers_by_hand"] = answers()
    print(result["answers_by_hand"], flush=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
