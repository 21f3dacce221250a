"""An event-stream answer that roost has begun itself, while its request still waits: head, framing, the engine's events
in it, and its end.

From its first byte on the status is 200, so later failures are error events. What is said meanwhile is the business of
`loading` and `heartbeat`. Used by the exchange (refusals), and by the relay once the engine answers.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from roost.core.request import Fault, Outlook, Refusal
from roost.protocol.head import ResponseHead
from roost.protocol.openai import error_body
from roost.proxy import access
from roost.proxy.answering import fallback_lines

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

MAX_KEPT = 64 * 1024
"""Of an engine's answer that is no stream of events."""
_DONE = b"data: [DONE]\n\n"


class Begun(ABC):
    """Its head goes out with the first thing that is said."""

    __slots__ = ("_anthropic", "_chunked", "_head", "_kept", "_status", "_x", "joined")

    def __init__(self, x: "Exchange") -> None:
        self._x = x
        self._anthropic = x.path.startswith("/v1/messages")
        self._chunked = x.head.minor == 1
        self._status = 200
        self._kept = bytearray()
        self._head = _head(x, chunked=self._chunked)
        self.joined = False
        """The engine's events follow in this answer."""
        x.request.status = 200

    # while it waits

    @abstractmethod
    def is_due(self, now: float) -> bool:
        """It is time to say something. A client that does not take what was written is told nothing more."""

    @abstractmethod
    def tell(self, outlook: Outlook, now: float) -> None:
        """Say it."""

    def last_words(self) -> bytes:
        """What is said before the engine's first event."""
        return b""

    def takes_more(self) -> bool:
        """The client has taken what was written."""
        return not self._x.session.transport.get_write_buffer_size()

    # the engine's answer

    def join(self, head: ResponseHead) -> bytes:
        """The engine's head is here: what goes out before its first piece. Its own head is dropped; an answer that is
        no stream of events is kept back, and told as an error at its end."""
        encoded = any(line[:17].lower() == b"content-encoding:" for line in head.lines)
        self.joined = head.status == 200 and head.event_stream and not encoded
        self._status = head.status
        words = self.last_words() if self.joined else b""
        return self._framed(words) if words else b""

    def piece(self, data: bytes) -> bytes:
        """A piece of the engine's body as it goes on to the client."""
        if self.joined:
            return self._framed(data)
        self._kept += data[: MAX_KEPT - len(self._kept)]
        return b""

    def end(self) -> None:
        """The engine's answer is whole."""
        if not self.joined:
            self._end_with(self._engine_error())
        self._close()

    def refuse(self, refusal: Refusal) -> None:
        """It waited in vain: the refusal as an event, and the end of the answer."""
        self._end_with(error_body(refusal, self._x.request.id, anthropic=self._anthropic))
        self._close()

    # bytes

    def send(self, data: bytes) -> None:
        """The first time the head goes before it."""
        head, self._head = self._head, b""
        self._x.send(head + self._framed(data))

    def _end_with(self, error: bytes) -> None:
        """Anthropic's streams name their events and have no last mark."""
        self.send(b"event: error\ndata: " + error + b"\n\n" if self._anthropic else b"data: " + error + b"\n\n" + _DONE)

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _close(self) -> None:
        if self._chunked:
            self._x.send(b"0\r\n\r\n")

    def _engine_error(self) -> bytes:
        """The engine's own error object where it gave one; the status of the record stays the engine's."""
        try:
            told: Any = msgspec.json.decode(self._kept)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = None
        request, error = self._x.request, told.get("error") if isinstance(told, dict) else None
        if self._status >= 400 and isinstance(error, dict):
            request.error = f"The engine answered {self._status}: {str(error.get('message', ''))[:200]}"
            return msgspec.json.encode({"type": "error", "error": error} if self._anthropic else {"error": error})
        name = request.route.name if request.route is not None else ""
        text = self._kept[:500].decode("utf-8", "replace").strip()
        request.error = f"The engine of model {name!r} answered {self._status} without a stream of events: {text}"
        status = self._status if self._status >= 400 else 502
        refusal = Refusal(status=status, code="engine_answered", message=request.error, fault=Fault.ENGINE)
        return error_body(refusal, request.id, anthropic=self._anthropic)


def _head(x: "Exchange", *, chunked: bool) -> bytes:
    request = x.request
    lines = [
        b"HTTP/1.1 200 OK",
        b"content-type: text/event-stream",
        b"cache-control: no-cache",
        b"x-accel-buffering: no",  # nginx would hold the words back
        b"x-request-id: " + request.id.encode(),
        *fallback_lines(request),
    ]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    if not chunked or not x.head.persistent or x.plane.closing:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n" + access.cors(x) + b"\r\n"
