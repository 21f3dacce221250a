"""What the control plane needs of others, as protocols: a replica's owner (`host/replica.py` has it, tests bring a
fake with manners), and who waits for a lease. The latter two have the form that `proxy/ports.py` gives them: the
rooms do not import each other.
"""

from collections.abc import Callable
from typing import Protocol

from roost.core.events import Changed
from roost.core.footprint import Footprint
from roost.core.lifecycle import State
from roost.core.plan import Action
from roost.core.request import Address, Refusal
from roost.core.spec import ModelSpec
from roost.core.view import Goal


class LeaseLike(Protocol):
    """Leave for one request to use one replica, as whoever holds it sees it."""

    @property
    def replica(self) -> str: ...
    @property
    def address(self) -> Address: ...
    @property
    def up(self) -> bool: ...
    @property
    def taken_down(self) -> bool: ...
    def release(self, now: float) -> None: ...
    def refused_connect(self) -> None: ...
    @property
    def watched(self) -> bool: ...
    def answered(self) -> None: ...
    def failed(self, why: str) -> None: ...
    def denied(self, status: int, body: bytes) -> bool: ...


class Waiter(Protocol):
    """Who waits in a queue; called back at most once with either."""

    def granted(self, lease: LeaseLike) -> bool:
        """Take the lease: True if it is really used. In-flight rises only then."""
        ...

    def refused(self, refusal: Refusal) -> None: ...


class Owner(Protocol):
    """The single writer of one replica's state. All attributes are read-only to everybody else."""

    id: str
    model: str
    spec: ModelSpec
    owned: bool
    state: State
    since: float
    level: int | None
    failures: int
    retry_at: float | None
    last_error: str
    absent: str
    """Why the server that it lives in has it not, and cannot load it; empty else."""
    unlisted: bool
    """It is not up, and the server that it lives in lists what it can load, and not this one."""
    became_ready_at: float | None
    """None unless it is ready, or drains."""
    last_ready_at: float | None
    """The same of its last time, kept while it sleeps; None once nothing of it runs."""
    last_sleep_at: float | None
    last_load_at: float | None
    manual_wake_at: float | None
    revive: bool
    """It is stopped only to be started afresh; its next start, and an order to stop it, end that."""
    devices: tuple[str, ...]
    """Where it runs, or ran last; empty where nobody chose."""
    drain_goal: Goal | None
    drain_idle: bool
    stalled: str
    """In DRAINING: why it is taken down for standing still; else empty."""

    @property
    def address(self) -> Address:
        """Where it listens (or will)."""
        ...

    @property
    def sleep_levels(self) -> tuple[int, ...]: ...

    @property
    def footprint(self) -> Footprint | None:
        """What it holds in each state, the larger of claimed and measured; None: as its spec says. Quick."""
        ...

    @property
    def lingering(self) -> int:
        """Bytes on each of its devices that it gave back and that are not yet seen free."""
        ...

    @property
    def no_sleep(self) -> str:
        """Why it has no sleep level although its engine's kind does; empty else."""
        ...

    def obey(self, action: Action) -> None:
        """Advance the state at once and begin the work in the background. Raises IllegalMove on an order that
        the present state does not take; never blocks, never raises for a failure of the engine (a Fact does)."""
        ...

    def recall_ready(self, since: float) -> None:
        """It was ready from then on when an earlier roost ended: found ready now, it still is since then."""
        ...

    def suspect(self) -> None:
        """Someone saw its port refuse: look now instead of at the next probe."""
        ...

    def denies(self, status: int, body: bytes, since: float) -> bool:
        """Whether an engine's answer to a request sent after `since` says that it has not the model though it was
        believed to; then it is no longer ready, and is looked at now."""
        ...

    def subscribe(self, hear: Callable[[Changed], None]) -> None:
        """`hear` is called after each change of state, synchronously, in order."""
        ...
