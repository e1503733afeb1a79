"""The purifier network: a small residual U-Net with a strength map (FFDNet's idea, Zhang et al., arXiv:1710.04026).

    f(x, s) = x - r([x, s])        x: RGB in [0, 1]; s: one plane, the noise's standard deviation in the same units

With the strength as an input, one net is a Gaussian denoiser at every level and a purifier whose force the caller
sets. The stem's linear bands, weighted by gates that the U-Net computes, make up the residual: shrinkage in a
learned transform, which 32 rectified channels alone could not express (they could carry the 12 signed samples of a
2x2 block and no more). The stem is a 6x6 convolution of stride 2 (a 3x3 convolution of 2x2 pixel blocks, without
the costly transpose of a pixel-unshuffle), and a pixel-shuffle ends the net: full-resolution convolutions would be
most of the cost.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Res(nn.Module):
    """Two 3x3 convolutions with a skip."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))


class Purifier(nn.Module):
    """Input (N, 4, H, W) in [0, 1], H and W multiples of 8; output (N, 3, H, W), not clipped."""

    def __init__(self, w0: int = 32, w1: int = 48, w2: int = 64, mid: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, w0, 6, stride=2, padding=2)
        self.down1 = nn.Conv2d(w0, w1, 3, stride=2, padding=1)
        self.enc1 = Res(w1)
        self.down2 = nn.Conv2d(w1, w2, 3, stride=2, padding=1)
        self.mid = nn.Sequential(*[Res(w2) for _ in range(mid)])
        self.up2 = nn.Conv2d(w2, w1, 1)
        self.dec1 = nn.Conv2d(w1, w1, 3, padding=1)
        self.up1 = nn.Conv2d(w1, w0, 1)
        self.dec0 = nn.Conv2d(w0, w0, 3, padding=1)
        self.gate = nn.Conv2d(w0, w0, 1)
        self.out = nn.Conv2d(w0, 12, 1)
        self.more = nn.Conv2d(w0, 12, 1)
        for layer in (self.out, self.more):
            nn.init.normal_(layer.weight, 0, 1e-2)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands = self.stem(x)
        e0 = F.relu(bands)
        e1 = self.enc1(F.relu(self.down1(e0)))
        m = self.mid(F.relu(self.down2(e1)))
        d1 = F.relu(self.dec1(F.relu(e1 + F.interpolate(self.up2(m), scale_factor=2))))
        d0 = F.relu(self.dec0(F.relu(e0 + F.interpolate(self.up1(d1), scale_factor=2))))
        r = self.out(bands * torch.sigmoid(self.gate(d0))) + self.more(d0)
        return x[:, :3] - F.pixel_shuffle(r, 2)
