"""The actors of a rehearsal: replicas that take their time, and the queue of each model, with views kept until stale.

They change only by `rehearse`; nothing here decides. Same state, same view object: a round builds anew only what has
changed since the one before.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from roost.core.forecast import ReturnCosts
from roost.core.ids import replica_id
from roost.core.lifecycle import ASLEEP, COLD, DRAINING, READY, RESIDENT, Order, State, advance
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.reason import Reason, Rests
from roost.core.schedule import Window
from roost.core.spec import ModelSpec, servings
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.rehearse_stage import Hour, Mechanics, Rung, awake_bytes

ORDERS: Mapping[type[Action], Order] = {
    Load: Order.LOAD,
    Wake: Order.WAKE,
    Sleep: Order.SLEEP,
    Drain: Order.DRAIN,
    Undrain: Order.UNDRAIN,
    Stop: Order.STOP,
}


class Actor:
    """One replica."""

    __slots__ = (
        "became_ready_at",
        "came_from",
        "came_up_at",
        "devices",
        "drain_goal",
        "drain_reason",
        "id",
        "in_flight",
        "last_done",
        "last_granted",
        "last_load_at",
        "last_sleep_at",
        "level",
        "move",
        "part",
        "resident",
        "since",
        "started_at",
        "state",
        "turn",
        "view",
    )
    handicap = 0
    """No engine fails here."""

    @property
    def load(self) -> int:
        return self.in_flight

    def __init__(self, part: "Part", index: int) -> None:
        self.id = replica_id(part.name, index)
        self.part = part
        self.state = COLD
        self.since = 0.0
        self.resident = False
        self.level: int | None = None
        self.in_flight = 0
        self.last_granted: float | None = None
        self.last_done: float | None = None
        self.became_ready_at: float | None = None
        self.came_up_at: float | None = None
        """The same, kept while it sleeps."""
        self.started_at = 0.0
        """When its last load or wake was ordered."""
        self.came_from: Rung = "load"
        self.last_sleep_at: float | None = None
        self.last_load_at: float | None = None
        self.drain_goal: Goal | None = None
        self.drain_reason: Reason | None = None
        self.devices: tuple[str, ...] = ()
        self.move = 0
        """The number of its last order: the end of an earlier one comes too late."""
        self.turn = 0
        """Rises when running requests are cut, so that their ends are not counted."""
        self.view: ReplicaView | None = None
        if not part.mechanics.owned:
            self.enter(READY, 0.0)

    def stale(self) -> None:
        """Its view, and its model's, must be built anew."""
        self.view = self.part.view = None

    def enter(self, state: State, now: float) -> None:
        """Be in that state from now on."""
        self.state, self.since, self.resident = state, now, state in RESIDENT
        if state is not DRAINING:
            self.drain_goal = self.drain_reason = None
        if state is READY:
            self.came_up_at = self.became_ready_at = now if self.became_ready_at is None else self.became_ready_at
        elif state is not DRAINING:
            self.became_ready_at = None
        if state is COLD:
            self.devices = ()
        if state not in (ASLEEP, State.WAKING):
            self.level = None
        self.stale()

    def obey(self, action: Action, now: float) -> float | None:
        """Advance at once; how many seconds the move takes, None where it has no end of its own. IllegalMove for an
        order that its state does not take: a mistake of the planner."""
        level, after = self.level, advance(self.state, ORDERS[type(action)])
        self.enter(after, now)
        mechanics = self.part.mechanics
        match action:
            case Load(devices=devices):
                self.devices, self.last_load_at = devices, now
                return self._rise("load", now)
            case Wake():
                self.level = level
                return self._rise("level2" if level == 2 else "level1", now)
            case Drain(goal=goal, reason=reason):
                self.drain_goal, self.drain_reason = goal, reason
                return None
            case Sleep(level=wanted):
                self.level, self.last_sleep_at = wanted, now
                return mechanics.sleep_s[wanted == 2]
            case Stop():
                return mechanics.stop_s if after is State.STOPPING else None
            case _:
                return None

    def _rise(self, rung: Rung, now: float) -> float:
        self.came_from, self.started_at = rung, now
        return self.part.mechanics.back_s(rung)

    def arrive(self, now: float) -> None:
        """The move that it was on has come to its end."""
        level = self.level
        match self.state:
            case State.STARTING | State.WAKING:
                self.enter(READY, now)
            case State.SUSPENDING:
                self.enter(ASLEEP, now)
                self.level = level
            case _:
                self.enter(COLD, now)

    def seen(self) -> ReplicaView:
        """As the planner sees it."""
        if self.view is None:
            self.view = self._seen()
        return self.view

    def _seen(self) -> ReplicaView:
        done, idle_since = self.last_done, None
        if self.state is READY and not self.in_flight:
            idle_since = _latest(self.became_ready_at, done)
        return ReplicaView(
            id=self.id,
            model=self.part.name,
            host=self.part.spec.inside or "",
            state=self.state,
            since=self.since,
            owned=self.part.mechanics.owned,
            sleep_levels=self.part.mechanics.levels,
            level=self.level if self.state is not State.SUSPENDING else None,
            in_flight=self.in_flight,
            became_ready_at=self.became_ready_at,
            came_up_at=self.came_up_at,
            idle_since=idle_since,
            last_used_at=_latest(self.last_granted, done),
            last_sleep_at=self.last_sleep_at,
            last_load_at=self.last_load_at,
            footprint=self.part.mechanics.footprint,
            devices=self.devices,
            drain_goal=self.drain_goal,
            drain_idle=isinstance(self.drain_reason, Rests),
            drain_reason=self.drain_reason,
        )


class Part:
    """One model: its replicas and its queue. Has the form of `admission.Lane`."""

    __slots__ = (
        "bytes",
        "called",
        "costs",
        "depth",
        "mechanics",
        "name",
        "queue",
        "rests",
        "seats",
        "spec",
        "view",
        "wakers",
        "why",
    )

    def __init__(self, name: str, spec: ModelSpec, mechanics: Mechanics) -> None:
        self.name = name
        self.spec = spec
        self.mechanics = mechanics if spec.can_sleep else _sleepless(mechanics)
        self.bytes = awake_bytes(spec, mechanics)
        self.view: ModelView | None = None
        self.seats = [Actor(self, index) for index in range(len(servings(spec)))]
        self.queue: deque[tuple[int, float]] = deque()
        """Arrivals that wait, and since when."""
        self.depth = 0
        self.wakers = 0
        self.costs: ReturnCosts | None = None
        self.called: Window | None = None
        self.rests: Window | None = None
        self.why = ""
        """What the planner last said of those who wait."""

    @property
    def expected_wait_s(self) -> float:
        """For sentences only."""
        return self.mechanics.load_s

    def counted(self) -> None:
        """The queue has changed."""
        self.depth = len(self.queue)
        self.wakers = self.depth if self.spec.wake_on_request else 0
        self.view = None

    def tell_hour(self, hour: Hour) -> None:
        """What schedules say of it now."""
        self.called = hour.pins.get(self.name)
        self.rests = None if self.called is not None or self.spec.pin else hour.sleeps.get(self.name)
        self.view = None

    def seen(self) -> ModelView:
        """As the planner sees it."""
        if self.view is None:
            oldest = self.queue[0][1] if self.queue else None
            wakes = self.wakers > 0
            self.view = ModelView(
                name=self.name,
                spec=self.spec,
                replicas=tuple(actor.seen() for actor in self.seats),
                waiting=self.wakers,
                oldest_wait_at=oldest if wakes else None,
                onlookers=self.depth - self.wakers,
                oldest_onlooker_at=None if wakes else oldest,
                pinned=self.spec.pin or self.called is not None,
                host=self.spec.inside or "",
                called=self.called,
                rests=self.rests,
                return_s=self.costs,
            )
        return self.view


def _sleepless(mechanics: Mechanics) -> Mechanics:
    return replace(mechanics, levels=())


def _latest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
