"""Filters against adversarial perturbations, as one plain function: numpy in, numpy out.

A perturbation lives in detail that a photograph does not need: small amplitudes, high frequencies. Each step removes
some of that detail; none of them stops an attacker who knows it (docs/threat-model.md), so `randomized` draws
its steps from a seed.

What kernels need to remove a perturbation of 16/255 costs a clean photograph a third of its recognised content, so `fast` and
`balanced` look at the picture's noise first (`_core.residual.noise_level`) and have milder steps for a quiet one. An attacker
who keeps the noise low gets the milder steps; `Guard`, whose detector decides on more evidence, asks for full strength.
Those of `balanced` are a small network that is told the noise level, and a turn; `strong` is a larger one and a turn, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from . import _core, runtime
from .accelerator import Accelerator
from .errors import ModelError, UnsupportedInput
from .types import Pixels

#: A step by name, or with parameters: `"median"`, `("dct", {"quality": 50})`.
Step = str | tuple[str, Mapping[str, Any]]


#: Steps that run a network.
_NETWORKS = ("learned", "denoise")
#: Pixels of a tile of a network, before its halo; one of this size takes some 150 MB.
_TILE = 1 << 21


def _through(
    network: str, image: Pixels, level: float, out: Pixels | None, threads: int, models: str | Path | None
) -> Pixels:
    """Take off a picture what a network says, tile by tile; `level` is the noise that it is told of."""
    model = runtime.load(network, models, threads or _core.backend.default_threads())
    tiles = _core.purify.tiles(image.shape[0], image.shape[1], _TILE, model.config["inputs"]["x"].get("halo", 48))
    if out is not None and (out.shape != image.shape or out.dtype != image.dtype):
        raise UnsupportedInput(f"out: must be uint8 {image.shape}, got {out.dtype} {out.shape}")
    # Tiles read what their neighbours write, so that several of them need a picture of their own.
    apart = out is None or (len(tiles) > 1 and np.may_share_memory(image, out))
    target = np.empty(image.shape, np.uint8) if out is None or apart else out
    for (top, bottom, left, right), (above, below, before, after) in tiles:
        x = _core.purify.blocks(image[above:below, before:after], level, threads=threads)
        (r,) = model.run({"x": x})
        side = 4 if r.shape[-1] == 64 else 2
        if r.shape != (1, x.shape[1] * 2 // side, x.shape[2] * 2 // side, 4 * side**2) or r.dtype != np.uint8:
            raise ModelError(f"{model.name}: the network's answer does not fit its input")
        rows, columns = slice(top, bottom), slice(left, right)
        _core.purify.subtract(
            image[rows, columns],
            r[0, (top - above) // side :, (left - before) // side :],
            out=target[rows, columns],
            threads=threads,
        )
    if out is None or target is out:
        return target
    out[...] = target
    return out


def _purifier(small: bool = False) -> str:
    """The model of the step `learned`."""
    return "purifier_small" if small else "purifier"


def _learned(
    image: Pixels,
    *,
    small: bool = False,
    gain: float = 1.0,
    out: Pixels | None = None,
    threads: int = 0,
    models: str | Path | None = None,
) -> Pixels:
    """Run a learned purifier, which is told how noisy the picture is.

    Args:
        image: uint8 HxW, HxWx3 or HxWx4; grey counts as three equal colours, alpha is copied.
        small: models/purifier_small_v1, a sixth of the time, in place of models/purifier_v1.
        gain: Factor on the noise level that is read off the picture, from 0.25 to 4.
        out: Array of the image's shape that receives the result; may be `image`.
        threads: 0 = all this process may use. The result does not depend on it.
        models: As in `purify`.
    """
    if small not in (False, True):
        raise UnsupportedInput(f"small: must be true or false, got {small!r}")
    if not isinstance(gain, (int, float)) or not 0.25 <= gain <= 4:
        raise UnsupportedInput(f"gain: must be from 0.25 to 4, got {gain!r}")
    level = gain * _core.residual.noise_level(image, threads=threads)  # this call also validates the picture
    return _through(_purifier(small), image, level, out, threads, models)


def _denoise(
    image: Pixels, *, sigma: float, out: Pixels | None = None, threads: int = 0, models: str | Path | None = None
) -> Pixels:
    """Take white Gaussian noise off, by models/denoiser_v1 (FFDNet's idea, arXiv:1710.04026).

    Args:
        image: As in `_learned`, as are `out`, `threads` and `models`.
        sigma: The noise's standard deviation, from 0 to 55. Not measured here: `_core.residual.noise_level` reads low above
            12 (14 of 15, 19 of 25), and a network that is told of half the noise leaves about half.
        out: See `_learned`.
        threads: See `_learned`.
        models: See `_learned`.
    """
    if not isinstance(sigma, (int, float)) or not 0 <= sigma <= 55:
        raise UnsupportedInput(f"sigma: must be from 0 to 55, got {sigma!r}")
    _core.residual.noise_level(image, threads=threads)  # validates the picture
    return _through("denoiser", image, sigma, out, threads, models)


#: name → (filter, does it take a seed). The parameters are the function's, see `ondevice_guard._core` for the native ones.
_STEPS: Mapping[str, tuple[Callable[..., Pixels], bool]] = MappingProxyType(
    {
        "median": (_core.purify.median, False),
        "bit_depth": (_core.purify.bit_depth, False),
        "dct": (_core.purify.dct_quantise, False),
        "dct_shrink": (_core.purify.dct_shrink, False),
        "bilateral": (_core.purify.bilateral, False),
        "guided": (_core.purify.guided, False),
        "nlm": (_core.purify.nlm, False),
        "total_variation": (_core.purify.total_variation, False),
        "wavelet": (_core.purify.wavelet_shrink, False),
        "resize_pad": (_core.purify.resize_pad, True),
        "rotate": (_core.purify.rotate, False),
        "low_bits": (_core.purify.reset_low_bits, False),
        "learned": (_learned, False),
        "denoise": (_denoise, False),
    }
)

#: Noise level from which a preset's `noisy` steps run. Clean photographs at 224 read up to 2.2 (99 in 100), PGD-8 at least
#: 3.5 (99 in 100): `choose` part of the photographs, 108 each.
NOISY = 3.0


@dataclass(frozen=True)
class Preset:
    """Steps for a quiet picture, and for one whose noise level is `NOISY` or more."""

    quiet: tuple[Step, ...]
    noisy: tuple[Step, ...]


# --- PRESETS: chosen on the `choose` part (108 photographs, victim Lite1, surrogate Lite2), where recovery is the mean over
# PGD-8, PGD-16 and MI-16. Quality 15 alone has .54; at four grid positions after a bilateral filter .645, the most of 30
# chains of kernels. A network and a turn have .73 (small) and .77. Behind a network before these turning alone: .64 at 1
# degree, .67 to .69 at 2 and 3, .67 to .71 at 4, .69 to .70 at 5 (either way), .67 at 7; .62 without it; with filters between
# them .61 to .71, with .79 to .86 of clean ones in place of .92 to .94. Those that ship learned behind a turn by 5. On the
# report part: docs/purification.md.
_LEARNED: tuple[Step, ...] = (("learned", {}), ("rotate", {"degrees": 5.0}))
_SMALL: tuple[Step, ...] = (("learned", {"small": True}), ("rotate", {"degrees": 5.0, "taps": 2}))
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "fast": Preset(quiet=(("dct", {"quality": 50}),), noisy=(("dct", {"quality": 15}),)),
        "balanced": Preset(quiet=(("dct", {"quality": 50}),), noisy=_SMALL),
        "strong": Preset(quiet=_LEARNED, noisy=_LEARNED),
    }
)
# ------------------------------------------------------------------------------------------------------------

#: Every name `preset=` takes.
PRESET_NAMES = (*PRESETS, "randomized")


def purify(
    image: Pixels,
    preset: str | None = None,
    *,
    steps: Sequence[Step] | None = None,
    out: Pixels | None = None,
    seed: int = 0,
    strength: str = "measured",
    threads: int = 0,
    accelerator: Accelerator | None = None,
    models: str | Path | None = None,
) -> Pixels:
    """Return the picture with what an adversarial perturbation needs filtered away.

    Args:
        image: uint8 HxW, HxWx3 or HxWx4; any strides, read-only welcome. Never written to unless it is `out`.
        preset: `"fast"`, `"balanced"` (the default), `"strong"` or `"randomized"`. `strong` turns the picture by 5 degrees, as
            does `balanced` with noisy ones, `randomized` scales and moves it: places found in the original are elsewhere in
            the result.
        steps: Filters to run in order instead of a preset: names, or (name, parameters) pairs. Names: `median` (size),
            `bit_depth` (bits), `dct` (quality, subsample, shifts), `dct_shrink` (threshold, shifts), `bilateral`
            (sigma_color, sigma_space, radius), `guided` (radius, eps), `nlm` (h, search), `total_variation`
            (weight, iterations), `wavelet` (sigma, shifts), `resize_pad` (smallest, seed), `rotate` (degrees, taps), `low_bits`
            (bits), and two that run networks: `learned` (small, gain), with which `strong` and `balanced` begin, and
            `denoise` (sigma) against white noise.
        out: Array of the image's shape that receives the result.
        seed: From 0 to 2^64 - 1: source of the `randomized` preset and of random steps without a seed of their own.
        strength: `"measured"`: `fast` and `balanced` have milder steps for a picture whose noise level is below `NOISY`;
            `"full"`: the strong ones, whatever the picture. Without effect on the rest.
        threads: Native threads; 0 = all this process may use.
        accelerator: Device to run on; the bytes are the same. One picture seldom pays for its way there: `purify_many`.
            Steps with `learned`, `denoise` or `rotate` among them run on the CPU.
        models: Directory with model folders, for networks; None searches the usual places (see `runtime`).

    Returns:
        uint8, same shape; equal arguments give equal bytes on every machine, but for networks: the same bytes for every
        number of threads, and at most now and then another rounding on another kind of CPU.

    Raises:
        UnsupportedInput: an unusable array, unknown preset, step or strength, wrong parameter, or both
            `preset` and `steps`.
        ModelError: a network is missing, altered or refused by onnxruntime.
    """
    chain = _resolved(image, preset, steps, seed, strength, threads)
    if accelerator is not None and _native(chain) and (done := accelerator.run([image], chain)) is not None:
        if out is None:
            return done[0]
        if out.shape != done[0].shape or out.dtype != done[0].dtype:
            raise UnsupportedInput(f"out: must be uint8 {done[0].shape}, got {out.dtype} {out.shape}")
        out[...] = done[0]
        return out
    current, last = image, len(chain) - 1
    for position, (name, parameters) in enumerate(chain):
        # Filters may run in place, but some have to copy the picture first: the last one never does.
        target = out if position == last else current if position else None
        where = {"models": models} if name in _NETWORKS else {}
        try:
            current = _STEPS[name][0](current, out=target, threads=threads, **where, **parameters)
        except TypeError as error:
            raise UnsupportedInput(f"step {name!r}: {str(error).splitlines()[0]} Got {parameters!r}") from None
    return current


def purify_many(
    images: Sequence[Pixels],
    preset: str | None = None,
    *,
    steps: Sequence[Step] | None = None,
    seed: int = 0,
    strength: str = "measured",
    threads: int = 0,
    accelerator: Accelerator | None = None,
    models: str | Path | None = None,
) -> list[Pixels]:
    """Purify many pictures, on the accelerator in batches where there is one.

    Args:
        images: As in `purify`, of any sizes.
        preset: As in `purify`, as are `steps`, `seed`, `strength` and `threads`.
        steps: See `purify`.
        seed: The same for every picture.
        strength: See `purify`.
        threads: See `purify`.
        accelerator: Device to run on; None is the CPU.
        models: See `purify`.

    Returns:
        One picture for each, what `purify` returns for it.

    Raises:
        UnsupportedInput: as in `purify`.
        BackendError: the device failed and must not be replaced by the CPU.
        ModelError: as in `purify`.
    """
    chains = [_resolved(image, preset, steps, seed, strength, threads) for image in images]
    results: list[Pixels | None] = [None] * len(chains)
    if accelerator is not None:
        # Pictures that go through the same steps travel together.
        groups: dict[str, list[int]] = {}
        for i, chain in enumerate(chains):
            if _native(chain):
                groups.setdefault(repr(chain), []).append(i)
        for members in groups.values():
            done = accelerator.run([images[i] for i in members], chains[members[0]])
            for i, pixels in zip(members, done or (), strict=False):
                results[i] = pixels
    return [
        made if made is not None else purify(image, steps=chain, threads=threads, models=models)
        for image, chain, made in zip(images, chains, results, strict=True)
    ]


def _resolved(
    image: Pixels, preset: str | None, steps: Sequence[Step] | None, seed: int, strength: str, threads: int
) -> list[tuple[str, dict[str, Any]]]:
    """Check a call and return its steps by name, seeds included."""
    if preset is not None and steps is not None:
        raise UnsupportedInput("pass preset= or steps=, not both")
    if not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise UnsupportedInput(f"seed: must be a whole number from 0 to 2**64 - 1, got {seed!r}")
    if strength not in ("measured", "full"):
        raise UnsupportedInput(f"strength: must be 'measured' or 'full', got {strength!r}")
    if steps is None:
        name = preset or "balanced"
        if name not in PRESET_NAMES:
            raise UnsupportedInput(f"unknown preset {name!r}; known: {', '.join(PRESET_NAMES)}")
        steps = _randomized(seed) if name == "randomized" else _steps_for(image, PRESETS[name], strength, threads)
    if not steps:
        raise UnsupportedInput("steps: name at least one filter")
    chain = []
    for position, step in enumerate(steps):
        name, parameters = (step, {}) if isinstance(step, str) else (step[0], dict(step[1]))
        if name not in _STEPS:
            raise UnsupportedInput(f"unknown step {name!r}; known: {', '.join(_STEPS)}")
        if _STEPS[name][1]:
            parameters.setdefault("seed", _core.purify.random_bits(seed, 1000 + position))
        chain.append((name, parameters))
    return chain


def network_of(preset: str, models: str | Path | None = None, threads: int = 1) -> runtime.Model | None:
    """Return the network that a preset may run, verified, or None for presets of kernels alone.

    Raises:
        ModelError: it is missing or altered.
    """
    steps = (*PRESETS[preset].quiet, *PRESETS[preset].noisy) if preset in PRESETS else ()
    for step in steps:
        if not isinstance(step, str) and step[0] == "learned":
            return runtime.load(_purifier(**step[1]), models, threads)
    return None


def _native(chain: list[tuple[str, dict[str, Any]]]) -> bool:
    """True where an accelerator knows every step."""
    return all(name not in (*_NETWORKS, "rotate") for name, _ in chain)


def _steps_for(image: Pixels, preset: Preset, strength: str, threads: int) -> tuple[Step, ...]:
    if preset.quiet == preset.noisy or strength == "full":
        return preset.noisy  # whatever the picture: it need not be measured
    if _core.residual.noise_level(image, threads=threads) >= NOISY:
        return preset.noisy
    return preset.quiet


def _randomized(seed: int) -> tuple[Step, ...]:
    """Draw the steps of the `randomized` preset: a random view of the picture, one smoother, one quantiser."""

    def draw(counter: int, low: float, high: float) -> float:
        return low + (high - low) * (_core.purify.random_bits(seed, counter) >> 11) * 2.0**-53

    smoothers: tuple[Step, ...] = (
        ("bilateral", {"sigma_color": draw(1, 35.0, 75.0), "sigma_space": 75.0}),
        ("median", {"size": 5}),
        ("guided", {"radius": 3, "eps": draw(2, 200.0, 800.0)}),
    )
    return (
        ("resize_pad", {"smallest": 0.88}),
        smoothers[int(draw(0, 0.0, float(len(smoothers))))],
        ("dct", {"quality": int(draw(3, 25.0, 60.0)), "shifts": 2}),
    )
