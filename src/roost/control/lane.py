"""The gate's memory of one model: its queue, and what leases hold of its seats.

Only `control/gate.py` changes it. A lease is one request's leave to use it; an entry is
one request that waits.
"""

from collections.abc import Callable, Iterable

from roost import clock
from roost.control.outlook import outlook
from roost.control.ports import Waiter
from roost.control.queue import Queue
from roost.control.seat import Seat
from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.policy_spec import Priority
from roost.core.request import Address, Outlook, Refusal, Request
from roost.core.spec import ModelSpec
from roost.logs import log

_SMOOTH = 0.1
"""Weight of the newest lease in the mean of how long leases last, once there have been enough of them."""
_KNOWN_BY = 0.22
"""Below it four leases at least have ended: from then on the mean is no guess."""
_RISE_GUESS_S = 10.0
"""Retry-After while nothing is known of how long this model takes to come up."""

_WILL_WAKE = frozenset({State.DRAINING, State.SUSPENDING, State.ASLEEP})
_DOWN = frozenset({State.SUSPENDING, State.ASLEEP, State.STOPPING, State.COLD})


class Lease:
    """Leave for one request to use one replica; given back exactly once. `passing`: it never asked for it."""

    __slots__ = ("_counts", "_given_back", "_passing", "_seat", "_taken_at", "replica")

    def __init__(self, seat: Seat, counts: bool, now: float, *, passing: bool = False) -> None:
        self.replica = seat.owner.id
        self._seat = seat
        self._counts = counts
        self._taken_at = now
        self._given_back = False
        self._passing = passing
        seat.take(counts=counts, passing=passing, now=now)

    @property
    def address(self) -> Address:
        return self._seat.owner.address

    @property
    def seat(self) -> Seat:
        """The seat it is for."""
        return self._seat

    @property
    def counts(self) -> bool:
        """Whether it counts as traffic."""
        return self._counts

    @property
    def up(self) -> bool:
        """Whether its replica is (still) ready."""
        return self._seat.owner.state is State.READY

    @property
    def taken_down(self) -> bool:
        """Whether its replica sleeps, has ended, or is on its way there."""
        return self._seat.owner.state in _DOWN

    @property
    def is_out(self) -> bool:
        """Not given back yet."""
        return not self._given_back

    def release(self, now: float) -> None:
        """Give it back. A second time changes nothing and is logged: it is a bug of the caller."""
        if self._given_back:
            log.error("a lease on %s was released twice; the second release was ignored", self.replica)
            return
        self._given_back = True
        seat = self._seat
        lane = seat.lane
        seat.leave(counts=self._counts, passing=self._passing, now=now)
        lane.mean_hold_s += lane.newest_weighs * (now - self._taken_at - lane.mean_hold_s)
        if lane.newest_weighs > _SMOOTH:
            lane.newest_weighs = max(_SMOOTH, 1.0 / (1.0 / lane.newest_weighs + 1.0))
        if lane.depth or seat.in_flight == 0 or lane.shares_engine:
            lane.on_release(seat, now)

    def revoke(self) -> None:
        """The waiter did not take it: as if it had never been given."""
        if self._given_back:
            return
        self._given_back = True
        self._seat.leave(counts=self._counts, passing=self._passing, now=None)

    @property
    def watched(self) -> bool:
        """Whether its replica has failed lately, so that an answer is news."""
        return self._seat.ailing is not None

    def answered(self) -> None:
        """The engine's answer has begun, and is none of its own failures."""
        self._seat.lane.on_answered(self._seat, clock.now())

    def failed(self, why: str) -> None:
        """No answer came of the engine, or an error of its own; `why` in a few words."""
        if self.up:  # one that is taken down, or was seen to have died, is not chosen anyway
            self._seat.lane.on_failed(self._seat, why, clock.now())

    def refused_connect(self) -> None:
        self._seat.owner.suspect()

    def denied(self, status: int, body: bytes) -> bool:
        """See `proxy.ports.Lease`."""
        return self._seat.owner.denies(status, body, self._taken_at)


class Entry:
    """One waiting request: the ticket its session holds."""

    __slots__ = (
        "by_client",
        "counts",
        "deadline_at",
        "lane",
        "may_wake",
        "outranked_before",
        "priority",
        "queued_at",
        "request",
        "share",
        "waiter",
        "weight",
    )

    def __init__(self, lane: "Lane", request: Request, waiter: Waiter, now: float) -> None:
        self.lane = lane
        self.request = request
        self.waiter = waiter
        self.queued_at = now
        self.may_wake = request.may_wake and lane.spec.wake_on_request
        self.counts = request.counts
        key = request.key
        self.share = "" if key is None else key.name
        self.weight = 1.0 if key is None else key.weight
        self.priority = priority_of(lane, request)
        self.outranked_before = lane.queue.taken_above(self.priority)
        """How many of higher classes had been served before it came."""
        limit, given = now + lane.spec.queue.max_wait, request.deadline_at
        self.by_client = given is not None and given < limit
        """Its deadline is the client's own."""
        self.deadline_at = given if given is not None and given < limit else limit

    def leave(self) -> None:
        """Give the place up. Idempotent."""
        if self.lane.drop(self) and not self.lane.depth:
            self.lane.on_emptied()

    def outlook(self) -> Outlook:
        """What the client may be told of its wait."""
        return outlook(self)

    @property
    def position(self) -> int | None:
        """1 for the next one; None if it no longer waits."""
        return self.lane.queue.place(self)


def priority_of(lane: "Lane", request: Request) -> Priority:
    """The request's class: of its key, else of its model."""
    key = request.key
    return lane.spec.priority if key is None or key.priority is None else key.priority


class Lane:
    """One model: its seats and its queue."""

    __slots__ = (
        "blocked",
        "blocked_at",
        "came_at",
        "closed",
        "depth",
        "fresh",
        "guests",
        "host",
        "last_load_s",
        "last_wake_s",
        "mean_hold_s",
        "name",
        "newest_weighs",
        "on_answered",
        "on_emptied",
        "on_failed",
        "on_release",
        "queue",
        "recalled_at",
        "recalled_until",
        "seats",
        "serving",
        "spec",
        "unserved_since",
        "wakers",
    )

    def __init__(self, name: str, spec: ModelSpec) -> None:
        self.name = name
        self.spec = spec
        self.seats: list[Seat] = []
        self.host: Lane | None = None
        """Of an adapter: the lane of its base."""
        self.guests: list[Lane] = []
        """The lanes of its adapters."""
        self.queue: Queue[Entry] = Queue()
        self.depth = 0
        """Requests that wait; the length of the queue as the path of every request reads it."""
        self.wakers = 0
        """Entries that may wake the model."""
        self.serving = False
        """Grants are being handed out further up the stack."""
        self.unserved_since: float | None = None
        """Since when somebody has waited all the time who may wake it and nobody has been served."""
        self.fresh: list[Entry] = []
        """Those who came since the last plan, which may say that they wait in vain."""
        self.recalled_at: float | None = None
        """When one was refused because the model is too far away for it: it is brought up all the same."""
        self.recalled_until = 0.0
        """When that one was told to come back by."""
        self.blocked: Blocked | None = None
        """What the last plan says is in its way."""
        self.blocked_at = 0.0
        """When that plan was made."""
        self.came_at = 0.0
        """When the model was added to a running roost; 0 for one that was there from the start."""
        self.closed: Refusal | None = None
        """What everybody who enters is told: roost ends, or the model is being removed."""
        self.mean_hold_s = 1.0
        """How long a lease lasts on average; a guess while `newest_weighs` is 1."""
        self.newest_weighs = 1.0
        self.last_load_s: float | None = None
        """How long it last took from cold to ready."""
        self.last_wake_s: float | None = None
        """How long it last took from asleep to ready."""
        self.on_release: Callable[[Seat, float], None] = _unset
        self.on_emptied: Callable[[], None] = _unset
        self.on_answered: Callable[[Seat, float], None] = _unset
        self.on_failed: Callable[[Seat, str, float], None] = _unset

    @property
    def shares_engine(self) -> bool:
        """Other lanes have requests at the same engines."""
        return self.host is not None or bool(self.guests)

    @property
    def family(self) -> "list[Lane]":
        """All lanes whose requests go to the same engines, this one among them."""
        base = self.host or self
        return [base, *base.guests]

    @property
    def hold_s(self) -> float | None:
        """How long a lease lasts on average; None while too few have ended to say so."""
        return self.mean_hold_s if self.newest_weighs < _KNOWN_BY else None

    @property
    def oldest_wait_at(self) -> float | None:
        """When the longest waiting request that may wake it came; None if there is none."""
        return self._oldest(may_wake=True) if self.wakers else None

    @property
    def oldest_onlooker_at(self) -> float | None:
        """When the longest waiting request that may not wake it came; None if there is none."""
        return None if self.depth == self.wakers else self._oldest(may_wake=False)

    def _oldest(self, *, may_wake: bool) -> float | None:
        """They came in this order within each class."""
        found = (
            next((entry.queued_at for entry in waiting if entry.may_wake is may_wake), None)
            for waiting in self.queue.heads()
        )
        return min((moment for moment in found if moment is not None), default=None)

    @property
    def expected_wait_s(self) -> float:
        """One turn of the queue while it is served, else as long as the load or wake before it took last time; a guess
        for Retry-After."""
        ready = sum(seat.state is State.READY for seat in self.seats)
        if not ready:
            last = self.last_s(self.rise())
            return _RISE_GUESS_S if last is None else last
        return self.mean_hold_s / (ready * (self.spec.concurrency or 1))

    def last_s(self, rise: State) -> float | None:
        """How long that way up (STARTING or WAKING) last took; None if that is not known."""
        return self.last_wake_s if rise is State.WAKING else self.last_load_s

    def rise(self) -> State:
        """The way up that its nearest replica is on, or will be."""
        states = {seat.state for seat in self.seats}
        wakes = State.WAKING in states or (State.STARTING not in states and not _WILL_WAKE.isdisjoint(states))
        return State.WAKING if wakes else State.STARTING

    def add(self, entry: Entry) -> None:
        """Into the queue."""
        self.queue.add(entry)
        self.depth += 1
        if entry.may_wake:
            self.wakers += 1
            if self.unserved_since is None:
                self.unserved_since = entry.queued_at

    def take_first(self, now: float) -> Entry:
        """Out of the queue: whose turn it is."""
        entry = self.queue.take()
        self._gone(entry)
        if self.wakers:
            self.unserved_since = now
        return entry

    def drop(self, entry: Entry) -> bool:
        """Out of the queue wherever it stands; False if it no longer waited."""
        if not self.queue.drop(entry):
            return False
        self._gone(entry)
        return True

    def _gone(self, entry: Entry) -> None:
        self.depth -= 1
        self.wakers -= entry.may_wake
        if not self.wakers:
            self.unserved_since = None

    def recall(self, now: float, until: float) -> None:
        """Want the model up for one that was refused and told to come back."""
        if self.recalled_at is None:
            self.recalled_at = now
        self.recalled_until = max(self.recalled_until, until)

    def forget_recalled(self) -> None:
        """It is up, or the time is over."""
        self.recalled_at, self.recalled_until = None, 0.0

    def fresh_ones(self) -> Iterable[Entry]:
        """Those who came since the last plan; each is given once."""
        came, self.fresh = self.fresh, []
        return came


def _unset(*_: object) -> None:
    raise AssertionError("a lane was used before the gate took it over")
