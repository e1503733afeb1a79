"""Plan → new pixels. Follows the plan once, in a fixed order, and touches nothing outside it."""

from __future__ import annotations

from . import _core
from .accelerator import Accelerator
from .types import Pixels, Plan


def apply(
    pixels: Pixels, plan: Plan, seed: int = 0, threads: int = 1, accelerator: Accelerator | None = None
) -> Pixels:
    """Return the pixels that are safe to show.

    The order is fixed: `descale` first, so that a scaling payload is gone before anything smooths it into the picture;
    then `fill`, then `purify`, then low bits, which every other step would disturb.

    Args:
        pixels: uint8 HxWx3, the picture that the findings are about. Never written to.
        plan: What to do; an empty plan returns `pixels` itself.
        seed: Seed of the `randomized` preset and of the low bits' replacement.
        threads: Native threads.
        accelerator: Device that purifies; the bytes are the same.

    Returns:
        uint8 HxWx3, read-only. Outside the plan's regions `fill` leaves every pixel as it was.
    """
    if not plan:
        return pixels
    out = pixels
    if plan.descale:
        out = _core.signal.reconstruct(out, threads=threads)
    if plan.fill:
        out = _core.purify.fill(out, plan.fill, method=plan.fill_method, threads=threads)
    if plan.purify:
        from .purification import purify  # its presets may load a model: only who purifies pays for that

        # The detector has seen more than the noise level that a preset would go by.
        out = purify(out, preset=plan.purify, seed=seed, strength="full", threads=threads, accelerator=accelerator)
    if plan.reset_low_bits:
        out = _core.purify.reset_low_bits(out, plan.reset_low_bits, threads=threads)
    if out is not pixels:
        out.flags.writeable = False
    return out
