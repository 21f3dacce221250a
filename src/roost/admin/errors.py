"""Refusals of the API as JSON error objects, in the same shape and words as the data plane's.

Handlers raise `Refused`; `admin/api.py` installs `HANDLERS`. Nothing else here makes an error body.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from roost.core.request import Fault, Refusal
from roost.logs import log
from roost.protocol.openai import error_body
from roost.proxy.routing import unknown_model


class Refused(Exception):
    """The request ends here, with this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(status: int, code: str, message: str) -> NoReturn:
    """Raise a refusal that is the client's fault."""
    raise Refused(Refusal(status=status, code=code, message=message))


def refuse_model(name: str) -> NoReturn:
    """404 in the same words for a model that is not there and one the key may not use."""
    raise Refused(unknown_model(name))


def answer(request: Request, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The refusal as a response."""
    request_id = request.headers.get("x-request-id", "")
    body = error_body(refusal, request_id, anthropic=False)
    return Response(body, refusal.status, headers=headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer(request, error.refusal)


async def _http(request: Request, error: Exception) -> Response:
    """404 and 405 of the router."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        refusal = Refusal(
            status=405, code="method_not_allowed", message=f"{request.method} {path} is not served; it takes {allowed}."
        )
    else:
        refusal = Refusal(
            status=error.status_code,
            code="not_found" if error.status_code == 404 else "bad_request",
            message=f"No route {path!r} here. GET /api/v1/openapi.json lists them.",
        )
    return answer(request, refusal, error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed: %s", request.method, request.url.path, error, exc_info=error)
    message = f"roost failed to answer: {type(error).__name__}. Its log has the details."
    return answer(request, Refusal(status=500, code="internal_error", message=message, fault=Fault.GATEWAY))


Handle = Callable[[Request, Exception], Awaitable[Response]]
HANDLERS: Mapping[Any, Handle] = {Refused: _refused, HTTPException: _http, Exception: _bug}
