"""One client connection: cuts its bytes into requests, one after the other, and writes what comes back.

Owns the client's transport. Knows nothing of models: `phases.py` does. A pipelined request waits in the buffer
until the one before it is settled; a client that ends its side while an answer is pending is gone.
"""

import asyncio
import contextlib
import math
from typing import cast

from roost import clock
from roost.core.request import Fault, Refusal
from roost.protocol.framing import ChunkedBody, FixedBody, TooLarge
from roost.protocol.head import BadHead, RequestHead, has_bare_lf, parse_request_head, split_at_length
from roost.proxy import phases
from roost.proxy.again import Accepted, to_remember
from roost.proxy.exchange import Exchange
from roost.proxy.plane import Plane

LINGER_S = 5.0
"""How long a closing connection may take to send any of its last bytes, and a refused client to stop sending."""
PIPELINE_BYTES = 64 * 1024
"""Bytes of later requests held while one is answered; beyond, reading stops."""


class Session(asyncio.Protocol):
    """A protocol in asyncio's sense."""

    __slots__ = (
        "_body",
        "_buffer",
        "_closing",
        "_known",
        "_paused",
        "_unsent",
        "_write_paused",
        "deadline_at",
        "exchange",
        "peer",
        "plane",
        "transport",
    )

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.transport: asyncio.Transport
        self.exchange: Exchange | None = None
        self.deadline_at = math.inf
        self.peer = ""
        self._buffer = b""
        self._body: FixedBody | ChunkedBody | None = None
        self._closing = False
        self._known: Accepted | None = None
        self._paused = False
        self._unsent = 0
        self._write_paused = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        plane = self.plane
        if len(plane.sessions) >= plane.limits.connections or plane.closing:
            self.transport.abort()
            return
        plane.sessions.add(self)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        self.deadline_at = clock.now() + plane.limits.keep_alive

    def connection_lost(self, error: Exception | None) -> None:
        self.plane.sessions.discard(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self._body = None

    def eof_received(self) -> bool:
        return False  # half-closed clients are gone: nobody could read the answer's end reliably

    def pause_writing(self) -> None:
        self._write_paused = True
        if self.exchange is not None:
            self.exchange.pause_upstream()
            if self._body is None and not self._closing:
                self._await_client(clock.now())

    def resume_writing(self) -> None:
        self._write_paused = False
        if self.exchange is not None:
            if self._body is None and not self._closing:
                self.deadline_at = math.inf
            self.exchange.resume_upstream()
        elif self._buffer:
            self._next()

    def data_received(self, data: bytes) -> None:
        if self._body is not None:
            self._feed(data)
        elif self._closing:  # the rest of a body that was refused
            return
        elif self.exchange is not None or self._write_paused:
            self._during(data)
        else:
            self._head(self._buffer + data if self._buffer else data)

    # heads

    def _head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):  # some clients end a body with a stray CRLF (RFC 9112 §2.2)
            data = data[2:]
        limits = self.plane.limits
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > limits.head_size:
            self._partial_head(data, end)
            return
        rest, self._buffer = data[end + 4 :], b""
        parts, known = split_at_length(data, end + 2), self._known
        if known is not None and parts is not None and known.before == parts[0] and known.after == parts[2]:
            exchange = self._start(known.head)
            exchange.length = int(parts[1])
            phases.accepted_again(exchange, known)
        else:
            try:
                head = parse_request_head(data[: end + 2], limits.head_fields)
            except BadHead as bad:
                self.refuse_raw(Refusal(status=bad.status, code="bad_request", message=_sentence(bad), close=True))
                return
            exchange = self._start(head)
            self._buffer = rest  # a request behind one that is refused still counts
            if not phases.accepted(exchange):
                return
            self._buffer = b""
            self._known = to_remember(exchange, parts)
        self._begin(exchange, rest)

    def _start(self, head: RequestHead) -> Exchange:
        exchange = self.exchange = Exchange(self, head, clock.now())
        self.deadline_at = math.inf
        return exchange

    def _partial_head(self, data: bytes, end: int) -> None:
        limit = self.plane.limits.head_size
        if end > limit or len(data) > limit + 4:
            message = f"The request head is over {limit} bytes."
            self.refuse_raw(Refusal(status=431, code="head_too_large", message=message, close=True))
        elif has_bare_lf(data):
            message = "The request is malformed: a line that ends in LF without CR."
            self.refuse_raw(Refusal(status=400, code="bad_request", message=message, close=True))
        else:
            if not self._buffer and data:
                self.deadline_at = clock.now() + self.plane.limits.head_timeout
            self._buffer = data

    def _begin(self, exchange: Exchange, rest: bytes) -> None:
        head, length = exchange.head, exchange.length
        if length and length > self.plane.limits.body_size and not exchange.streams_body:
            exchange.refuse(_too_large(self.plane.limits.body_size))
            return
        if head.chunked or (length and len(rest) < length) or exchange.streams_body:
            self._collect(exchange, head, rest)
        elif length:
            self._buffer = rest[length:]
            phases.identified(exchange, rest[:length] if self._buffer else rest)
        else:
            self._buffer = rest
            phases.identified(exchange, b"")

    # bodies

    def _collect(self, exchange: Exchange, head: RequestHead, rest: bytes) -> None:
        limits = self.plane.limits
        bound = 1 << 62 if exchange.streams_body else limits.body_size
        self._body = ChunkedBody(bound) if head.chunked else FixedBody(exchange.length or 0)
        self.deadline_at = clock.now() + limits.body_idle_timeout
        if exchange.streams_body:
            phases.identified(exchange, b"")
            if self.exchange is not exchange or exchange.settled:
                return
        if head.expect_continue and not rest:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rest or not exchange.has_body:
            self._feed(rest)

    def _feed(self, data: bytes) -> None:
        body, exchange = self._body, self.exchange
        if body is None or exchange is None:
            return
        try:
            rest = body.feed(data)
        except TooLarge:
            exchange.refuse(_too_large(self.plane.limits.body_size))
            return
        except BadHead as bad:
            exchange.refuse(Refusal(status=400, code="bad_request", message=_sentence(bad), close=True))
            return
        now = clock.now()
        self.deadline_at = now + self.plane.limits.body_idle_timeout
        if rest is not None:
            self._body = None
            self._buffer = rest
            self.deadline_at = math.inf
            if self._write_paused:
                self._await_client(now)
        if exchange.streams_body:
            exchange.send_body_piece(body.take(), last=rest is not None)
        elif rest is not None:
            exchange.release_held()  # it is counted anew if it must wait
            phases.identified(exchange, body.take())
        else:
            exchange.hold(len(data))

    # between and during requests

    def _during(self, data: bytes) -> None:
        """Bytes while an answer is pending: of a tunnel, or of a later request."""
        exchange = self.exchange
        if exchange is not None and exchange.tunnelling:
            exchange.send_tunnel(data)
            return
        self._buffer += data
        if len(self._buffer) > PIPELINE_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def tunnel(self) -> None:
        """The exchange became a tunnel: bytes that came early belong to it."""
        data, self._buffer = self._buffer, b""
        if data and self.exchange is not None:
            self.exchange.send_tunnel(data)
        self.resume_reading()

    def pause_reading(self) -> None:
        """The engine cannot take more of a streamed body or tunnel."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def _await_client(self, now: float) -> None:
        """The client takes no more for now: it must have taken some by the end of `send_timeout`."""
        limit = self.plane.limits.send_timeout
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline_at = math.inf if limit is None else now + limit

    def _client_stuck(self, exchange: Exchange, now: float) -> None:
        """A slow client may take its time as long as it takes something."""
        if self.transport.get_write_buffer_size() != self._unsent:
            self._await_client(now)
            return
        exchange.client_stuck(self.plane.limits.send_timeout or 0.0)
        self.transport.abort()

    @property
    def mid_body(self) -> bool:
        """The end of the request's body has not come yet."""
        return self._body is not None

    def finished(self, *, persistent: bool, unread: bool) -> None:
        """The exchange is settled and its last byte written; `unread`: nobody has asked for its body."""
        unread = unread or self.mid_body
        self.exchange = None
        self._body = None
        if not persistent or unread or self.plane.closing:
            self.close(unread=unread)
            return
        self.deadline_at = clock.now() + self.plane.limits.keep_alive
        self.resume_reading()
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self.exchange is None and not self._closing and not self._write_paused and self._buffer:
            data, self._buffer = self._buffer, b""
            self.resume_reading()  # it may have stopped for these very bytes, and their request needs more
            self._head(data)

    # ends

    def refuse_raw(self, refusal: Refusal) -> None:
        """Refuse what never became a request, and end the connection."""
        phases.refuse_malformed(self, refusal)
        self.close()

    def close(self, *, unread: bool = False) -> None:
        """End the connection once its last bytes are out. With a body `unread`, only our side ends at once: closing
        on bytes that still come would reset the connection, and the reset may overtake the answer (RFC 9112 §9.6)."""
        self._closing = True
        self._buffer = b""
        self.deadline_at = clock.now() + LINGER_S
        self._unsent = self.transport.get_write_buffer_size()
        if unread and not self.transport.is_closing():
            self.resume_reading()
            with contextlib.suppress(OSError):  # the client was faster
                self.transport.write_eof()
        else:
            self.transport.close()

    def cut(self) -> None:
        self.transport.abort()

    def end_when_idle(self) -> None:
        if self.exchange is None and not self._buffer:
            self.close()

    def _linger(self, now: float) -> None:
        """A slow client may take its time for the last bytes as long as it takes some."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if 0 < self._unsent < before:
            self.deadline_at = now + LINGER_S
        else:
            self.transport.abort()

    def overdue(self, now: float) -> None:
        """A deadline of this connection has passed; called by the sweep."""
        self.deadline_at = math.inf
        if self._closing:
            self._linger(now)
        elif self.exchange is not None and self._body is not None and self._paused:
            self.deadline_at = now + self.plane.limits.body_idle_timeout  # it is the engine that takes no more
        elif self.exchange is not None and self._body is not None:
            limit = self.plane.limits.body_idle_timeout
            message = f"The request body stood still for {limit:g} s."
            self._body = None
            self.exchange.refuse(Refusal(status=408, code="body_timeout", message=message, close=True))
        elif self.exchange is not None:
            self._client_stuck(self.exchange, now)
        elif self._buffer:
            limit = self.plane.limits.head_timeout
            message = f"The request head was not complete within {limit:g} s."
            self.refuse_raw(Refusal(status=408, code="head_timeout", message=message, close=True))
        else:
            self.close()


def _sentence(bad: BadHead) -> str:
    return f"The request is malformed: {bad}."


def _too_large(limit: int) -> Refusal:
    message = f"The request body is over {limit} bytes (server.limits.body_size)."
    return Refusal(status=413, code="body_too_large", message=message, fault=Fault.CLIENT, close=True)
