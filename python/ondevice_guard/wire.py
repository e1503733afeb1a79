"""Requests and answers of chat servers on the wire: strict JSON in, and where the texts of an answer stand.

The guard and the server behind it must read the same request, so what two parsers could read differently is refused:
duplicate keys, NaN, lone surrogates, other encodings than UTF-8. What passes is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UnsupportedInput


def loads(body: bytes) -> dict[str, Any]:
    """Parse a request body.

    Raises:
        UnsupportedInput: it is no JSON object that every parser reads the same way.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise UnsupportedInput("body is nested too deeply") from None
    except UnicodeError:
        raise UnsupportedInput("body is not UTF-8") from None
    except UnsupportedInput:
        raise
    except ValueError as error:
        raise UnsupportedInput(f"body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnsupportedInput("body is not a JSON object")
    return value


def dumps(value: Any) -> bytes:
    """Write JSON that holds nothing but ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise UnsupportedInput("body holds a key twice")
    return table


def _constant(name: str) -> Any:
    raise UnsupportedInput(f"body holds {name}, which is not JSON")


@dataclass(frozen=True)
class Spoken:
    """One text of an answer (or of a piece of an answer).

    Attributes:
        key: Which text it belongs to: pieces with equal keys make one text.
        text: The text.
        put: Replaces it.
        whole: True where it is the whole text, False where it is the next piece.
        last: True when the piece says that its text is complete.
    """

    key: tuple[Any, ...]
    text: str
    put: Callable[[str], None]
    whole: bool
    last: bool = False


def spoken(answer: Mapping[str, Any]) -> Iterator[Spoken]:
    """Yield every text in an answer, or a piece of one, of the OpenAI, Ollama and Anthropic interfaces.

    Args:
        answer: Parsed JSON; the texts can be replaced in place.
    """
    kind = answer.get("type")
    if isinstance(answer.get("choices"), list):
        yield from _openai(answer["choices"])
    elif isinstance(kind, str) and kind.startswith("response."):
        yield from _responses_event(answer, kind)
    elif isinstance(answer.get("output"), list):
        yield from _responses(answer)
    elif kind == "content_block_delta" and isinstance(answer.get("delta"), dict):
        for name in ("text", "thinking"):
            yield from _field(answer["delta"], name, (answer.get("index"), name), whole=False)
    elif kind == "message" and isinstance(answer.get("content"), list):
        for i, block in enumerate(answer["content"]):
            for name in ("text", "thinking"):
                yield from _field(block, name, (i, name), whole=True)
    else:  # Ollama: one shape for the whole and for a piece
        done = answer.get("done")
        message = answer.get("message")
        for name in ("content", "thinking"):
            yield from _field(message, name, ("message", name), whole=False, last=bool(done))
        for name in ("response", "thinking"):
            yield from _field(answer, name, (name,), whole=False, last=bool(done))


def _openai(choices: list[Any]) -> Iterator[Spoken]:
    for i, choice in enumerate(choices):
        if not isinstance(choice, dict):
            continue
        index = choice.get("index", i)
        last = choice.get("finish_reason") is not None
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            yield from _field(choice.get("message"), name, (index, name), whole=True)
            yield from _field(choice.get("delta"), name, (index, name), whole=False, last=last)
        # `text` is a whole in an answer and a piece in a stream; the caller knows which it reads
        yield from _field(choice, "text", (index, "text"), whole=False, last=last)


def _responses(answer: Mapping[str, Any]) -> Iterator[Spoken]:
    for i, item in enumerate(answer["output"]):
        for j, part in enumerate(item.get("content") or () if isinstance(item, dict) else ()):
            yield from _field(part, "text", (i, j), whole=True)
    yield from _field(answer, "output_text", ("output_text",), whole=True)


def _responses_event(event: Mapping[str, Any], kind: str) -> Iterator[Spoken]:
    key = (event.get("output_index"), event.get("content_index"))
    if kind.endswith(".delta") and "text" in kind:
        yield from _field(event, "delta", key, whole=False)
    elif kind.endswith("text.done"):
        yield from _field(event, "text", key, whole=True)
    elif kind.endswith("part.done"):
        yield from _field(event.get("part"), "text", key, whole=True)
    elif kind == "response.output_item.done" and isinstance(event.get("item"), dict):
        for j, part in enumerate(event["item"].get("content") or ()):
            yield from _field(part, "text", (event.get("output_index"), j), whole=True)
    elif isinstance(event.get("response"), dict) and isinstance(event["response"].get("output"), list):
        yield from _responses(event["response"])


def _field(holder: Any, name: str, key: tuple[Any, ...], *, whole: bool, last: bool = False) -> Iterator[Spoken]:
    if isinstance(holder, dict) and isinstance(holder.get(name), str):

        def put(text: str) -> None:
            holder[name] = text

        yield Spoken(key, holder[name], put, whole, last)


def tool_calls(answer: dict[str, Any], *, strip: bool = False) -> int:
    """Return how many tool calls an answer, or a piece of one, makes in its own fields.

    Args:
        answer: Parsed JSON.
        strip: True to take them out, in place.
    """
    holders = [answer.get("message")]
    for choice in answer["choices"] if isinstance(answer.get("choices"), list) else ():
        holders += [choice.get("message"), choice.get("delta")] if isinstance(choice, dict) else []
    count = 0
    for holder in holders:
        if isinstance(holder, dict) and holder.get("tool_calls"):
            count += len(holder["tool_calls"])
            if strip:
                del holder["tool_calls"]
    for name in ("output", "content"):
        items = answer.get(name)
        if isinstance(items, list):
            calls = [i for i in items if isinstance(i, dict) and str(i.get("type")).endswith(("_call", "tool_use"))]
            count += len(calls)
            if strip and calls:
                answer[name] = [i for i in items if i not in calls]
    return count
