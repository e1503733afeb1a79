"""Guards local multimodal models: judges untrusted pictures and prompts, and hands back a picture that is safe to show.

from ondevice_guard import Guard

verdict = Guard().check("upload.png", text="What is this?")
if verdict:
    answer = model(verdict.image, "What is this?")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import GuardBlocked, GuardError
    from .guard import Guard
    from .policy import Policy
    from .purification import purify
    from .types import Decision, Finding
    from .verdict import Verdict

__version__ = "0.1.0"
__all__ = ["Decision", "Finding", "Guard", "GuardBlocked", "GuardError", "Policy", "Verdict", "purify"]

_HOME = {
    "Decision": "types",
    "Finding": "types",
    "Guard": "guard",
    "GuardBlocked": "errors",
    "GuardError": "errors",
    "Policy": "policy",
    "Verdict": "verdict",
    "purify": "purification",
}


def __getattr__(name: str) -> Any:
    # Names are loaded on first use, so that importing the package costs an application nothing.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
