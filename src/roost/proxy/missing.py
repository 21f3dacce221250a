"""An answer "no such model" for one that was believed loaded: held back whole, and the request sent once more.

Only for models inside a server that someone else runs, once a request, and only before any byte went to the client.
What the answer means is the lease's to say. Called by the relay.
"""

import math
from enum import Enum, auto
from typing import TYPE_CHECKING

from roost import clock
from roost.protocol.framing import ChunkedBody
from roost.protocol.head import BadHead, ResponseHead
from roost.proxy import phases

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

HELD_MAX = 64 * 1024
"""A longer answer is no refusal of a model and is passed on."""


class Verdict(Enum):
    """What becomes of an answer with an error's status."""

    PASS = auto()
    """It is the client's."""
    WAIT = auto()
    """More of it must come first."""
    AGAIN = auto()
    """It is dropped; the request waits for the model."""


def judge(x: "Exchange", head: ResponseHead, body: bytes) -> Verdict:
    """`body`: what has come of it. After AGAIN the connection is closed and belongs to nobody."""
    if not _is_suspect(x, head) or len(body) > HELD_MAX:
        return Verdict.PASS
    try:
        whole = _whole(head, body)
    except BadHead:
        return Verdict.PASS
    if whole is None:
        return Verdict.WAIT
    if x.lease is None or not x.lease.denied(head.status, whole):
        return Verdict.PASS
    _enter_again(x)
    return Verdict.AGAIN


def _is_suspect(x: "Exchange", head: ResponseHead) -> bool:
    route = x.request.route
    if route is None or route.spec.server is None or x.missed or x.streams_body or x.loading is not None:
        return False
    if x.head.method != b"POST":  # the answer to a HEAD has no body to wait for
        return False
    return head.chunked or (head.length is not None and head.length <= HELD_MAX)


def _whole(head: ResponseHead, body: bytes) -> bytes | None:
    """The body without the marks of chunked coding; None while some is missing. Raises BadHead."""
    if not head.chunked:
        return body[: head.length] if len(body) >= (head.length or 0) else None
    decoder = ChunkedBody(HELD_MAX)
    return None if decoder.feed(body) is None else decoder.take()


def _enter_again(x: "Exchange") -> None:
    """Wait like a new request, for the model that is loaded again."""
    route, upstream = x.request.route, x.upstream
    assert route is not None
    x.missed = True
    lease, x.lease, x.upstream = x.lease, None, None
    if upstream is not None:
        upstream.drop()
    if lease is not None:
        lease.release(clock.now())
    x.deadline_at = math.inf  # it was set for the answer that is dropped
    x.request.first_byte_at = None
    phases.entered(x, route)
