"""What comes up though nobody waits: engines that the config wants started with roost, crashed ones to be kept, and
those that were stopped to be started afresh.

In config order, models first and then their replicas, and only into room that is free anyway. First starts follow
each other no faster than `policy.launch_delay`. Pure; called by `plan` after everything that somebody waits for.
"""

from collections.abc import Iterable

from roost.core.lifecycle import State
from roost.core.plan import Load
from roost.core.reason import Preload, Revived
from roost.core.view import ModelView, ReplicaView
from roost.planner.beside import may_come
from roost.planner.draft import Draft
from roost.planner.guests import base_of, is_guest, lacks_base
from roost.planner.placement import fitting


def preload(draft: Draft) -> None:
    """Order those whose time has come, and note when the next one's will. Not what a schedule wants down."""
    if not draft.policy.auto:
        return
    kept = [one.model for one in draft.special if one.is_kept]
    next_at = _next_start_at(draft, kept)
    for model in kept:
        if model.rests is not None or not _is_undecided(draft, model):
            continue
        for replica in model.replicas:
            if not replica.owned or not draft.free(replica) or lacks_base(draft, replica):
                continue
            if _to_be_kept(draft, model, replica):
                _start(draft, model, replica, Preload())
            elif replica.base:
                if _comes_with_its_base(draft, model, replica):
                    _start(draft, model, replica, Preload())
            elif _never_started(draft, model, replica):
                if draft.now < next_at:
                    draft.at(next_at)
                elif _start(draft, model, replica, Preload()):
                    next_at = draft.now + draft.policy.spec.launch_delay


def revive(draft: Draft) -> None:
    """Order up again what was stopped only to be started afresh, whoever waits or not."""
    for model in [one.model for one in draft.special if one.revives]:
        for replica in model.replicas:
            revived = replica.revive and replica.owned and not replica.base
            if revived and _is_undecided(draft, model) and draft.free(replica):
                _revive(draft, model, replica)


def _revive(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    if replica.state is State.BACKOFF and (replica.retry_at is None or replica.retry_at > draft.now):
        draft.at(replica.retry_at)
    elif replica.state in (State.COLD, State.BACKOFF):
        _start(draft, model, replica, Revived(cause=replica.last_error))


def _is_undecided(draft: Draft, model: ModelView) -> bool:
    """Neither requests nor an order decide when it comes up."""
    return not model.waiting and (model.wish is None or model.name in draft.denied)


def _next_start_at(draft: Draft, kept: Iterable[ModelView]) -> float:
    """Not before `launch_delay` after the last start, by whatever reason, also in this round, of an engine to be
    preloaded. One that was found running delays nobody."""
    starts = (
        draft.now if isinstance(draft.actions.get(replica.id), Load) else replica.last_load_at
        for model in kept
        if model.spec.preload and not is_guest(model)
        for replica in model.replicas
    )
    started = [moment for moment in starts if moment is not None]
    return max(started, default=float("-inf")) + draft.policy.spec.launch_delay


def _never_started(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    came_at = max(draft.view.started_at, model.came_at)
    return model.spec.preload and replica.state is State.COLD and replica.since <= came_at


def _comes_with_its_base(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Its engine has become ready and it has not been up there since: one that went down later stays down."""
    found = base_of(draft, replica)
    if found is None or not model.spec.preload or replica.state is not State.COLD:
        return False
    came_up_at = found[1].became_ready_at
    return came_up_at is not None and replica.since <= came_up_at


def _to_be_kept(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Crashed, to be kept, and its time has come."""
    if replica.state is not State.BACKOFF or not (model.spec.preload or model.pinned):
        return False
    draft.at(replica.retry_at)
    return replica.retry_at is not None and replica.retry_at <= draft.now


def _start(draft: Draft, model: ModelView, replica: ReplicaView, reason: Preload | Revived) -> bool:
    place = fitting(draft.room, model, replica)
    if place is None or not draft.may_start(replica) or not may_come(draft, model, replica):
        return False
    draft.start(model, Load(replica=replica.id, reason=reason, devices=place.told), place.need)
    return True
