"""The line reader's network: a column encoder, phrase concepts, and heads that exist only while training.

    line 1x32xW → convolutions down to one 160-vector per 4 columns → context at stride 8 (about 33 letters wide)
    → 192 non-negative *concepts* per place, and the strongest of each over the line (and over the image) → heads.

While training, every column must also name its letter class and every word's centre its word: dense targets that
teach reading in minutes where bag-of-words labels taught nothing. Both heads are dropped on export, so that the
shipped graph has no output from which text could be spelled.
"""

from __future__ import annotations

from torch import Tensor, nn

CONCEPTS = 192
HIDDEN = 160
CONTEXT = 192


def conv(
    i: int, o: int, k: tuple[int, int], s: tuple[int, int] = (1, 1), p: tuple[int, int] | None = None, d: int = 1
) -> nn.Sequential:
    pad = p if p is not None else (k[0] // 2, d * (k[1] // 2))
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, pad, dilation=(1, d), bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
    )


class Encoder(nn.Module):
    """float N x 1 x 32 x W in [-1, 1] → N x HIDDEN x 1 x W/4 (letters), N x CONTEXT x 1 x W/8 (words, then phrases)."""

    def __init__(self) -> None:
        super().__init__()
        # Few, large kernels: five overlapping bands of 16 rows, then all of them at once. Stages of 3x3 convolutions
        # cost five times as much to train on a CPU, where small channel counts are bound by memory (8.0 against
        # 1.7 ms a line).
        self.letters = nn.Sequential(conv(1, 64, (16, 12), (4, 4), p=(0, 4)), conv(64, HIDDEN, (5, 3), p=(0, 1)))
        self.near = nn.ModuleList([conv(HIDDEN, HIDDEN, (1, 3)) for _ in range(2)])
        self.down = conv(HIDDEN, CONTEXT, (1, 5), (1, 2))
        self.wide = nn.ModuleList([conv(CONTEXT, CONTEXT, (1, 5), d=d) for d in (1, 2, 4)])  # sees 15 letters: a word
        # Words are named before phrases are made of them: five words each way.
        self.phrase = nn.ModuleList([conv(CONTEXT, CONTEXT, (1, 5), d=d) for d in (4, 8, 4)])
        for block in self.phrase:
            # A residual that starts small. Not at zero: behind a ReLU a zero weight has no slope and stays zero.
            nn.init.constant_(block[1].weight, 0.2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.letters(x)
        for block in self.near:
            h = h + block(h)
        c = self.down(h)
        for block in self.wide:
            c = c + block(c)
        p = c
        for block in self.phrase:
            p = p + block(p)
        return h, c, p


class Reader(nn.Module):
    """Encoder, concepts and the heads that ship: facts of one line, `meaning` of any union of lines."""

    def __init__(self, groups: int, scripts: int, labels: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.concepts = nn.Conv2d(CONTEXT, CONCEPTS, 1)
        self.triggers = nn.Conv2d(CONTEXT, groups, 1)
        self.facts = nn.Conv2d(CONTEXT, scripts + 1, 1)  # scripts, upside down: averaged over the line
        self.meaning = nn.Sequential(nn.Linear(CONCEPTS + groups, 64), nn.ReLU(inplace=True), nn.Linear(64, labels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (letters, context, concepts N x C x 1 x W/8, trigger logits N x G, fact logits N x (S + 1)).

        The concepts are those below zero too; what ships and what `meaning` sees is their positive part.
        """
        h, c, p = self.encoder(x)
        return h, c, self.concepts(p), self.triggers(c).amax((2, 3)), self.facts(c).mean((2, 3))


class Teachers(nn.Module):
    """Training-time heads."""

    def __init__(self, classes: int, words: int) -> None:
        super().__init__()
        self.letter = nn.Conv2d(HIDDEN, classes, 1)
        self.word = nn.Linear(CONTEXT, words)
