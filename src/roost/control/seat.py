"""One replica at the gate: the one in-flight count, what it was last of use for, and how it has failed.

Leases (`control/lane.py`) change the counts, `health` what is said of failures; nobody else writes here.
"""

from typing import TYPE_CHECKING

from roost.control.ports import Owner
from roost.core.lifecycle import State

if TYPE_CHECKING:
    from roost.control.health import Ailing
    from roost.control.lane import Lane


class Seat:
    """One replica: who owns it and how many requests it has."""

    __slots__ = (
        "ailing",
        "counting",
        "failures",
        "found_awake",
        "guests",
        "handicap",
        "host",
        "in_flight",
        "lane",
        "last_done",
        "last_granted",
        "owner",
        "passing",
    )

    def __init__(self, lane: "Lane", owner: Owner, host: "Seat | None" = None) -> None:
        self.lane = lane
        self.owner = owner
        self.host = host
        """The seat of the engine that holds it, of an adapter; whoever has a lease on it has one there, too."""
        self.in_flight = 0
        """Those of its adapters among them."""
        self.guests = 0
        """Those of its adapters alone."""
        self.counting = 0
        """Those of them that count as traffic."""
        self.passing = 0
        """Those of them that went there without being let in."""
        self.found_awake = False
        """It wakes only in name: someone else woke it, and it is looked at before it serves."""
        self.last_granted: float | None = None
        self.last_done: float | None = None
        self.ailing: Ailing | None = None
        """What is counted of it since it last failed; None while it does not. `health` alone writes it."""
        self.handicap = 0
        """Added to its requests where the least busy one is sought."""
        self.failures = 0
        """Requests that it failed; only ever rises."""

    @property
    def state(self) -> State:
        """An adapter takes nobody while its engine takes nobody."""
        state, host = self.owner.state, self.host
        return host.owner.state if host is not None and state is State.READY else state

    @property
    def own_in_flight(self) -> int:
        """Requests for it by name, none of its adapters'."""
        return self.in_flight - self.guests

    @property
    def load(self) -> int:
        """Requests at its engine, whatever they are for."""
        return self.in_flight if self.host is None else self.host.in_flight

    def take(self, *, counts: bool, passing: bool, now: float) -> None:
        """A lease begins. Of an adapter its engine has it, too: no drain may end before it, and neither is idle."""
        self.in_flight += 1
        self.passing += passing
        if counts:
            self.counting += 1
            self.last_granted = now
        if self.host is not None:
            self.host.guests += 1
            self.host.take(counts=counts, passing=passing, now=now)

    def leave(self, *, counts: bool, passing: bool, now: float | None) -> None:
        """A lease ends; `now` is None for one that nobody took."""
        self.in_flight -= 1
        self.passing -= passing
        if counts:
            self.counting -= 1
            if now is not None:
                self.last_done = now
        if self.host is not None:
            self.host.guests -= 1
            self.host.leave(counts=counts, passing=passing, now=now)
