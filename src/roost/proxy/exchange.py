"""One request on its way: what ties a session, a lease and an upstream connection together until it is settled.

Holds, does not decide: the decisions are the phases'. Settles exactly once, whatever happens, and gives the
lease back then.
"""

import math
from typing import TYPE_CHECKING

from roost import clock
from roost.core.request import Fault, Outcome, Phase, Refusal, Request, Route
from roost.protocol.head import RequestHead
from roost.proxy import access, fallback, phases
from roost.proxy.ports import Lease, Ticket
from roost.proxy.refuse import refusal_bytes

if TYPE_CHECKING:
    from roost.proxy.begun import Begun
    from roost.proxy.plane import Plane
    from roost.proxy.relay import Upstream
    from roost.proxy.routing import Original
    from roost.proxy.session import Session


class Exchange:
    """A request and its answer. Implements `ports.Waiter` for the gate's queue."""

    __slots__ = (
        "answer_started",
        "body",
        "deadline_at",
        "found",
        "head",
        "held",
        "lease",
        "length",
        "loading",
        "missed",
        "original",
        "path",
        "plane",
        "query",
        "reentries",
        "request",
        "session",
        "settled",
        "streams_body",
        "target",
        "ticket",
        "to_admin",
        "tunnelling",
        "unanswered",
        "unsent",
        "unsent_done",
        "upstream",
    )

    def __init__(self, session: "Session", head: RequestHead, now: float) -> None:
        self.session = session
        self.plane: Plane = session.plane
        self.head = head
        self.request = Request("", now)
        self.length = head.length
        self.target = head.target
        self.path = ""
        self.query = b""
        self.body = b""
        self.lease: Lease | None = None
        self.ticket: Ticket | None = None
        self.upstream: Upstream | None = None
        self.loading: Begun | None = None
        self.original: Original | None = None
        self.found: Route | None = None
        """The route of a model that was on trial when it entered."""
        self.deadline_at = math.inf
        self.held = 0
        self.reentries = 0
        self.missed = False
        self.unanswered = False
        self.answer_started = False
        self.settled = False
        self.streams_body = False
        self.to_admin = False
        self.tunnelling = False
        self.unsent: list[bytes] = []
        self.unsent_done = False

    @property
    def has_body(self) -> bool:
        return bool(self.length) or self.head.chunked

    @property
    def route(self) -> Route | None:
        return self.request.route

    # the gate's side (ports.Waiter)

    def granted(self, lease: Lease) -> bool:
        if self.settled:
            return False
        self.ticket = None
        self.release_held()
        self.request.route = self.request.route or self.found
        self.lease = lease
        phases.leased(self)
        return True

    def refused(self, refusal: Refusal) -> None:
        self.ticket = None
        final = fallback.instead(self, refusal, phases.admitted)
        if final is not None:
            self.refuse(final)

    def hold(self, size: int) -> bool:
        """Count bytes of the body that are kept here; refuses the request, and gives False, where all together are
        too many."""
        plane = self.plane
        self.held += size
        plane.held_bytes += size
        limit = plane.limits.held_bodies
        if plane.held_bytes > limit:
            message = f"Requests that wait or still come in already hold {limit} bytes (server.limits.held_bodies)."
            code, fault = "too_much_waiting", Fault.GATEWAY
            self.refuse(Refusal(status=503, code=code, message=message, fault=fault, retry_after_s=10.0))
            return False
        return True

    def release_held(self) -> None:
        self.plane.held_bytes -= self.held
        self.held = 0

    # the client's side

    def send(self, data: bytes) -> None:
        """Bytes of the answer."""
        self.session.transport.write(data)
        self.request.bytes_out += len(data)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with roost's own error, or cut an answer that has already begun."""
        if self.settled:
            return
        request = self.request
        request.error = refusal.message
        outcome = Outcome.ENGINE_FAILED if refusal.fault is Fault.ENGINE else Outcome.REFUSED
        if self.answer_started:
            self.settle(outcome, persistent=False)
            return
        persistent = self.head.persistent and not refusal.close and not self.session.mid_body
        if self.loading is not None:
            self.loading.refuse(refusal)
            self.settle(outcome, persistent=persistent and self.head.minor == 1)
            return
        request.status = refusal.status
        data = refusal_bytes(
            refusal if persistent else _closing(refusal),
            request.id,
            anthropic=self.path.startswith("/v1/messages"),
            head_only=self.head.method == b"HEAD",
            extra=access.cors(self),
        )
        self.send(data)
        self.settle(outcome, persistent=persistent)

    def client_gone(self) -> None:
        """The client's connection is lost."""
        if self.tunnelling:
            self.settle(Outcome.OK, persistent=False)
        else:
            self.settle(Outcome.CLIENT_GONE, persistent=False)

    def client_stuck(self, limit_s: float) -> None:
        """The client takes no byte of its answer: whoever waits for its replica needs the lease more."""
        self.request.error = f"The client took no byte of its answer for {limit_s:g} s (server.limits.send_timeout)."
        self.settle(Outcome.CLIENT_GONE, persistent=False)

    def cancel(self) -> None:
        """An operator cancels the request."""
        message = "An operator cancelled this request."
        self.refuse(Refusal(status=503, code="cancelled", message=message, fault=Fault.GATEWAY, close=True))

    def pause_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.pause()

    def resume_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.resume()

    # bodies and tunnels that stream

    def send_body_piece(self, data: bytes, *, last: bool) -> None:
        """A piece of an /upstream body; held (bounded by pausing the client) until the engine is connected."""
        self.request.bytes_in += len(data)
        if self.upstream is not None:
            self.upstream.send_piece(data, chunked=self.head.chunked, last=last)
            return
        self.unsent.append(data)
        self.unsent_done = last
        if not last:
            self.session.pause_reading()

    def send_tunnel(self, data: bytes) -> None:
        if self.upstream is not None:
            self.upstream.transport.write(data)

    # the end

    def overdue(self, now: float) -> None:
        """The engine was silent past its limit; called by the sweep."""
        phases.engine_silent(self, now)

    def settle(self, outcome: Outcome, *, persistent: bool) -> None:
        """The last phase of every request: runs once, always."""
        if self.settled:
            return
        self.settled = True
        unread = self.has_body and self.request.phase is Phase.ACCEPTED
        now = clock.now()
        self.release_held()
        if self.plane.loading:
            self.plane.loading.pop(self, None)
        if self.ticket is not None:
            self.ticket.leave()
            self.ticket = None
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.drop()  # the engine sees the connection close and stops generating
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release(now)
        self._record(outcome, now)
        self.body = b""
        self.session.finished(persistent=persistent, unread=unread)

    def _record(self, outcome: Outcome, now: float) -> None:
        request = self.request
        request.phase = Phase.SETTLED
        request.outcome = outcome
        request.ended_at = now
        if outcome is Outcome.CLIENT_GONE:
            request.status = 499
        self.plane.done(self)


def _closing(refusal: Refusal) -> Refusal:
    if refusal.close:
        return refusal
    return Refusal(
        status=refusal.status,
        code=refusal.code,
        message=refusal.message,
        fault=refusal.fault,
        retry_after_s=refusal.retry_after_s,
        close=True,
    )
