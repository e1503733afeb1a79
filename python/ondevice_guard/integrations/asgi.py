"""FastAPI, Starlette and any other ASGI application: a middleware for chat requests, a dependency for uploads.

app.add_middleware(GuardMiddleware, guard=guard, paths=["/chat"])

@app.post("/upload")
async def upload(verdict: Verdict = Depends(upload(guard))): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from .. import wire
from ..errors import GuardError
from ..guard import Guard

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class GuardMiddleware:
    """Judges the JSON bodies of POST requests, and gives the application the safe ones.

    Args:
        app: The application.
        guard: Judges; paths of local files in messages are refused whatever its policy says.
        paths: Paths whose bodies are chat requests (exactly).
        max_body: Largest body in bytes.
    """

    def __init__(
        self, app: App, guard: Guard, paths: Iterable[str] = tuple(wire.GUARDED), max_body: int = 64 << 20
    ) -> None:
        self._app = app
        self._guard = guard.with_policy(local_paths=False)
        self._paths = frozenset(paths)
        self._max_body = max_body

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Judge, then pass on; a block is answered with HTTP 400 here."""
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
            judged = await asyncio.to_thread(wire.judge, self._guard, body)
        except wire.Refusal as refusal:
            await _answer(refusal, send)
            return
        kept = [(k, v) for k, v in scope["headers"] if k.lower() not in (b"content-length", b"transfer-encoding")]
        headers = [*kept, (b"content-length", str(len(judged.content)).encode())]
        delivered = False

        async def safe_receive() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": judged.content, "more_body": False}

        await self._app({**scope, "headers": headers}, safe_receive, send)

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        headers = {k.lower(): v for k, v in scope["headers"]}
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise wire.Refusal(415, "compressed_body", "compressed bodies are not accepted")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise wire.Refusal(400, "disconnected", "the client is gone")
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise wire.Refusal(413, "body_too_large", f"body is larger than {self._max_body} bytes")
            if not message.get("more_body"):
                return bytes(body)


async def _answer(refusal: wire.Refusal, send: Send) -> None:
    body = wire.dumps(refusal.body("openai"))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-ondevice-guard", refusal.speaker.encode()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def upload(guard: Guard, field: str = "file") -> Callable[..., Awaitable[Any]]:
    """Return a FastAPI dependency: the verdict about an uploaded picture, safe to use.

    `verdict.to_bytes()` is the safe file. A picture that is blocked answers with HTTP 400 and the reasons, one that is
    larger than the policy's limit with 413. Needs `python-multipart`.

    Args:
        guard: Judges the picture.
        field: Name of the form field.
    """
    from fastapi import File, HTTPException, UploadFile

    async def safe_upload(file: UploadFile = File(alias=field)) -> Any:  # noqa: B008 - FastAPI's way to declare it
        data = await file.read(guard.policy.limits.bytes + 1)
        if len(data) > guard.policy.limits.bytes:
            raise HTTPException(413, f"larger than {guard.policy.limits.bytes} bytes")
        try:
            verdict = await guard.acheck(data, claimed=file.filename)
        except GuardError as error:
            raise HTTPException(400, str(error)) from None
        if not verdict:
            raise HTTPException(400, {"decision": str(verdict.decision), "reasons": list(verdict.reasons)})
        return verdict

    # FastAPI reads annotations, and this module's are strings about names that only exist in here.
    safe_upload.__annotations__.update(file=UploadFile)
    return safe_upload
