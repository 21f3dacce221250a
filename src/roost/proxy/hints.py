"""Reads `X-Roost-Next: model[, model]`: what a client says it will ask for next, so that it may come up meanwhile.

A hint obliges to nothing: unknown names and models that the key may not use are passed over without a word. The field
never reaches an engine. Called by `phases` once the request itself may infer.
"""

from typing import TYPE_CHECKING
from urllib.parse import unquote

from roost import clock
from roost.proxy.keys import may_use

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

MAX_HINTS = 8
"""Names taken of one request."""


def tell(x: "Exchange") -> None:
    """Tell the fleet of each model named that this key may use and wake."""
    request = x.request
    if not request.may_wake:
        return
    now = clock.now()
    for name in _names(x.head.next_models)[:MAX_HINTS]:
        route = x.plane.fleet.resolve(name)
        if route is not None and may_use(request.key, route.name) and route.spec.wake_on_request:
            x.plane.fleet.hint(route, now)


def _names(value: bytes) -> list[str]:
    """In order, each once; names beyond ASCII come as UTF-8 or percent-encoded."""
    parts = (part.strip() for part in value.decode("utf-8", "replace").split(","))
    return list(dict.fromkeys(unquote(part) for part in parts if part))
