"""The path of a request, one function a phase (house rule: the phase's name is the word in log and metrics).

Each takes the exchange on, or refuses it with the reason. A phase that must wait hands a callback to the gate or
the pool and returns: a request that meets a ready replica and a pooled connection makes no task and no timer.
Called by the session (accepted, identified), the gate (leased) and the relay (engine_lost, complete).
"""

import asyncio
import math
import re
from typing import TYPE_CHECKING

from typing_extensions import TypeIs

from roost import clock
from roost.core.request import Fault, HiddenFailure, Outcome, Phase, Refusal, Request, Route
from roost.core.server_spec import Scope
from roost.protocol.failure import Failure
from roost.protocol.forms import BadForm
from roost.protocol.openai import BadBody
from roost.proxy import access, fallback, heartbeat, hints, loading, offering
from roost.proxy.again import Accepted
from roost.proxy.keys import scopes_of
from roost.proxy.outgoing import engine_head
from roost.proxy.own import CONNECT_S, IDLE_S, AdminLease
from roost.proxy.ports import Lease, Ticket
from roost.proxy.refuse import refusal_bytes
from roost.proxy.routing import model_route, upstream_route

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange
    from roost.proxy.relay import Upstream
    from roost.proxy.session import Session


_SECONDS = re.compile(rb"\d{1,9}(?:\.\d{1,9})?")
REENTER_S = (0.05, 0.2, 0.75)
"""Waits before a request whose engine refused the connection enters again; then 502."""


# accepted: what the head alone decides


def accepted(x: "Exchange") -> bool:
    """Id, Host, Origin, key and kind of path, before any body is asked for. False if refused."""
    plane, head, request = x.plane, x.head, x.request
    request.id = access.request_id(x)
    request.method = head.method.decode("ascii")
    path, _, x.query = head.target.partition(b"?")
    x.path = path.decode("ascii")
    x.to_admin = plane.admin is not None and access.is_own(x.path)
    _begin(x)
    refusal = access.stranger(x) or access.check_key(x)
    if refusal is None and request.method == "OPTIONS" and head.origin is not None:
        access.preflight(x)
        return False
    if refusal is None:
        refusal = access.check_path(x)
    if refusal is not None:
        x.refuse(access.close_if_body(x, refusal))
        return False
    return True


def accepted_again(x: "Exchange", like: Accepted) -> None:
    """The same head as before on this connection, but for its length: what was found then holds."""
    request = x.request
    request.id = x.plane.request_id()
    request.method = like.method
    request.key = like.key
    x.path, x.query, x.to_admin = like.path, like.query, like.to_admin
    _begin(x)


def _begin(x: "Exchange") -> None:
    request, head = x.request, x.head
    request.path = x.path
    request.client = x.session.peer
    x.plane.exchanges[request.id] = x
    if not x.to_admin:
        x.plane.watcher.began(request)
    if head.read_timeout is not None and _SECONDS.fullmatch(head.read_timeout):
        request.deadline_at = request.received_at + float(head.read_timeout)


# identified: which model


def identified(x: "Exchange", body: bytes) -> None:
    """The body is here (or streams): find the route, then go on to authorised."""
    request = x.request
    request.phase = Phase.IDENTIFIED
    request.bytes_in = len(body)
    x.body = body
    if x.to_admin:
        _to_admin(x)
        return
    try:
        route = upstream_route(x) if x.path.startswith(access.UPSTREAM) else model_route(x, _offer)
    except (BadBody, BadForm) as bad:
        x.refuse(Refusal(status=400, code="bad_body", message=f"{str(bad)[:1].upper()}{str(bad)[1:]}."))
        return
    if route is not None:
        request.route = route
        authorised(x, route)


def _offer(x: "Exchange", name: str, kind: str) -> bool:
    return offering.offer(x, name, kind, _found)


def _found(x: "Exchange", route: Route) -> None:
    """A model that nobody knew a moment ago. Until it has been loaded nobody may count under its name: clients make
    names up."""
    if x.plane.fleet.resolve(route.asked) is not None:
        x.request.route = route
    x.found = route
    authorised(x, route)


# authorised and entered


def authorised(x: "Exchange", route: Route) -> None:
    """May this key infer, and now?"""
    request = x.request
    request.phase = Phase.AUTHORISED
    key = request.key
    if key is not None:
        if Scope.INFER not in scopes_of(key):
            message = f"The key {key.name!r} may not infer: its scopes are {', '.join(key.scopes)}."
            x.refuse(access.close_if_body(x, Refusal(status=403, code="scope_needed", message=message)))
            return
        wait = x.plane.keys.wait_s(key, clock.now())
        if wait:
            message = f"The key {key.name!r} is over its {key.requests_per_minute} requests per minute."
            refusal = Refusal(status=429, code="rate_limited", message=message, retry_after_s=wait)
            x.refuse(refusal)
            return
    if x.head.next_models:
        hints.tell(x)
    entered(x, route)


def entered(x: "Exchange", route: Route) -> None:
    """The gate alone answers: a lease, a place in the queue, or a refusal."""
    refusal = admitted(x, route)
    if refusal is not None:
        refusal = fallback.instead(x, refusal, admitted)
    if refusal is not None:
        x.refuse(refusal)


def admitted(x: "Exchange", route: Route) -> Refusal | None:
    """The gate's refusal; None: it goes on, or waits."""
    request = x.request
    request.phase = Phase.ENTERED
    if route.spec.heartbeat is not None and heartbeat.outlasts(x, route):
        request.deadline_at = None
    answer = x.plane.fleet.enter(request, route, x, clock.now())  # a slow body was no wait, nor was a lost engine
    if isinstance(answer, Refusal):
        return answer
    if _is_lease(answer):
        x.lease = answer
        leased(x)
        return None
    queued(x, answer)
    if (loading.is_wanted(x, route) or heartbeat.is_wanted(x, route)) and not x.settled:
        x.plane.loading.setdefault(x, clock.now())
    return None


def _is_lease(answer: Lease | Ticket) -> TypeIs[Lease]:
    return hasattr(answer, "release")


def queued(x: "Exchange", ticket: Ticket) -> None:
    """Wait for the gate's callback; the body is held meanwhile, within a bound over all waiters."""
    request = x.request
    request.phase = Phase.QUEUED
    request.queued_at = clock.now()
    x.ticket = ticket
    x.hold(len(x.body))


# connected and streaming


def leased(x: "Exchange") -> None:
    """A lease is held: send on a pooled connection, or open one."""
    lease, request = x.lease, x.request
    assert lease is not None
    now = clock.now()
    request.leased_at = now
    request.replica = lease.replica
    upstream = x.plane.pool.take(lease.address, now)
    if upstream is not None:
        upstream.reused = True
        connected(x, upstream, now)
    else:
        _connect(x, lease)


def _connect(x: "Exchange", lease: Lease) -> None:
    route = x.request.route
    timeout_s = route.spec.timeouts.connect if route is not None else CONNECT_S

    def done(upstream: "Upstream | None", error: str) -> None:
        if upstream is None:
            _refused_connect(x, lease, error)
        elif x.settled or x.lease is not lease:
            upstream.idle_again(IDLE_S if route is None else route.spec.timeouts.upstream_idle)
        else:
            connected(x, upstream, clock.now())

    x.plane.pool.connect(lease.address, timeout_s, done)


def _refused_connect(x: "Exchange", lease: Lease, error: str) -> None:
    lease.refused_connect()
    lease.failed("its port did not take the connection")
    if x.settled or x.lease is not lease:
        return
    request = x.request
    other = None if request.retried or x.to_admin else x.plane.fleet.another(lease, clock.now())
    if other is not None:
        request.retried = True
        x.lease = other
        leased(x)
        return
    if x.reentries < len(REENTER_S) and not x.to_admin and not x.streams_body:
        _enter_again(x)
        return
    message = f"The engine of {_who(request)} does not answer: {error}."
    x.refuse(Refusal(status=502, code="engine_unreachable", message=message, fault=Fault.ENGINE, retry_after_s=2.0))


def _enter_again(x: "Exchange") -> None:
    """The engine seems to be gone and nothing of its answer has come: give its owner a moment to see that, then
    enter like a new request, which waits for the engine that comes back."""
    lease, x.lease = x.lease, None
    if lease is not None:
        lease.release(clock.now())
    x.deadline_at = math.inf  # it was set for the engine that is gone
    wait_s = REENTER_S[x.reentries]
    x.reentries += 1
    x.request.phase = Phase.ENTERED
    asyncio.get_running_loop().call_later(wait_s, _entered_again, x, lease)


def _entered_again(x: "Exchange", lease: Lease | None) -> None:
    route = x.request.route
    if x.settled or route is None:
        return
    if x.unanswered and lease is not None and lease.up:  # the engine lives: it is this request that it will not answer
        x.refuse(_gone(x))
        return
    entered(x, route)


def _gone(x: "Exchange") -> Refusal:
    message = f"The engine of {_who(x.request)} closed the connection before it answered."
    return Refusal(status=502, code="engine_gone", message=message, fault=Fault.ENGINE, retry_after_s=2.0)


def connected(x: "Exchange", upstream: "Upstream", now: float) -> None:
    """Send the request."""
    request, route = x.request, x.request.route
    request.phase = Phase.CONNECTED
    request.sent_at = now
    if route is not None and route.spec.timeouts.first_byte is not None:
        x.deadline_at = now + route.spec.timeouts.first_byte
    x.upstream = upstream
    upstream.begin(x, engine_head(x, upstream))


def engine_lost(x: "Exchange", upstream: "Upstream") -> None:
    """The connection ended before the answer did."""
    request = x.request
    lease = x.lease
    if x.answer_started:
        request.error = f"The engine of {_who(request)} broke off in the middle of its answer."
        x.settle(_by_roost(x) if _is_down(x) else Outcome.ENGINE_FAILED, persistent=False)
        return
    if upstream.reused and not upstream.heard and not request.retried and not x.streams_body and lease is not None:
        request.retried = True  # it was closing as we wrote: nothing of this request was ever read
        _connect(x, lease)
        return
    if lease is not None:
        lease.refused_connect()
        lease.failed("it closed the connection before it answered")
    if x.reentries == 0 and not x.to_admin and not x.streams_body and not upstream.heard:
        x.unanswered = True
        _enter_again(x)
        return
    x.refuse(_gone(x))


def taken_down(x: "Exchange") -> None:
    """Its engine goes to sleep without waiting for it, which is an order by force: asleep it would say nothing more.
    What has not begun to be answered waits again, for the engine that comes back."""
    route, upstream = x.request.route, x.upstream
    if x.answer_started or x.tunnelling:
        x.settle(_by_roost(x), persistent=False)
        return
    if x.streams_body or route is None:
        message = f"roost put the engine of {_who(x.request)} to sleep before it answered."
        x.refuse(Refusal(status=503, code="taken_down", message=message, retry_after_s=2.0, close=True))
        return
    lease, x.lease, x.upstream = x.lease, None, None
    if upstream is not None:
        upstream.drop()
    if lease is not None:
        lease.release(clock.now())
    x.deadline_at = math.inf  # it was set for the engine that goes
    entered(x, route)


def engine_silent(x: "Exchange", now: float) -> None:
    """A configured limit of silence has passed."""
    request, upstream = x.request, x.upstream
    if x.answer_started and upstream is not None and upstream.paused:
        upstream.arm(x)  # it is the client that takes no more
        return
    x.deadline_at = now + 3600.0
    waited = now - (request.last_token_at or request.first_byte_at or request.sent_at or now)
    setting = "between_bytes" if x.answer_started else "first_byte"
    if not x.answer_started and x.lease is not None:
        x.lease.failed(f"it sent nothing for {waited:.0f} s (timeouts.first_byte)")
    message = f"The engine of {_who(request)} sent nothing for {waited:.0f} s (timeouts.{setting})."
    x.refuse(Refusal(status=504, code="engine_silent", message=message, fault=Fault.ENGINE, close=x.answer_started))


def complete(x: "Exchange", *, reusable: bool, failure: Failure | None = None) -> None:
    """The whole answer is out; `reusable`: its end is visible to the client without closing. `failure`: what its end
    says though its status is 200. Its bytes are out, so all that is left to do is to say so."""
    if x.loading is not None:
        x.loading.end()
    persistent = reusable and x.head.persistent and not x.plane.closing
    x.settle(Outcome.OK if failure is None else _failed(x, failure), persistent=persistent)


def _failed(x: "Exchange", failure: Failure) -> Outcome:
    request = x.request
    if failure.kind is HiddenFailure.ABORT and _is_down(x):
        return _by_roost(x)
    request.hidden = failure.kind
    request.error = f"The engine of {_who(request)} {failure.what}."
    return Outcome.ENGINE_FAILED


def _is_down(x: "Exchange") -> bool:
    return x.lease is not None and x.lease.taken_down


def _by_roost(x: "Exchange") -> Outcome:
    """The outcome, said, of an answer that ended because roost took its engine down."""
    x.request.error = f"roost put the engine of {_who(x.request)} to sleep or stopped it while it answered."
    return Outcome.REFUSED


def _who(request: Request) -> str:
    return f"model {request.route.name!r}" if request.route is not None else "roost's own API"


# roost's own API, and what never became a request


def _to_admin(x: "Exchange") -> None:
    assert x.plane.admin is not None
    x.request.phase = Phase.ENTERED
    x.lease = AdminLease(x.plane.admin)
    leased(x)


def refuse_malformed(session: "Session", refusal: Refusal) -> None:
    """Answer what could not be read as a request; it is recorded like any other."""
    now = clock.now()
    request = Request(session.plane.request_id(), now, client=session.peer, status=refusal.status)
    request.error = refusal.message
    request.outcome = Outcome.REFUSED
    request.phase = Phase.SETTLED
    request.ended_at = now
    session.transport.write(refusal_bytes(refusal, request.id, anthropic=False, head_only=False))
    session.plane.watcher.began(request)
    session.plane.watcher.settled(request)
