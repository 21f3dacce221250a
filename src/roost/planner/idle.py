"""The ladder of idleness: awake, then asleep after `sleep_after`, then stopped after `unload_after`.

Each replica has clocks of its own; both start when it became idle, and neither runs while requests are with it. Never
with `policy.auto_sleep: false`, for a pinned model, one that requests wait for, or one an operator has given an order
for; an engine that runs elsewhere never goes past sleep. Pure; called by `plan`.
"""

from roost.core.lifecycle import State
from roost.core.plan import Drain, Idle, Stop
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft


def ladder(draft: Draft, model: ModelView) -> None:
    """Let the model's idle replicas down one rung if their time has come, else note when it will."""
    if (
        not draft.policy.auto
        or not draft.policy.spec.auto_sleep
        or model.pinned
        or model.wish is not None
        or model.waiting
    ):
        return
    for replica in model.replicas:
        if not draft.free(replica):
            continue
        if replica.state is State.READY:
            _awake(draft, model.spec, replica)
        elif replica.state is State.ASLEEP and not replica.in_flight:
            _asleep(draft, model.spec, replica)


def _awake(draft: Draft, spec: ModelSpec, replica: ReplicaView) -> None:
    # A busy replica may become idle right after this round and nothing would say so: look again at the earliest
    # moment it could then be due.
    base = draft.now if replica.idle_since is None else replica.idle_since
    sleep_at = _plus(base, spec.sleep_after) if replica.sleep_levels else None
    if sleep_at is not None and replica.last_sleep_at is not None:
        sleep_at = max(sleep_at, replica.last_sleep_at + spec.min_sleep_duration)
    stop_at = _plus(base, spec.unload_after) if replica.owned else None
    if replica.idle_since is None:
        draft.at(None if sleep_at is None else max(sleep_at, draft.now))
        draft.at(stop_at)
    elif stop_at is not None and stop_at <= draft.now:
        reason = Idle(idle_s=draft.now - base, after_s=spec.unload_after or 0.0, setting="unload_after")
        draft.do(Drain(replica=replica.id, goal=Goal.STOPPED, reason=reason))
    elif sleep_at is not None and sleep_at <= draft.now:
        reason = Idle(idle_s=draft.now - base, after_s=spec.sleep_after or 0.0)
        draft.do(Drain(replica=replica.id, goal=Goal.ASLEEP, reason=reason))
    else:
        draft.at(sleep_at)
        draft.at(stop_at)


def _asleep(draft: Draft, spec: ModelSpec, replica: ReplicaView) -> None:
    known = [moment for moment in (replica.became_ready_at, replica.last_used_at) if moment is not None]
    base = max(known, default=replica.since)
    stop_at = _plus(base, spec.unload_after) if replica.owned else None
    if stop_at is None:
        return
    if stop_at <= draft.now:
        reason = Idle(idle_s=draft.now - base, after_s=spec.unload_after or 0.0, setting="unload_after")
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        draft.at(stop_at)


def _plus(base: float, after: float | None) -> float | None:
    return None if after is None else base + after
