"""Another model answers where the one that was asked for cannot in time (`fallback`): the first of its list that the
key may use, that does the same kind of work, and that the gate lets in.

Only the list of the model that was asked for counts, each name once, so that nothing goes round. Decides nothing about
waits: the gate has refused, or it has not. Called by the phases and by the exchange, before a refusal is sent.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from roost.core.request import Refusal, Route
from roost.proxy import routing
from roost.proxy.heartbeat import streams
from roost.proxy.keys import may_use

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

TOO_LATE = frozenset(
    {
        *("would_wait_too_long", "waited_too_long", "queue_full", "too_many_requests"),
        *("model_failed", "model_stuck", "model_unavailable", "never_fits", "no_room", "held_back"),
    }
)
"""Codes of refusals by which a model cannot answer in time."""


def instead(x: "Exchange", refusal: Refusal, enter: Callable[["Exchange", Route], Refusal | None]) -> Refusal | None:
    """Enter the request for the next model that may take it; None: it is on its way. Else the refusal to send: why the
    model that was asked for does not answer."""
    original = x.original
    if original is None or refusal.code not in TOO_LATE:
        return refusal
    first = original.refusal = original.refusal or refusal
    while original.others:
        name, *original.others = original.others
        route = _route(x, original, name)
        if route is not None:
            _take_over(x, original, route)
            if enter(x, route) is None:
                return None
    x.request.route, x.request.fallback_for = original.route, ""
    return first


def _route(x: "Exchange", original: routing.Original, name: str) -> Route | None:
    """Its route, if it may stand in for this request."""
    route, asked, paths = x.plane.fleet.resolve(name), original.route, x.plane.paths
    if route is None or route.name == asked.name or not may_use(x.request.key, route.name):
        return None
    if route.spec.task is not asked.spec.task or paths.controls(route, x.path):
        return None
    if not x.path.startswith("/v1/") and not paths.serves(route, x.path):
        return None
    if x.loading is not None and not streams(x, route):
        return None
    return replace(route, rewrite=route.rewrite or route.asked)


def _take_over(x: "Exchange", original: routing.Original, route: Route) -> None:
    """As if the client had asked for it."""
    x.release_held()
    request = x.request
    request.route, request.fallback_for, request.deadline_at = route, original.route.name, original.deadline_at
    x.body, x.target = original.body, original.target
    routing.fit_to_engine(x, route, original.kind)
    if x.loading is not None:  # its head is out: a comment says what the header would
        x.loading.send(b": roost fallback=" + route.name.encode("utf-8", "replace") + b"\n\n")
