"""Plan → new pixels. Follows the plan once, in a fixed order, and touches nothing outside it."""

from __future__ import annotations

from pathlib import Path

from . import _core
from .accelerator import Accelerator
from .types import Image, Pixels, Plan


def remake(image: Image, pixels: Pixels, plan: Plan, threads: int = 1) -> Pixels:
    """Return the picture that the rest of the plan is about: over the plan's background, and rebuilt where it was sampled.

    Args:
        image: The decoded picture, whose alpha a background goes under.
        pixels: uint8 HxWx3, the picture over the policy's background. Never written to.
        plan: What to do.
        threads: Native threads.

    Returns:
        uint8 HxWx3, read-only; `pixels` itself unless `plan.remakes`.
    """
    out = pixels
    if plan.background is not None and image.alpha is not None:
        out = _core.views.composite(image.pixels, image.alpha, plan.background, threads=threads)
    if plan.descale:
        out = _core.signal.reconstruct(out, threads=threads)
    if out is not pixels:
        out.flags.writeable = False
    return out


def models_of(preset: str, models: str | Path | None = None, threads: int = 1) -> dict[str, str]:
    """Return name → version and checksum of the network that purifying by a preset takes, loaded; empty for kernels alone.

    Raises:
        ModelError: it is missing or altered.
    """
    from .purification import network_of

    model = network_of(preset, models, threads)
    return {} if model is None else {model.name: model.tag}


def apply(
    pixels: Pixels,
    plan: Plan,
    seed: int = 0,
    threads: int = 1,
    accelerator: Accelerator | None = None,
    models: str | Path | None = None,
) -> Pixels:
    """Return the pixels that are safe to show.

    The order is fixed: `remake` first, so that a scaling payload is gone before anything smooths it into the picture; then
    `fill`, then `purify`, then low bits, which every other step would disturb.

    Args:
        pixels: uint8 HxWx3, what `remake` returned. Never written to.
        plan: What to do; an empty plan returns `pixels` itself.
        seed: Seed of the `randomized` preset and of the low bits' replacement.
        threads: Native threads.
        accelerator: Device that purifies; the bytes are the same.
        models: Directory with model folders; None searches the usual places (see `runtime`).

    Returns:
        uint8 HxWx3, read-only. Outside the plan's regions `fill` leaves every pixel as it was.

    Raises:
        ModelError: the plan's preset runs a network, which is missing or altered.
    """
    out = pixels
    if plan.fill:
        out = _core.purify.fill(out, plan.fill, method=plan.fill_method, threads=threads)
    if plan.purify:
        from .purification import purify  # its presets may load a model: only who purifies pays for that

        # The detector has seen more than the noise level that a preset would go by.
        out = purify(
            out,
            preset=plan.purify,
            seed=seed,
            strength="full",
            threads=threads,
            accelerator=accelerator,
            models=models,
        )
    if plan.reset_low_bits:
        out = _core.purify.reset_low_bits(out, plan.reset_low_bits, threads=threads)
    if out is not pixels:
        out.flags.writeable = False
    return out
