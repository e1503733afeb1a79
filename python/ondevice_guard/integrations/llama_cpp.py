"""Chat handlers of llama-cpp-python that judge what they load.

llm = Llama("model.gguf", chat_handler=protect(Llava15ChatHandler("mmproj.gguf"), guard))
"""

from __future__ import annotations

import base64
from typing import Any, TypeVar

from ..guard import Guard

H = TypeVar("H")


def protect(handler: H, guard: Guard) -> H:
    """Make a chat handler guard its messages and pictures; returns the same object. A block raises `GuardBlocked`.

    Args:
        handler: Any handler of `llama_cpp.llama_chat_format` that loads pictures (`Llava15ChatHandler`, `MTMDChatHandler` …).
        guard: Judges pictures and texts.
    """
    cls = type(handler)
    if not issubclass(cls, GuardedImages):
        handler.__class__ = type(cls.__name__, (GuardedImages, cls), {"__module__": cls.__module__})
    handler._ondevice_guard = guard  # type: ignore[attr-defined]
    return handler


class GuardedImages:
    """Goes in front of a chat handler's class, for those who write their own: set `_ondevice_guard`."""

    _ondevice_guard: Guard

    def __call__(self, **options: Any) -> Any:
        """Judge the messages, then let the handler answer them."""
        safe = self._ondevice_guard.check_messages(options["messages"]).raise_if_blocked().messages
        handler: Any = super()
        return handler.__call__(**{**options, "messages": safe})

    def load_image(self, image_url: str) -> bytes:
        """Return the bytes of the safe picture; the handler's own loader, which opens any address, is never used."""
        part = {"type": "image_url", "image_url": {"url": image_url}}
        verdict = self._ondevice_guard.check_messages([{"role": "user", "content": [part]}]).raise_if_blocked()
        return base64.b64decode(verdict.messages[0]["content"][0]["image_url"]["url"].partition(",")[2])
