"""Builds the planner's view of the fleet from those who know: owners, gate, wishes, orders under way.

Reads only; changes nothing but its own memory of the views it built last: what has not changed since is the same
object again, so that a round over many models that rest costs next to nothing. Called by `controller` once per round
and by whoever wants to show a plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, is_
from typing import Any

from roost.control.budgets import Budgets, no_budgets
from roost.control.execute import Executor
from roost.control.gate import Gate
from roost.control.learning import Learning
from roost.control.ports import Owner
from roost.control.schedule import Standing, Timetable
from roost.control.wishes import Wishes
from roost.core.lifecycle import State
from roost.core.reason import Reason, Stalled
from roost.core.schedule import Window
from roost.core.spec import RoostSpec
from roost.core.view import FleetView, ModelView, ReplicaView, Wish

_SAME = (
    "state",
    "since",
    "owned",
    "became_ready_at",
    "last_sleep_at",
    "last_load_at",
    "retry_at",
    "failures",
    "last_error",
    "footprint",
    "lingering",
    "absent",
    "unlisted",
    "drain_goal",
    "drain_idle",
)
"""What a replica's view takes from its owner as it is; plain attributes, cheap to read. A view is built of `_Facts`
alone, and those are compared in each round: so it cannot be out of date."""
_OWN = attrgetter(*_SAME, "devices", "stalled", "manual_wake_at", "last_ready_at")
_SEAT = attrgetter("in_flight", "counting", "passing", "last_granted", "last_done")


_Facts = tuple[tuple[Any, ...], tuple[Any, ...], float | None, bool, Reason | None, int | None]
"""Everything that a replica's view is built of, but for whether it can sleep: what `_OWN` and `_SEAT` say; when it was
last woken by hand (READY and ASLEEP only); whether it may be revived; why it drains (DRAINING only); at which level it
sleeps, or will."""


@dataclass(slots=True)
class Seen:
    """The views built last."""

    replicas: dict[str, tuple[_Facts, ReplicaView]] = field(default_factory=dict)
    models: dict[str, ModelView] = field(default_factory=dict)

    def keep_only(self, owners: Mapping[str, Sequence[Owner]]) -> None:
        """Forget models that are there no longer."""
        if len(self.models) <= len(owners):
            return
        self.models = {name: view for name, view in self.models.items() if name in owners}
        there = {owner.id for replicas in owners.values() for owner in replicas}
        self.replicas = {name: known for name, known in self.replicas.items() if name in there}


_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_STAYS = frozenset({State.READY, State.ASLEEP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who is asked."""

    spec: RoostSpec
    owners: Mapping[str, list[Owner]]
    gate: Gate
    wishes: Wishes
    executor: Executor
    learning: Learning
    timetable: Timetable
    devices: Budgets = no_budgets
    seen: Seen = field(default_factory=Seen)


def observe(sources: Sources, now: float, started_at: float) -> FleetView:
    """The fleet at `now`, models in the order in which they came: that of the config, then those added since."""
    sources.seen.keep_only(sources.owners)
    standing = sources.timetable.standing()
    return FleetView(
        now=now,
        models=tuple([_model(sources, standing, name) for name in sources.owners]),
        memory=standing.memory,
        windows=standing.budgets,
        schedule_changes_at=standing.changes_at,
        devices=sources.devices(standing.memory, now),
        places=_places(sources),
        pending=sources.executor.pending(now),
        started_at=started_at,
        outlooks=sources.learning.outlooks(now),
    )


def _places(sources: Sources) -> dict[str, int]:
    hosts = sources.spec.hosts.items()
    places = {name: host.max_resident for name, host in hosts if host.max_resident is not None}
    for lane in sources.gate.lanes():
        if lane.guests:
            places.update((seat.owner.id, lane.spec.max_loras) for seat in lane.seats)
    return places


def _model(sources: Sources, standing: Standing, name: str) -> ModelView:
    """One that was told to come back counts as waiting, where nobody else does."""
    lane, wishes = sources.gate.lane(name), sources.wishes
    recalled_at = None if lane.wakers else lane.recalled_at
    wish, owners = wishes.wish(name), sources.owners[name]
    if standing.pins or standing.sleeps:
        pinned, called, rests = scheduled(wishes, standing, name)
    else:
        pinned, called, rests = wishes.pinned(name), None, None
    replicas = tuple([_replica(sources, owner, wish) for owner in owners])
    costs = sources.learning.demand.costs(name)
    known = sources.seen.models.get(name)
    if (
        known is not None
        and known.spec is lane.spec
        and known.came_at == lane.came_at
        and known.wish is wish
        and known.pinned is pinned
        and known.called is called
        and known.rests is rests
        and known.hold_s == lane.hold_s
        and known.return_s is costs
        and not (lane.depth or recalled_at is not None or known.waiting or known.onlookers)
        and len(known.replicas) == len(replicas)
        and all(map(is_, replicas, known.replicas))
    ):
        return known
    sources.seen.models[name] = view = ModelView(
        name=name,
        spec=lane.spec,
        replicas=replicas,
        waiting=lane.wakers + (recalled_at is not None),
        oldest_wait_at=lane.oldest_wait_at if recalled_at is None else recalled_at,
        onlookers=lane.depth - lane.wakers,
        oldest_onlooker_at=lane.oldest_onlooker_at,
        unserved_since=lane.unserved_since if recalled_at is None else recalled_at,
        priority=lane.queue.highest if lane.depth else None,
        hold_s=lane.hold_s,
        pinned=pinned,
        called=called,
        rests=rests,
        host=lane.spec.inside or "",
        return_s=costs,
        wish=wish,
        came_at=lane.came_at,
    )
    return view


def scheduled(wishes: Wishes, standing: Standing, name: str) -> tuple[bool, Window | None, Window | None]:
    """Whether the model is pinned now, the window that wants it up, and the one that wants it down. What an operator
    says holds until the next window; a pin goes before a window that sends to sleep."""
    pin = standing.pins.get(name)
    if pin is not None and wishes.unpinned_since(name, pin.since):
        pin = None
    pinned = pin is not None or wishes.pinned(name)
    called = None if pin is None or wishes.sent_down_since(name, pin.since) else pin
    return pinned, called, None if pinned else standing.sleeps.get(name)


def _replica(sources: Sources, owner: Owner, wish: Wish | None) -> ReplicaView:
    state, name = owner.state, owner.id
    woken_at = sources.wishes.woken_at(owner.model) if state in _STAYS else None
    drain_reason = sources.executor.drain_reason(owner) if state is State.DRAINING else None
    may_revive = owner.revive and sources.wishes.may_revive(name)
    seat = sources.gate.seat(name)
    level = sources.executor.level(owner)
    facts = (_OWN(owner), _SEAT(seat), woken_at, may_revive, drain_reason, level)
    known = sources.seen.replicas.get(name)
    if known is not None and known[0] == facts:
        view = known[1]
        # Whether it can sleep is the one thing that takes long to ask, and nobody asks it of what rests unordered.
        rests = state is State.COLD and wish is None
        if rests or (view.sleep_levels == owner.sleep_levels and view.no_sleep == owner.no_sleep):
            return view
    view = _built(owner, facts, "" if seat.host is None else seat.host.owner.id)
    sources.seen.replicas[name] = facts, view
    return view


def _built(owner: Owner, facts: _Facts, base: str) -> ReplicaView:
    own, seat, woken_at, may_revive, drain_reason, level = facts
    same: dict[str, Any] = dict(zip(_SAME, own, strict=False))
    devices, stalled, manual_wake_at, last_ready_at = own[len(_SAME) :]
    in_flight, counting, passing, granted, done = seat
    state, idle = same["state"], None
    if state is State.READY and not counting:
        idle = _idle_since(same["became_ready_at"], done, manual_wake_at, woken_at)
    return ReplicaView(
        id=owner.id,
        model=owner.model,
        host=owner.spec.inside or "",
        sleep_levels=owner.sleep_levels,
        no_sleep=owner.no_sleep,
        base=base,
        level=level,
        devices=() if state in _NOTHING_RUNS else devices,
        last_devices=devices,
        in_flight=in_flight,
        stranded=in_flight - passing if state is State.ASLEEP else 0,
        idle_since=idle,
        came_up_at=_latest(last_ready_at, woken_at) if state in _STAYS else None,
        last_used_at=_latest(granted, done),
        revive=may_revive,
        drain_reason=Stalled(sentence=stalled) if stalled else drain_reason,
        **same,
    )


def idle_since(sources: Sources, owner: Owner) -> float | None:
    """None while it is not ready or requests run; those that do not count as traffic neither end nor renew idleness.
    Only reads attributes: safe from any thread."""
    seat = sources.gate.seat(owner.id)
    if owner.state is not State.READY or seat.counting:
        return None
    woken_at = sources.wishes.woken_at(owner.model)
    return _idle_since(owner.became_ready_at, seat.last_done, owner.manual_wake_at, woken_at)


def _idle_since(*moments: float | None) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _latest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
