"""Signs of life for a streamed request that waits: SSE comments with its place and the expected time, which clients
skip (`heartbeat`).

They keep open what would time out for silence, and tell who reads them how long it takes. The first one comes after
one period, so that short waits show nothing. Makes no timer: `loading.sweep` looks after it.
"""

from typing import TYPE_CHECKING

from roost.core.request import Outlook, Route
from roost.proxy.begun import Begun

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange


def streams(x: "Exchange", route: Route) -> bool:
    """Whether the engine will be asked for a stream of events."""
    spec = route.spec
    set_params = {**spec.set_params, **spec.set_params_by_name.get(route.asked, {})}
    return (
        x.request.stream
        and not x.streams_body
        and x.request.method == "POST"
        and set_params.get("stream", True) is True
        and "stream" not in spec.strip_params
    )


def is_wanted(x: "Exchange", route: Route) -> bool:
    """Whether this request hears a heartbeat while it waits."""
    return route.spec.heartbeat is not None and streams(x, route)


def outlasts(x: "Exchange", route: Route) -> bool:
    """Whether its client, which gives up after a silence, will not do so while it waits: it hears a comment before."""
    request, period = x.request, route.spec.heartbeat
    if period is None or request.deadline_at is None or not streams(x, route):
        return False
    return request.received_at + 2 * period <= request.deadline_at  # the sweep is coarse, and so are networks


class Heartbeat(Begun):
    """A comment each period."""

    __slots__ = ("_due_at", "_period_s")

    def __init__(self, x: "Exchange", route: Route) -> None:
        super().__init__(x)
        self._period_s = route.spec.heartbeat or 0.0
        self._due_at = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self._due_at and self.takes_more()

    def tell(self, outlook: Outlook, now: float) -> None:
        self._due_at = now + self._period_s
        words = ": roost"
        if outlook.position is not None:
            words += f" position={outlook.position}"
        if outlook.expected_s is not None:
            words += f" expected_s={outlook.expected_s:.0f}"
        self.send(words.encode() + b"\n\n")
