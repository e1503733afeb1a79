"""The line reader's network: a column encoder, what each word means, phrase concepts, and heads that exist only to train.

    line 1x32xW → convolutions down to one 160-vector per 4 columns → context at stride 8 (about 20 letters wide)
    → at every place, is this the centre of a word? Context there, in reading order → what each word means (112 numbers)
    → convolutions five words wide
    → 192 non-negative *concepts* per word, and the strongest of each over the line (and over the image) → heads.

Phrases are read from words, not from columns, because the text model that learned them (`phrases.py`) has seen a
thousand times more sentences than can be rendered; all that the picture has to give is the meaning of each word.
While training, every column must also name its letter class and every word's centre its word: dense targets that
teach reading in minutes where bag-of-words labels taught nothing. Both heads are dropped on export, so that the
shipped graph has no output from which text could be spelled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONCEPTS = 192
HIDDEN = 160
CONTEXT = 192
#: Numbers a word's meaning consists of, and width of the layers over words, as in `phrases.Phrases`.
MEANING, PHRASE = 112, 256
#: Width of the layer between context and meaning: which of 8,000 words is nothing that context could say linearly.
NAMES = 512


def conv(
    i: int, o: int, k: tuple[int, int], s: tuple[int, int] = (1, 1), p: tuple[int, int] | None = None, d: int = 1
) -> nn.Sequential:
    pad = p if p is not None else (k[0] // 2, d * (k[1] // 2))
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, pad, dilation=(1, d), bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
    )


class Encoder(nn.Module):
    """float N x 1 x 32 x W in [-1, 1] → N x HIDDEN x 1 x W/4 (letters), N x CONTEXT x 1 x W/8 (words)."""

    def __init__(self) -> None:
        super().__init__()
        # Few, large kernels: five overlapping bands of 16 rows, then all of them at once. Stages of 3x3 convolutions
        # cost five times as much to train on a CPU, where small channel counts are bound by memory (8.0 against
        # 1.7 ms a line).
        self.letters = nn.Sequential(conv(1, 64, (16, 12), (4, 4), p=(0, 4)), conv(64, HIDDEN, (5, 3), p=(0, 1)))
        self.near = nn.ModuleList([conv(HIDDEN, HIDDEN, (1, 3)) for _ in range(2)])
        self.down = conv(HIDDEN, CONTEXT, (1, 5), (1, 2))
        self.wide = nn.ModuleList([conv(CONTEXT, CONTEXT, (1, 5), d=d) for d in (1, 2, 4, 1, 2)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.letters(x)
        for block in self.near:
            h = h + block(h)
        c = self.down(h)
        for block in self.wide:
            c = c + block(c)
        return h, c


class Reader(nn.Module):
    """Encoder, words, phrases, and the heads that ship: facts of one line, `meaning` of any union of lines."""

    def __init__(self, groups: int, scripts: int, labels: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.centre = nn.Conv2d(CONTEXT, 1, 1)
        self.word = nn.Sequential(nn.Conv1d(CONTEXT, NAMES, 1), nn.ReLU(inplace=True), nn.Conv1d(NAMES, MEANING, 1))
        self.near = nn.Conv1d(MEANING, PHRASE, 3, padding=1)
        self.wide = nn.Conv1d(PHRASE, PHRASE, 3, padding=1)
        self.concepts = nn.Conv1d(PHRASE, CONCEPTS, 1)
        self.triggers = nn.Conv2d(CONTEXT, groups, 1)
        self.facts = nn.Conv2d(CONTEXT, scripts + 1, 1)  # scripts, upside down: averaged over the line
        self.meaning = nn.Sequential(nn.Linear(CONCEPTS + groups, 64), nn.ReLU(inplace=True), nn.Linear(64, labels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (letters, context N x CONTEXT x W/8, centre logits N x W/8, trigger logits, fact logits)."""
        h, c = self.encoder(x)
        return h, c[:, :, 0], self.centre(c)[:, 0, 0], self.triggers(c).amax((2, 3)), self.facts(c).mean((2, 3))

    def phrases(self, words: Tensor) -> Tensor:
        """N x MEANING x K words in reading order, zero where there is none → concepts N x CONCEPTS x K.

        They are those below zero too; what ships and what `meaning` sees is their positive part.
        """
        h = F.relu(self.near(words))
        return self.concepts(h + F.relu(self.wide(h)))

    def lines(self, context: Tensor, centre: Tensor) -> Tensor:
        """Context and centre logits of lines → the strongest of each concept over the words found: N x CONCEPTS."""
        at, on = words_at(centre)
        found = context.gather(2, at[:, None].expand(-1, CONTEXT, -1))
        on = on[:, None].to(context.dtype)
        return (F.relu(self.phrases(self.word(found) * on)) * on).amax(2)


def words_at(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return where words are, in reading order: the peaks of centre logits N x P above zero.

    Returns:
        Places, N x K, and whether there is a further word at all; K = P // 3 + 2 is more than a line of that length has.
        Of equal neighbours the later one counts.
    """
    n, p = centre.shape
    around = F.pad(centre, (1, 1), value=-100.0)
    peak = (centre > 0) & (centre >= around[:, :-2]) & (centre > around[:, 2:])
    place = torch.arange(p, device=centre.device).to(torch.float32).expand(n, p)
    key, at = torch.topk(place + p * (~peak).to(torch.float32), p // 3 + 2, dim=1, largest=False, sorted=True)
    return at, key < p


class Teachers(nn.Module):
    """Training-time heads."""

    def __init__(self, classes: int, words: int) -> None:
        super().__init__()
        self.letter = nn.Conv2d(HIDDEN, classes, 1)
        self.word = nn.Linear(CONTEXT, words)
