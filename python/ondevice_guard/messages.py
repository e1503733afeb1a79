"""Chat messages of every common shape in, the same shape out, with every picture judged and replaced.

    messages ──► walk ──► pictures, texts ──► guard ──► the same messages, safe pictures inline
                 (a copy with slots)          (verdicts, cached by content)

One walker knows six dialects and their whole request bodies: OpenAI chat (`image_url`), OpenAI Responses
(`input_image`), Ollama (`images`), Hugging Face chat (`image`, `url`, `path`, `base64`), LangChain content blocks and
LlamaIndex blocks; Anthropic's `source` comes along. It works on a deny-by-default rule: a part whose type is not known,
a picture with two sources, bytes where text belongs or an encoded picture under an unknown key is refused with its
place, never passed on unseen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import sys
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import fetch, shield
from .errors import GuardError, UnsupportedInput
from .types import Decision, Finding
from .verdict import Decided, Verdict

if TYPE_CHECKING:
    from .guard import Guard
    from .policy import Policy

_DETECTOR = "messages"
_REMOVED = "[removed by ondevice_guard]"
_MAX_DEPTH = 32
_MAX_NODES = 200_000

# ---------------------------------------------------------------------- what the dialects call things

_TEXT_TYPES = {
    "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking", "reasoning", "reasoning_text",
    "summary_text", "text-plain",
}  # fmt: skip
_IMAGE_TYPES = {"image_url", "input_image", "image", "computer_screenshot", "image_pil"}
#: Parts that carry a tool's call or result; a result may hold pictures again.
_TOOL_TYPES = {
    "tool_use", "tool_result", "tool_call", "tool_call_chunk", "invalid_tool_call", "server_tool_call",
    "server_tool_call_chunk", "server_tool_result", "server_tool_use", "function_call", "function_call_output",
    "custom_tool_call", "custom_tool_call_output", "computer_call", "computer_call_output", "item_reference",
    "web_search_call", "file_search_call", "code_interpreter_call", "cache", "citation", "citable", "message",
}  # fmt: skip
#: Keys under which a picture may come. More than one in a part is two stories about one picture.
_SOURCES = (
    "image_url",
    "image",
    "url",
    "path",
    "base64",
    "data",
    "source",
    "image_pil",
    "file_id",
    "b64_json",
    "image_file",
)
#: Keys that name a picture, wherever they stand.
_IMAGE_KEYS = {
    "image", "images", "image_url", "image_urls", "image_data", "image_file", "image_pil", "image_embeds",
    "input_image", "img", "imgs", "picture", "pictures", "photo", "photos", "pixel_values", "multimodal_data",
    "multi_modal_data", "mm_data", "b64_json", "screenshot", "thumbnail", "video", "videos", "video_url", "frames",
    "image_base64", "image_bytes", "experimental_attachments",
}  # fmt: skip
#: Settings of a request and of a message: nothing a model reads as prose, so their text is not judged; an encoded
#: picture in them is refused all the same.
_REQUEST_SETTINGS = {
    "tools", "functions", "tool_choice", "function_call", "response_format", "format", "options", "stop", "metadata",
    "logit_bias", "stream_options", "json_schema", "grammar", "reasoning", "include", "truncation", "keep_alive",
    "extra_body", "chat_template_kwargs", "mm_processor_kwargs", "audio", "modalities", "tool_resources",
}  # fmt: skip
_MESSAGE_SETTINGS = {
    "tool_calls", "invalid_tool_calls", "function_call", "cache_control", "annotations", "usage_metadata",
    "response_metadata", "additional_kwargs", "logprobs", "detail",
}  # fmt: skip
#: Identifiers: nothing that reads like a sentence.
_NAME = re.compile(r"[\w.:/@+\-]{0,64}\Z")
#: Keys that mean something to a server. Some parsers (Go's, so Ollama's) take `Images` and even `imageſ` for `images`.
_MEANINGFUL = {
    "messages", "input", "prompt", "system", "instructions", "suffix", "template", "context", "role", "content",
    "blocks", "text", "type", "block_type", "name", "documents", "thinking", *_SOURCES, *_IMAGE_KEYS, *_REQUEST_SETTINGS,
    *_MESSAGE_SETTINGS,
}  # fmt: skip
_ROLE = re.compile(r"[A-Za-z][A-Za-z_\-]{0,31}\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]+:")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*\Z")
#: A data URI in running text. Fewer than 64 characters of base64 (48 bytes) hold no picture that says anything.
_EMBEDDED = re.compile(r"data:\s*image/[^,\s\"')>]{0,80},[A-Za-z0-9+/=_%\-]{64,}", re.IGNORECASE)
_MAGIC = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00",
    b"<svg",
    b"<?xml",
    b"8BPS",
    b"\xff\x0a",
    b"qoif",
)


_SYSTEM_ROLES = ("system", "developer")


@dataclass
class _Slot:
    """A place in the copied messages that is filled once its picture or text is judged."""

    where: str
    role: str
    source: Any
    render: Callable[[Verdict], Any] | None = None
    claimed: str | None = None
    value: Any = None


class _Refused(Exception):
    """A part that cannot be judged, so must not be passed on."""


@dataclass(frozen=True)
class MessagesVerdict(Decided):
    """What the guard decided about a whole request. `bool(verdict)` means "safe to send".

    Attributes:
        decision: The worst of all parts: `ALLOW`, `SANITIZED` (a picture was changed, a text removed, a clause
            added), `BLOCK` or `ERROR`.
        messages: The same shape with safe pictures inline; None when blocked. The argument itself is never changed.
        images: (place, verdict) of every picture that was judged.
        texts: (place, verdict) of every text that was judged.
        request: Verdict about what only shows in the whole (delegation, split payload); None where nothing applied.
        images_seen: Parts that are or claim to be pictures.
        images_scanned: Pictures that were decoded and judged (or found in the cache).
        images_refused: Pictures that could not be judged or must not be shown.
        cache_hits: Verdicts that were known already.
        reasons: One sentence for each thing that counted, with its place, worst first.
        timings_ms: `total`, and what of it went into verdicts (`guard`) and fresh encodings of pictures (`encode`).
        prompt: Everything the model is given to read but its system message (for `check_response`).
        system: The system message.
    """

    decision: Decision
    messages: Any = field(default=None, repr=False)
    images: tuple[tuple[str, Verdict], ...] = ()
    texts: tuple[tuple[str, Verdict], ...] = ()
    request: Verdict | None = None
    refusals: tuple[tuple[str, Finding], ...] = ()
    images_seen: int = 0
    images_scanned: int = 0
    images_refused: int = 0
    cache_hits: int = 0
    reasons: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    prompt: str = field(default="", repr=False)
    system: str = field(default="", repr=False)

    @property
    def counted(self) -> tuple[tuple[str, Finding], ...]:
        """(place, finding) of everything at or above its threshold, worst first."""
        found = [*self.refusals]
        judged = [*self.images, *self.texts, *([("request", self.request)] if self.request else [])]
        found += [(where, finding) for where, verdict in judged for finding in verdict.counted]
        return tuple(sorted(found, key=lambda item: -item[1].score))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but pictures and texts, JSON-able."""
        return {
            **super().to_dict(),
            "images_seen": self.images_seen,
            "images_scanned": self.images_scanned,
            "images_refused": self.images_refused,
            "cache_hits": self.cache_hits,
            "findings": [{"where": where, **finding.to_dict()} for where, finding in self.counted],
            "timings_ms": {k: round(v, 3) for k, v in self.timings_ms.items()},
        }


class VerdictCache:
    """Verdicts and their encodings by content and configuration, so that a replayed history costs nothing.

    Args:
        entries: Verdicts kept.
        size: Bytes of pixels and encodings kept, all together.
    """

    def __init__(self, entries: int = 1024, size: int = 256 << 20) -> None:
        self._entries, self._limit = entries, size
        self._items: OrderedDict[bytes, tuple[Verdict, dict[str, Any]]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: bytes) -> tuple[Verdict, dict[str, Any]] | None:
        """Return (verdict, its encodings), or None."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
            return None

    def put(self, key: bytes, verdict: Verdict, encodings: dict[str, Any]) -> None:
        """Keep a verdict; the least recently used ones make room."""
        with self._lock:
            if key in self._items:
                self._size -= _weight(*self._items.pop(key))
            self._items[key] = (verdict, encodings)
            self._size += _weight(verdict, encodings)
            while self._items and (len(self._items) > self._entries or self._size > self._limit):
                self._size -= _weight(*self._items.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._items)


def _weight(verdict: Verdict, encodings: Mapping[str, Any]) -> int:
    pixels = verdict.to_numpy().nbytes if verdict and verdict.size else 0
    # The encoding is weighed even before it is made, at the size of the pixels it can at worst approach.
    return 2 * pixels + 2048


# ---------------------------------------------------------------------- the one call


def check(
    guard: Guard,
    messages: Any,
    *,
    cache: VerdictCache | None = None,
    encoding: str = "png",
    fetcher: Callable[[str, fetch.Rules], tuple[bytes, str]] | None = None,
) -> MessagesVerdict:
    """Judge every picture and every text of a chat request.

    Args:
        guard: Judges the parts; its policy says what may be fetched, passed or trusted.
        messages: A list of messages, one message, a whole request body, or a prompt, in any of the six dialects (as
            dicts or as the library's own objects).
        cache: Verdicts of earlier requests; None judges everything anew.
        encoding: `"png"` (exactly the pixels that were judged) or `"jpeg"` (smaller) for pictures that go inline.
        fetcher: How an allowed address is fetched; `fetch.fetch` when None.

    Returns:
        The verdict, with the same shape as `messages` where it is safe.

    Raises:
        UnsupportedInput: `messages` is nothing of the kind.
    """
    if encoding not in ("png", "jpeg"):
        raise UnsupportedInput(f"encoding must be 'png' or 'jpeg', got {encoding!r}")
    start = time.perf_counter()
    walker = _Walker(guard.policy, encoding)
    template = walker.root(messages)
    judge = _Judge(guard, cache if cache is not None else VerdictCache(), fetcher or fetch.fetch)
    refusals = list(walker.refusals)
    images: list[tuple[str, Verdict]] = []
    refused = len(walker.refused_images)
    seen = len(walker.pictures) + refused
    if seen > guard.policy.max_images:
        refusals.append(
            (
                "request",
                _refusal(f"the request holds {seen} pictures, more than max_images = {guard.policy.max_images}"),
            )
        )
        refused = seen
    else:
        for slot in walker.pictures:
            try:
                verdict = judge.picture(slot)
            except GuardError as error:
                refusals.append((slot.where, _refusal(str(error))))
                refused += 1
                continue
            images.append((slot.where, verdict))
            refused += not verdict
    texts: list[tuple[str, Verdict]] = []
    if not refusals:  # a refused request is refused: nothing more is learned from judging its texts
        for slot in walker.texts:
            verdict = judge.text(slot)
            texts.append((slot.where, verdict))
            slot.value = _REMOVED if verdict.decision is Decision.SANITIZED else slot.source
        texts += [(where, judge.joined(text)) for where, text in walker.joined()]
    request = None
    if not refusals and all(verdict for _, verdict in images):
        request = judge.whole(
            [v for _, v in images], [s.source for s in walker.texts if s.role in ("user", "human", "")]
        )
    judged = [*images, *texts, *([("request", request)] if request else [])]
    decision = _worst([verdict.decision for _, verdict in judged], bool(refusals))
    safe: Any = None
    if decision in (Decision.ALLOW, Decision.SANITIZED):
        safe = _fill(template)
        counted = [f for _, verdict in judged for f in verdict.counted if guard.policy.actions[f.kind] != "ignore"]
        if guard.policy.shield and counted:
            safe = shield.insert(safe, shield.compose(counted))
            decision = Decision.SANITIZED
    reasons = [f"{where}: {f.why}" for where, f in refusals]
    reasons += [
        f"{where}: {r}" for where, v in sorted(judged, key=lambda item: _RANK[item[1].decision]) for r in v.reasons
    ]
    return MessagesVerdict(
        decision,
        safe,
        tuple(images),
        tuple(texts),
        request,
        tuple(refusals),
        images_seen=seen,
        images_scanned=len(images),
        images_refused=refused,
        cache_hits=judge.hits,
        reasons=tuple(dict.fromkeys(reasons)),
        timings_ms={"total": (time.perf_counter() - start) * 1e3, "guard": judge.spent_ms, "encode": judge.encode_ms},
        prompt="\n".join(text for role, text in walker.said if role not in _SYSTEM_ROLES),
        system="\n".join(text for role, text in walker.said if role in _SYSTEM_ROLES),
    )


_RANK = {Decision.ERROR: 0, Decision.BLOCK: 1, Decision.SANITIZED: 2, Decision.ALLOW: 3}


def _worst(decisions: Sequence[Decision], refused: bool) -> Decision:
    ranked = sorted([*decisions, *([Decision.BLOCK] if refused else [])], key=_RANK.__getitem__)
    return ranked[0] if ranked else Decision.ALLOW


def _refusal(why: str) -> Finding:
    return Finding("malformed", 1.0, why, _DETECTOR)


# ---------------------------------------------------------------------- judging


class _Judge:
    """Verdicts for slots, through the cache."""

    def __init__(
        self, guard: Guard, cache: VerdictCache, fetcher: Callable[[str, fetch.Rules], tuple[bytes, str]]
    ) -> None:
        self._guard, self._cache, self._fetch = guard, cache, fetcher
        self._salt = guard.fingerprint().encode()
        self._fetched: dict[str, tuple[bytes, str]] = {}  # an address is fetched once for each request
        self.hits = 0
        self.spent_ms = self.encode_ms = 0.0

    def picture(self, slot: _Slot) -> Verdict:
        """Judge one picture and fill its slot. Raises `GuardError` when there is nothing to judge."""
        source, claimed = slot.source, slot.claimed
        if isinstance(source, _Address):
            policy = self._guard.policy
            if not policy.allow_hosts:
                raise UnsupportedInput(
                    "a picture by address is refused; pass it inline, or name its host in allow_hosts"
                )
            rules = fetch.Rules(
                policy.allow_hosts, policy.allow_private_hosts, policy.limits.bytes, policy.fetch_seconds
            )
            if source.url not in self._fetched:
                self._fetched[source.url] = self._fetch(source.url, rules)
            source, media_type = self._fetched[source.url]
            claimed = media_type or None
        elif isinstance(source, Path):
            source = _read(source, self._guard.policy)
        key = self._key(source, claimed)
        verdict, encodings = self._cached(key, lambda: self._guard.check(source, claimed=claimed))
        if verdict and slot.render:
            form = slot.render.__name__
            if form not in encodings:
                begin = time.perf_counter()
                encodings[form] = slot.render(verdict)
                self.encode_ms += (time.perf_counter() - begin) * 1e3
            slot.value = encodings[form]
        return verdict

    def text(self, slot: _Slot) -> Verdict:
        """Judge one text."""
        return self.joined(_EMBEDDED.sub("[image]", slot.source))

    def joined(self, text: str) -> Verdict:
        """Judge a text that is not the content of one slot."""
        key = self._key("text:" + text, None)
        return self._cached(key, lambda: self._guard.check(text=text))[0]

    def whole(self, verdicts: Sequence[Verdict], texts: Sequence[str]) -> Verdict | None:
        """Judge what shows only in the request as a whole."""
        if not verdicts:
            return None
        digest = hashlib.sha256()
        for verdict in verdicts:
            digest.update(hashlib.sha256(verdict.to_numpy().data).digest())
        key = self._key(digest.hexdigest() + "".join(texts), "whole")
        return self._cached(key, lambda: self._guard.check_together(verdicts, "\n".join(texts)))[0]

    def _cached(self, key: bytes, judge: Callable[[], Verdict]) -> tuple[Verdict, dict[str, Any]]:
        known = self._cache.get(key)
        if known is not None:
            self.hits += 1
            return known
        begin = time.perf_counter()
        verdict = judge()
        self.spent_ms += (time.perf_counter() - begin) * 1e3
        encodings: dict[str, Any] = {}
        if verdict.decision is not Decision.ERROR:  # what failed once may work the next time
            self._cache.put(key, verdict, encodings)
        return verdict, encodings

    def _key(self, source: Any, claimed: str | None) -> bytes:
        digest = hashlib.sha256(self._salt)
        digest.update(repr((type(source).__name__, claimed)).encode())
        if isinstance(source, str):
            digest.update(source.encode("utf-8", "surrogatepass"))
        elif isinstance(source, (bytes, bytearray, memoryview)):
            digest.update(source)
        else:  # a PIL image, an array, a tensor: its pixels and what says how to read them
            digest.update(
                repr([getattr(source, name, None) for name in ("mode", "size", "shape", "dtype", "device")]).encode()
            )
            digest.update(_raw(source))
        return digest.digest()


def _raw(source: Any) -> bytes:
    if hasattr(source, "getexif") and hasattr(source, "tobytes"):  # PIL; palette and EXIF change what is seen
        palette = source.getpalette() if source.mode in ("P", "PA") else None
        pixels: bytes = source.tobytes()
        return pixels + repr((palette, sorted(map(repr, source.info.items())), dict(source.getexif()))).encode()
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if hasattr(source, "tobytes"):
        return bytes(source.tobytes())
    return os.urandom(16)  # nothing we can read twice: never a cache hit


def _read(path: Path, policy: Policy) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(policy.limits.bytes + 1)
    except (OSError, ValueError) as error:
        raise UnsupportedInput(
            f"picture by path cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
        ) from None


# How a safe picture is written back. Each name is also the key of the encoding in the cache.


def _data_uri_png(verdict: Verdict) -> str:
    return verdict.to_data_uri("png")


def _data_uri_jpeg(verdict: Verdict) -> str:
    return verdict.to_data_uri("jpeg")


def _base64_png(verdict: Verdict) -> str:
    return base64.b64encode(verdict.to_bytes("png")).decode()


def _base64_jpeg(verdict: Verdict) -> str:
    return base64.b64encode(verdict.to_bytes("jpeg")).decode()


def _bytes_png(verdict: Verdict) -> bytes:
    return verdict.to_bytes("png")


def _bytes_jpeg(verdict: Verdict) -> bytes:
    return verdict.to_bytes("jpeg")


def _same_kind(verdict: Verdict) -> Any:
    return verdict.image


_RENDER = {
    f.__name__[1:]: f for f in (_data_uri_png, _data_uri_jpeg, _base64_png, _base64_jpeg, _bytes_png, _bytes_jpeg)
}


# ---------------------------------------------------------------------- walking


@dataclass(frozen=True)
class _Address:
    url: str


@dataclass
class _Join:
    """Text with pictures written into it; becomes one string. `text` is the slot of the text, where it is judged."""

    pieces: list[Any]
    text: _Slot | None


@dataclass
class _Rebuilt:
    """An object of somebody's library whose changed fields are put into a copy."""

    original: Any
    fields: dict[str, Any]


class _Walker:
    """Copies messages into a template, with a slot for every picture and text."""

    def __init__(self, policy: Policy, encoding: str) -> None:
        self._policy = policy
        self._encoding = encoding
        self._nodes = 0
        self._role = ""
        self._message = ""
        self.said: list[tuple[str, str]] = []
        self.pictures: list[_Slot] = []
        self.texts: list[_Slot] = []
        self.refusals: list[tuple[str, Finding]] = []
        self.refused_images: list[str] = []
        self._by_message: dict[str, list[str]] = {}

    def joined(self) -> Iterator[tuple[str, str]]:
        """(place, text) of every message whose text comes in several parts: orders may be split over them."""
        for where, parts in self._by_message.items():
            if len(parts) > 1:
                yield f"{where} (joined)", "\n".join(parts)
                yield f"{where} (joined)", "".join(parts)

    # ---------------------------------------------------------------- roots

    def root(self, obj: Any) -> Any:
        """Copy whatever was passed to `check`."""
        if hasattr(obj, "to_messages"):  # LangChain's PromptValue
            obj = obj.to_messages()
        if isinstance(obj, str):
            return self._text(obj, "prompt")
        if isinstance(obj, Mapping):
            if any(key in obj for key in ("messages", "input", "prompt")) or ("images" in obj and "role" not in obj):
                return self._request(obj)
            if "role" in obj or "content" in obj:
                return self._one_message(obj, "message")
            if "type" in obj:
                return self._guarded("message", self._part, obj)
            raise UnsupportedInput(
                "messages is a mapping without 'messages', 'input', 'prompt', 'role', 'content' or 'type'"
            )
        if isinstance(obj, Sequence) and not isinstance(obj, (bytes, bytearray, memoryview)):
            return self._messages(obj, "messages")
        if _fields(obj) is not None:
            return self._one_message(obj, "message")
        raise UnsupportedInput(
            f"messages has type {type(obj).__name__}; pass a list of messages, one message, a request body or a str"
        )

    def _messages(self, items: Sequence[Any], where: str, depth: int = 0) -> Any:
        if depth > 2:
            self._refuse(where, "lists of messages are nested too deeply")
            return None
        out = []
        for i, item in enumerate(items):
            here = f"{where}[{i}]"
            if isinstance(item, (list, tuple)) and not (
                isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
            ):
                out.append(self._messages(item, here, depth + 1))
            else:
                out.append(self._one_message(item, here))
        return tuple(out) if isinstance(items, tuple) else out

    def _one_message(self, item: Any, where: str) -> Any:
        self._message, self._role = where, ""
        return self._guarded(where, self._message_body, item)

    def _guarded(self, where: str, walk: Callable[[Any, str], Any], node: Any) -> Any:
        """Walk one node; what cannot be judged becomes a refusal with its place."""
        try:
            return walk(node, where)
        except _Refused as error:
            self._refuse(where, str(error))
            return None

    def _refuse(self, where: str, why: str) -> None:
        self.refusals.append((where, _refusal(why)))

    def _refuse_image(self, where: str, why: str) -> None:
        self.refused_images.append(where)
        self._refuse(where, why)

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        self._check_keys(body, "request")
        for key, value in body.items():
            self._message, self._role = str(key), ""
            out[key] = self._guarded(str(key), partial(self._request_field, key), value)
        return out

    def _request_field(self, key: Any, value: Any, where: str) -> Any:
        if not isinstance(key, str):
            raise _Refused("a key of the request is not a string")
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if key == "messages":
            if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
                raise _Refused("'messages' is not a list")
            return self._messages(value, where)
        if key in ("input", "prompt"):
            if isinstance(value, str):
                return self._text(value, where)
            if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
                if all(isinstance(item, str) for item in value):
                    return [self._text(item, f"{where}[{i}]") for i, item in enumerate(value)]
                if any(
                    isinstance(item, (int, float)) or (isinstance(item, Sequence) and not isinstance(item, str))
                    for item in value
                ):
                    raise _Refused("token ids cannot be judged; pass text")
                return self._messages(value, where)
            raise _Refused(f"'{key}' has a shape that is not known")
        if key in ("system", "instructions", "suffix"):
            self._role = "system"
            return self._content(value, where)
        if key == "images":
            return self._images(value, where)
        if key == "context" and key not in self._policy.allow_parts:  # Ollama's token ids of earlier turns
            raise _Refused("token ids cannot be judged; pass messages, or put 'context' into allow_parts")
        return self._setting(value, where) if key in _REQUEST_SETTINGS else self._other(key, value, where)

    # ---------------------------------------------------------------- messages

    def _message_body(self, item: Any, where: str) -> Any:
        if isinstance(item, str):
            return self._text(item, where)
        if isinstance(item, tuple):  # LangChain's ("human", "text")
            self._role = item[0]
            return (item[0], self._content(item[1], where))
        fields = item if isinstance(item, Mapping) else _fields(item)
        if fields is None:
            raise _Refused(f"a message of type {type(item).__name__} is not known")
        self._check_keys(fields, where)
        role = fields.get("role")
        role = getattr(role, "value", role)  # LlamaIndex has an enumeration
        if role is not None and not (isinstance(role, str) and _ROLE.match(role)):
            raise _Refused("the role is not a plain word")
        role = role or fields.get("type") or ""
        self._role = role if isinstance(role, str) else ""
        if isinstance(item, Mapping) and "role" not in item and "content" not in item and "type" in item:
            return self._part(item, where)  # an item of the Responses API
        out: dict[str, Any] = {}
        for key, value in fields.items():
            here = f"{where}.{key}"
            if key in ("content", "blocks"):
                out[key] = self._content(value, here)
            elif key == "images":
                out[key] = self._guarded(here, self._images, value) if value is not None else None
            elif key in ("thinking", "reasoning_content", "reasoning", "refusal") and isinstance(value, str):
                out[key] = self._text(value, here)
            elif key in _MESSAGE_SETTINGS:
                out[key] = self._setting(value, here)
            elif key == "artifact" and not isinstance(
                item, Mapping
            ):  # LangChain's: for the program, never for the model
                out[key] = value
            else:
                out[key] = self._guarded(here, partial(self._other, key), value)
        return out if isinstance(item, Mapping) else _Rebuilt(item, out)

    def _content(self, value: Any, where: str) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, Mapping) or _fields(value) is not None:
            return self._guarded(where, self._part, value)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [self._guarded(f"{where}[{i}]", self._part, part) for i, part in enumerate(value)]
        self._refuse_image(where, f"content of type {type(value).__name__} is not known")
        return None

    # ---------------------------------------------------------------- parts

    def _part(self, part: Any, where: str) -> Any:
        self._count(where)
        if isinstance(part, str):
            return self._text(part, where)
        fields = part if isinstance(part, Mapping) else _fields(part)
        if fields is None:
            self._refuse_image(where, f"a part of type {type(part).__name__} is not known")
            return None
        out = self._part_fields(fields, where)
        return out if isinstance(part, Mapping) else _Rebuilt(part, out)

    def _part_fields(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        self._check_keys(part, where)
        kind = part.get("type", part.get("block_type"))
        kind = getattr(kind, "value", kind)
        sources = [key for key in _SOURCES if part.get(key) is not None]
        if kind is not None and not isinstance(kind, str):
            self._refuse_image(where, "the type of a part is not a string")
        elif kind in _IMAGE_TYPES or (kind is None and any(key in _IMAGE_KEYS or key == "url" for key in part)):
            return self._image_part(part, kind, sources, where)
        elif kind in _TEXT_TYPES or (kind is None and set(part) == {"text"}):
            return self._text_part(part, where)
        elif kind in _TOOL_TYPES:
            return self._tool_part(part, where)
        elif kind == "image_generation_call":
            out = {k: self._other(k, v, f"{where}.{k}") for k, v in part.items() if k != "result"}
            if part.get("result") is not None:
                out["result"] = self._picture(part["result"], f"{where}.result", "base64")
            return out
        elif kind == "non_standard":
            self._refuse_image(where, "a part of type 'non_standard' cannot be judged")
        elif kind in self._policy.allow_parts:
            return {k: self._unseen(v, f"{where}.{k}") for k, v in part.items()}
        else:
            named = f"of type {kind[:40]!r}" if kind is not None else f"with the keys {sorted(map(str, part))[:6]}"
            self._refuse_image(
                where, f"a part {named} is not known and cannot be judged (allow_parts passes it unseen)"
            )
        return {}

    def _text_part(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in part.items():
            here = f"{where}.{key}"
            if (
                value is not None
                and (key in _IMAGE_KEYS or key in ("url", "path", "base64", "data", "source"))
                and not (key in ("url", "path", "data", "base64") and part.get("type") in ("redacted_thinking",))
            ):  # some chat templates look at the key and not at the type
                self._refuse_image(here, f"a text part also carries {key!r}")
            elif key in ("text", "content", "summary", "thinking", "reasoning", "refusal") and isinstance(value, str):
                out[key] = self._text(value, here)
            elif key == "text" and value is not None:
                raise _Refused("the text of a text part is not a string")
            else:
                out[key] = self._other(key, value, here)
        return out

    def _tool_part(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in part.items():
            here = f"{where}.{key}"
            if key in ("content", "output", "cited_content", "result") and not isinstance(value, (bool, int, float)):
                out[key] = self._content(value, here)
            elif key in ("input", "args", "arguments", "action", "kwargs", "tool_kwargs"):
                out[key] = self._setting(value, here)
            else:
                out[key] = self._other(key, value, here)
        return out

    def _image_part(
        self, part: Mapping[str, Any], kind: str | None, sources: Sequence[str], where: str
    ) -> dict[str, Any]:
        if not sources:
            if set(part) <= {"type"}:  # a placeholder: the picture is passed beside the messages
                return dict(part)
            self._refuse_image(where, "a picture part without a picture")
            return {}
        if len(sources) > 1:
            self._refuse_image(where, f"a picture part with {len(sources)} sources ({', '.join(sources)})")
            return {}
        key, value = sources[0], part[sources[0]]
        if part.get("text"):
            self._refuse_image(where, "a picture part also carries text")
            return {}
        here = f"{where}.{key}"
        out: dict[str, Any] = {}
        for other, rest in part.items():
            if other in _SOURCES:
                continue
            if other in _IMAGE_KEYS and rest is not None:
                self._refuse_image(where, f"a picture part also carries {other!r}")
                return {}
            out[other] = self._other(other, rest, f"{where}.{other}")
        mime = next(
            (
                part[k]
                for k in ("mime_type", "media_type", "image_mimetype", "mimetype")
                if isinstance(part.get(k), str)
            ),
            None,
        )
        for name in ("mime_type", "media_type", "image_mimetype", "mimetype"):
            if part.get(name) is not None:
                out[name] = f"image/{self._encoding}"
        if key == "file_id" or key == "image_file":
            self._refuse_image(here, "a picture by id cannot be judged; pass it inline")
            return {}
        if key == "image_url":
            out[key] = self._image_url(value, here)
        elif key == "source":
            out[key] = self._anthropic(value, here)
        elif part.get("block_type") == "image":  # LlamaIndex: base64 bytes, a path or an address
            source = value
            if isinstance(value, (bytes, bytearray)) and _BASE64.match(bytes(value[:4096]).decode("latin-1")):
                source = bytes(value).decode("latin-1")
            out.update({"path": None, "url": None, "image_mimetype": f"image/{self._encoding}"})
            kinds = {"image": "base64" if isinstance(source, str) else "bytes", "path": "path", "url": "url"}
            out["image"] = self._picture(source if key == "image" else str(value), here, kinds[key], form="bytes")
        elif key in ("base64", "data", "b64_json"):
            if part.get("source_type") not in (None, "base64"):
                self._refuse_image(where, "source_type contradicts the picture")
                return {}
            out[key] = self._picture(value, here, "base64", claimed=mime)
        elif key == "url" and (part.get("source_type") == "url" or part.get("mime_type") or "id" in part):  # LangChain
            if part.get("source_type") == "url":
                out.update({"source_type": "base64", "data": self._picture(value, here, "url", form="base64")})
            else:
                out["base64"] = self._picture(value, here, "url", form="base64")
            out["mime_type"] = f"image/{self._encoding}"
        elif key in ("url", "path"):  # Hugging Face; LangChain without a MIME type reads the same keys
            out["base64"] = self._picture(value, here, key if key == "path" else "any", form="base64")
            out["mime_type"] = f"image/{self._encoding}"
        else:  # "image", "image_pil": an object, or any kind of string
            out[key] = self._picture(value, here, "any", claimed=mime)
        return out

    def _image_url(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            return self._picture(value, where, "url")
        fields = value if isinstance(value, Mapping) else _fields(value)
        if fields is None:
            self._refuse_image(where, f"'image_url' of type {type(value).__name__} is not known")
            return None
        if not isinstance(fields.get("url"), str):
            self._refuse_image(where, "'image_url' has no address")
            return None
        out = {"url": self._picture(fields["url"], f"{where}.url", "url")}
        for key, rest in fields.items():
            if key != "url":
                if key in _SOURCES and rest is not None:
                    self._refuse_image(where, f"'image_url' also carries {key!r}")
                    return None
                out[key] = self._other(key, rest, f"{where}.{key}")
        return out if isinstance(value, Mapping) else _Rebuilt(value, out)

    def _anthropic(self, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            self._refuse_image(where, "'source' is not a mapping")
            return None
        kind = value.get("type")
        key = {"base64": "data", "url": "url"}.get(kind if isinstance(kind, str) else "")
        if key is None or not isinstance(value.get(key), str) or set(value) - {"type", "media_type", key}:
            self._refuse_image(where, "'source' has a shape that is not known")
            return None
        claimed = value.get("media_type") if isinstance(value.get("media_type"), str) else None
        data = self._picture(value[key], where, "base64" if kind == "base64" else "url", form="base64", claimed=claimed)
        return {"type": "base64", "media_type": f"image/{self._encoding}", "data": data}

    def _images(self, value: Any, where: str) -> Any:
        """Ollama's `images`: base64, bytes, a path, or the client's Image objects."""
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray)):
            self._refuse_image(where, "'images' is not a list")
            return None
        out: list[Any] = []
        for i, item in enumerate(value):
            here = f"{where}[{i}]"
            fields = None if _is_pixels(item) else _fields(item)
            if fields is not None and set(fields) == {"value"}:
                item = fields["value"]
            if isinstance(item, str):
                out.append(self._picture(item, here, "ollama", form="base64"))
            elif isinstance(item, os.PathLike):
                out.append(self._picture(os.fspath(item), here, "path", form="base64"))
            elif isinstance(item, (bytes, bytearray)):
                out.append(self._picture(bytes(item), here, "bytes", form="bytes"))
            elif _is_pixels(item):
                out.append(self._picture(item, here, "any"))
            else:
                self._refuse_image(here, f"a picture of type {type(item).__name__} is not known")
        return out

    # ---------------------------------------------------------------- leaves

    def _picture(
        self, value: Any, where: str, accepts: str, form: str | None = None, claimed: str | None = None
    ) -> Any:
        """Make the slot of one picture.

        Args:
            value: What the messages hold.
            where: Its place.
            accepts: `url` (data URI, address, bare base64), `base64`, `path`, `bytes`, `ollama`, `any`.
            form: `data_uri`, `base64` or `bytes`; None keeps the form it came in.
            claimed: MIME type that stands beside it.
        """
        self._count(where)
        try:
            source, own_form = self._source(value, accepts)
        except (UnsupportedInput, _Refused) as error:
            self._refuse_image(where, str(error))
            return None
        form = form or own_form
        render = _same_kind if form == "object" else _RENDER[f"{form}_{self._encoding}"]
        slot = _Slot(where, self._role, source, render, claimed)
        self.pictures.append(slot)
        return slot

    def _source(self, value: Any, accepts: str) -> tuple[Any, str]:
        """(what to judge, the form it came in)."""
        if isinstance(value, os.PathLike) and accepts in ("path", "any"):
            return self._path(os.fspath(value)), "data_uri"
        if isinstance(value, (bytes, bytearray)) and accepts in ("bytes", "any"):
            return bytes(value), "bytes"
        if _is_pixels(value) and accepts == "any":
            return value, "object"
        if not isinstance(value, str):
            raise _Refused(f"a picture of type {type(value).__name__} is not accepted here")
        text = value.strip()
        head = text[:64].lower()
        if not text or "\0" in text[:4096]:
            raise _Refused("a picture that is an empty string or holds NUL")
        if head.startswith("data:"):
            if accepts == "path":
                raise _Refused("a data URI where a path belongs")
            return text, "base64" if accepts in ("base64", "ollama") else "data_uri"
        if head.startswith(("http://", "https://")):
            if accepts not in ("url", "any"):
                raise _Refused("an address where picture data belongs")
            return _Address(text), "data_uri"
        if (_SCHEME.match(head) or head.startswith(("//", "\\\\"))) and not _BASE64.match(text[:4096]):
            raise _Refused(f"scheme or share {head.partition(':')[0][:16]!r} is refused; pass the picture inline")
        if accepts in ("path", "any", "ollama") and len(text) <= 4096 and self._policy.local_paths:
            path = Path(text)
            try:
                if accepts == "path" or path.is_file():
                    return self._path(text), "data_uri" if accepts == "any" else "base64"
            except (OSError, ValueError):
                pass
        if accepts == "path":
            return self._path(text), "data_uri"
        return _decode_base64(text), "data_uri" if accepts in ("url", "any") else "base64"

    def _path(self, text: str) -> Path:
        if not self._policy.local_paths:
            raise _Refused("a picture by local path is refused; pass it inline")
        return Path(text)

    def _text(self, value: str, where: str) -> Any:
        """Make the slot of one text; pictures that are written into it get slots of their own."""
        self._count(where)
        self.said.append((self._role, value))
        if self._role not in self._policy.trusted_roles and value.strip():
            self._by_message.setdefault(self._message, []).append(value)
        pieces: list[Any] = []
        end = 0
        for i, match in enumerate(_EMBEDDED.finditer(value)):
            pieces += [
                value[end : match.start()],
                self._picture(match.group(), f"{where} (inline {i})", "url", form="data_uri"),
            ]
            end = match.end()
        slot = None
        if self._role not in self._policy.trusted_roles and value.strip():
            slot = _Slot(where, self._role, value)
            self.texts.append(slot)
        return _Join([*pieces, value[end:]], slot) if pieces else slot or value

    def _other(self, key: Any, value: Any, where: str) -> Any:
        """A field that is neither content nor picture: names pass, text is judged, pictures are refused."""
        self._count(where)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if key in _MESSAGE_SETTINGS:
            return self._setting(value, where)
        if key in _IMAGE_KEYS and value not in ("", [], {}, ()):
            self._refuse_image(where, f"a picture under {key!r} in a place that is not known")
            return None
        if isinstance(value, str):
            if _looks_encoded(value):
                self._refuse_image(where, f"an encoded picture under {str(key)[:40]!r}")
                return None
            return value if _NAME.match(value) else self._text(value, where)
        if isinstance(value, Mapping):
            self._check_keys(value, where)
            return {k: self._other(k, v, f"{where}.{k}") for k, v in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [self._other(None, v, f"{where}[{i}]") for i, v in enumerate(value)]
        fields = None if _is_pixels(value) else _fields(value)
        if fields is not None:
            return _Rebuilt(value, {k: self._other(k, v, f"{where}.{k}") for k, v in fields.items()})
        if isinstance(value, (bytes, bytearray, memoryview)) or _is_pixels(value) or hasattr(value, "read"):
            self._refuse_image(where, f"an object of type {type(value).__name__} under {str(key)[:40]!r}")
            return None
        return value

    def _check_keys(self, mapping: Mapping[Any, Any], where: str) -> None:
        for key in mapping:
            folded = unicodedata.normalize("NFKC", key).casefold().strip() if isinstance(key, str) else None
            if folded is None or (folded != key and folded in _MEANINGFUL):
                self._refuse_image(where, f"the key {str(key)[:40]!r} is not spelled as it should be")

    def _setting(self, value: Any, where: str) -> Any:
        """Configuration: passed as it is, unless a picture hides in it."""
        for leaf in _leaves(value):
            self._count(where)
            if (
                isinstance(leaf, (bytes, bytearray, memoryview))
                or _is_pixels(leaf)
                or (isinstance(leaf, str) and _looks_encoded(leaf))
            ):
                self._refuse_image(where, "an encoded picture among settings")
                return None
        return value

    def _unseen(self, value: Any, where: str) -> Any:
        """A part that the policy passes unseen; still, it must not be a picture under another name."""
        for leaf in _leaves(value):
            self._count(where)
            if (
                _is_pixels(leaf)
                or (isinstance(leaf, str) and _looks_encoded(leaf))
                or (isinstance(leaf, (bytes, bytearray)) and bytes(leaf[:8]).startswith(_MAGIC))
            ):
                self._refuse_image(where, "a part that allow_parts passes holds a picture")
                return None
        return value

    def _count(self, where: str) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise UnsupportedInput(f"messages hold more than {_MAX_NODES} values")
        if where.count(".") + where.count("[") > 2 * _MAX_DEPTH:
            raise _Refused("messages are nested too deeply")


def _fields(obj: Any) -> dict[str, Any] | None:
    """The fields of a pydantic model or a dataclass of somebody's library; None for anything else."""
    if isinstance(obj, type):
        return None
    if hasattr(type(obj), "model_fields") and hasattr(obj, "model_copy"):
        extra = getattr(obj, "model_extra", None) or {}
        return {**{name: getattr(obj, name) for name in type(obj).model_fields}, **extra}
    return None


def _is_pixels(obj: Any) -> bool:
    """True for a PIL image, an array, a tensor: objects that hold pixels already."""
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(obj, pil.Image):
        return True
    return not isinstance(obj, type) and any(
        hasattr(obj, name) for name in ("__array_interface__", "__dlpack__", "__array__")
    )


def _leaves(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            stack += [*node.keys(), *node.values()]
        elif isinstance(node, (list, tuple, set, frozenset)):
            stack += node
        elif not _is_pixels(node) and (fields := _fields(node)) is not None:
            stack += fields.values()
        else:
            yield node


def _looks_encoded(text: str) -> bool:
    """True for a data URI of a picture, and for base64 that starts like a picture's file."""
    head = text[:4096].lstrip()
    if head[:64].lower().replace(" ", "").startswith("data:image"):
        return True
    if _EMBEDDED.search(text):
        return True
    if len(text) < 64 or not re.match(r"[A-Za-z0-9+/\-_\s]{64}", head):
        return False
    try:
        data = base64.b64decode("".join(head.split())[:64].replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        return False
    return data.startswith(_MAGIC)


def _decode_base64(text: str) -> bytes:
    compact = "".join(text.split())
    try:
        data = base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        raise _Refused("a picture that is neither a data URI nor valid base64") from None
    if not data:
        raise _Refused("a picture of 0 bytes")
    return data


def _fill(node: Any) -> Any:
    """Turn a template into messages."""
    if isinstance(node, _Slot):
        return node.value
    if isinstance(node, _Join):
        if node.text is not None and node.text.value == _REMOVED:
            return _REMOVED
        return "".join(_fill(piece) for piece in node.pieces)
    if isinstance(node, _Rebuilt):
        fields = {name: _fill(value) for name, value in node.fields.items()}
        current = _fields(node.original) or {}
        changed = {name: value for name, value in fields.items() if name not in current or current[name] is not value}
        return node.original.model_copy(update=changed) if changed else node.original
    if isinstance(node, dict):
        return {key: _fill(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(item) for item in node]
    if isinstance(node, tuple):
        return tuple(_fill(item) for item in node)
    return node
