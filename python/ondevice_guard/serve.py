"""A reverse proxy in front of a local model server: change one URL, and every request is guarded.

    client ──► proxy: strict JSON ─► check_messages ─► written anew ──► upstream (Ollama, LM Studio, llama.cpp, vLLM …)
           ◄── answers screened by sentence ◄─────────────────────────┘

What is not known is not passed: other paths, other content types, other hosts in the Host header. A block is HTTP 400
with the finding's name; trouble with the upstream is 502 or 504; `x-ondevice-guard` says which of them spoke. Neither
bodies nor credentials are ever logged. Needs the extra `server`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
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

from . import __version__, responses
from .errors import GuardError, UnsupportedInput
from .guard import Guard
from .inputs import data_uri
from .messages import MessagesVerdict
from .wire import GUARDED, SILENT, Judged, Refusal, Relay, Screen, dumps, judge, loads, written

log = logging.getLogger("ondevice_guard.serve")

#: Requests that read what models there are; they carry nothing to judge.
LISTING = ("/v1/models", "/api/tags", "/api/version", "/api/ps")
#: The only request headers that travel on; credentials go to the configured upstream and nowhere else.
_FORWARDED = {
    "accept", "authorization", "user-agent", "x-api-key", "api-key", "openai-organization", "openai-project",
    "openai-beta", "anthropic-version", "anthropic-beta", "x-request-id", "idempotency-key",
}  # fmt: skip
#: The only response headers that travel back.
_RETURNED = {"content-type", "x-request-id", "retry-after", "openai-processing-ms", "openai-version", "warning"}
#: An answer of so many bytes is screened where it arrives: waking a worker took .7 ms on two idle CPUs, screening two
#: sentences .1 ms.
_SHORT = 2048
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
    app = Starlette(routes=routes, lifespan=proxy.lifespan, exception_handlers={404: _unknown_path, 405: _unknown_path})
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
    return _error(Refusal(404, "unguarded_path", message))


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
            raise Refusal(
                421, "unknown_host", "the Host header names no host of this proxy (allow it with --allow-host)"
            )
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._options.origins and origin != f"{request.url.scheme}://{host}":
            raise Refusal(
                403, "foreign_origin", "web pages of this origin may not call (allow them with --allow-origin)"
            )

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "compressed_body", "compressed bodies are not accepted")
        length = request.headers.get("content-length")
        if length is not None and int(length) > self._options.max_body:
            raise Refusal(413, "body_too_large", f"body is larger than {self._options.max_body} bytes")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._options.max_body:
                raise Refusal(413, "body_too_large", f"body is larger than {self._options.max_body} bytes")
        return bytes(body)

    def _media(self, request: Request) -> None:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # curl says application/x-www-form-urlencoded where a user forgot to say anything; a web page says its origin.
        lax = "origin" not in request.headers and media in ("", "application/x-www-form-urlencoded")
        if media != "application/json" and not lax:
            raise Refusal(415, "not_json", "the content type must be application/json")

    # ------------------------------------------------------------------ guarded requests

    async def guarded(self, request: Request) -> Response:
        """Judge a request, pass it on, screen the answer."""
        path, dialect, start = request.url.path, GUARDED.get(request.url.path, "openai"), time.perf_counter()
        outcome, spent = "error", 0.0
        try:
            self._admit(request)
            self._media(request)
            body = await self._body(request)
            judged: Judged = await self._thread(self._judge, body)  # one hop to a worker: each costs a switch
            verdict = judged.verdict
            spent = verdict.timings_ms["guard"]
            self._metrics.judged(verdict)
            answer = await self._forward(request, path, judged.content)
            outcome = str(verdict.decision).lower()
            action = self._options.answers if self._options.answers != "off" else "flag"
            screen = Screen(self._guard, verdict, action=action, canary=judged.canary, tools=judged.tools)
            return await self._relay(answer, path, screen, verdict)
        except Refusal as refusal:
            outcome = refusal.code
            if refusal.verdict is not None:
                spent = refusal.verdict.timings_ms["guard"]
                self._metrics.judged(refusal.verdict)
            return _error(refusal, dialect)
        except ClientDisconnect:
            outcome = "disconnected"
            return Response(status_code=499)
        finally:
            total = (time.perf_counter() - start) * 1e3
            self._metrics.finished(path, outcome, total / 1e3)
            log.info(
                "%s", json.dumps({"path": path, "outcome": outcome, "ms": round(total, 1), "guard_ms": round(spent, 1)})
            )

    def _judge(self, body: bytes) -> Judged:
        """Everything that takes time before a request travels on."""
        return judge(self._guard, body, encoding=self._options.encoding, canary=self._options.canary)

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
            raise Refusal(504, "upstream_timeout", "the model server did not answer in time") from None
        except httpx.HTTPError as error:
            raise Refusal(
                502, "upstream_unreachable", f"the model server cannot be reached ({type(error).__name__})"
            ) from None

    async def _relay(self, answer: httpx.Response, path: str, screen: Screen, verdict: MessagesVerdict) -> Response:
        headers = _returned(answer)
        headers["x-ondevice-guard"] = str(verdict.decision).lower()
        headers["server-timing"] = ", ".join(f"{k};dur={verdict.timings_ms[k]:.2f}" for k in ("guard", "encode"))
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if 300 <= answer.status_code < 400:
            await answer.aclose()
            raise Refusal(502, "upstream_redirect", "the model server answered with a redirect, which is not followed")
        if answer.status_code < 400 and media in ("text/event-stream", "application/x-ndjson"):
            stream = self._stream(answer, screen, path, sse=media == "text/event-stream")
            return StreamingResponse(stream, answer.status_code, headers)
        body = await _read(answer)
        if answer.status_code >= 400 or path in SILENT or self._options.answers == "off":
            headers["x-ondevice-guard"] = "upstream" if answer.status_code >= 400 else headers["x-ondevice-guard"]
            return Response(body, answer.status_code, headers)
        try:
            table = json.loads(body)
        except ValueError:
            raise Refusal(502, "upstream_garbled", "the model server's answer is not JSON") from None
        screened = screen.whole(table) if len(body) <= _SHORT else await self._thread(screen.whole, table)
        self._metrics.answered(path, screen.outcome)
        return Response(dumps(screened), answer.status_code, headers)

    async def _stream(self, answer: httpx.Response, screen: Screen, path: str, *, sse: bool) -> AsyncIterator[bytes]:
        try:
            if self._options.answers == "off":
                async for chunk in answer.aiter_bytes():
                    yield chunk
                return
            relay = Relay(screen, sse)
            async for chunk in answer.aiter_bytes():
                if shown := await self._thread(relay.feed, chunk):
                    yield shown
                if relay.stopped:
                    return
            if shown := await self._thread(relay.close):
                yield shown
        except (httpx.HTTPError, UnsupportedInput) as error:  # the head is gone: say so in the stream's own language
            log.warning("the model server broke off: %s", type(error).__name__)
            message = {
                "error": {"message": "the model server broke off", "type": "upstream_error", "code": "upstream_broken"}
            }
            yield written(b"", message if sse else {"error": "the model server broke off"}, sse)
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
            body = loads(await self._body(request))
        except UnsupportedInput as error:
            return _error(Refusal(400, "invalid_json", str(error)), "ollama")
        except Refusal as refusal:
            return _error(refusal, "ollama")
        named = {k: v for k, v in body.items() if k in ("model", "name") and isinstance(v, str)}
        return await self._plain(request, dumps({**named, "verbose": body.get("verbose") is True}))

    async def _plain(self, request: Request, body: bytes | None) -> Response:
        try:
            self._admit(request)
            answer = await self._forward(request, request.url.path, body)
            headers = {**_returned(answer), "x-ondevice-guard": "upstream"}
            if 300 <= answer.status_code < 400:
                await answer.aclose()
                raise Refusal(
                    502, "upstream_redirect", "the model server answered with a redirect, which is not followed"
                )
            return Response(await _read(answer), answer.status_code, headers)
        except Refusal as refusal:
            return _error(refusal)

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
        except Refusal as refusal:
            return _error(refusal)
        return HTMLResponse(resources.files(__package__).joinpath("ui.html").read_text("utf-8"), headers=headers)

    async def ui_check(self, request: Request) -> Response:
        """Judge one picture (the raw body) and a prompt (`?text=`), for the page."""
        try:
            self._admit(request)
            if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                raise Refusal(403, "foreign_origin", "only the page itself may call this")
            body = await self._body(request)
            text = request.query_params.get("text") or None
            return JSONResponse(await self._thread(self._shown, body, text))
        except Refusal as refusal:
            return _error(refusal)

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


async def _read(answer: httpx.Response) -> bytes:
    try:
        return await answer.aread()
    except httpx.TimeoutException:
        raise Refusal(504, "upstream_timeout", "the model server did not finish in time") from None
    except httpx.HTTPError as error:
        raise Refusal(502, "upstream_broken", f"the model server broke off ({type(error).__name__})") from None
    finally:
        await answer.aclose()


def _returned(answer: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k in _RETURNED}


def _error(refusal: Refusal, dialect: str = "openai") -> Response:
    return JSONResponse(refusal.body(dialect), refusal.status, headers={"x-ondevice-guard": refusal.speaker})


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

    def judged(self, verdict: MessagesVerdict) -> None:
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
