"""The purifier and denoiser networks: small residual U-Nets with a strength map (FFDNet's idea, Zhang et al., arXiv:1710.04026).

    f(x, s) = x - r([x, s])        x: RGB in [0, 1]; s: one plane, the noise's standard deviation in the same units

With the strength as an input, one net is a Gaussian denoiser at every level, or takes off perturbations as strong as the
caller says; not both, for each costs the other what it knows (docs/purification.md). The purifier is such a U-Net, which
estimates the perturbation, and a `Counter` behind it, which makes up for what no estimate of this size can.

The stem's linear bands, weighted by gates that the network computes, make up the residual: shrinkage in a learned transform,
which 32 rectified channels alone could not express (they could carry the 12 signed samples of a 2x2 block and no more). The
stem is a 6x6 convolution of stride 2 (a 3x3 convolution of 2x2 pixel blocks, without the costly transpose of a
pixel-unshuffle), and a pixel-shuffle ends the net: full-resolution convolutions would be most of the cost.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def normed(a: int, b: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a batch norm, which `fold` makes one convolution.

    Without the norm the rectifiers of the coarse levels died one by one, up to the last of them: a network trained for hours
    had 5 live channels of 48 at stride 4, and in the end none behind it. Gradients that leak through dead rectifiers do not
    mend it: behind Adam's equal steps they drive the dead as fast as the living, and the sums burst after 1,700 steps.
    """
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b))


class Res(nn.Module):
    """Two 3x3 convolutions with a skip; starts as the identity."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = normed(c, c), normed(c, c)
        nn.init.zeros_(self.b[1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))


class UNet(nn.Module):
    """Input (N, 4, H, W) in [0, 1], H and W multiples of 8; output (N, 3, H, W), not clipped.

    198,600 parameters. Alone, told the noise's strength, it is the denoiser.
    """

    def __init__(self, w0: int = 32, w1: int = 48, w2: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, w0, 6, stride=2, padding=2)
        self.down1 = normed(w0, w1, 2)
        self.enc1 = Res(w1)
        self.down2 = normed(w1, w2, 2)
        self.mid = nn.Sequential(Res(w2))
        self.up2 = nn.Conv2d(w2, w1, 1)
        self.dec1 = normed(w1, w1)
        self.up1 = nn.Conv2d(w1, w0, 1)
        self.dec0 = nn.Conv2d(w0, w0, 3, padding=1)
        self.gate = nn.Conv2d(w0, w0, 1)
        self.out = nn.Conv2d(w0, 12, 1)
        self.more = nn.Conv2d(w0, 12, 1)
        for layer in (self.out, self.more):
            nn.init.normal_(layer.weight, 0, 1e-2)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.up1.weight)

    def lower(self, e0: torch.Tensor) -> torch.Tensor:
        """What the levels below the first make of its channels."""
        e1 = self.enc1(F.relu(self.down1(e0)))
        m = self.mid(F.relu(self.down2(e1)))
        return F.relu(self.dec1(F.relu(e1 + F.interpolate(self.up2(m), scale_factor=2))))

    def both(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the estimate of the clean picture, and the 32 features that it was decided by."""
        bands = self.stem(x)
        e0 = F.relu(bands)
        d1 = self.lower(e0)
        d0 = F.relu(self.dec0(F.relu(e0 + F.interpolate(self.up1(d1), scale_factor=2))))
        r = self.out(bands * torch.sigmoid(self.gate(d0))) + self.more(d0)
        return x[:, :3] - F.pixel_shuffle(r, 2), d0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(x)[0]


class Gated(nn.Module):
    """One level: linear bands, of squares that reach 2 pixels further than the stride, times the gates that a 3x3 convolution of
    their rectified selves makes, and what it adds. Input (N, C, H, W), output (N, 3, H, W), to be taken off.

    Features of another network, if there are `told` of them, have a say in the gates and in what is added.
    """

    def __init__(self, channels: int, stride: int, bands: int, inner: int, told: int = 0) -> None:
        super().__init__()
        self.stride, pixels = stride, 3 * stride**2
        self.stem = nn.Conv2d(channels, bands, stride + 4, stride, padding=2)
        self.dec0 = nn.Conv2d(bands, inner, 3, padding=1)
        self.gate = nn.Conv2d(inner, bands, 1)
        self.out = nn.Conv2d(bands, pixels, 1)
        self.more = nn.Conv2d(inner, pixels, 1)
        for layer in (self.out, self.more):
            nn.init.normal_(layer.weight, 0, 1e-2)
            nn.init.zeros_(layer.bias)
        if told:
            self.told = nn.Conv2d(told, bands, 1, bias=False)
            self.wide = nn.Conv2d(told, pixels, 1, bias=False)
            for layer in (self.told, self.wide):
                nn.init.zeros_(layer.weight)

    def forward(self, x: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
        bands = self.stem(x)
        d0 = F.relu(self.dec0(F.relu(bands)))
        gates, more = self.gate(d0), self.more(d0)
        if told is not None:
            gates, more = gates + self.told(told), more + self.wide(told)
        return F.pixel_shuffle(self.out(bands * torch.sigmoid(gates)) + more, self.stride)


class Counter(Gated):
    """Adds a counter-pattern to what an estimate left: reads the picture with its strength, the estimated clean picture, and the
    features that the estimate was decided by."""

    def __init__(self) -> None:
        super().__init__(7, stride=2, bands=32, inner=48, told=32)


class Purifier(nn.Module):
    """A U-Net that estimates the perturbation and a counter-pattern for what it leaves (224,528 parameters).

    The two learn from different teachers. Guidance by classifiers (train.py) has a gradient as restless as an attack's: a U-Net
    under it learned little that the 15,736 parameters of its first level did not do alone. The pixels' squared error teaches a
    U-Net much, but makes it careful; behind it, the guided counter-pattern has less left to do (docs/purification.md).
    """

    def __init__(self) -> None:
        super().__init__()
        self.estimate, self.counter = UNet(), Counter()

    def train(self, mode: bool = True) -> Purifier:
        """The norms of the estimate keep the means that they learned from pixels."""
        super().train(mode)
        self.estimate.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, told = self.estimate.both(x)
        return y - self.counter(torch.cat([x, y.float().clamp(0, 1)], 1), told)


class Small(Gated):
    """The counter's form at stride 4, for `balanced`: input (N, 4, H, W), H and W multiples of 4; output (N, 3, H, W).

    64 bands of 8x8 pixels and the gates of a single 3x3 convolution: 41,728 parameters.
    """

    def __init__(self) -> None:
        super().__init__(4, stride=4, bands=64, inner=32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] - super().forward(x)


def amplify(net: Gated, gain: float) -> None:
    """Multiply what a network takes off."""
    with torch.no_grad():
        for name in ("out", "more", "wide"):
            for values in layer.parameters() if (layer := getattr(net, name, None)) else ():
                values *= gain


def load(checkpoint: Path) -> UNet | Purifier | Small:
    """Return the network of a checkpoint (weights in any precision), ready for inference."""
    weights = torch.load(checkpoint)
    kind = Purifier if "counter.stem.weight" in weights else UNet if "up1.weight" in weights else Small
    net = kind().eval()
    net.load_state_dict(weights)
    return net


def fold(net: UNet | Purifier | Small) -> UNet | Purifier | Small:
    """Make every convolution and its batch norm one convolution, for inference; returns the network itself."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Sequential) and isinstance(child[-1], nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(child[0].eval(), child[1].eval()))
    return net
