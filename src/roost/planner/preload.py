"""What comes up though nobody waits: engines that the config wants started with roost, and crashed ones to be kept.

In config order, models first and then their replicas, and only into room that is free anyway. First starts follow
each other no faster than `policy.launch_delay`. Pure; called by `plan` after everything that somebody waits for.
"""

from roost.core.lifecycle import State
from roost.core.plan import Load, Preload
from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft


def preload(draft: Draft) -> None:
    """Order those whose time has come, and note when the next one's will."""
    if not draft.policy.auto:
        return
    next_at = _next_start_at(draft)
    for model in draft.view.models:
        if model.waiting or (model.wish is not None and model.name not in draft.denied):
            continue  # somebody else decides when it comes up
        for replica in model.replicas:
            if not replica.owned or not draft.free(replica):
                continue
            if _to_be_kept(draft, model, replica):
                _start(draft, model, replica)
            elif _never_started(draft, model, replica):
                if draft.now < next_at:
                    draft.at(next_at)
                elif _start(draft, model, replica):
                    next_at = draft.now + draft.policy.spec.launch_delay


def _next_start_at(draft: Draft) -> float:
    """Not before `launch_delay` after the last start, by whatever reason, of an engine to be preloaded. One that was
    found running delays nobody."""
    started = (
        replica.last_load_at
        for model in draft.view.models
        if model.spec.preload
        for replica in model.replicas
        if replica.last_load_at is not None
    )
    return max(started, default=float("-inf")) + draft.policy.spec.launch_delay


def _never_started(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    return model.spec.preload and replica.state is State.COLD and replica.since <= draft.view.started_at


def _to_be_kept(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Crashed, to be kept, and its time has come."""
    if replica.state is not State.BACKOFF or not (model.spec.preload or model.pinned):
        return False
    draft.at(replica.retry_at)
    return replica.retry_at is not None and replica.retry_at <= draft.now


def _start(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    need = draft.room.need(model, replica)
    if not draft.room.fits(need) or not draft.may_start():
        return False
    draft.start(Load(replica=replica.id, reason=Preload()), need)
    return True
