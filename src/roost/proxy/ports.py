"""What the data plane needs of the rest of roost, as protocols. `app` plugs `control` and `telemetry` in.

Callback-shaped: a request that meets a ready replica makes no task, no future and no timer.
"""

from collections.abc import Callable
from typing import Protocol

from roost.core.request import Address, Outlook, Refusal, Request, Route


class Lease(Protocol):
    """Leave for one request to use one replica. `release` is called exactly once, when its last byte went out
    or the connection to the engine is given up."""

    @property
    def replica(self) -> str: ...
    @property
    def address(self) -> Address: ...
    @property
    def up(self) -> bool:
        """Whether its replica is (still) believed ready."""
        ...

    @property
    def taken_down(self) -> bool:
        """Whether roost itself has put its replica to sleep or stopped it, or is about to have."""
        ...

    def release(self, now: float) -> None: ...
    def refused_connect(self) -> None:
        """The replica's port refused: the gate has its owner look at it now."""
        ...

    @property
    def watched(self) -> bool:
        """Whether its replica has failed lately: only then `answered` is news."""
        ...

    def answered(self) -> None:
        """The engine's answer has begun, and is no failure of the engine's."""
        ...

    def failed(self, why: str) -> None:
        """The engine refused, broke off before the first byte, was silent for too long, or answered with an error of
        its own; `why` says which in a few words."""
        ...

    def denied(self, status: int, body: bytes) -> bool:
        """Whether this whole answer says that the server there has not the model, though roost believed it loaded:
        then its owner brings it back, and the request may be sent once more."""
        ...


class Ticket(Protocol):
    """A place in a model's queue."""

    def leave(self) -> None:
        """Give the place up (the client is gone). Idempotent; after it the waiter hears nothing more."""
        ...

    def outlook(self) -> Outlook:
        """What a client that asked to be shown its wait is told of it."""
        ...


class Waiter(Protocol):
    """Who waits in a queue; called back at most once with either."""

    def granted(self, lease: Lease) -> bool:
        """Take the lease: True if it is really used. In-flight rises only then."""
        ...

    def refused(self, refusal: Refusal) -> None: ...


class Fleet(Protocol):
    """Who can answer. Implemented by `control/gate.py`; a fixed one in tests and benchmarks."""

    def resolve(self, name: str) -> Route | None:
        """The route of a model name, alias or adapter name; None if unknown."""
        ...

    def match_prefix(self, path: str) -> tuple[Route, str] | None:
        """The longest known name at the start of `a/b/v1/x`, and the rest (`/v1/x`)."""
        ...

    def enter(self, request: Request, route: Route, waiter: Waiter, now: float) -> Lease | Ticket | Refusal:
        """The one admission decision. A returned lease already counts as in flight."""
        ...

    def hint(self, route: Route, now: float) -> None:
        """A client will ask for this model next (`X-Roost-Next`)."""
        ...

    def another(self, lease: Lease, now: float) -> Lease | None:
        """After a refused connect: a lease on another ready replica of the same model, if there is one.
        The first lease is released by this call when one is given."""
        ...


class Offers(Protocol):
    """Who may know a model that the fleet does not."""

    def offer(self, name: str, hear: Callable[[Route | Refusal | None], None]) -> None:
        """`hear` is called once, perhaps before this returns: where the name leads now, why that cannot be said, or
        None: nowhere. The route may be of a model that nobody else finds yet: it must be entered by it at once."""
        ...


class Watcher(Protocol):
    """Hears of requests: telemetry, log, the list of requests in flight. Must be quick and never raise."""

    def began(self, request: Request) -> None: ...
    def settled(self, request: Request) -> None: ...
    def gap(self, request: Request, seconds: float) -> None:
        """Time between two pieces of an SSE answer."""
        ...


class Paths(Protocol):
    """Which paths belong to engines beyond `/v1/*`, and which control one."""

    def is_inference(self, path: str) -> bool:
        """True if any engine kind in use serves it as inference."""
        ...

    def serves(self, route: Route, path: str) -> bool:
        """True if the route's engine kind serves this path (beyond `/v1/*`)."""
        ...

    def controls(self, route: Route, path: str) -> bool:
        """True if the path controls the engine: for admins only, and only under /upstream."""
        ...
