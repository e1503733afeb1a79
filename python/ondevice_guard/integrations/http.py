"""Guards what an `httpx` client says to a model server, and what it hears: the proxy without a proxy.

The transport knows the interfaces of OpenAI, Ollama and Anthropic by their paths; everything else it passes. A block
comes back as HTTP 400 with the finding's name, so that the client raises its own error and nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from .. import wire
from ..guard import Guard

_STREAMS = ("text/event-stream", "application/x-ndjson")
_KEPT = ("content-type", "x-request-id", "retry-after")


def _path(request: httpx.Request) -> str | None:
    """The guarded path that an address ends with, wherever the server is mounted."""
    return next((p for p in wire.GUARDED if request.url.path.endswith(p)), None)


class _Screened:
    """What both transports share."""

    def __init__(self, guard: Guard, answers: str, canary: bool) -> None:
        self._guard, self._answers, self._canary = guard, answers, canary

    def _judge(self, request: httpx.Request, body: bytes) -> tuple[httpx.Request, wire.Screen]:
        judged = wire.judge(self._guard, body, canary=self._canary)
        headers = [(k, v) for k, v in request.headers.multi_items() if k not in ("content-length", "accept-encoding")]
        safe = httpx.Request(
            request.method,
            request.url,
            headers=[*headers, ("accept-encoding", "identity")],
            content=judged.content,
            extensions=request.extensions,
        )
        screen = wire.Screen(
            self._guard, judged.verdict, action=self._answers, canary=judged.canary, tools=judged.tools
        )
        return safe, screen

    def _refused(self, refusal: wire.Refusal, path: str, request: httpx.Request) -> httpx.Response:
        body = refusal.body(wire.GUARDED[path])
        return httpx.Response(refusal.status, json=body, headers={"x-ondevice-guard": refusal.speaker}, request=request)

    def _plain(self, answer: httpx.Response, path: str) -> bool:
        return answer.status_code >= 400 or path in wire.SILENT

    def _whole(self, answer: httpx.Response, body: bytes, screen: wire.Screen) -> httpx.Response:
        content = wire.dumps(screen.whole(json.loads(body)))
        headers = {k: v for k, v in answer.headers.items() if k in _KEPT}
        return httpx.Response(answer.status_code, headers=headers, content=content, request=answer.request)

    def _relay(self, answer: httpx.Response, screen: wire.Screen) -> wire.Relay | None:
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return wire.Relay(screen, sse=media == _STREAMS[0]) if media in _STREAMS else None


class Transport(httpx.BaseTransport):
    """A transport that guards.

    Args:
        guard: Judges requests and answers.
        inner: Sends them; a plain `httpx.HTTPTransport` when None.
        answers: `replace`, `cut` or `flag`, for unsafe answers.
        canary: True to plant a secret token in the system message.
    """

    def __init__(
        self,
        guard: Guard,
        inner: httpx.BaseTransport | None = None,
        *,
        answers: str = "replace",
        canary: bool = False,
    ) -> None:
        self._screened = _Screened(guard, answers, canary)
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Judge, send, screen."""
        path = _path(request)
        if path is None or request.method != "POST":
            return self._inner.handle_request(request)
        try:
            safe, screen = self._screened._judge(request, request.read())
        except wire.Refusal as refusal:
            return self._screened._refused(refusal, path, request)
        answer = self._inner.handle_request(safe)
        answer.request = request
        if self._screened._plain(answer, path):
            return answer
        relay = self._screened._relay(answer, screen)
        if relay is None:
            return self._screened._whole(answer, answer.read(), screen)
        headers = {k: v for k, v in answer.headers.items() if k in _KEPT}
        return httpx.Response(answer.status_code, headers=headers, stream=_Stream(answer, relay), request=request)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class _Stream(httpx.SyncByteStream):
    def __init__(self, answer: httpx.Response, relay: wire.Relay) -> None:
        self._answer, self._relay = answer, relay

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._answer.iter_bytes():
            if shown := self._relay.feed(chunk):
                yield shown
            if self._relay.stopped:
                return
        yield self._relay.close()

    def close(self) -> None:
        self._answer.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """`Transport` for asynchronous clients; judging happens on worker threads."""

    def __init__(
        self,
        guard: Guard,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        answers: str = "replace",
        canary: bool = False,
    ) -> None:
        self._screened = _Screened(guard, answers, canary)
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Judge, send, screen."""
        import asyncio

        path = _path(request)
        if path is None or request.method != "POST":
            return await self._inner.handle_async_request(request)
        try:
            safe, screen = await asyncio.to_thread(self._screened._judge, request, await request.aread())
        except wire.Refusal as refusal:
            return self._screened._refused(refusal, path, request)
        answer = await self._inner.handle_async_request(safe)
        answer.request = request
        if self._screened._plain(answer, path):
            return answer
        relay = self._screened._relay(answer, screen)
        if relay is None:
            return await asyncio.to_thread(self._screened._whole, answer, await answer.aread(), screen)
        headers = {k: v for k, v in answer.headers.items() if k in _KEPT}
        return httpx.Response(answer.status_code, headers=headers, stream=_AsyncStream(answer, relay), request=request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, answer: httpx.Response, relay: wire.Relay) -> None:
        self._answer, self._relay = answer, relay

    async def __aiter__(self) -> AsyncIterator[bytes]:
        import asyncio

        async for chunk in self._answer.aiter_bytes():
            if shown := await asyncio.to_thread(self._relay.feed, chunk):
                yield shown
            if self._relay.stopped:
                return
        yield await asyncio.to_thread(self._relay.close)

    async def aclose(self) -> None:
        await self._answer.aclose()


def options(guard: Guard, asynchronous: bool, **more: Any) -> dict[str, Any]:
    """Return `{"transport": …}` for the constructor of an httpx client."""
    return {"transport": AsyncTransport(guard, **more) if asynchronous else Transport(guard, **more)}
