"""What a streamed chat completion hears while its model is not ready: `reasoning_content` chunks that say what it waits
for, then the engine's own events in the same answer (`loading_state`, as llama-swap's sendLoadingState).

Begins only after a short wait, so that a quick wake shows nothing and refusals at the door keep their status. Makes
no timer: the plane's sweep calls `sweep`, which also looks after those who hear a `heartbeat` instead.
"""

import re
from typing import TYPE_CHECKING

from roost import clock
from roost.core.request import Outlook, Route
from roost.protocol.openai import reasoning_chunk
from roost.proxy import heartbeat
from roost.proxy.begun import Begun

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
_DIGITS = re.compile(r"\d[\d.]*")


def is_wanted(x: "Exchange", route: Route) -> bool:
    """Whether this request, which must wait, is to hear of it in this way."""
    return route.spec.loading_state and x.path == PATH and heartbeat.streams(x, route)


def sweep(plane: "Plane", now: float) -> None:
    """Tell everybody who waits and whose time for a word has come."""
    for x, since in list(plane.loading.items()):
        ticket, route = x.ticket, x.request.route
        if ticket is None or route is None:
            continue
        if x.loading is None:
            x.loading = _begun(x, route, since, now)
        if x.loading is not None and x.loading.is_due(now):
            x.loading.tell(ticket.outlook(), now)


def _begun(x: "Exchange", route: Route, since: float, now: float) -> Begun | None:
    """The answer that is to begin now; None: not yet."""
    if now - since >= DELAY_S and is_wanted(x, route) and x.ticket is not None and not x.ticket.outlook().is_ready:
        return Loading(x, since)  # in an ordinary queue, before a model that is up, it is not loading
    if heartbeat.is_wanted(x, route) and now - since >= (route.spec.heartbeat or 0.0):
        return heartbeat.Heartbeat(x, route)
    return None


class Loading(Begun):
    """It says what the model waits for."""

    __slots__ = ("_due_at", "_repeat_at", "_said", "_since")

    def __init__(self, x: "Exchange", since: float) -> None:
        super().__init__(x)
        self._since = since
        self._due_at = since
        self._repeat_at = since
        self._said = ""

    def is_due(self, now: float) -> bool:
        return now >= self._due_at and self.takes_more()

    def tell(self, outlook: Outlook, now: float) -> None:
        """One sign of life: the sentence when it is new or was said long ago, else a dot."""
        self._due_at = now + TICK_S
        said = _DIGITS.sub("", outlook.sentence)
        if said == self._said and now < self._repeat_at:
            self.send(self._chunk("."))
            return
        route = self._x.request.route
        begin = f"\n{now - self._since:.0f} s: " if self._said else f'Model "{route.name if route else ""}": '
        self._said, self._repeat_at = said, now + REPEAT_S
        self.send(self._chunk(begin + outlook.sentence))

    def last_words(self) -> bytes:
        return self._chunk(f"\nReady after {clock.now() - self._since:.1f} s.\n")

    def _chunk(self, text: str) -> bytes:
        request = self._x.request
        model = request.route.asked if request.route is not None else ""
        return reasoning_chunk(request.id, model, int(clock.wall()), text)
