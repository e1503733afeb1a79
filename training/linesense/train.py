"""Train the line reader: rendered paragraphs → letters, words and their meanings, trigger groups and phrases at once.

    python training/linesense/train.py --data ../shared/data --minutes 60 --run runs/a

One process, one thread, bf16 autocast. The learning rate follows the elapsed share of `--minutes`, so that a busy
machine ends with a finished model; `--run` gets a checkpoint and a line of metrics every two minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import assets  # noqa: E402
from corpus import Corpus  # noqa: E402
from model import CONCEPTS, MEANING, Reader, Teachers, words_at  # noqa: E402
from phrases import NUMBER, RARE, Dictionary, Phrases, load, union  # noqa: E402
from render import CLASSES, SCRIPTS, Backgrounds, Face, Line, Renderer, load_faces, normalise, wrap  # noqa: E402
from wording import LABELS  # noqa: E402

#: Trigger groups by word stem: what orders and harmful requests are made of. Presence is an exact label of a line.
TRIGGERS: dict[str, str] = {
    "cancel": "ignor|disregard|forget|overrid|bypass|skip|cancel|discard|overlook|disobey|abandon|"
    "neglect|erase|reject|disabl|dismiss|violat|suspend|defy|omit|delete|remov|unlock",
    "rules": "instruction|prompt|rule|command|order|guideline|directi|polic|restriction|constraint|"
    "filter|safeguard|guardrail|protocol|ethic|limit|obey|law",
    "earlier": "previous|prior|above|earlier|preceding|original|initial|existing|foregoing",
    "say": "say|output|print|reply|respond|answer|repeat|tell|write|state|claim|declare|"
    "announce|display|return|report|speak|recite|echo",
    "machine": "system|assistant|model|ai|chatbot|developer|admin|gpt|chatgpt|llm|root|jailbreak|dan|mode",
    "persona": "act|pretend|roleplay|imagine|simulate|character|persona|become",
    "secret": "password|secret|key|credential|reveal|leak|confidential|hidden|expose|account|credit|"
    "private|disclos|token|bank|login|personal|configuration",
    "reader": "user|human|customer|image|picture|photo|describe|mention|question",
    "weapon": "bomb|explosive|weapon|gun|firearm|poison|grenade|ammunition|nerve|chemical|drug|"
    "meth|cocaine|heroin|malware|virus|ransomware|rifle|spyware|worm|trojan|botnet|"
    "molotov|amphetamine|ecstasy|toxic|anthrax|keylogger|phishing|passport",
    "crime": "kill|murder|steal|hack|rob|fraud|launder|illegal|kidnap|blackmail|terrorist|hate|"
    "suicide|abuse|forge|counterfeit|bribe|exploit|manipulat|smuggl|attack|harm|violen|"
    "discriminat|racis|deceiv|cheat|phish|scam|evade|threat|extort|sabotag|vandal|"
    "traffick|infiltrat|embezzl|stalk|tortur|spy|riot|corrupt|falsif|defraud|unethical|"
    "dangerous|crim|bully|ridicul",
    "steps": "step|method|way|guide|how|list|procedure|technique|tutorial|tip|instructions|strateg",
    "never": "not|never|don|without|no|must|always|only|instead",
}
GROUPS = tuple(TRIGGERS)
_PATTERN = [re.compile(rf"(?:{p})", re.I) for p in TRIGGERS.values()]
_SHORT = {
    "ai",
    "act",
    "no",
    "not",
    "don",
    "dan",
    "say",
    "key",
    "rob",
    "gun",
    "tip",
    "way",
    "how",
    "state",
    "order",
    "mode",
    "root",
    "gpt",
    "llm",
    "must",
}


def word_groups(word: str) -> list[int]:
    """Return the trigger groups a word belongs to: by stem, short stems as whole words only."""
    out = []
    for i, pattern in enumerate(_PATTERN):
        m = pattern.match(word)
        if m and (m[0].lower() not in _SHORT or word in (m[0].lower(), m[0].lower() + "s")):
            out.append(i)
    return out


class Batches:
    """Draws batches of whole paragraphs, lines padded to one width with the grey that normalisation centres on."""

    def __init__(self, corpus: Corpus, renderer: Renderer, dictionary: Dictionary, rng: random.Random) -> None:
        self.corpus, self.renderer, self.dictionary, self.rng = corpus, renderer, dictionary, rng

    def lines(self, text: str, limit: int, most: int) -> list[Line]:
        r, style = self.rng, self.renderer.style()
        flip = r.random() < 0.05
        out = []
        for row in wrap(text, limit, r)[:most]:
            if r.random() < 0.02:
                style = self.renderer.style()
            line = self.renderer.line(row, style, flip)
            if line is not None:
                out.append(line)
        return out

    def __call__(self, pixels: int) -> dict[str, torch.Tensor]:
        """Return one batch of about `pixels` columns in all."""
        r = self.rng
        limit = r.choice((10, 18, 24, 30, 42))
        width = int(limit * 15) // 16 * 16 + 32
        want = max(8, pixels // width)
        lines: list[Line] = []
        owner: list[int] = []
        labels: list[list[float]] = []
        known: list[float] = []
        while len(lines) < want:
            if r.random() < 0.05:
                owner.append(len(labels))
                labels.append([0.0] * len(LABELS))
                known.append(1.0)
                lines.append(self.renderer.nothing())
                continue
            if r.random() < 0.06 and self.corpus.other_scripts:
                text, _label = r.choice(self.corpus.other_scripts)
                names: frozenset[str] = frozenset()
                known_here = 0.0  # other scripts teach the script fact only
                text = text[:100]
            else:
                kind, (text, names) = self.corpus.any()
                known_here = {"injection": 0.7, "harmful": 0.7, "jailbreak": 0.7}.get(
                    kind, 1.0
                )  # their labels are of whole prompts
            got = self.lines(text, limit, 7)
            if not got:
                continue
            if any(g.flipped for g in got):
                known_here = 0.0
            owner += [len(labels)] * len(got)
            labels.append([float(n in names) for n in LABELS])
            known.append(known_here)
            lines += got
        n = len(lines)
        x = np.full((n, 1, 32, width), 128, np.uint8)
        frames = np.zeros((n, width // 4), np.int64)
        groups = np.zeros((n, len(GROUPS)), np.float32)
        at, spot = [], []
        said = np.zeros((n, max(1, max(len(line.words) for line in lines))), np.int64)
        for i, line in enumerate(lines):
            w = min(width, line.pixels.shape[1])
            x[i, 0, :, :w] = normalise(line.pixels)[:, :w]
            f = line.frames[: width // 4]
            frames[i, : f.size] = f
            for k, (centre, text) in enumerate((c, t) for c, t in line.words if 0 <= c < width - 4):
                said[i, k] = self.dictionary(text)
                spot.append(i * said.shape[1] + k)
                at.append(i * (width // 8) + int(centre) // 8)
                for g in word_groups(text):
                    groups[i, g] = 1
        return {
            "x": torch.from_numpy(x),
            "frames": torch.from_numpy(frames),
            "groups": torch.from_numpy(groups),
            "at": torch.tensor(at, dtype=torch.long),
            "said": torch.from_numpy(said),
            "spot": torch.tensor(spot, dtype=torch.long),
            "script": torch.tensor([line.script for line in lines]),
            "flipped": torch.tensor([float(line.flipped) for line in lines]),
            "owner": torch.tensor(owner),
            "labels": torch.tensor(labels),
            "known": torch.tensor(known),
        }


def again(b: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    """Return an earlier batch with other polarity, contrast and noise: half the cost of rendering is saved."""
    x = b["x"].float()
    n = len(x)
    sign = torch.tensor([rng.choice((-1.0, 1.0)) for _ in range(n)])[:, None, None, None]
    gain = torch.tensor([rng.uniform(0.7, 1.3) for _ in range(n)])[:, None, None, None]
    x = 128 + (x - 128) * sign * gain + torch.randn_like(x) * rng.choice((0.0, 4.0, 12.0))
    return b | {"x": x.round().clamp(0, 255).to(torch.uint8).roll(rng.choice((-2, -1, 0, 1, 2)), 2)}


def shortfall(z: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return how far the positive part of `z` is from `true` (not negative), present concepts counted twice.

    Below zero `z` is right wherever nothing is to be seen, and is drawn up wherever something is: behind a ReLU it would
    have no slope there, and most concepts of most places would stay dead.
    """
    z = torch.where(true > 0, z, torch.relu(z))
    return (F.smooth_l1_loss(z, true, beta=0.2, reduction="none") * (1.0 + (true > 0))).mean()


def step(
    reader: Reader, teachers: Teachers, phrases: Phrases, b: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float], torch.Tensor]:
    """Return (loss, figures, meaning logits of the batch's paragraphs)."""
    x = ((b["x"].float() - 128) / 64).contiguous(memory_format=torch.channels_last)
    said = b["said"].reshape(-1)[b["spot"]]
    with torch.autocast("cpu", torch.bfloat16):
        h, c, centre, triggers, facts = reader(x)
        letters = teachers.letter(h)[:, :, 0].float()
        # A cell beside the centre must say the same: at use the centre is found, and one cell of error is common.
        places = c.shape[2]
        beside = torch.randint(-1, 2, b["at"].shape) if reader.training else torch.zeros_like(b["at"])
        column = (b["at"] % places + beside).clamp(0, places - 1)
        here = c.transpose(1, 2).reshape(-1, c.shape[1])[b["at"] // places * places + column]
        names = teachers.word(here).float()
        means = reader.word(here.T[None])[0].T.float()
        line = reader.lines(c, centre).float()
    centre = centre.float()
    with torch.no_grad():
        true = phrases(b["said"])
        meant = phrases.words(said)
    # What the text model takes each word to mean and sees at it, from words where they truly are ...
    rare = (said > NUMBER) & (said < NUMBER + 1 + RARE)
    care = torch.where(rare, 0.3, 1.0)
    mean_word = ((F.mse_loss(means, meant, reduction="none").mean(1) / phrases.words.weight.var()) * care).mean()
    n, k = b["said"].shape
    placed = torch.zeros(n * k, MEANING).index_put((b["spot"],), means).view(n, k, MEANING)
    shown = reader.phrases(placed.transpose(1, 2)).transpose(1, 2).reshape(n * k, CONCEPTS)[b["spot"]]
    rows = torch.full((n, CONCEPTS), -1.0)
    rows = rows.scatter_reduce(0, (b["spot"] // k)[:, None].expand_as(shown), shown, "amax", include_self=True)
    concept = shortfall(shown, true.reshape(-1, CONCEPTS)[b["spot"]]) + 2 * shortfall(rows, true.amax(1))
    # ... and the meaning of paragraphs from words where the reader itself finds them, as at use.
    whole = union(line, b["owner"], len(b["labels"]))
    groups = union(triggers.float().sigmoid().detach(), b["owner"], len(b["labels"]))
    meaning = reader.meaning(torch.cat([F.dropout(whole, 0.25, reader.training), groups], 1))
    upright = b["flipped"] < 0.5
    frame = F.cross_entropy(letters, b["frames"])
    wordy = F.cross_entropy(names, said, reduction="none")
    wordy = (wordy * care).mean() if len(wordy) else frame * 0
    place = torch.zeros(centre.numel())
    place[b["at"]] = 1.0
    place = place.view_as(centre)
    # A neighbour of the centre is neither right nor wrong.
    near = (F.max_pool1d(place[:, None], 3, 1, 1)[:, 0] > 0) & (place == 0)
    find = F.binary_cross_entropy_with_logits(centre, place, reduction="none", pos_weight=torch.tensor(2.0))
    find = (find * torch.where(near, 0.1, 1.0)).mean()
    weight = torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5])
    tail = 1 + 3 * torch.sigmoid(meaning.detach()) * (1 - b["labels"])  # as in phrases.py
    mean = (
        F.binary_cross_entropy_with_logits(meaning, b["labels"], reduction="none") * weight * tail * b["known"][:, None]
    ).mean()
    trig = (
        F.binary_cross_entropy_with_logits(triggers.float(), b["groups"], reduction="none") * upright[:, None]
    ).mean()
    script = F.cross_entropy(facts[:, : len(SCRIPTS)].float(), b["script"])
    flip = F.binary_cross_entropy_with_logits(facts[:, len(SCRIPTS)].float(), b["flipped"])
    loss = frame + 0.5 * wordy + 3 * mean_word + 5 * concept + 5 * find + mean + 2 * trig + 0.1 * script + 0.3 * flip
    ink = b["frames"] > 0
    figures = {
        "letter": float((letters.argmax(1) == b["frames"])[ink].float().mean()),
        "frame": float(frame.detach()),
        "wordy": float(wordy.detach()),
        "word": float((names.argmax(1) == said)[~rare].float().mean()) if len(said) else 0.0,
        "means": float(mean_word.detach()),
        "find": float(find.detach()),
        "found": float(words_at(centre)[1].sum()) / max(1, len(said)),
        "concept": float(concept.detach()),
        "line": float(shortfall(line.detach(), true.amax(1))),
        "mean": float(mean.detach()),
        "trig": float(trig.detach()),
        "flip": float(flip.detach()),
    }
    return loss, figures, meaning


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    order = np.argsort(score, kind="stable")
    rank = np.empty(len(score))
    rank[order] = np.arange(1, len(score) + 1)
    p, n = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - p * (p + 1) / 2) / max(1, p * n))


@torch.no_grad()
def validate(
    reader: Reader, teachers: Teachers, phrases: Phrases, batches: list[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """Return mean figures on fixed held-out batches, with AUROC and recall at 1 % of 'order or harm' per paragraph."""
    reader.eval()
    all_figures: list[dict[str, float]] = []
    risk, truth = [], []
    for b in batches:
        _, figures, meaning = step(reader, teachers, phrases, b)
        all_figures.append(figures)
        keep = b["known"] > 0
        p = torch.sigmoid(meaning[keep][:, :2]).amax(1).numpy()
        risk.append(p)
        truth.append((b["labels"][keep][:, :2].amax(1) > 0).numpy())
    reader.train()
    s, t = np.concatenate(risk), np.concatenate(truth)
    out = {k: float(np.mean([f[k] for f in all_figures])) for k in all_figures[0]}
    return out | {"auc": auc(s, t), "recall@1%": float((s[t] > np.quantile(s[~t], 0.99)).mean()), "n": float(len(s))}


def script_faces(part: str, rng: random.Random) -> dict[str, list[Face]]:
    """Return faces for the scripts that the data sets hold, where fonts for them are installed."""
    langs = {
        "cyrillic": "ru",
        "greek": "el",
        "han": "zh-cn",
        "kana": "ja",
        "hangul": "ko",
        "arabic": "ar",
        "hebrew": "he",
        "indic": "hi",
        "thai": "th",
    }
    out = {}
    for name, lang in langs.items():
        faces = []
        files = assets.fonts(part, lang)
        for _, file in rng.sample(files, len(files)):
            try:
                faces.append(Face(file))
            except OSError:
                continue
            if len(faces) == 8:
                break
        if faces:
            out[name] = faces
    return out


def source(data: Path, part: str, seed: int, faces: int) -> tuple[Corpus, Renderer, random.Random]:
    rng = random.Random(seed)
    corpus = Corpus(data, part, seed, HERE / "cache")
    renderer = Renderer(
        load_faces(assets.fonts(part, "en"), faces, rng),
        Backgrounds(assets.photos(data, part)),
        rng,
        script_faces(part, rng),
    )
    return corpus, renderer, rng


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--run", type=Path, default=HERE / "runs" / "a")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--pixels", type=int, default=16_000, help="columns per batch")
    ap.add_argument("--rate", type=float, default=2.5e-3)
    ap.add_argument("--resume", type=Path)
    ap.add_argument("--anew", action="store_true", help="with --resume: learn words and meanings anew")
    ap.add_argument("--phrases", type=Path, default=HERE / "phrases.pt", help="the text model (phrases.py)")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    data = assets.data_dir(args.data)
    corpus, renderer, rng = source(data, "train", args.seed, 300)
    saved = torch.load(args.resume, weights_only=False) if args.resume else None
    phrases, known = load(args.phrases)
    draw = Batches(corpus, renderer, known, rng)
    tc, tr, trng = source(data, "test", 7, 60)
    test = Batches(tc, tr, known, trng)
    held = [test(16_000) for _ in range(40)]
    reader, teachers = Reader(len(GROUPS), len(SCRIPTS), len(LABELS)), Teachers(len(CLASSES), known.size)
    text = phrases.state_dict()
    text["concepts.weight"] = text["concepts.weight"][:, :, None]
    text["meaning.0.weight"] = F.pad(text["meaning.0.weight"], (0, len(GROUPS)))
    del text["words.weight"]
    if saved:
        state, taught = saved["reader"], saved["teachers"]
        if args.anew:  # letters and their context stay; what words mean is learned from another text model
            state = {k: v for k, v in state.items() if not k.startswith("word")} | text
            taught = {k: v for k, v in taught.items() if not k.startswith("word")}
        reader.load_state_dict(state, strict=not args.anew)
        teachers.load_state_dict(taught, strict=not args.anew)
    else:
        reader.load_state_dict(text, strict=False)
    reader = reader.to(memory_format=torch.channels_last)
    # What is known from text is bent more slowly than what is learned from pictures.
    slow = [p for k, p in reader.named_parameters() if k in text]
    rest = [p for k, p in reader.named_parameters() if k not in text] + [*teachers.parameters()]
    params = rest + slow
    opt = torch.optim.AdamW([{"params": rest, "share": 1.0}, {"params": slow, "share": 0.2}], weight_decay=0.01)
    log = (args.run / "log.jsonl").open("a", buffering=1)
    start = last = time.time()
    cpu0, i, seen, spent = time.process_time(), 0, 0, {"render": 0.0, "learn": 0.0}
    run: Counter[str] = Counter()
    recent: list[dict[str, torch.Tensor]] = []
    while True:
        share = (time.time() - start) / (args.minutes * 60)
        if share >= 1:
            break
        warm = min(1.0, (i + 1) / 100)
        for g in opt.param_groups:
            g["lr"] = g["share"] * args.rate * warm * (0.5 + 0.5 * float(np.cos(np.pi * min(1.0, share)))) + 1e-5
        t0 = time.process_time()
        if i % 2 and recent:
            b = again(recent[rng.randrange(len(recent))], rng)
        else:
            b = draw(args.pixels)
            recent.append(b)
            del recent[:-80]
        t1 = time.process_time()
        loss, figures, _ = step(reader, teachers, phrases, b)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 5.0)
        opt.step()
        spent["render"] += t1 - t0
        spent["learn"] += time.process_time() - t1
        i += 1
        seen += len(b["x"])
        run.update(figures)
        run["steps"] += 1
        if time.time() - last > 120 or i == 20:
            n = run.pop("steps")
            row = {
                "step": i,
                "lines": seen,
                "minutes": round((time.time() - start) / 60, 1),
                "cpu": round(time.process_time() - cpu0),
                **{f"{k}_s": round(v, 1) for k, v in spent.items()},
                "train": {k: round(v / n, 4) for k, v in run.items()},
                "held": {k: round(v, 4) for k, v in validate(reader, teachers, phrases, held).items()},
            }
            log.write(json.dumps(row) + "\n")
            run.clear()
            save(args.run, reader, teachers, row)
            last = time.time()
    row = {
        "step": i,
        "lines": seen,
        "held": validate(reader, teachers, phrases, held),
        "cpu": time.process_time() - cpu0,
        "final": True,
    }
    log.write(json.dumps(row) + "\n")
    save(args.run, reader, teachers, row)


def save(run: Path, reader: Reader, teachers: Teachers, row: dict[str, object]) -> None:
    part = run / "checkpoint.part"
    torch.save({"reader": reader.state_dict(), "teachers": teachers.state_dict(), "row": row}, part)
    part.replace(run / "checkpoint.pt")


if __name__ == "__main__":
    main()
