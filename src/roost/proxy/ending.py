"""The end of an answer: the usage that the engine reports in it, and the failure that it hides under status 200.

Looks once, when the answer is over, at its last pieces alone; a streamed answer costs nothing more per piece for it.
Called by the relay.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roost.protocol.failure import Failure, Tail, judge_json, judge_stream, looks_well, without_marks
from roost.protocol.head import ResponseHead
from roost.protocol.sse import TAIL_BYTES, usage

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

TAIL_PIECES = 8
"""Pieces kept of an answer's end: finish reason, usage and [DONE] come in pieces of their own."""
_CODED = re.compile(rb"content-encoding:[ \t]*(?!identity)\S", re.IGNORECASE)
_JSON = re.compile(rb"content-type:[ \t]*application/json", re.IGNORECASE)


def read_ending(
    exchange: "Exchange", head: ResponseHead | None, pieces: Sequence[bytes], *, marks: bool, by_close: bool
) -> Failure | None:
    """Note the usage; give the failure, if there is one. `pieces`: the last ones, TAIL_PIECES at most. `marks`: those
    of chunked coding are in them. `by_close`: the closing of the connection was the answer's only end."""
    request = exchange.request
    if request.status != 200 or request.method != "POST":
        return None
    data = _joined(pieces)
    size = len(data)
    if marks:
        data = without_marks(data, whole=_is_whole(pieces, size))
    request.prompt_tokens, request.completion_tokens = usage(data)
    if head is None or (looks_well(data, event_stream=head.event_stream) and not by_close):
        return None
    route = request.route
    if route is None or any(map(_CODED.match, head.lines)):
        return None
    tail = Tail(data=data, whole=_is_whole(pieces, size), by_close=by_close)
    if head.event_stream:
        return judge_stream(tail, request.path, route.spec.engine)
    return judge_json(tail) if any(map(_JSON.match, head.lines)) else None


def _is_whole(pieces: Sequence[bytes], size: int) -> bool:
    """Whether the `size` bytes of their end are the whole answer."""
    return len(pieces) < TAIL_PIECES and size == sum(map(len, pieces))


def _joined(pieces: Sequence[bytes]) -> bytes:
    """The last TAIL_BYTES, without a hole."""
    if len(pieces) == 1:
        return pieces[0][-TAIL_BYTES:]
    left, parts = TAIL_BYTES, []
    for piece in reversed(pieces):
        parts.append(piece[-left:])
        left -= len(piece)
        if left <= 0:
            break
    return b"".join(reversed(parts))
