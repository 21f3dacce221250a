"""What a streamed chat completion hears while its model is not ready: `reasoning_content` chunks that say what it waits
for, then the engine's own events in the same answer (`loading_state`, as llama-swap's sendLoadingState).

Begins only after a short wait, so that a quick wake shows nothing and refusals at the door keep their status. Makes
no timer: the plane's sweep calls `sweep`. From the first chunk on the status is 200; later failures are error events.
Used by the phases and the exchange (queue, refusals), and by the relay once the engine answers.
"""

import re
from typing import TYPE_CHECKING, Any

import msgspec

from roost import clock
from roost.core.request import Fault, Outlook, Refusal, Route
from roost.protocol.head import ResponseHead
from roost.protocol.openai import error_body, reasoning_chunk
from roost.proxy import access

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange
    from roost.proxy.plane import Plane

PATH = "/v1/chat/completions"
DELAY_S = 0.5
"""Nothing is said before this."""
TICK_S = 0.75
"""At least this between two signs of life; with the sweep that makes one a second."""
REPEAT_S = 10.0
"""The sentence is said again after this; a dot stands for it between."""
MAX_KEPT = 64 * 1024
"""Of an engine's answer that is no stream of events."""
_DIGITS = re.compile(r"\d[\d.]*")
_DONE = b"data: [DONE]\n\n"


def is_wanted(x: "Exchange", route: Route) -> bool:
    """Whether this request, which must wait, is to hear of it."""
    spec = route.spec
    set_params = {**spec.set_params, **spec.set_params_by_name.get(route.asked, {})}
    return (
        spec.loading_state
        and x.request.stream
        and x.path == PATH
        and x.request.method == "POST"
        and set_params.get("stream", True) is True
        and "stream" not in spec.strip_params
    )


def sweep(plane: "Plane", now: float) -> None:
    """Tell everybody who waits and whose time for a word has come."""
    for x, since in list(plane.loading.items()):
        ticket, told = x.ticket, x.loading
        if ticket is None or now - since < DELAY_S or (told is not None and not told.is_due(now)):
            continue
        outlook = ticket.outlook()
        if told is None and outlook.is_ready:
            continue  # busy, not loading: an ordinary queue
        if told is None:
            told = x.loading = Loading(x, since)
            x.request.status = 200
        told.tell(outlook, now)


class Loading:
    """An answer that roost has begun itself."""

    __slots__ = ("_chunked", "_due_at", "_head", "_kept", "_repeat_at", "_said", "_since", "_status", "_x", "joined")

    def __init__(self, x: "Exchange", since: float) -> None:
        self._x = x
        self._since = since
        self._chunked = x.head.minor == 1
        self._due_at = since
        self._repeat_at = since
        self._said = ""
        self._status = 200
        self._kept = bytearray()
        self._head = _head(x, chunked=self._chunked)
        self.joined = False
        """The engine's events follow in this answer."""

    # while it waits

    def is_due(self, now: float) -> bool:
        """A client that does not take what was written is told nothing more."""
        return now >= self._due_at and not self._x.session.transport.get_write_buffer_size()

    def tell(self, outlook: Outlook, now: float) -> None:
        """One sign of life: the sentence when it is new or was said long ago, else a dot."""
        self._due_at = now + TICK_S
        said = _DIGITS.sub("", outlook.sentence)
        if said == self._said and now < self._repeat_at:
            self._send(self._chunk("."))
            return
        route = self._x.request.route
        begin = f"\n{now - self._since:.0f} s: " if self._said else f'Model "{route.name if route else ""}": '
        self._said, self._repeat_at = said, now + REPEAT_S
        self._send(self._chunk(begin + outlook.sentence))

    # the engine's answer

    def join(self, head: ResponseHead) -> bytes:
        """The engine's head is here: what goes out before its first piece. Its own head is dropped; an answer that is
        no stream of events is kept back, and told as an error at its end."""
        encoded = any(line[:17].lower() == b"content-encoding:" for line in head.lines)
        self.joined = head.status == 200 and head.event_stream and not encoded
        self._status = head.status
        return self._framed(self._chunk(f"\nReady after {clock.now() - self._since:.1f} s.\n")) if self.joined else b""

    def piece(self, data: bytes) -> bytes:
        """A piece of the engine's body as it goes on to the client."""
        if self.joined:
            return self._framed(data)
        self._kept += data[: MAX_KEPT - len(self._kept)]
        return b""

    def end(self) -> None:
        """The engine's answer is whole."""
        if not self.joined:
            self._send(b"data: " + self._engine_error() + b"\n\n" + _DONE)
        self._close()

    def refuse(self, refusal: Refusal) -> None:
        """It waited in vain: the refusal as an event, and the end of the answer."""
        self._send(b"data: " + error_body(refusal, self._x.request.id, anthropic=False) + b"\n\n" + _DONE)
        self._close()

    # bytes

    def _chunk(self, text: str) -> bytes:
        request = self._x.request
        model = request.route.asked if request.route is not None else ""
        return reasoning_chunk(request.id, model, int(clock.wall()), text)

    def _send(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self._x.send(head + self._framed(data))

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
            return msgspec.json.encode({"error": error})
        name = request.route.name if request.route is not None else ""
        text = self._kept[:500].decode("utf-8", "replace").strip()
        request.error = f"The engine of model {name!r} answered {self._status} without a stream of events: {text}"
        status = self._status if self._status >= 400 else 502
        refusal = Refusal(status=status, code="engine_answered", message=request.error, fault=Fault.ENGINE)
        return error_body(refusal, request.id, anthropic=False)


def _head(x: "Exchange", *, chunked: bool) -> bytes:
    lines = [
        b"HTTP/1.1 200 OK",
        b"content-type: text/event-stream",
        b"cache-control: no-cache",
        b"x-accel-buffering: no",  # nginx would hold the words back
        b"x-request-id: " + x.request.id.encode(),
    ]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    if not chunked or not x.head.persistent or x.plane.closing:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n" + access.cors(x) + b"\r\n"
