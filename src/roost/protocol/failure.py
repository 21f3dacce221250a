"""Failures that hide under status 200: what the end of an answer says of the rest.

Reads only the last bytes of an answer that is over, never its pieces on their way, and changes none of them. An
answer that looks well is told from the others without parsing (`looks_well`). Pure; called by `proxy/relay.py`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from roost.core.request import HiddenFailure
from roost.core.spec import EngineKind

SENDS_DONE = frozenset({EngineKind.VLLM, EngineKind.SGLANG, EngineKind.LLAMACPP, EngineKind.SIMULATED})
"""Engines whose OpenAI streams always end with `data: [DONE]`. Others may never send it (transformers does not)."""
SHOWN = 200
_CHUNK_MARK = re.compile(rb"\r\n[0-9A-Fa-f]{1,15}(?:;[^\r\n]*)?\r\n")
_FIRST_CHUNK_MARK = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[^\r\n]*)?\r\n")
_LAST_CHUNK = re.compile(rb"\r\n0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n\Z")
_ABORT = re.compile(rb'"finish_reason"\s*:\s*"abort"')
_FIELD = re.compile(rb"(data|event|id|retry|error)?(?::|\Z)")
_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_ENDS = b"}]"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong. `what` completes the sentence "The engine of model 'a' ..."."""

    kind: HiddenFailure
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of an answer as it was sent on."""

    data: bytes
    whole: bool
    """Nothing of the answer is missing before it."""
    by_close: bool = False
    """Nothing but the closing of the connection said that this was the end."""


def without_marks(data: bytes, *, whole: bool) -> bytes:
    """The end of a chunked body without the marks of its coding; `whole`: it begins with one."""
    data = _LAST_CHUNK.sub(b"", data)
    if whole:
        data = _FIRST_CHUNK_MARK.sub(b"", data, count=1)
    return _CHUNK_MARK.sub(b"", data)


@dataclass(frozen=True, slots=True)
class _Event:
    name: bytes
    data: bytes
    value: Any


def looks_well(tail: bytes, *, event_stream: bool) -> bool:
    """True for nearly every answer that is well, at the price of a few searches; False: look closer. `tail` is of the
    body's own bytes."""
    if b'"abort"' in tail or b'"cancelled"' in tail:
        return False
    if event_stream:
        return b"[DONE]" in tail[-16:] and b"error" not in tail
    return tail[-3:].rstrip()[-1:] in _ENDS and b'"failed"' not in tail and not tail.startswith(b'{"error":')


def judge_json(tail: Tail) -> Failure | None:
    """Of a JSON answer that came at once: an error object, an abort, or text that does not end as JSON does."""
    data = tail.data.strip()
    value = _json(data) if tail.whole else None
    if isinstance(value, dict):
        return _of_object(value)
    if value is not None or data in (b"", b"null"):
        return None
    if data[-1:] not in _ENDS or (tail.whole and tail.by_close):
        return Failure(HiddenFailure.BARE_END, f"ended its answer in the middle of the JSON: {_shown(data)}")
    return _ABORTED if _ABORT.search(data) else None


def judge_stream(tail: Tail, path: str, kind: EngineKind | None) -> Failure | None:
    """Of an event stream: an error event, an abort, or an end that is none."""
    events, stray = _events(tail)
    for event in events:
        failure = _of_event(event)
        if failure is not None:
            return failure
    if stray:
        return Failure(HiddenFailure.BARE_END, f"ended its answer with what is no event: {_shown(stray)}")
    return _without_end(events, tail.whole, path, kind)


def _events(tail: Tail) -> tuple[list[_Event], bytes]:
    """The last events, and what stands after them that is none."""
    blocks = tail.data.replace(b"\r\n", b"\n").split(b"\n\n")
    rest = blocks.pop()
    if not tail.whole and blocks:
        del blocks[0]  # it may lack its beginning
    events, stray = [], b""
    for block in blocks:
        event = _event(block)
        stray = block.strip() if event is None else b""
        if event is not None:
            events.append(event)
    if rest.strip():
        event = _event(rest)
        if event is not None and (rest.endswith(b"\n") or event.value is not None):
            events.append(event)  # all there but for the empty line after it
        else:
            stray = rest.strip()
    return events, stray


def _event(block: bytes) -> _Event | None:
    """The event that a block of lines is; None for text that is none."""
    name, parts = b"", []
    for line in block.strip(b"\n").split(b"\n"):
        field = _FIELD.match(line)
        if field is None:
            return None
        value = line[field.end() :].strip()
        if field[1] == b"data":
            parts.append(value)
        elif field[1] == b"event":
            name = value
        elif field[1] == b"error":  # older llama.cpp
            name, parts = b"error", [value]
    data = b"\n".join(parts)
    return _Event(name, data, "done" if data == b"[DONE]" else _json(data))


def _of_event(event: _Event) -> Failure | None:
    if event.name == b"error":
        return _error(event.value if isinstance(event.value, dict) else event.data.decode("utf-8", "replace"))
    return _of_object(event.value) if isinstance(event.value, dict) else None


def _of_object(value: Mapping[str, Any]) -> Failure | None:
    """OpenAI's chunks and whole answers, Anthropic's events, the Responses API's."""
    response = value.get("response")
    if isinstance(response, dict) and str(value.get("type")).startswith("response."):
        value = response
    if value.get("error") or value.get("type") == "error" or value.get("object") == "error":
        return _error(value)
    if value.get("object") == "response" and value.get("status") == "failed":
        return _error("it failed, and it does not say why")
    return _ABORTED if "abort" in _finishes(value) else None


def _finishes(value: Mapping[str, Any]) -> Iterator[Any]:
    """Every reason to finish that the object names."""
    for choice in _list(value.get("choices")):
        if isinstance(choice, dict):
            yield choice.get("finish_reason")
    yield value.get("stop_reason")
    for key, reason in (("delta", "stop_reason"), ("incomplete_details", "reason"), ("meta_info", "finish_reason")):
        part = value.get(key)
        found = part.get(reason) if isinstance(part, dict) else None
        yield found.get("type") if isinstance(found, dict) else found
    if value.get("object") == "response" and value.get("status") == "cancelled":  # what vLLM calls it there
        yield "abort"


def _without_end(events: list[_Event], whole: bool, path: str, kind: EngineKind | None) -> Failure | None:
    """Nothing of what ends a stream of this kind has come."""
    if any(event.value == "done" for event in events) or not (events or whole):
        return None
    values = [event.value for event in events if isinstance(event.value, dict)]
    kinds = {value.get("type") for value in values}
    if path.endswith("/v1/messages"):
        missing = "" if "message_stop" in kinds else "message_stop"
    elif path.endswith("/v1/responses"):
        missing = "" if kinds & _FINAL else "response.completed"
    elif path.endswith(("/v1/chat/completions", "/v1/completions")):
        missing = "[DONE]" if kind in SENDS_DONE else _without_reason(values)
    else:
        missing = ""
    return Failure(HiddenFailure.BARE_END, f"ended its answer without {missing}") if missing else None


def _without_reason(values: list[dict[str, Any]]) -> str:
    """An engine that may never send [DONE] says at least why it stopped. What is no OpenAI chunk is not judged."""
    chunks = [value["choices"] for value in values if _list(value.get("choices"))]
    said = any(isinstance(choice, dict) and choice.get("finish_reason") for choices in chunks for choice in choices)
    return "a finish_reason" if chunks and not said else ""


def _error(found: Any) -> Failure:
    while isinstance(found, dict):
        found = found.get("error") or found.get("message") or found.get("code") or str(found)
    return Failure(HiddenFailure.ERROR_CHUNK, f"reported an error under status 200: {_shown(str(found).encode())}")


def _json(data: bytes) -> Any:
    """None where it is no JSON."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _shown(data: bytes) -> str:
    """The last words, for a sentence."""
    text = " ".join(data.decode("utf-8", "replace").split())
    return repr(text if len(text) <= SHOWN else f"...{text[-SHOWN:]}")


_ABORTED = Failure(HiddenFailure.ABORT, 'broke its answer off (finish_reason "abort"), which roost did not ask of it')
