"""OpenAI and Anthropic forms: what a body asks for, how it is changed for the engine, how an error looks.

A body is never re-serialised as a whole: where one field must change, all other values keep their bytes.
Pure. Called by `proxy/phases.py` and `proxy/refuse.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from roost.core.request import Fault, Refusal


class ModelName:
    """The value of a top-level `model` key. msgspec hands each one it meets to `_heard`, a second one too, which is
    how a key that stands twice is noticed without a second look at the body."""

    __slots__ = ("text",)

    def __init__(self, text: object) -> None:
        self.text = text


class _Seen(msgspec.Struct):
    model: ModelName | None = None
    stream: bool | None = None


class Asked(NamedTuple):
    """What routing needs of a JSON body."""

    model: str | None
    stream: bool


class BadBody(ValueError):
    """A body that cannot be routed; the text says why."""


_names_heard = 0


def _heard(kind: type, value: object) -> ModelName:
    global _names_heard
    _names_heard += 1
    return ModelName(value)


_decode_seen = msgspec.json.Decoder(_Seen, dec_hook=_heard).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def peek(body: bytes) -> Asked:
    """The `model` and `stream` of a JSON object. Raises BadBody; a top-level `model` given twice is one,
    since the engine may take the other one."""
    global _names_heard
    _names_heard = 0
    try:
        seen = _decode_seen(body)
    except msgspec.ValidationError as error:
        raise BadBody(f"the body has a wrong type: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadBody("the body's JSON is nested too deeply") from None
    if _names_heard > 1:
        raise BadBody("'model' stands twice in the body")
    name = seen.model.text if seen.model is not None else None
    if name is not None and not isinstance(name, str):
        raise BadBody("the body's 'model' is not a text")
    return Asked(name, bool(seen.stream))


def change(body: bytes, model: str | None, set_params: Mapping[str, Any], strip: Sequence[str]) -> bytes:
    """The body with another `model`, fields set and fields removed; every other value keeps its bytes."""
    fields: dict[str, Any] = dict(_decode_raw(body))
    for name in strip:
        fields.pop(name, None)
    fields.update(set_params)
    if model is not None:
        fields["model"] = model
    return _encode(fields)


def reasoning_chunk(id: str, model: str, created: int, text: str) -> bytes:
    """An SSE event of a chat completion that carries a thought and no content. `created` in Unix seconds."""
    delta = {"role": "assistant", "reasoning_content": text}
    chunk: dict[str, Any] = {"id": f"chatcmpl-{id}", "object": "chat.completion.chunk", "created": created}
    chunk |= {"model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + _encode(chunk) + b"\n\n"


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(refusal: Refusal, request_id: str, *, anthropic: bool) -> bytes:
    """The JSON of a refusal: OpenAI's error object, or Anthropic's for its paths."""
    kind = _TYPES.get(refusal.status) or ("api_error" if refusal.status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {"message": refusal.message, "type": kind}
    if anthropic:
        return _encode({"type": "error", "error": error, "request_id": request_id})
    error |= {"param": "model" if refusal.code == "model_not_found" else None, "code": refusal.code}
    error |= {"fault": refusal.fault, "request_id": request_id}
    return _encode({"error": error})


def fault_of(status: int) -> Fault:
    """Who is at fault, where only a status is known."""
    if status < 500:
        return Fault.CLIENT
    return Fault.ENGINE if status in (502, 504) else Fault.GATEWAY
