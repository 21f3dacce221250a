"""OpenAI and Anthropic forms: what a body asks for, how it is changed for the engine, how an error looks.

A body is never re-serialised as a whole: where one field must change, all other values keep their bytes.
Pure. Called by `proxy/phases.py` and `proxy/refuse.py`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.core.request import Fault, Refusal


class Asked(msgspec.Struct):
    """What routing needs of a JSON body."""

    model: str | None = None
    stream: bool | None = None


class BadBody(ValueError):
    """A body that cannot be routed; the text says why."""


_decode_asked = msgspec.json.Decoder(Asked).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_ESCAPED_MODEL = re.compile(rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"', re.ASCII)


def peek(body: bytes) -> Asked:
    """The `model` and `stream` of a JSON object. Raises BadBody; a top-level `model` given twice is one,
    since the engine may take the other one."""
    try:
        asked = _decode_asked(body)
    except msgspec.ValidationError as error:
        raise BadBody(f"the body has a wrong type: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadBody("the body's JSON is nested too deeply") from None
    if body.count(b'"model"') != 1 or b"\\u00" in body:
        _refuse_twice(body)
    return asked


def _refuse_twice(body: bytes) -> None:
    if len(_ESCAPED_MODEL.findall(body)) < 2:
        return
    top: list[tuple[str, Any]] = []

    def last_object(pairs: list[tuple[str, Any]]) -> None:
        top[:] = pairs  # objects come innermost first, so the last call is the top level

    try:
        json.loads(body, object_pairs_hook=last_object)
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON that every reader would read alike") from None
    if sum(key == "model" for key, _ in top) > 1:
        raise BadBody("'model' stands twice in the body")


def change(body: bytes, model: str | None, set_params: Mapping[str, Any], strip: Sequence[str]) -> bytes:
    """The body with another `model`, fields set and fields removed; every other value keeps its bytes."""
    fields: dict[str, Any] = dict(_decode_raw(body))
    for name in strip:
        fields.pop(name, None)
    fields.update(set_params)
    if model is not None:
        fields["model"] = model
    return _encode(fields)


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
