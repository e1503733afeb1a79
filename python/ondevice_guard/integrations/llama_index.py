"""LlamaIndex: a language model whose messages are judged and whose answers are screened.

llm = protect(Ollama(model="llava"), guard)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from ..guard import Guard
from ..responses import Stream

L = TypeVar("L")


def protect(llm: L, guard: Guard, *, action: str = "replace") -> L:
    """Make a LlamaIndex LLM guard its calls; returns the same object. A block raises `GuardBlocked`.

    Args:
        llm: Any `llama_index.core.llms.LLM`; `chat`, `complete`, their streams and async twins are guarded.
        guard: Judges messages and answers.
        action: `replace`, `cut` or `flag`, for unsafe answers.
    """
    cls: Any = type(llm)
    if not issubclass(cls, _Guarded):
        # A plain subclass would be a new pydantic model with its own fields; only the methods are to differ.
        object.__setattr__(llm, "__class__", type(cls.__name__, (_Guarded, cls), {"__module__": cls.__module__}))
    object.__setattr__(llm, "_ondevice_guard", (guard, action))
    return llm


class _Guarded:
    """Goes in front of an LLM's class."""

    def _judge(self, messages: Sequence[Any]) -> tuple[Any, str]:
        guard, _ = self._ondevice_guard  # type: ignore[attr-defined]
        verdict = guard.check_messages(list(messages)).raise_if_blocked()
        return verdict.messages, verdict.prompt

    def _screen(self, answer: Any, prompt: str) -> Any:
        guard, action = self._ondevice_guard  # type: ignore[attr-defined]
        if hasattr(answer, "message"):
            text = answer.message.content
            if text:
                safe = guard.check_response(text, prompt=prompt, tools=True, action=action).raise_if_blocked().text
                if safe != text:
                    answer.message.content = safe
        elif answer.text:
            answer.text = guard.check_response(answer.text, prompt=prompt, action=action).raise_if_blocked().text
        return answer

    def _stream(self, prompt: str) -> Stream:
        guard, action = self._ondevice_guard  # type: ignore[attr-defined]
        return Stream(guard, prompt=prompt, tools=True, action=action)

    def chat(self, messages: Sequence[Any], **options: Any) -> Any:
        safe, prompt = self._judge(messages)
        return self._screen(super().chat(safe, **options), prompt)  # type: ignore[misc]

    async def achat(self, messages: Sequence[Any], **options: Any) -> Any:
        safe, prompt = await asyncio.to_thread(self._judge, messages)
        return await asyncio.to_thread(self._screen, await super().achat(safe, **options), prompt)  # type: ignore[misc]

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        self._judge([_user(prompt)])
        return self._screen(super().complete(prompt, formatted, **options), prompt)  # type: ignore[misc]

    async def acomplete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        await asyncio.to_thread(self._judge, [_user(prompt)])
        answer = await super().acomplete(prompt, formatted, **options)  # type: ignore[misc]
        return await asyncio.to_thread(self._screen, answer, prompt)

    def stream_chat(self, messages: Sequence[Any], **options: Any) -> Any:
        safe, prompt = self._judge(messages)
        return _relayed(super().stream_chat(safe, **options), self._stream(prompt))  # type: ignore[misc]

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        self._judge([_user(prompt)])
        return _relayed(super().stream_complete(prompt, formatted, **options), self._stream(prompt))  # type: ignore[misc]

    async def astream_chat(self, messages: Sequence[Any], **options: Any) -> Any:
        safe, prompt = await asyncio.to_thread(self._judge, messages)
        return _arelayed(await super().astream_chat(safe, **options), self._stream(prompt))  # type: ignore[misc]

    async def astream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        await asyncio.to_thread(self._judge, [_user(prompt)])
        answer = await super().astream_complete(prompt, formatted, **options)  # type: ignore[misc]
        return _arelayed(answer, self._stream(prompt))


def _user(prompt: str) -> Any:
    return {"role": "user", "content": prompt}


def _put(piece: Any, delta: str, text: str) -> Any:
    piece.delta = delta
    if hasattr(piece, "message"):
        piece.message.content = text
    else:
        piece.text = text
    return piece


def _relayed(pieces: Any, stream: Stream) -> Any:
    last = None
    for piece in pieces:
        last = piece
        shown = stream.feed(piece.delta or "")
        if shown:
            yield _put(piece.model_copy(deep=True), shown, stream.text)
        if stream.stopped:
            return
    rest = stream.close()
    if rest and last is not None:
        yield _put(last.model_copy(deep=True), rest, stream.text)


async def _arelayed(pieces: Any, stream: Stream) -> Any:
    last = None
    async for piece in pieces:
        last = piece
        shown = await asyncio.to_thread(stream.feed, piece.delta or "")
        if shown:
            yield _put(piece.model_copy(deep=True), shown, stream.text)
        if stream.stopped:
            return
    rest = await asyncio.to_thread(stream.close)
    if rest and last is not None:
        yield _put(last.model_copy(deep=True), rest, stream.text)
