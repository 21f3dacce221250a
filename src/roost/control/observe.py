"""Builds the planner's view of the fleet from those who know: owners, gate, wishes, orders under way.

Reads only; changes nothing but its own memory of the views it built last: what has not changed since is the same
object again, so that a round over many models that rest costs next to nothing. Called by `controller` once per round
and by whoever wants to show a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from roost.control.execute import Executor
from roost.control.gate import Gate
from roost.control.lane import Lane
from roost.control.learning import Learning
from roost.control.ports import Owner
from roost.control.wishes import Wishes
from roost.core.lifecycle import State
from roost.core.plan import Stalled
from roost.core.spec import RoostSpec
from roost.core.view import FleetView, ModelView, ReplicaView, Wish

_SAME = (
    "state",
    "since",
    "owned",
    "level",
    "became_ready_at",
    "last_sleep_at",
    "last_load_at",
    "retry_at",
    "failures",
    "last_error",
    "drain_goal",
    "drain_idle",
)
"""What a replica's view takes from its owner as it is; plain attributes, cheap to read. A view is built of nothing but
what is compared here and in `_replica`: so it cannot be out of date."""
_FACTS = attrgetter(*_SAME, "revive", "stalled", "manual_wake_at")
_SEAT = attrgetter("in_flight", "counting", "passing", "last_granted", "last_done")
_NOBODY = (0, None, 0, None)


@dataclass(slots=True)
class Seen:
    """The views built last, each with what it was built of."""

    replicas: dict[str, tuple[tuple[object, ...], ReplicaView]] = field(default_factory=dict)
    models: dict[str, tuple[tuple[object, ...], ModelView]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who is asked."""

    spec: RoostSpec
    owners: Mapping[str, list[Owner]]
    gate: Gate
    wishes: Wishes
    executor: Executor
    learning: Learning
    seen: Seen = field(default_factory=Seen)


def observe(sources: Sources, now: float, started_at: float) -> FleetView:
    """The fleet at `now`, models in config order."""
    return FleetView(
        now=now,
        models=tuple([_model(sources, name, now) for name in sources.spec.models]),
        memory=sources.spec.memory,
        pending=sources.executor.pending(now),
        started_at=started_at,
    )


def _model(sources: Sources, name: str, now: float) -> ModelView:
    lane, wishes = sources.gate.lane(name), sources.wishes
    wish = wishes.wish(name)
    replicas = tuple([_replica(sources, owner, wish) for owner in sources.owners[name]])
    forecast, costs = sources.learning.outlook(name, replicas, now)
    facts = (lane.spec, replicas, forecast, costs, wishes.pinned(name), wish, *_queue(lane))
    known = sources.seen.models.get(name)
    if known is not None and _are_same(known[0], facts):
        return known[1]
    waiting, oldest_wait_at, onlookers, oldest_onlooker_at = _queue(lane)
    view = ModelView(
        name=name,
        spec=lane.spec,
        replicas=replicas,
        waiting=waiting,
        oldest_wait_at=oldest_wait_at,
        onlookers=onlookers,
        oldest_onlooker_at=oldest_onlooker_at,
        pinned=wishes.pinned(name),
        forecast=forecast,
        return_s=costs,
        wish=wish,
    )
    sources.seen.models[name] = facts, view
    return view


def _queue(lane: Lane) -> tuple[int, float | None, int, float | None]:
    if not lane.queue:
        return _NOBODY
    return lane.wakers, lane.oldest_wait_at, lane.depth - lane.wakers, lane.oldest_onlooker_at


def _are_same(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    """Two models' facts; the spec and the replicas by identity, for comparing them field by field costs more than
    building the view."""
    replicas, others = before[1], after[1]
    assert isinstance(replicas, tuple) and isinstance(others, tuple)
    return (
        before[0] is after[0]
        and len(replicas) == len(others)
        and all(map(_is, replicas, others))
        and before[2:] == after[2:]
    )


def _is(one: object, other: object) -> bool:
    return one is other


def _replica(sources: Sources, owner: Owner, wish: Wish | None) -> ReplicaView:
    seat = sources.gate.seat(owner.id)
    drain_reason = sources.executor.drain_reason(owner)
    woken_at, may_revive = sources.wishes.woken_at(owner.model), sources.wishes.may_revive(owner.id)
    facts = (*_FACTS(owner), *_SEAT(seat), drain_reason, woken_at, may_revive)
    known = sources.seen.replicas.get(owner.id)
    if known is not None and known[0] == facts:
        view = known[1]
        # Whether it can sleep is the one thing that takes long to ask, and nobody asks it of what rests unordered.
        rests = owner.state is State.COLD and wish is None
        if rests or (view.sleep_levels == owner.sleep_levels and view.no_sleep == owner.no_sleep):
            return view
    view = _built(owner, facts)
    sources.seen.replicas[owner.id] = facts, view
    return view


def _built(owner: Owner, facts: tuple[Any, ...]) -> ReplicaView:
    same: dict[str, Any] = dict(zip(_SAME, facts, strict=False))
    revive, stalled, manual_wake_at, *rest = facts[len(_SAME) :]
    in_flight, counting, passing, granted, done, drain_reason, woken_at, may_revive = rest
    state, idle = same["state"], None
    if state is State.READY and not counting:
        idle = _idle_since(same["became_ready_at"], done, manual_wake_at, woken_at)
    return ReplicaView(
        id=owner.id,
        model=owner.model,
        sleep_levels=owner.sleep_levels,
        no_sleep=owner.no_sleep,
        in_flight=in_flight,
        stranded=in_flight - passing if state is State.ASLEEP else 0,
        idle_since=idle,
        last_used_at=_latest(granted, done),
        revive=revive and may_revive,
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
