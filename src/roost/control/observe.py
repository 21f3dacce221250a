"""Builds the planner's view of the fleet from those who know: owners, gate, wishes, orders under way.

Reads only; changes nothing. Called by `controller` once per round and by whoever wants to show a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from roost.control.budgets import Budgets, no_budgets
from roost.control.execute import Executor
from roost.control.gate import Gate
from roost.control.ports import Owner
from roost.control.wishes import Wishes
from roost.core.lifecycle import State
from roost.core.plan import Stalled
from roost.core.spec import RoostSpec
from roost.core.view import FleetView, ModelView, ReplicaView


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who is asked."""

    spec: RoostSpec
    owners: Mapping[str, list[Owner]]
    gate: Gate
    wishes: Wishes
    executor: Executor
    devices: Budgets = no_budgets


def observe(sources: Sources, now: float, started_at: float) -> FleetView:
    """The fleet at `now`, models in the order in which they came: that of the config, then those added since."""
    return FleetView(
        now=now,
        models=tuple(_model(sources, name) for name in sources.owners),
        memory=sources.spec.memory,
        devices=sources.devices(sources.spec.memory, now),
        places={name: host.max_resident for name, host in sources.spec.hosts.items() if host.max_resident is not None},
        pending=sources.executor.pending(now),
        started_at=started_at,
    )


def _model(sources: Sources, name: str) -> ModelView:
    lane = sources.gate.lane(name)
    return ModelView(
        name=name,
        spec=lane.spec,
        replicas=tuple(_replica(sources, owner) for owner in sources.owners[name]),
        waiting=lane.wakers,
        oldest_wait_at=lane.oldest_wait_at,
        onlookers=lane.depth - lane.wakers,
        oldest_onlooker_at=lane.oldest_onlooker_at,
        pinned=sources.wishes.pinned(name),
        host=lane.spec.inside or "",
        wish=sources.wishes.wish(name),
        came_at=lane.came_at,
    )


def _replica(sources: Sources, owner: Owner) -> ReplicaView:
    seat = sources.gate.seat(owner.id)
    return ReplicaView(
        id=owner.id,
        model=owner.model,
        state=owner.state,
        since=owner.since,
        owned=owner.owned,
        host=owner.spec.inside or "",
        sleep_levels=owner.sleep_levels,
        no_sleep=owner.no_sleep,
        level=owner.level,
        in_flight=seat.in_flight,
        stranded=seat.in_flight - seat.passing if owner.state is State.ASLEEP else 0,
        became_ready_at=owner.became_ready_at,
        idle_since=idle_since(sources, owner),
        last_used_at=_latest(seat.last_granted, seat.last_done),
        last_sleep_at=owner.last_sleep_at,
        last_load_at=owner.last_load_at,
        retry_at=owner.retry_at,
        failures=owner.failures,
        last_error=owner.last_error,
        footprint=owner.footprint,
        devices=owner.devices,
        lingering=owner.lingering,
        absent=owner.absent,
        revive=owner.revive and sources.wishes.may_revive(owner.id),
        drain_goal=owner.drain_goal,
        drain_idle=owner.drain_idle,
        drain_reason=Stalled(sentence=owner.stalled) if owner.stalled else sources.executor.drain_reason(owner),
    )


def idle_since(sources: Sources, owner: Owner) -> float | None:
    """None while it is not ready or requests run; those that do not count as traffic neither end nor renew idleness.
    Only reads attributes: safe from any thread."""
    seat = sources.gate.seat(owner.id)
    if owner.state is not State.READY or seat.counting:
        return None
    woken_at = _latest(owner.manual_wake_at, sources.wishes.woken_at(owner.model))
    return _latest(_latest(owner.became_ready_at, seat.last_done), woken_at)


def _latest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
