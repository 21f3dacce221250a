"""One connection to an engine: sends a request, follows the framing of the answer, passes its bytes on.

Bytes go through as they come; only the head is rewritten (hop-by-hop fields). Owns the upstream transport.
A connection goes back to the pool only if its answer ended exactly where its framing said.
"""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, cast

from roost import clock
from roost.core.request import Address, Phase
from roost.protocol.failure import Failure
from roost.protocol.framing import ChunkedBody, ChunkFollower
from roost.protocol.head import BadHead, ResponseHead
from roost.proxy import missing, phases
from roost.proxy.answering import Known, client_head, garbled, note_answer, read_head
from roost.proxy.ending import TAIL_PIECES, read_ending
from roost.proxy.own import IDLE_S

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange
    from roost.proxy.pool import Pool

IDLE, HEAD, LENGTH, CHUNKED, CLOSE, TUNNEL = range(6)
MAX_HEAD = 64 * 1024
JOINED_BYTES = 64 * 1024
MAX_INTERIM = 32
"""Interim heads (1xx) before an answer; none of today's engines sends more than one."""
NO_BODY = frozenset({204, 304})
NOWHERE = Address("", 0)


class Upstream(asyncio.Protocol):
    """A protocol in asyncio's sense. `exchange` is None while it rests in the pool."""

    __slots__ = (
        "_answer",
        "_buffer",
        "_decoder",
        "_ends",
        "_event_stream",
        "_follower",
        "_interim",
        "_keep",
        "_known",
        "_left",
        "_pool",
        "_sent_all",
        "_state",
        "_tail",
        "_unsent_head",
        "address",
        "exchange",
        "expires_at",
        "heard",
        "host_line",
        "paused",
        "reused",
        "transport",
    )

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.transport: asyncio.Transport
        self.address = NOWHERE
        self.host_line = b""
        self.exchange: Exchange | None = None
        self.expires_at = math.inf
        self.reused = False
        self.heard = False
        self._state = IDLE
        self._buffer = b""
        self._left = 0
        self._follower = ChunkFollower()
        self._decoder: ChunkedBody | None = None
        self._keep = False
        self._known: Known | None = None
        self._ends = True
        self._event_stream = False
        self._answer: ResponseHead | None = None
        self._interim = 0
        self.paused = False
        self._sent_all = True
        self._unsent_head = b""
        self._tail: deque[bytes] = deque(maxlen=TAIL_PIECES)

    # sending

    def begin(self, exchange: "Exchange", head: bytes) -> None:
        """Send a request; the answer goes to `exchange`."""
        self.exchange = exchange
        self._state = HEAD
        self.heard = False
        self._interim = 0
        self._sent_all = not exchange.streams_body
        body = exchange.body
        if len(body) < JOINED_BYTES:  # one write, one segment: a second one costs more than the copy
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if exchange.streams_body:
            exchange.session.resume_reading()  # before the pieces: writing them may stop it again
            pieces, exchange.unsent = exchange.unsent, []
            if pieces or exchange.unsent_done:
                self.send_piece(b"".join(pieces), chunked=exchange.head.chunked, last=exchange.unsent_done)

    def send_piece(self, data: bytes, *, chunked: bool, last: bool) -> None:
        """A piece of a body that streams, framed anew."""
        if chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if chunked and last:
            data += b"0\r\n\r\n"
        self._sent_all = last
        if data:
            self.transport.write(data)

    def drop(self) -> None:
        """The exchange is settled before the answer ended: close, so that the engine stops working on it."""
        self.exchange = None
        self.transport.abort()

    def idle_again(self, idle_s: float) -> None:
        """A fresh connection nobody needs any more: keep it for the next request, `idle_s` seconds at most."""
        self.expires_at = clock.now() + idle_s
        self._pool.put(self)

    def pause(self) -> None:
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()
            if self.exchange is not None and self.exchange.answer_started:
                self.arm(self.exchange)

    @property
    def progress(self) -> int:
        """How far its answer is: grows with what the engine says, not with the comments by which it keeps a stream
        open; 0 before its first piece, and while the client takes no more."""
        if self.exchange is None or self.paused or not self._tail:
            return 0
        return self.exchange.request.events if self._event_stream else self.exchange.request.bytes_out

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def placed(self, address: Address) -> None:
        """Called once by the pool: where this connection leads."""
        self.address = address
        name = "roost" if address.socket_path is not None else address.authority
        self.host_line = b"host: " + name.encode()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.exchange is not None and (self.exchange.streams_body or self.exchange.tunnelling):
            self.exchange.session.pause_reading()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.session.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            self._pool.forget(self)
            return
        exchange.upstream = None
        if self._state == TUNNEL:
            phases.complete(exchange, reusable=False)
        elif self._state == CLOSE and error is None:
            phases.complete(exchange, reusable=False, failure=self._end(exchange))
        else:
            phases.engine_lost(exchange, self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # bytes nobody asked for: nobody may get them
            self.transport.abort()
            return
        state = self._state
        if state == CHUNKED:
            self._chunked(exchange, data)
        elif state == HEAD:
            self._head(exchange, data)
        elif state == LENGTH:
            self._fixed(exchange, data)
        elif state == CLOSE:
            self._pass(exchange, data)
        else:
            exchange.send(data)

    # the head

    def _head(self, exchange: "Exchange", data: bytes) -> None:
        if not self.heard:
            self.heard = True
            exchange.request.first_byte_at = clock.now()
        while data and self.exchange is exchange:
            data = self._one_head(exchange, data)

    def _one_head(self, exchange: "Exchange", data: bytes) -> bytes:
        """Take one head; gives the bytes behind an interim one (RFC 9110 §15.2), which the real one follows."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            if len(data) > MAX_HEAD:
                garbled(exchange, f"its response head is over {MAX_HEAD} bytes")
            return b""
        rest = data[end + 4 :]
        try:
            head, self._known = read_head(data, end, self._known)
        except BadHead as bad:
            garbled(exchange, str(bad))
            return b""
        if head.status >= 400 and (verdict := missing.judge(exchange, head, rest)) is not missing.Verdict.PASS:
            self._buffer = data if verdict is missing.Verdict.WAIT else b""
            return b""
        if head.status >= 200:
            self._begin_answer(exchange, head, rest)
            return b""
        if head.status == 101:
            self._switch(exchange, head, rest)
            return b""
        self._interim += 1
        if self._interim > MAX_INTERIM:
            garbled(exchange, f"it sent more than {MAX_INTERIM} interim heads")
            return b""
        return rest

    def _switch(self, exchange: "Exchange", head: ResponseHead, rest: bytes) -> None:
        if exchange.head.upgrade is None:
            garbled(exchange, "it switched protocols unasked")
        else:
            self._begin_tunnel(exchange, head, rest)

    def _begin_answer(self, exchange: "Exchange", head: ResponseHead, rest: bytes) -> None:
        request = exchange.request
        request.phase = Phase.STREAMING
        request.status = status = head.status
        lease = exchange.lease
        if lease is not None and (status >= 500 or lease.watched):
            note_answer(lease, status)
        exchange.answer_started = True
        self._keep = not head.close
        self._answer, self._event_stream = head, head.event_stream
        idle_s = IDLE_S if request.route is None else request.route.spec.timeouts.upstream_idle
        self.expires_at = idle_s if head.idle_timeout is None else min(idle_s, head.idle_timeout - 1)
        loading = exchange.loading
        bodiless = exchange.head.method == b"HEAD" or head.status in NO_BODY
        if bodiless:
            self._state, self._left, self._ends = LENGTH, 0, True
        elif head.chunked:
            self._state, self._ends = CHUNKED, exchange.head.minor == 1
            self._follower = ChunkFollower()
            self._decoder = None if self._ends and loading is None else ChunkedBody(1 << 62)
        elif head.length is not None:
            self._state, self._left, self._ends = LENGTH, head.length, True
        else:
            self._state, self._ends, self._keep = CLOSE, False, False
        if loading is None:
            self._unsent_head = client_head(exchange, head, ends=self._ends, bodiless=bodiless)
        else:  # an answer of ours has begun: the engine's goes on in it
            self._unsent_head = loading.join(head)
            self._ends = self._ends and exchange.head.minor == 1
            exchange.answer_started = loading.joined
        self.arm(exchange)
        if rest or (self._state == LENGTH and self._left == 0):
            self.data_received(rest)
        elif self._unsent_head:
            self._flush_head(exchange)

    def _flush_head(self, exchange: "Exchange") -> None:
        head, self._unsent_head = self._unsent_head, b""
        exchange.send(head)

    def _begin_tunnel(self, exchange: "Exchange", head: ResponseHead, rest: bytes) -> None:
        self._state = TUNNEL
        exchange.request.phase = Phase.STREAMING
        exchange.request.status = 101
        exchange.answer_started = exchange.tunnelling = True
        exchange.deadline_at = math.inf
        lines = [*head.lines, b"connection: upgrade", b"x-request-id: " + exchange.request.id.encode()]
        exchange.send(b"\r\n".join(lines) + b"\r\n\r\n" + rest)
        exchange.session.tunnel()

    # the body

    def _pass(self, exchange: "Exchange", data: bytes) -> None:
        """Send a piece on and note its time; the head goes out together with the first piece."""
        request = exchange.request
        request.bytes_out += len(data)
        self._tail.append(data)
        if exchange.loading is not None:
            data = exchange.loading.piece(data)
        if self._unsent_head:
            exchange.session.transport.write(self._unsent_head + data)
            self._unsent_head = b""
        else:
            exchange.session.transport.write(data)
        if exchange.deadline_at is not math.inf:
            self.arm(exchange)
        if self._event_stream and b"data:" in data:
            now = clock.now()
            request.events += 1
            last = request.last_token_at
            request.last_token_at = now
            if last is None:
                request.first_token_at = now
            else:
                exchange.plane.watcher.gap(request, now - last)

    def arm(self, exchange: "Exchange") -> None:
        """The time until its next piece runs from now on."""
        route = exchange.request.route
        between = route.spec.timeouts.between_bytes if route is not None else None
        exchange.deadline_at = math.inf if between is None else clock.now() + between

    def _fixed(self, exchange: "Exchange", data: bytes) -> None:
        left = self._left - len(data)
        self._left = left
        if left > 0:
            self._pass(exchange, data)
            return
        if left < 0:  # more than was announced: cut it off, and never use the connection again
            data = data[:left]
            self._keep = False
        if data:
            self._pass(exchange, data)
        self._finish(exchange)

    def _chunked(self, exchange: "Exchange", data: bytes) -> None:
        try:
            if self._decoder is not None:
                self._dechunk(exchange, self._decoder, data)
                return
            end = self._follower.end(data)
        except BadHead as bad:
            garbled(exchange, str(bad))
            return
        if end < 0:
            self._pass(exchange, data)
            return
        if end < len(data):
            data = data[:end]
            self._keep = False
        self._pass(exchange, data)
        self._finish(exchange)

    def _dechunk(self, exchange: "Exchange", decoder: ChunkedBody, data: bytes) -> None:
        """HTTP/1.0 knows no chunks: its client gets the bare body, ended by the close."""
        rest = decoder.feed(data)
        piece = decoder.take()
        if piece:
            self._pass(exchange, piece)
        if rest is not None:
            self._keep = self._keep and not rest
            self._finish(exchange)

    def _finish(self, exchange: "Exchange") -> None:
        """The answer is whole: rest in the pool, then let the exchange settle."""
        if self._unsent_head:
            self._flush_head(exchange)
        failure = self._end(exchange)
        self.exchange = None
        exchange.upstream = None
        self._state = IDLE
        self.resume()
        sent_all = self._sent_all and not self.transport.get_write_buffer_size()
        if self._keep and sent_all and self.expires_at > 0:
            self.expires_at += clock.now()
            self._pool.put(self)
        else:
            self.transport.abort()
        phases.complete(exchange, reusable=self._ends, failure=failure)

    def _end(self, exchange: "Exchange") -> Failure | None:
        """What the end of the answer says; the tail is forgotten."""
        marks = self._state == CHUNKED and self._decoder is None
        pieces, by_close = self._tail, self._state == CLOSE
        failure = read_ending(exchange, self._answer, pieces, marks=marks, by_close=by_close)
        pieces.clear()
        return failure
