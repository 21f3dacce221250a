"""Bodies of answers: JSON out of dictionaries, and HTTP answers of orders. Used by all handlers; decides nothing."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from roost.core.request import Refusal
from roost.protocol.openai import error_body, fault_of

_encoder = msgspec.json.Encoder(enc_hook=str)


def encode(value: object) -> bytes:
    """JSON; what JSON has no form for becomes its text, infinite numbers become null."""
    return _encoder.encode(value)


def answer_json(value: object, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def answer_order(request: Request, result: dict[str, Any]) -> Response:
    """The console's result with its own HTTP status, and an error object beside it from 400 on."""
    body = {key: value for key, value in result.items() if key != "status"}
    status = int(result.get("status", 200))
    if status >= 400:
        code = "cannot_obey" if status < 500 else "engine_refused"
        refusal = Refusal(status=status, code=code, message=str(result.get("message", "")), fault=fault_of(status))
        error = error_body(refusal, request.headers.get("x-request-id", ""), anthropic=False)
        body |= msgspec.json.decode(error, type=dict[str, Any])
    return answer_json(body, status)
