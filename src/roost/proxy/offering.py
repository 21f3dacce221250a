"""A request for a name that no model has: whoever may know the model is asked, and the request goes on or is refused.

Only for requests that may bring a model up, by keys that may use the name: to all others it is unknown, as a forbidden
one is. Called by `phases.identified`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from roost.core.request import Refusal, Route
from roost.core.server_spec import Scope
from roost.proxy.keys import may_use, scopes_of
from roost.proxy.routing import fitted, unknown_model

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

GoOn = Callable[["Exchange", Route], None]


def offer(x: "Exchange", name: str, kind: str, go_on: GoOn) -> bool:
    """False: nobody is to be asked. Else `go_on` gets the route, or the request is refused, now or later. Meanwhile the
    request waits here, and its body counts as held."""
    offers, key = x.plane.offers, x.request.key
    if offers is None or not x.request.may_wake or not may_use(key, name) or Scope.INFER not in scopes_of(key):
        return False
    if not x.hold(len(x.body)):
        return True
    offers.offer(name, lambda answer: _heard(x, name, kind, answer, go_on))
    return True


def _heard(x: "Exchange", name: str, kind: str, answer: Route | Refusal | None, go_on: GoOn) -> None:
    if x.settled:
        return
    x.release_held()
    if answer is None or isinstance(answer, Refusal):
        x.refuse(answer or unknown_model(name))
        return
    route = fitted(x, answer, kind)
    if route is not None:
        go_on(x, route)
