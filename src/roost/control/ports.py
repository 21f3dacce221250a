"""What the control plane needs of others, as protocols: a replica's owner (`host/replica.py` has it, tests bring a
fake with manners), and who waits for a lease. The latter two have the form that `proxy/ports.py` gives them: the
rooms do not import each other.
"""

from collections.abc import Callable
from typing import Protocol

from roost.core.events import Changed
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
    became_ready_at: float | None
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
    def no_sleep(self) -> str:
        """Why it has no sleep level although its engine's kind does; empty else."""
        ...

    def obey(self, action: Action) -> None:
        """Advance the state at once and begin the work in the background. Raises IllegalMove on an order that
        the present state does not take; never blocks, never raises for a failure of the engine (a Fact does)."""
        ...

    def suspect(self) -> None:
        """Someone saw its port refuse: look now instead of at the next probe."""
        ...

    def subscribe(self, hear: Callable[[Changed], None]) -> None:
        """`hear` is called after each change of state, synchronously, in order."""
        ...
