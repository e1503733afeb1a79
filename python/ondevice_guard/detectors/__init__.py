"""Detectors: views or text in, findings out. They read, never change, never compare a score with a threshold."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

#: Policy name → module and class. Modules are imported on first use, since some need the model runtime.
_BUILTIN = {
    "adversarial": ("adversarial", "AdversarialDetector"),
    "structural": ("structural", "StructuralDetector"),
    "typographic": ("typographic", "TypographicDetector"),
    "content": ("content", "ContentDetector"),
    "text": ("text", "TextDetector"),
    "response": ("response", "ResponseDetector"),
}


def build(name: str, models: str | Path | None = None, threads: int = 1) -> Any:
    """Make a built-in detector.

    Args:
        name: A name from `policy.DETECTORS`.
        models: Directory with model folders; None searches the usual places.
        threads: Threads inside one call.

    Raises:
        ModelError: its model is missing or altered.
    """
    module, cls = _BUILTIN[name]
    return getattr(import_module(f"{__name__}.{module}"), cls)(models=models, threads=threads)
