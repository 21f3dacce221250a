"""The only place that turns a refusal into bytes. Called by `proxy/phases.py` and the session."""

import math
from http import HTTPStatus

from roost.core.request import Refusal
from roost.protocol.openai import error_body

MAX_RETRY_AFTER_S = 120  # OpenAI's client ignores a longer one


def refusal_bytes(refusal: Refusal, request_id: str, *, anthropic: bool, head_only: bool, extra: bytes = b"") -> bytes:
    """A whole response. `extra` are further header lines, each with its CRLF."""
    body = error_body(refusal, request_id, anthropic=anthropic)
    lines = [
        b"HTTP/1.1 %d %s" % (refusal.status, reason_phrase(refusal.status)),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"x-request-id: " + request_id.encode(),
    ]
    if refusal.retry_after_s is not None:
        wait = min(max(math.ceil(refusal.retry_after_s), 1), MAX_RETRY_AFTER_S)
        lines.append(b"retry-after: %d" % wait)
    elif refusal.status >= 500 or refusal.status == 429:
        lines.append(b"x-should-retry: false")  # OpenAI's clients honour it
    if refusal.close:
        lines.append(b"connection: close")
    if refusal.status == 401:
        lines.append(b'www-authenticate: Bearer realm="roost"')
    return b"\r\n".join(lines) + b"\r\n" + extra + b"\r\n" + (b"" if head_only else body)


def reason_phrase(status: int) -> bytes:
    """`Not Found` of 404."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Refused"
