"""Adapters and the engines that hold them: whoever waits for an adapter waits for its base, too.

The base takes over the waiters, class and age of its adapters, so that its turn, its place in the queue for memory and
its idleness are theirs as well; an adapter itself comes up only where its base is ready, and counts for a place in
there and for nothing else. Pure; called by `plan`, `rise`, `preload` and `ahead`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.policy_spec import Priority
from roost.core.view import FleetView, ModelView, ReplicaView
from roost.planner.draft import Draft

_RANKS = {priority: rank for rank, priority in enumerate(Priority)}
_COMING = frozenset({State.STARTING, State.WAKING, State.ASLEEP, State.COLD})
"""Nothing is known to be in the base's way: how long it takes to come up is told for itself."""
_HOW = {
    State.STARTING: "is being loaded",
    State.WAKING: "is waking up",
    State.ASLEEP: "sleeps",
    State.COLD: "is not loaded",
    State.READY: "is about to go down",
}


def is_guest(model: ModelView) -> bool:
    """It is an adapter."""
    return any(replica.base for replica in model.replicas)


def hosting(view: FleetView) -> FleetView:
    """The view in which each base wants what its adapters want; the same where there are none."""
    guests: dict[str, list[ModelView]] = {}
    for model in view.models:
        if model.host and is_guest(model):
            guests.setdefault(model.host, []).append(model)
    if not guests:
        return view
    models = (_with(model, guests[model.name]) if model.name in guests else model for model in view.models)
    return replace(view, models=tuple(models))


def _with(base: ModelView, guests: Sequence[ModelView]) -> ModelView:
    family = (base, *guests)
    waiting = [one for one in family if one.waiting or one.onlookers]
    classes = [one.priority or one.spec.priority for one in waiting]
    return replace(
        base,
        replicas=tuple(_busy(replica, guests) for replica in base.replicas),
        waiting=sum(one.waiting for one in family),
        oldest_wait_at=_first(one.oldest_wait_at for one in family),
        onlookers=sum(one.onlookers for one in family),
        oldest_onlooker_at=_first(one.oldest_onlooker_at for one in family),
        unserved_since=_first(one.unserved_since for one in family),
        priority=min(classes, key=_RANKS.__getitem__) if classes else None,
        pinned=base.pinned or any(one.pinned and _is_up(one) for one in guests),
    )


def _busy(replica: ReplicaView, guests: Iterable[ModelView]) -> ReplicaView:
    """An adapter that is being loaded into it keeps it busy as a request does: an engine that gives its memory away
    meanwhile would die of it."""
    moving = sum(one.base == replica.id and one.state is State.STARTING for guest in guests for one in guest.replicas)
    return replace(replica, in_flight=replica.in_flight + moving, idle_since=None) if moving else replica


def _is_up(model: ModelView) -> bool:
    return any(replica.state is State.READY for replica in model.replicas)


def _first(moments: Iterable[float | None]) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def base_of(draft: Draft, replica: ReplicaView) -> tuple[ModelView, ReplicaView] | None:
    """The engine that an adapter's replica is loaded into, and its model; None for any other, and while that rests."""
    return draft.bases.get(replica.base) if replica.base else None


def lacks_base(draft: Draft, replica: ReplicaView) -> bool:
    """It is an adapter, and its engine does not serve or will soon not."""
    if not replica.base:
        return False
    found = base_of(draft, replica)
    if found is None:
        return True
    return found[1].state is not State.READY or draft.destination(found[1]) is not None


def waits_for_base(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked:
    """Why an adapter cannot come up yet: what its base waits for, if that waits."""
    found = base_of(draft, replica)
    if found is None:
        return Blocked(model=model.name, sentence=f'Model "{model.name}" waits for "{model.host}", which holds it.')
    base, engine = found
    cause = draft.blocked.get(base.name)
    if cause is not None:
        sentence = f'Model "{model.name}" lives inside "{base.name}". {cause.sentence}'
        return replace(cause, model=model.name, sentence=sentence)
    how = _HOW.get(engine.state, f"is {engine.state}")
    return Blocked(
        model=model.name,
        sentence=f'Model "{model.name}" waits for "{base.name}", which holds it and {how}.',
        room_s=0.0 if engine.state in _COMING else None,
    )
