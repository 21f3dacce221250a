"""The head of an engine's answer: read, and as the client gets it, the engine's own lines and what this hop adds.

Changes no field that is end to end. Called by the relay.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from roost.core.request import Fault, Refusal, Request
from roost.protocol.head import ResponseHead, parse_response_head, split_at_length
from roost.proxy import access
from roost.proxy.ports import Lease

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

_LENGTH = b"content-length"
_ASKED_FOR = frozenset({501, 505})
"""What a request asks for and the engine does not have: no failure of the engine's."""


@dataclass(frozen=True, slots=True)
class Known:
    """The last head of this connection: one that differs in its length alone need not be parsed again."""

    before: bytes
    after: bytes
    head: ResponseHead


def read_head(data: bytes, end: int, known: Known | None) -> tuple[ResponseHead, Known | None]:
    """The head that stands in `data` up to its empty line at `end`, and what to remember of it. Raises BadHead."""
    parts = split_at_length(data, end + 2)
    if known is not None and parts is not None and known.before == parts[0] and known.after == parts[2]:
        known.head.length = int(parts[1])
        return known.head, known
    head = parse_response_head(data[: end + 2])
    # Of two lengths that agreed once, one could change alone.
    alone = parts is not None and data[:end].lower().count(_LENGTH) == 1
    return head, Known(parts[0], parts[2], head) if parts is not None and alone else None


def note_answer(lease: Lease, status: int) -> None:
    """Tell whether the engine did its part: called where it failed now, or has failed lately."""
    if status >= 500 and status not in _ASKED_FOR:
        lease.failed(f"its engine answered {status}")
    else:
        lease.answered()


def client_head(exchange: "Exchange", head: ResponseHead, *, ends: bool, bodiless: bool) -> bytes:
    """`ends`: the client sees the answer's end without the connection being closed."""
    lines = [b"HTTP/1.1" + head.lines[0][8:], *head.lines[1:]]
    if not head.has_request_id:
        lines.append(b"x-request-id: " + exchange.request.id.encode())
    if exchange.original is not None:
        lines.extend(fallback_lines(exchange.request))
    if head.chunked and (ends or bodiless):
        if exchange.head.minor == 1:
            lines.append(b"transfer-encoding: chunked")
    elif head.length is not None:
        lines.append(b"content-length: %d" % head.length)
    if not ends or not exchange.head.persistent or exchange.plane.closing:
        lines.append(b"connection: close")
    elif exchange.head.minor == 0:
        lines.append(b"connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n" + access.cors(exchange) + b"\r\n"


def fallback_lines(request: Request) -> tuple[bytes, ...]:
    """Which model answers, where it is not the one that was asked for."""
    if not request.fallback_for or request.route is None:
        return ()
    return (b"x-roost-fallback: " + quote(request.route.name, safe="/:@+ ").encode(),)


def garbled(exchange: "Exchange", what: str) -> None:
    """The engine does not speak HTTP: refuse (or cut), never guess."""
    name = exchange.request.route.name if exchange.request.route is not None else "roost's own API"
    message = f"The engine of {name!r} answered with broken HTTP: {what}."
    if exchange.lease is not None and not exchange.answer_started:
        exchange.lease.failed(f"it answered with broken HTTP: {what}")
    exchange.refuse(Refusal(status=502, code="engine_garbled", message=message, fault=Fault.ENGINE))
