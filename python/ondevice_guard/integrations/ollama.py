"""Ollama's client with a guard in it.

client = protected(guard, host="http://127.0.0.1:11434")
"""

from __future__ import annotations

from typing import Any

import ollama

from ..guard import Guard
from .http import AsyncTransport, Transport


def protected(guard: Guard, *, answers: str = "replace", canary: bool = False, **options: Any) -> ollama.Client:
    """Return an `ollama.Client` whose every request is judged; a block raises `ollama.ResponseError` (400).

    Args:
        guard: Judges requests and answers.
        answers: `replace`, `cut` or `flag`, for unsafe answers.
        canary: True to plant a secret token in the system message.
        **options: For `ollama.Client`.
    """
    return ollama.Client(transport=Transport(guard, answers=answers, canary=canary), **options)


def async_protected(
    guard: Guard, *, answers: str = "replace", canary: bool = False, **options: Any
) -> ollama.AsyncClient:
    """`protected` for `ollama.AsyncClient`."""
    return ollama.AsyncClient(transport=AsyncTransport(guard, answers=answers, canary=canary), **options)
