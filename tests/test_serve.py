"""The proxy, for real: real clients, a real socket, a fake model server behind it."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from ondevice_guard import Finding, Guard, Policy, wire
from ondevice_guard.errors import UnsupportedInput
from ondevice_guard.responses import REFUSAL
from ondevice_guard.serve import Options, create_app
from test_messages import B64, PNG, SMUGGLED, URI, Bright, Listens, opened, pixels

PIECES = ["The cat ", "sleeps. ", "It is ", "grey. ", "The end"]


class Harm:
    name = "harm"
    kinds = ("harmful_response",)

    def __call__(self, text: str) -> Sequence[Finding]:
        return [Finding("harmful_response", float("POISON" in text), "it helps to do harm", self.name)]


# ---------------------------------------------------------------------- the server behind


class Upstream:
    """A model server that remembers what it was asked and says what it is told to."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.pieces = list(PIECES)
        self.tool_calls: list[Any] = []
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/responses", self.responses, methods=["POST"]),
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/api/chat", self.ollama, methods=["POST"]),
            Route("/api/generate", self.ollama, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
            Route("/api/pull", self.embed, methods=["POST"]),
            Route("/v1/models", lambda r: JSONResponse({"object": "list", "data": []}), methods=["GET"]),
            Route("/api/tags", lambda r: RedirectResponse("http://127.0.0.1:1/"), methods=["GET"]),
            Route("/", lambda r: Response("ok")),
        ]
        self.app = Starlette(routes=routes)

    async def _take(self, request: Request) -> dict[str, Any]:
        body = json.loads(await request.body())
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        return body

    async def chat(self, request: Request) -> Response:
        body = await self._take(request)
        if body.get("model") == "slow":
            await asyncio.sleep(3)
        if body.get("model") == "absent":
            return JSONResponse({"error": {"message": "no such model", "type": "not_found"}}, 404)
        if body.get("model") == "garbled":
            return Response(b"<html>", media_type="text/html")
        head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
        if not body.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(self.pieces)}
            if self.tool_calls:
                message["tool_calls"] = self.tool_calls
            return JSONResponse(
                {**head, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]},
                headers={"set-cookie": "a=b", "x-secret": "s", "connection": "close"},
            )

        async def events() -> AsyncIterator[bytes]:
            head["object"] = "chat.completion.chunk"
            yield sse({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
            for piece in self.pieces:
                yield sse({**head, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            yield b": a comment\n\n"
            yield sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def completions(self, request: Request) -> Response:
        await self._take(request)
        return JSONResponse(
            {"id": "t", "object": "text_completion", "choices": [{"index": 0, "text": "".join(self.pieces)}]}
        )

    async def responses(self, request: Request) -> Response:
        body = await self._take(request)
        text = "".join(self.pieces)
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]}
        whole = {
            "id": "r1",
            "object": "response",
            "created_at": 1,
            "model": "m",
            "status": "completed",
            "output": [item],
        }
        if not body.get("stream"):
            return JSONResponse(whole)
        at = {"item_id": "m1", "output_index": 0, "content_index": 0}

        async def events() -> AsyncIterator[bytes]:
            yield sse({"type": "response.created", "response": {**whole, "output": []}})
            for piece in self.pieces:
                yield sse({"type": "response.output_text.delta", **at, "delta": piece})
            yield sse({"type": "response.output_text.done", **at, "text": text})
            yield sse({"type": "response.output_item.done", "output_index": 0, "item": item})
            yield sse({"type": "response.completed", "response": whole})

        return StreamingResponse(events(), media_type="text/event-stream")

    async def messages(self, request: Request) -> Response:
        body = await self._take(request)
        if not body.get("stream"):
            return JSONResponse(
                {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "".join(self.pieces)}]}
            )

        async def events() -> AsyncIterator[bytes]:
            yield sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            for piece in self.pieces:
                yield sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
            yield sse({"type": "content_block_stop", "index": 0})
            yield sse({"type": "message_stop"})

        return StreamingResponse(events(), media_type="text/event-stream")

    async def ollama(self, request: Request) -> Response:
        body = await self._take(request)
        chat = request.url.path == "/api/chat"

        def line(piece: str, done: bool) -> dict[str, Any]:
            said: dict[str, Any] = {"message": {"role": "assistant", "content": piece}} if chat else {"response": piece}
            return {"model": "m", "created_at": "2025-01-01T00:00:00Z", **said, "done": done}

        if body.get("stream") is False:
            return JSONResponse(line("".join(self.pieces), True))

        async def events() -> AsyncIterator[bytes]:
            for piece in self.pieces:
                yield json.dumps(line(piece, False)).encode() + b"\n"
            yield json.dumps(line("", True)).encode() + b"\n"

        return StreamingResponse(events(), media_type="application/x-ndjson")

    async def embed(self, request: Request) -> Response:
        await self._take(request)
        return JSONResponse({"embeddings": [[0.0, 1.0]]})


def sse(event: dict[str, Any]) -> bytes:
    named = f"event: {event['type']}\n".encode() if "type" in event else b""
    return named + b"data: " + json.dumps(event).encode() + b"\n\n"


class Running:
    """An ASGI application on a real port of this machine."""

    def __init__(self, app: Any) -> None:
        # asyncio switches Nagle's algorithm off only where the protocol is stated
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", access_log=False, ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> Running:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


GUARD = Guard(
    Policy().replace(name="plain", detectors=[]),
    detectors=[Bright()],
    text_detectors=[Listens()],
    response_detectors=[Harm()],
)


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[Upstream, str]]:
    upstream = Upstream()
    with Running(upstream.app) as running:
        yield upstream, running.url


@pytest.fixture(scope="module")
def front(behind: tuple[Upstream, str]) -> Iterator[str]:
    with Running(create_app(GUARD, Options(behind[1], ui=True, max_body=2 << 20, timeout=1.5))) as running:
        yield running.url


@pytest.fixture
def upstream(behind: tuple[Upstream, str]) -> Upstream:
    model = behind[0]
    model.seen.clear()
    model.headers.clear()
    model.pieces = list(PIECES)
    model.tool_calls = []
    return model


@pytest.fixture(scope="module")
def client(front: str) -> Iterator[Any]:
    with httpx.Client(base_url=front, timeout=20) as client:
        yield client


def ask(*content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(content) or "What is this?"}], **more}


PICTURE = {"type": "image_url", "image_url": {"url": URI}}

# ---------------------------------------------------------------------- real clients

CLIENTS = pytest.mark.filterwarnings("ignore")


@CLIENTS
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_client(front: str, upstream: Upstream, stream: bool) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{front}/v1", api_key="sk-secret", max_retries=0) as client:
        answer = client.chat.completions.create(**ask({"type": "text", "text": "hi"}, PICTURE), stream=stream)
        if stream:
            chunks = list(answer)
            said = "".join(c.choices[0].delta.content or "" for c in chunks)
            assert chunks[-1].choices[0].finish_reason == "stop"
        else:
            said = answer.choices[0].message.content
        assert said == "".join(PIECES)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**ask("ORDERS"), stream=stream)
    assert caught.value.code == "content_blocked"
    assert caught.value.body["finding"] == "injection"
    np.testing.assert_array_equal(opened(upstream.seen[0]["messages"][0]["content"][1]["image_url"]["url"]), pixels())
    assert upstream.headers[0]["authorization"] == "Bearer sk-secret"
    assert len(upstream.seen) == 1


@CLIENTS
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_client_responses(front: str, upstream: Upstream, stream: bool) -> None:
    openai = pytest.importorskip("openai")
    content = [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": URI, "detail": "auto"}]
    with openai.OpenAI(base_url=f"{front}/v1", api_key="k", max_retries=0) as client:
        answer = client.responses.create(model="m", input=[{"role": "user", "content": content}], stream=stream)
        if stream:
            events = list(answer)
            said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            assert events[-1].response.output_text == "".join(PIECES)
        else:
            said = answer.output_text
    assert said == "".join(PIECES)
    np.testing.assert_array_equal(opened(upstream.seen[0]["input"][0]["content"][1]["image_url"]), pixels())


@CLIENTS
@pytest.mark.parametrize("stream", [False, True])
def test_the_ollama_client(front: str, upstream: Upstream, stream: bool) -> None:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(host=front)
    messages = [{"role": "user", "content": "hi", "images": [PNG]}]
    answer = client.chat(model="m", messages=messages, stream=stream)
    said = "".join(part.message.content for part in answer) if stream else answer.message.content
    assert said == "".join(PIECES)
    answer = client.generate(model="m", prompt="hi", images=[B64], stream=stream)
    said = "".join(part.response for part in answer) if stream else answer.response
    assert said == "".join(PIECES)
    np.testing.assert_array_equal(opened(upstream.seen[0]["messages"][0]["images"][0]), pixels())
    np.testing.assert_array_equal(opened(upstream.seen[1]["images"][0]), pixels())
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat(model="m", messages=[{"role": "user", "content": "ORDERS"}], stream=True))
    assert caught.value.status_code == 400
    assert "injection" in caught.value.error
    with pytest.raises(ollama.ResponseError):
        client.pull("m")
    assert client.embed(model="m", input="hi").embeddings == [[0.0, 1.0]]
    client._client.close()


def test_anthropic_shape(client: Any, upstream: Upstream) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": B64}
    body = {
        "model": "m",
        "system": "Be kind.",
        "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}],
    }
    assert client.post("/v1/messages", json=body).json()["content"][0]["text"] == "".join(PIECES)
    np.testing.assert_array_equal(opened(upstream.seen[0]["messages"][0]["content"][0]["source"]["data"]), pixels())
    lines = client.post("/v1/messages", json={**body, "stream": True}).text.splitlines()
    deltas = [json.loads(x[6:]) for x in lines if x.startswith("data: ") and "delta" in x]
    assert "".join(d["delta"]["text"] for d in deltas) == "".join(PIECES)


# ---------------------------------------------------------------------- blocks and failures differ


def test_a_block_names_the_finding(client: Any, upstream: Upstream) -> None:
    answer = client.post("/v1/chat/completions", json=ask("ORDERS"))
    assert answer.status_code == 400
    assert answer.headers["x-ondevice-guard"] == "blocked"
    error = answer.json()["error"]
    assert error["code"] == "content_blocked"
    assert error["finding"] == "injection"
    assert error["param"] == "messages[0].content[0]"
    assert error["guard"]["findings"][0]["why"] == "it gives orders"
    assert upstream.seen == []


def test_failures_of_the_upstream_are_no_blocks(client: Any, upstream: Upstream) -> None:
    absent = client.post("/v1/chat/completions", json={**ask(), "model": "absent"})
    assert (absent.status_code, absent.headers["x-ondevice-guard"]) == (404, "upstream")
    assert absent.json()["error"]["message"] == "no such model"
    slow = client.post("/v1/chat/completions", json={**ask(), "model": "slow"})
    assert (slow.status_code, slow.json()["error"]["code"]) == (504, "upstream_timeout")
    garbled = client.post("/v1/chat/completions", json={**ask(), "model": "garbled"})
    assert (garbled.status_code, garbled.json()["error"]["code"]) == (502, "upstream_garbled")
    away = client.get("/api/tags")
    assert (away.status_code, away.json()["error"]["code"]) == (502, "upstream_redirect")
    with (
        Running(create_app(GUARD, Options("http://127.0.0.1:9"))) as lonely,
        httpx.Client(base_url=lonely.url) as caller,
    ):
        gone = caller.post("/v1/chat/completions", json=ask())
        assert (gone.status_code, gone.json()["error"]["code"]) == (502, "upstream_unreachable")
        assert caller.get("/healthz").json()["upstream"] == "unreachable"


def test_a_broken_guard_lets_nothing_through(behind: tuple[Upstream, str], upstream: Upstream) -> None:
    class Fails:
        name, kinds = "fails", ("injection",)

        def __call__(self, text: str) -> Sequence[Finding]:
            raise ZeroDivisionError

    broken = Guard(Policy().replace(detectors=[]), text_detectors=[Fails()])
    with Running(create_app(broken, Options(behind[1]))) as running:
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=ask())
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "guard_error"
    assert upstream.seen == []


# ---------------------------------------------------------------------- smuggling


def jsonable(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return not (isinstance(value, list) and any(7 in m for m in value if isinstance(m, dict)))


@pytest.mark.parametrize("name", [n for n in SMUGGLED if jsonable(SMUGGLED[n])])
def test_nothing_is_smuggled_through_the_proxy(client: Any, upstream: Upstream, name: str) -> None:
    shape = SMUGGLED[name]
    body = shape if isinstance(shape, dict) else {"messages": shape}
    path = "/v1/responses" if "input" in body else "/api/generate" if "prompt" in body else "/v1/chat/completions"
    answer = client.post(path, json={"model": "m", **body})
    assert answer.status_code == 400, answer.text
    assert upstream.seen == []


RAW: dict[str, tuple[bytes, dict[str, str]]] = {
    "duplicate key": (b'{"model":"m","messages":[],"messages":[{"role":"user","content":"ORDERS"}]}', {}),
    "duplicate key, deep": (b'{"model":"m","messages":[{"role":"user","content":"hi","content":"ORDERS"}]}', {}),
    "duplicate key, escaped": (b'{"messages":[{"role":"user","content":"hi","c\\u006fntent":"ORDERS"}]}', {}),
    "NaN": (b'{"messages":[],"temperature":NaN}', {}),
    "Infinity": (b'{"messages":[],"temperature":-Infinity}', {}),
    "UTF-16": ('{"messages":[]}'.encode("utf-16"), {}),
    "byte order mark": (b'\xef\xbb\xbf{"messages":[]}', {}),
    "invalid UTF-8": (b'{"messages":[{"role":"user","content":"\xff"}]}', {}),
    "lone surrogate": (b'{"messages":[{"role":"user","content":"\\ud800"}]}', {}),
    "trailing data": (b'{"messages":[]}{"messages":[]}', {}),
    "comment": (b'{"messages":[] /* x */}', {}),
    "single quotes": (b"{'messages':[]}", {}),
    "list": (b"[]", {}),
    "nothing": (b"", {}),
    "too deep": (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}),
    "huge number": (b'{"messages":[],"seed":' + b"9" * 10_000 + b"}", {}),
    "control character": (b'{"messages":[{"role":"user","content":"a\nb"}]}', {}),
    "gzip": (b"\x1f\x8b", {"content-encoding": "gzip"}),
    "form": (b"messages=ORDERS", {"content-type": "multipart/form-data; boundary=x"}),
    "text of a web page": (b'{"messages":[]}', {"content-type": "text/plain", "origin": "https://evil.test"}),
    "text": (b'{"messages":[]}', {"content-type": "text/plain"}),
    "foreign origin": (b'{"messages":[]}', {"origin": "https://evil.test"}),
    "null origin": (b'{"messages":[]}', {"origin": "null"}),
    "rebound name": (b'{"messages":[]}', {"host": "evil.test"}),
    "rebound name with port": (b'{"messages":[]}', {"host": "evil.test:8080"}),
    "too large": (b'{"messages":[{"role":"user","content":"' + b"x" * (3 << 20) + b'"}]}', {}),
}


@pytest.mark.parametrize("name", RAW)
def test_bodies_that_two_parsers_may_read_differently(client: Any, upstream: Upstream, name: str) -> None:
    body, headers = RAW[name]
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code in (400, 403, 413, 415, 421), answer.text
    assert answer.headers["x-ondevice-guard"] == "refused"
    assert answer.json()["error"]["code"] != "content_blocked"
    assert upstream.seen == []


def test_a_body_without_a_length_is_capped_too(client: Any, upstream: Upstream) -> None:
    answer = client.post(
        "/v1/chat/completions",
        content=(b"x" * 65536 for _ in range(64)),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/chat/../completions2"),
        ("POST", "/completion"),
        ("POST", "/v1/files"),
        ("GET", "/v1/chat/completions"),
        ("PUT", "/api/chat"),
        ("OPTIONS", "/api/chat"),
        ("POST", "/v1/models"),
    ],
)
def test_paths_that_are_not_guarded_are_not_passed_on(client: Any, upstream: Upstream, method: str, path: str) -> None:
    answer = client.request(method, path, json={}, follow_redirects=False)
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["code"] == "unguarded_path"
    assert upstream.seen == []


def test_guard_and_upstream_read_the_same_request(client: Any, upstream: Upstream) -> None:
    raw = b' {"model" : "m", "messages":[ {"role":"user","content":"caf\\u00e9 \\ud83d\\ude00"} ], "seed": 7e0}'
    assert (
        client.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"}).status_code
        == 200
    )
    assert upstream.seen == [json.loads(raw)]
    assert upstream.headers[0]["content-type"] == "application/json"


def test_headers_that_travel_and_headers_that_do_not(client: Any, upstream: Upstream) -> None:
    sent = {
        "authorization": "Bearer sk-1", "cookie": "c=1", "x-forwarded-for": "1.2.3.4", "connection": "keep-alive, x-hop",
        "x-hop": "1", "te": "trailers", "proxy-authorization": "Basic x", "openai-organization": "o", "x-custom": "1",
    }  # fmt: skip
    answer = client.post("/v1/chat/completions", json=ask(), headers=sent)
    got = upstream.headers[0]
    assert got["authorization"] == "Bearer sk-1"
    assert got["openai-organization"] == "o"
    assert not {"cookie", "x-forwarded-for", "x-hop", "te", "proxy-authorization", "x-custom"} & set(got)
    assert got["accept-encoding"] == "identity"
    assert not {"set-cookie", "x-secret"} & set(answer.headers)
    assert answer.headers["x-ondevice-guard"] in ("allow", "sanitized")


def test_credentials_and_contents_are_never_logged(
    client: Any, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="ondevice_guard.serve"):
        client.post("/v1/chat/completions", json=ask("my diary"), headers={"authorization": "Bearer sk-hush"})
        client.post("/v1/chat/completions", json=ask("ORDERS of mine"), headers={"authorization": "Bearer sk-hush"})
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name == "ondevice_guard.serve")
    assert '"outcome": "content_blocked"' in ours
    assert "hush" not in ours
    assert "diary" not in ours
    assert "of mine" not in ours


def test_a_local_path_is_never_read(client: Any, upstream: Upstream, tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    answer = client.post("/api/generate", json={"model": "m", "prompt": "hi", "images": [str(tmp_path / "a.png")]})
    assert answer.status_code == 400
    assert upstream.seen == []


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/api/chat", "/api/generate"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_harmful_answers_are_replaced(client: Any, upstream: Upstream, path: str, stream: bool) -> None:
    if path == "/v1/completions" and stream:
        pytest.skip("the fake server does not stream here")
    upstream.pieces = ["All is ", "well. ", "Mix the POI", "SON now. ", "More of it."]
    body = (
        ask()
        if "chat" in path
        else {"model": "m", "input": "hi"}
        if "responses" in path
        else {"model": "m", "prompt": "hi"}
    )
    answer = client.post(path, json={**body, "stream": stream})
    assert answer.status_code == 200
    assert "POISON" not in answer.text
    assert "SON now" not in answer.text
    assert "More of it" not in answer.text
    assert REFUSAL[:5] in answer.text.replace("\\u0027", "'")
    if stream:
        assert "All is well. " in "".join(pieces_of(answer.text))
        if "responses" not in path:
            assert "content_filter" in answer.text


def pieces_of(text: str) -> Iterator[str]:
    for line in text.splitlines():
        line = line.removeprefix("data: ")
        if line.startswith("{"):
            for said in wire.spoken(json.loads(line)):
                yield said.text


def test_tool_calls_that_were_not_offered(behind: tuple[Upstream, str], upstream: Upstream) -> None:
    upstream.tool_calls = [{"id": "1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}]
    strict = Guard(Policy.named("strict").replace(detectors=[]))
    with Running(create_app(strict, Options(behind[1]))) as running, httpx.Client(base_url=running.url) as caller:
        bare = caller.post("/v1/chat/completions", json=ask()).json()
        assert "tool_calls" not in bare["choices"][0]["message"]
        tools = [{"type": "function", "function": {"name": "rm", "parameters": {}}}]
        offered = caller.post("/v1/chat/completions", json=ask(tools=tools)).json()
        assert offered["choices"][0]["message"]["tool_calls"]


def test_a_canary_is_planted_and_noticed(behind: tuple[Upstream, str], upstream: Upstream) -> None:
    with (
        Running(create_app(GUARD, Options(behind[1], canary=True))) as running,
        httpx.Client(base_url=running.url) as caller,
    ):
        assert caller.post("/v1/chat/completions", json=ask()).json()["choices"][0]["message"]["content"] == "".join(
            PIECES
        )
        system = upstream.seen[0]["messages"][0]
        assert system["role"] == "system"
        assert "Internal reference" in json.dumps(system)

        class Parrot(Upstream):
            async def chat(self, request: Request) -> Response:
                body = await self._take(request)
                self.pieces = [json.dumps(body["messages"][0]["content"])]
                return JSONResponse(
                    {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.pieces[0]}}]}
                )

    with Running(Parrot().app) as parrot, Running(create_app(GUARD, Options(parrot.url, canary=True))) as running:
        said = httpx.post(f"{running.url}/v1/chat/completions", json=ask()).json()["choices"][0]["message"]["content"]
    assert said == REFUSAL


def test_answers_can_be_left_alone(behind: tuple[Upstream, str], upstream: Upstream) -> None:
    upstream.pieces = ["POISON"]
    with Running(create_app(GUARD, Options(behind[1], answers="off"))) as running:
        for stream in (False, True):
            assert "POISON" in httpx.post(f"{running.url}/v1/chat/completions", json=ask(stream=stream)).text


# ---------------------------------------------------------------------- around it


def test_health_and_metrics(client: Any, upstream: Upstream) -> None:
    health = client.get("/healthz").json()
    assert (health["status"], health["upstream"]) == ("ok", "reachable")
    client.post("/v1/chat/completions", json=ask(PICTURE))
    client.post("/v1/chat/completions", json=ask("ORDERS"))
    text = client.get("/metrics").text
    assert 'ondevice_guard_requests_total{path="/v1/chat/completions",outcome="content_blocked"}' in text
    assert 'ondevice_guard_findings_total{kind="injection"}' in text
    assert "ondevice_guard_request_seconds_count" in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0


def test_two_hundred_at_once_lose_none(front: str, upstream: Upstream) -> None:
    async def storm() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=front, timeout=60, limits=limits) as caller:
            calls = [
                caller.post("/v1/chat/completions", json=ask({"type": "text", "text": f"n {i}"}, PICTURE))
                for i in range(200)
            ]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert asyncio.run(storm()) == [200] * 200
    assert {m["messages"][0]["content"][0]["text"] for m in upstream.seen} == {f"n {i}" for i in range(200)}


def test_the_page_and_its_check(client: Any) -> None:
    page = client.get("/ui")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http://www.w3.org/2000/svg", "")
    table = client.post("/ui/check?text=hi", content=PNG).json()
    assert table["safe"] is True
    assert table["after"].startswith("data:image/png")
    assert "clip-336" in table["views"]
    assert client.post("/ui/check", content=b"garbage").json()["decision"] == "BLOCK"
    assert client.post("/ui/check", content=PNG, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/ui/check", content=PNG, headers={"origin": "https://evil.test"}).status_code == 403
    assert client.get("/ui", headers={"host": "evil.test"}).status_code == 421


@pytest.mark.parametrize("wrong", ["localhost:1", "ftp://x", "http://", "http://a:b@c", "http://x/?q=1"])
def test_options_are_checked(wrong: str) -> None:
    with pytest.raises(UnsupportedInput):
        Options(wrong)
    with pytest.raises(UnsupportedInput):
        Options("http://x", answers="drop")
    with pytest.raises(UnsupportedInput):
        Options("http://x", workers=0)


def test_wire_writes_what_it_reads() -> None:
    for table in ({"a": [1, 2.5, None, True, "é"]}, {}, {"x": {"y": "\u2028"}}):
        assert wire.loads(wire.dumps(table)) == table
        assert wire.dumps(table).isascii()
    assert base64.b64decode(B64) == PNG


def test_the_command_line_starts_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from ondevice_guard import cli, serve

    started: list[Any] = []
    monkeypatch.setattr(serve, "run", lambda *arguments: started.append(arguments))
    assert (
        cli.main(["serve", "--upstream", "http://127.0.0.1:1", "--port", "8099", "--answers", "cut", "--ui", "--quiet"])
        == 0
    )
    guard, options, host, port = started[0]
    assert isinstance(guard, Guard)
    assert (options.answers, options.ui, options.max_body, host, port) == ("cut", True, 64 << 20, "127.0.0.1", 8099)
    assert cli.main(["serve", "--upstream", "nonsense"]) == 2
    assert "upstream" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_in_a_real_browser(front: str, tmp_path: Any) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium")
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(b"garbage")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.goto(f"{front}/ui")
        page.set_input_files("#file", str(tmp_path / "a.png"))
        page.wait_for_selector("#result:not([hidden])")
        assert page.inner_text("#verdict") in ("ALLOW", "SANITIZED")
        assert page.locator("#views img").count() >= 10
        assert page.locator("#timings tr").count() >= 3
        page.locator("#slider").fill("30")
        assert "30%" in page.eval_on_selector("#after", "e => e.style.clipPath")
        page.set_input_files("#file", str(tmp_path / "b.png"))
        page.wait_for_selector("#verdict.BLOCK")
        assert not page.is_visible("#compare")
        browser.close()
    assert wrong == []
