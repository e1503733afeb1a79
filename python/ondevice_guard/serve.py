"""A reverse proxy in front of a local model server: change one URL, and every request is guarded.

    client ──► proxy: strict JSON ─► check_messages ─► written anew ──► upstream (Ollama, LM Studio, llama.cpp, vLLM …)
           ◄── answers screened by sentence ◄─────────────────────────┘

What is not known is not passed: other paths, other content types, other hosts in the Host header. A block is HTTP 400
with the finding's name; trouble with the upstream is 502 or 504; `x-ondevice-guard` says which of them spoke. Neither
bodies nor credentials are ever logged. Needs the extra `server`.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from . import __version__, responses, shield, wire
from .errors import GuardError, UnsupportedInput
from .guard import Guard
from .inputs import data_uri
from .messages import MessagesVerdict
from .types import Decision

log = logging.getLogger("ondevice_guard.serve")

#: Requests whose body is judged → dialect of their errors.
GUARDED: Mapping[str, str] = {
    "/v1/chat/completions": "openai",
    "/v1/completions": "openai",
    "/v1/responses": "openai",
    "/v1/embeddings": "openai",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
    "/api/embed": "ollama",
    "/api/embeddings": "ollama",
}
#: Requests that read what models there are; they carry nothing to judge.
LISTING = ("/v1/models", "/api/tags", "/api/version", "/api/ps")
#: Ollama streams unless told not to.
_STREAMS_BY_DEFAULT = ("/api/chat", "/api/generate")
_NO_ANSWER_TEXT = ("/v1/embeddings", "/api/embed", "/api/embeddings")

#: The only request headers that travel on; credentials go to the configured upstream and nowhere else.
_FORWARDED = {
    "accept", "authorization", "user-agent", "x-api-key", "api-key", "openai-organization", "openai-project",
    "openai-beta", "anthropic-version", "anthropic-beta", "x-request-id", "idempotency-key",
}  # fmt: skip
#: The only response headers that travel back.
_RETURNED = {"content-type", "x-request-id", "retry-after", "openai-processing-ms", "openai-version", "warning"}
_MAX_EVENT = 8 << 20
_LOOPBACK = {"127.0.0.1", "localhost", "::1", "[::1]"}


@dataclass(frozen=True)
class Options:
    """How the proxy works.

    Attributes:
        upstream: Base address of the model server, e.g. `http://127.0.0.1:11434`.
        hosts: Names accepted in the Host header besides loopback names (against DNS rebinding).
        origins: Web origins that may call, e.g. `"http://localhost:3000"`; requests of other web pages are refused.
        max_body: Largest request body in bytes.
        workers: Requests judged at the same time.
        timeout: Seconds without a byte from the upstream.
        answers: What happens to answers: `replace`, `cut` or `flag` (see `responses.check`), or `off`.
        canary: True to plant a secret token in the system message and look for it in the answer.
        encoding: `png` or `jpeg`, for pictures that go inline.
        ui: True to serve the page `/ui`.
    """

    upstream: str
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_body: int = 64 << 20
    workers: int = 2
    timeout: float = 300.0
    answers: str = "replace"
    canary: bool = False
    encoding: str = "png"
    ui: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.upstream)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise UnsupportedInput(f"upstream must be an address such as http://127.0.0.1:11434, got {self.upstream!r}")
        if self.answers not in ("off", *responses.ACTIONS):
            raise UnsupportedInput(f"answers must be off, {', '.join(responses.ACTIONS)}, got {self.answers!r}")
        if self.workers < 1 or self.max_body < 1 or not self.timeout > 0:
            raise UnsupportedInput("workers, max_body and timeout must be positive")


@dataclass(frozen=True)
class _Judged:
    """A request that was judged: what to send, and what its answer is screened with."""

    verdict: MessagesVerdict
    content: bytes
    canary: str | None
    tools: bool


class _Refusal(Exception):
    """Ends a request with an error of ours."""

    def __init__(self, status: int, code: str, message: str, verdict: MessagesVerdict | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.verdict = status, code, message, verdict


def create_app(guard: Guard, options: Options, transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    """Return the proxy as an ASGI application.

    Args:
        guard: Its policy is applied with `local_paths` off: a client cannot name files of the server.
        options: How the proxy works.
        transport: Stands in for the network, in tests.
    """
    proxy = _Proxy(guard.with_policy(local_paths=False), options, transport)
    routes = [
        Route("/healthz", proxy.healthz),
        Route("/metrics", proxy.show_metrics),
        *(Route(path, proxy.guarded, methods=["POST"]) for path in GUARDED),
        *(Route(path, proxy.listing, methods=["GET"]) for path in LISTING),
        Route("/v1/models/{model:path}", proxy.listing, methods=["GET"]),
        Route("/api/show", proxy.show, methods=["POST"]),
    ]
    if options.ui:
        routes += [Route("/ui", proxy.page), Route("/ui/check", proxy.ui_check, methods=["POST"])]
    app = Starlette(
        routes=routes, lifespan=proxy.lifespan, exception_handlers={404: _unknown_path, 405: _unknown_path}
    )
    app.router.redirect_slashes = False
    return app


def run(guard: Guard, options: Options, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve until interrupted. Loads the models first, so that the first request is as fast as the others."""
    import uvicorn

    guard.warm_up()
    app = create_app(guard, options)
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_level="warning",
        h11_max_incomplete_event_size=65536,
    )


async def _unknown_path(request: Request, error: Exception) -> Response:
    message = f"{request.method} on this path is not guarded, so it is not passed on"
    return _error("openai", 404, "unguarded_path", message)


class _Proxy:
    def __init__(self, guard: Guard, options: Options, transport: httpx.AsyncBaseTransport | None) -> None:
        self._guard, self._options, self._transport = guard, options, transport
        self._metrics = Metrics()
        self._client: httpx.AsyncClient | None = None
        self._limiter: anyio.CapacityLimiter | None = None

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Hold one connection pool and one set of workers as long as the server runs."""
        timeout = httpx.Timeout(self._options.timeout, connect=10.0, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self._limiter = anyio.CapacityLimiter(self._options.workers)
        async with httpx.AsyncClient(
            base_url=self._options.upstream.rstrip("/"),
            timeout=timeout,
            limits=limits,
            trust_env=False,
            # One pool serves all callers, so it must not carry a cookie from one to another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            transport=self._transport,
        ) as self._client:
            yield

    async def _thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await anyio.to_thread.run_sync(call, *args, limiter=self._limiter)

    # ------------------------------------------------------------------ doors

    def _admit(self, request: Request) -> None:
        """Refuse web pages of strangers and names that merely point at this machine."""
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in _LOOPBACK and name not in self._options.hosts and host not in self._options.hosts:
            raise _Refusal(
                421, "unknown_host", "the Host header names no host of this proxy (allow it with --allow-host)"
            )
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._options.origins and origin != f"{request.url.scheme}://{host}":
            raise _Refusal(
                403, "foreign_origin", "web pages of this origin may not call (allow them with --allow-origin)"
            )

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise _Refusal(415, "compressed_body", "compressed bodies are not accepted")
        length = request.headers.get("content-length")
        if length is not None and int(length) > self._options.max_body:
            raise _Refusal(413, "body_too_large", f"body is larger than {self._options.max_body} bytes")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._options.max_body:
                raise _Refusal(413, "body_too_large", f"body is larger than {self._options.max_body} bytes")
        return bytes(body)

    def _media(self, request: Request) -> None:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # curl says application/x-www-form-urlencoded where a user forgot to say anything; a web page says its origin.
        lax = "origin" not in request.headers and media in ("", "application/x-www-form-urlencoded")
        if media != "application/json" and not lax:
            raise _Refusal(415, "not_json", "the content type must be application/json")

    # ------------------------------------------------------------------ guarded requests

    async def guarded(self, request: Request) -> Response:
        """Judge a request, pass it on, screen the answer."""
        path, dialect, start = request.url.path, GUARDED.get(request.url.path, "openai"), time.perf_counter()
        outcome, spent = "error", 0.0
        try:
            self._admit(request)
            self._media(request)
            body = await self._body(request)
            judged: _Judged = await self._thread(self._judge, body)  # one hop to a worker: each costs a switch
            verdict = judged.verdict
            spent = verdict.timings_ms["guard"]
            self._metrics.judged(path, verdict)
            if not verdict:
                status, code = (500, "guard_error") if verdict.decision is Decision.ERROR else (400, "content_blocked")
                raise _Refusal(status, code, "; ".join(verdict.reasons) or "blocked", verdict)
            answer = await self._forward(request, path, judged.content)
            outcome = str(verdict.decision).lower()
            screen = _Screen(self._guard, self._options, verdict, judged.canary, judged.tools)
            return await self._relay(answer, path, screen, verdict)
        except _Refusal as refusal:
            outcome = refusal.code
            return _error(dialect, refusal.status, refusal.code, refusal.message, refusal.verdict)
        except ClientDisconnect:
            outcome = "disconnected"
            return Response(status_code=499)
        finally:
            total = (time.perf_counter() - start) * 1e3
            self._metrics.finished(path, outcome, total / 1e3)
            log.info(
                "%s", json.dumps({"path": path, "outcome": outcome, "ms": round(total, 1), "guard_ms": round(spent, 1)})
            )

    def _judge(self, body: bytes) -> _Judged:
        """Everything that takes time before a request travels on."""
        try:
            table = wire.loads(body)
        except UnsupportedInput as error:
            raise _Refusal(400, "invalid_json", str(error)) from None
        try:
            verdict = self._guard.check_messages(table, encoding=self._options.encoding)
        except GuardError as error:
            raise _Refusal(400, "invalid_request", str(error)) from None
        tools = bool(table.get("tools") or table.get("functions"))
        if not verdict:
            return _Judged(verdict, b"", None, tools)
        safe, canary = verdict.messages, None
        if self._options.canary:
            clause, canary = responses.plant("")
            safe = shield.insert(safe, clause.strip())
        return _Judged(verdict, wire.dumps(safe), canary, tools)

    async def _forward(self, request: Request, path: str, content: bytes | None) -> httpx.Response:
        assert self._client is not None
        headers = {k: v for k, v in request.headers.items() if k in _FORWARDED or k.startswith("x-stainless-")}
        headers["accept-encoding"] = "identity"
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            sent = self._client.build_request(request.method, path, headers=headers, content=content)
            return await self._client.send(sent, stream=True)
        except httpx.TimeoutException:
            raise _Refusal(504, "upstream_timeout", "the model server did not answer in time") from None
        except httpx.HTTPError as error:
            raise _Refusal(
                502, "upstream_unreachable", f"the model server cannot be reached ({type(error).__name__})"
            ) from None

    async def _relay(self, answer: httpx.Response, path: str, screen: _Screen, verdict: MessagesVerdict) -> Response:
        headers = _returned(answer)
        headers["x-ondevice-guard"] = str(verdict.decision).lower()
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if 300 <= answer.status_code < 400:
            await answer.aclose()
            raise _Refusal(502, "upstream_redirect", "the model server answered with a redirect, which is not followed")
        if answer.status_code < 400 and media in ("text/event-stream", "application/x-ndjson"):
            stream = self._stream(answer, screen, path, sse=media == "text/event-stream")
            return StreamingResponse(stream, answer.status_code, headers)
        body = await _read(answer)
        if answer.status_code >= 400 or path in _NO_ANSWER_TEXT or self._options.answers == "off":
            headers["x-ondevice-guard"] = "upstream" if answer.status_code >= 400 else headers["x-ondevice-guard"]
            return Response(body, answer.status_code, headers)
        try:
            table = json.loads(body)
        except ValueError:
            raise _Refusal(502, "upstream_garbled", "the model server's answer is not JSON") from None
        screened = await self._thread(screen.whole, table)
        self._metrics.answered(path, screen.outcome)
        return Response(wire.dumps(screened), answer.status_code, headers)

    async def _stream(self, answer: httpx.Response, screen: _Screen, path: str, *, sse: bool) -> AsyncIterator[bytes]:
        try:
            if self._options.answers == "off":
                async for chunk in answer.aiter_bytes():
                    yield chunk
                return
            async for event, data in _events(answer, sse):
                if data is None:
                    yield event
                    continue
                for out in await self._thread(screen.event, data):
                    yield _written(event, out, sse)
                if screen.stopped:
                    for out in screen.ending():
                        yield _written(b"", out, sse)
                    if sse and screen.dialect == "openai":
                        yield b"data: [DONE]\n\n"
                    return
            for out in await self._thread(screen.rest):
                yield _written(b"", out, sse)
        except httpx.HTTPError as error:  # the head is gone already: say so in the stream's own language
            log.warning("the model server broke off: %s", type(error).__name__)
            message = {
                "error": {"message": "the model server broke off", "type": "upstream_error", "code": "upstream_broken"}
            }
            yield _written(b"", message if sse else {"error": "the model server broke off"}, sse)
        finally:
            await answer.aclose()
            self._metrics.answered(path, screen.outcome)

    # ------------------------------------------------------------------ the rest

    async def listing(self, request: Request) -> Response:
        """Pass on a request that only reads what models there are."""
        return await self._plain(request, None)

    async def show(self, request: Request) -> Response:
        """Pass on Ollama's question about one model."""
        try:
            self._media(request)
            body = wire.loads(await self._body(request))
        except UnsupportedInput as error:
            return _error("ollama", 400, "invalid_json", str(error))
        except _Refusal as refusal:
            return _error("ollama", refusal.status, refusal.code, refusal.message)
        named = {k: v for k, v in body.items() if k in ("model", "name") and isinstance(v, str)}
        return await self._plain(request, wire.dumps({**named, "verbose": body.get("verbose") is True}))

    async def _plain(self, request: Request, body: bytes | None) -> Response:
        try:
            self._admit(request)
            answer = await self._forward(request, request.url.path, body)
            headers = {**_returned(answer), "x-ondevice-guard": "upstream"}
            if 300 <= answer.status_code < 400:
                await answer.aclose()
                raise _Refusal(
                    502, "upstream_redirect", "the model server answered with a redirect, which is not followed"
                )
            return Response(await _read(answer), answer.status_code, headers)
        except _Refusal as refusal:
            return _error("openai", refusal.status, refusal.code, refusal.message)

    async def healthz(self, request: Request) -> Response:
        """Say that the guard is loaded, and whether the upstream accepts connections."""
        assert self._client is not None
        try:
            answer = await self._client.get("/", timeout=2.0, headers={"accept-encoding": "identity"})
            upstream = "reachable" if answer.status_code < 500 else "failing"
        except httpx.HTTPError:
            upstream = "unreachable"
        return JSONResponse(
            {"status": "ok", "version": __version__, "policy": self._guard.policy.name, "upstream": upstream}
        )

    async def show_metrics(self, request: Request) -> Response:
        """Counters and latencies in Prometheus' text format."""
        return PlainTextResponse(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # ------------------------------------------------------------------ the page

    async def page(self, request: Request) -> Response:
        """The page that shows what the guard sees; one file, no address outside this server."""
        inline = "img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        closed = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        headers = {
            "content-security-policy": f"default-src 'none'; {inline}; {closed}",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        try:
            self._admit(request)
        except _Refusal as refusal:
            return _error("openai", refusal.status, refusal.code, refusal.message)
        return HTMLResponse(resources.files(__package__).joinpath("ui.html").read_text("utf-8"), headers=headers)

    async def ui_check(self, request: Request) -> Response:
        """Judge one picture (the raw body) and a prompt (`?text=`), for the page."""
        try:
            self._admit(request)
            if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                raise _Refusal(403, "foreign_origin", "only the page itself may call this")
            body = await self._body(request)
            text = request.query_params.get("text") or None
            return JSONResponse(await self._thread(self._shown, body, text))
        except _Refusal as refusal:
            return _error("openai", refusal.status, refusal.code, refusal.message)

    def _shown(self, body: bytes, text: str | None) -> dict[str, Any]:
        from .views import PROFILES

        verdict = self._guard.check_or_error(body, text)
        table = {
            **verdict.to_dict(),
            "counted": [f.to_dict() for f in verdict.counted],
            "views": {},
            "before": None,
            "after": None,
        }
        if verdict:
            table["after"] = verdict.to_data_uri("png")
        if verdict.format is not None:
            for name in ("original", *PROFILES):
                try:
                    pixels = self._guard.preview(body, name)
                except GuardError:
                    continue
                if name == "original":
                    table["before"] = data_uri(_png(pixels), "png")
                else:
                    table["views"][name] = {
                        "size": [pixels.shape[1], pixels.shape[0]],
                        "image": data_uri(_png(pixels), "png"),
                    }
        return table


def _png(pixels: Any) -> bytes:
    from .decode import encode

    return encode(pixels, "png")


# ---------------------------------------------------------------------- screening answers


class _Screen:
    """Screens the texts of one answer, whole or in pieces."""

    def __init__(
        self, guard: Guard, options: Options, verdict: MessagesVerdict, canary: str | None, tools: bool
    ) -> None:
        self._guard, self._action, self._tools = guard, options.answers, tools
        self._asked: dict[str, Any] = {
            "prompt": verdict.prompt,
            "system": verdict.system or None,
            "canary": canary,
            "tools": tools,
        }
        self._streams: dict[tuple[Any, ...], responses.Stream] = {}
        self._template: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._latest: dict[str, Any] = {}
        self.outcome = "allow"
        self.stopped = False

    @property
    def dialect(self) -> str:
        """What the latest event looked like."""
        if "choices" in self._latest:
            return "openai"
        return "ollama" if "done" in self._latest else "other"

    def whole(self, answer: Any) -> Any:
        """Screen a finished answer in place and return it."""
        if not isinstance(answer, dict):
            return answer
        for said in wire.spoken(answer):
            verdict = responses.check(self._guard, said.text, action=self._action, **self._asked)
            self._note(verdict.decision, verdict.counted)
            if verdict.decision is not Decision.ALLOW:
                said.put(verdict.text or responses.REFUSAL)
        self._calls(answer)
        return answer

    def _calls(self, answer: dict[str, Any]) -> None:
        """Tool calls in their own fields, where no tools were offered."""
        if self._tools or not wire.tool_calls(answer):
            return
        action = self._guard.policy.actions["unrequested_action"]
        strip = action in ("sanitize", "block") and self._action in ("replace", "cut")
        wire.tool_calls(answer, strip=strip)
        self.outcome = "sanitized" if strip else "flagged"

    def event(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Take the next event of a stream; return the events that may be shown now."""
        self._latest = event
        self._calls(event)
        late: list[dict[str, Any]] = []
        for said in wire.spoken(event):
            stream = self._stream(said.key)
            if said.whole and not stream.text and not stream.stopped and stream.idle:
                shown = stream.feed(said.text) + stream.close()
            elif said.whole:
                late += self._flush(said.key)
                shown = stream.text
            else:
                self._template[said.key] = copy.deepcopy(event)
                shown = stream.feed(said.text)
                if said.last and not stream.stopped:
                    shown += stream.close()
            if shown != said.text:
                said.put(shown)
            self._observe(stream)
        late += [piece for key in list(self._streams) if _ends(event, key) for piece in self._flush(key)]
        return [*late, event]

    def rest(self) -> list[dict[str, Any]]:
        """The stream ended: whatever still waits."""
        return [piece for key in list(self._streams) for piece in self._flush(key)]

    def ending(self) -> list[dict[str, Any]]:
        """The last events of a stream that was stopped."""
        last = self._latest
        if self.dialect == "openai":
            choice = {"index": 0, "delta": {}, "finish_reason": "content_filter"}
            return [{**{k: last[k] for k in ("id", "object", "created", "model") if k in last}, "choices": [choice]}]
        if self.dialect == "ollama":
            kept: dict[str, Any] = {k: last[k] for k in ("model", "created_at") if k in last}
            body = {"message": {"role": "assistant", "content": ""}} if "message" in last else {"response": ""}
            return [{**kept, **body, "done": True, "done_reason": "content_filter"}]
        return []

    def _stream(self, key: tuple[Any, ...]) -> responses.Stream:
        if key not in self._streams:
            self._streams[key] = responses.Stream(self._guard, action=self._action, **self._asked)
        return self._streams[key]

    def _flush(self, key: tuple[Any, ...]) -> list[dict[str, Any]]:
        """What still waits of one text, as an event of its own in the shape of the text's latest one."""
        stream = self._streams[key]
        rest = stream.close()
        self._observe(stream)
        if not rest or key not in self._template:
            return []
        late = copy.deepcopy(self._template[key])
        for choice in late.get("choices") or ():
            choice["finish_reason"] = None
        for said in wire.spoken(late):
            said.put(rest if said.key == key else "")
        return [late]

    def _observe(self, stream: responses.Stream) -> None:
        self.stopped = self.stopped or stream.stopped
        if stream.verdict is not None:
            self._note(stream.verdict.decision, stream.verdict.counted)

    def _note(self, decision: Decision, counted: Sequence[Any]) -> None:
        if decision is not Decision.ALLOW:
            self.outcome = str(decision).lower()
        elif counted and self.outcome == "allow":
            self.outcome = "flagged"


def _ends(event: Mapping[str, Any], key: tuple[Any, ...]) -> bool:
    """True when an event says that the text with this key is complete."""
    kind = str(event.get("type", ""))
    if event.get("done") is True or kind in (
        "message_stop",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ):
        return True
    if kind == "content_block_stop":
        return bool(key[0] == event.get("index"))
    if kind.startswith("response.") and kind.endswith(".done"):
        return bool(key[0] == event.get("output_index"))
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(c, dict) and c.get("finish_reason") is not None and c.get("index", 0) == key[0] for c in choices
    )


async def _events(answer: httpx.Response, sse: bool) -> AsyncIterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield (what stands beside the data, data) of each event; (bytes, None) for one that is no JSON object."""
    buffer = b""
    mark = b"\n\n" if sse else b"\n"
    async for chunk in answer.aiter_bytes():
        buffer += chunk.replace(b"\r\n", b"\n") if sse else chunk
        while mark in buffer:
            block, buffer = buffer.split(mark, 1)
            if block.strip():
                yield _parsed(block, sse)
        if len(buffer) > _MAX_EVENT:
            raise httpx.ReadError("an event is too long")
    if buffer.strip():
        yield _parsed(buffer, sse)


def _parsed(block: bytes, sse: bool) -> tuple[bytes, dict[str, Any] | None]:
    if not sse:
        beside, data = b"", block
    else:
        lines = block.split(b"\n")
        beside = b"".join(line + b"\n" for line in lines if not line.startswith(b"data:"))
        data = b"\n".join(line[5:].lstrip(b" ") for line in lines if line.startswith(b"data:"))
    try:
        table = json.loads(data)
    except ValueError:
        table = None
    if isinstance(table, dict):
        return beside, table
    return (block + (b"\n\n" if sse else b"\n")), None


def _written(beside: bytes, event: Mapping[str, Any], sse: bool) -> bytes:
    if not sse:
        return wire.dumps(event) + b"\n"
    if isinstance(event.get("type"), str) and (not beside or beside.startswith(b"event:")):
        beside = f"event: {event['type']}\n".encode()
    return beside + b"data: " + wire.dumps(event) + b"\n\n"


async def _read(answer: httpx.Response) -> bytes:
    try:
        return await answer.aread()
    except httpx.TimeoutException:
        raise _Refusal(504, "upstream_timeout", "the model server did not finish in time") from None
    except httpx.HTTPError as error:
        raise _Refusal(502, "upstream_broken", f"the model server broke off ({type(error).__name__})") from None
    finally:
        await answer.aclose()


def _returned(answer: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k in _RETURNED}


def _error(dialect: str, status: int, code: str, message: str, verdict: MessagesVerdict | None = None) -> Response:
    kind = (
        "guard_error" if status == 500 else "upstream_error" if code.startswith("upstream") else "invalid_request_error"
    )
    detail = verdict.to_dict() if verdict is not None else None
    finding = detail["findings"][0]["kind"] if detail and detail["findings"] else None
    body: dict[str, Any]
    if dialect == "ollama":
        body = {"error": f"ondevice_guard: {message}", "code": code, "finding": finding, "guard": detail}
    else:
        where = detail["findings"][0]["where"] if finding and detail else None
        body = {
            "error": {
                "message": f"ondevice_guard: {message}",
                "type": kind,
                "code": code,
                "param": where,
                "finding": finding,
                "guard": detail,
            }
        }
        if dialect == "anthropic":
            body["type"] = "error"
    spoke = "upstream" if code.startswith("upstream") else "blocked" if verdict is not None else "refused"
    return JSONResponse(body, status, headers={"x-ondevice-guard": spoke})


# ---------------------------------------------------------------------- metrics


class Metrics:
    """Counters and a histogram, written as Prometheus wants to read them."""

    _BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    _HELP: Mapping[str, tuple[str, str]] = {
        "requests_total": ("counter", "Requests by path and outcome."),
        "images_total": ("counter", "Pictures in requests: seen, scanned, refused."),
        "findings_total": ("counter", "Findings that counted, by kind."),
        "answers_total": ("counter", "Answers by path and outcome."),
        "cache_hits_total": ("counter", "Verdicts that were known already."),
        "request_seconds": ("histogram", "From a request's arrival to the head of its answer."),
        "guard_seconds": ("histogram", "Time that the guard's own verdicts took."),
    }

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._times: dict[str, list[float]] = {
            name: [0.0] * (len(self._BUCKETS) + 2) for name in ("request_seconds", "guard_seconds")
        }

    def judged(self, path: str, verdict: MessagesVerdict) -> None:
        """Count what was found in a request."""
        with self._lock:
            for name in ("seen", "scanned", "refused"):
                self._add("images_total", getattr(verdict, f"images_{name}"), result=name)
            self._add("cache_hits_total", verdict.cache_hits)
            for _, finding in verdict.counted:
                self._add("findings_total", 1, kind=finding.kind)
            self._time("guard_seconds", verdict.timings_ms["guard"] / 1e3)

    def finished(self, path: str, outcome: str, seconds: float) -> None:
        """Count a request."""
        with self._lock:
            self._add("requests_total", 1, path=path, outcome=outcome)
            self._time("request_seconds", seconds)

    def answered(self, path: str, outcome: str) -> None:
        """Count a screened answer."""
        with self._lock:
            self._add("answers_total", 1, path=path, outcome=outcome)

    def _add(self, name: str, amount: float, **labels: str) -> None:
        self._counts[name, tuple(labels.items())] += amount

    def _time(self, name: str, seconds: float) -> None:
        row = self._times[name]
        for i, edge in enumerate(self._BUCKETS):
            row[i] += seconds <= edge
        row[-2] += 1
        row[-1] += seconds

    def text(self) -> str:
        """Return all of it."""
        with self._lock:
            counts, times = dict(self._counts), {k: list(v) for k, v in self._times.items()}
        lines = []
        for name, (kind, what) in self._HELP.items():
            full = f"ondevice_guard_{name}"
            lines += [f"# HELP {full} {what}", f"# TYPE {full} {kind}"]
            if kind == "histogram":
                row = times[name]
                lines += [f'{full}_bucket{{le="{edge}"}} {row[i]:.0f}' for i, edge in enumerate(self._BUCKETS)]
                lines += [
                    f'{full}_bucket{{le="+Inf"}} {row[-2]:.0f}',
                    f"{full}_sum {row[-1]:.6f}",
                    f"{full}_count {row[-2]:.0f}",
                ]
            for (counted, labels), value in counts.items():
                if counted == name:
                    shown = ",".join(f'{k}="{v}"' for k, v in labels)
                    lines.append(f"{full}{{{shown}}} {value:.0f}" if shown else f"{full} {value:.0f}")
        return "\n".join(lines) + "\n"


__all__ = ["GUARDED", "LISTING", "Metrics", "Options", "create_app", "run"]
