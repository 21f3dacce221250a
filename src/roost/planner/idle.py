"""The ladder of idleness: awake, then asleep, then stopped. When is `policy.idle`'s choice.

fixed: by two clocks, `sleep_after` and `unload_after`. break-even: besides, once a model has been idle for as long as
its return takes, and somebody else would find no room. histogram: when its own gaps say that it is not wanted soon, in
place of the first clock. Each replica has clocks of its own; both start when it became idle, and neither runs while
requests are with it. Never with `policy.auto_sleep: false`, for a pinned model, one that requests wait for, or one an
operator has given an order for; an engine that runs elsewhere never goes past sleep. Pure; called by `plan`.
"""

from roost.core.forecast import Forecast
from roost.core.lifecycle import State
from roost.core.plan import Drain, Stop
from roost.core.reason import BreakEven, Idle, Unlikely
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.placement import fitting, roomiest
from roost.planner.worth import extra_back_s, lacking_cost

SURE_SAMPLES = 4.0
"""Below so many gaps the histogram says nothing."""
_UNLIKELY = 0.1
"""A model goes down when the chance of a request soon is below this. It comes up ahead of one from 0.5 on: between the
two it stays what it is."""


def descend(draft: Draft) -> None:
    """Let idle replicas down whose time has come, else note when it will."""
    if not draft.policy.auto or not draft.policy.spec.auto_sleep:
        return
    if draft.policy.spec.idle == "break-even":
        _break_even(draft)
    for model in draft.view.models:
        if _may_descend(model):
            _ladder(draft, model)


def _may_descend(model: ModelView) -> bool:
    return not model.pinned and model.wish is None and not model.waiting


def _ladder(draft: Draft, model: ModelView) -> None:
    for replica in model.replicas:
        if replica.state is State.READY and draft.free(replica):
            _awake(draft, model, replica)
        elif replica.state is State.ASLEEP and not replica.in_flight and draft.free(replica):
            _asleep(draft, model.spec, replica)


def _awake(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    # A busy replica may become idle right after this round and nothing would say so: look again at the earliest
    # moment it could then be due.
    spec = model.spec
    base = draft.now if replica.idle_since is None else replica.idle_since
    stop_at = _plus(base, spec.unload_after) if replica.owned else None
    sleep_at = None
    if _learned(draft, model) is not None and spec.sleep_after is not None and replica.sleep_levels:
        _by_histogram(draft, model, replica)
    elif replica.sleep_levels:
        sleep_at = _not_again(spec, replica, _plus(base, spec.sleep_after))
    if not draft.free(replica):
        return
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
    # Not from its last use alone: one that was brought up and not used has been idle only since then.
    known = [moment for moment in (replica.came_up_at, replica.last_used_at) if moment is not None]
    base = max(known, default=replica.since)
    stop_at = _plus(base, spec.unload_after) if replica.owned else None
    if stop_at is None:
        return
    if stop_at <= draft.now:
        reason = Idle(idle_s=draft.now - base, after_s=spec.unload_after or 0.0, setting="unload_after")
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        draft.at(stop_at)


def _not_again(spec: ModelSpec, replica: ReplicaView, sleep_at: float | None) -> float | None:
    """Not again before `min_sleep_duration` is over."""
    if sleep_at is None or replica.last_sleep_at is None:
        return sleep_at
    return max(sleep_at, replica.last_sleep_at + spec.min_sleep_duration)


def _learned(draft: Draft, model: ModelView) -> Forecast | None:
    """What the model's gaps say, where `idle: histogram` asks them and they say something."""
    forecast = model.forecast
    if draft.policy.spec.idle != "histogram" or forecast is None or forecast.samples < SURE_SAMPLES:
        return None
    return forecast


def _by_histogram(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    """Down if it is unlikely that it is wanted within many times what its return takes; nothing is gained by going
    down for less than the way back."""
    forecast, base = model.forecast, replica.idle_since
    assert forecast is not None
    least_s = extra_back_s(draft, model, replica, State.ASLEEP)
    due = _not_again(model.spec, replica, (draft.now if base is None else base) + least_s)
    if base is None or due is None or due > draft.now:
        draft.at(due)
    elif forecast.soon < _UNLIKELY:
        reason = Unlikely(idle_s=draft.now - base, soon=forecast.soon, soon_s=forecast.soon_s)
        draft.do(Drain(replica=replica.id, goal=Goal.ASLEEP, reason=reason))
    else:
        draft.at(draft.now + max(5.0, 0.1 * (draft.now - base)))


def _break_even(draft: Draft) -> None:
    """For each model that is down and would find no room: one by one those who have been idle for as long as their
    return takes, the cheapest to do without first, until it would find room."""
    spent = sorted(_spent(draft), key=lambda one: one[0])
    if not spent:
        return
    for other, need in _roomless(draft):
        for _, model, replica, after in spent:
            short = draft.room.lack(need, draft.room.soon)
            frees = draft.room.frees(model, replica, after)
            if not draft.free(replica) or not any(frees.get(key, 0) > 0 for key in short):
                continue
            idle_s = draft.now - (replica.idle_since or draft.now)
            back_s = extra_back_s(draft, model, replica, after)
            goal = Goal.ASLEEP if after is State.ASLEEP else Goal.STOPPED
            reason = BreakEven(idle_s=idle_s, back_s=back_s, for_model=other.name)
            draft.room.expect(frees)
            draft.do(Drain(replica=replica.id, goal=goal, reason=reason))


def _spent(draft: Draft) -> list[tuple[float, ModelView, ReplicaView, State]]:
    """Who has been idle for as long as its return takes, with what doing without it costs."""
    found = []
    for model, replica in draft.room.holders:
        if replica.idle_since is None or not _may_descend(model) or not draft.free(replica):
            continue
        after = State.ASLEEP if replica.sleep_levels else State.COLD
        if after is State.COLD and not replica.owned:
            continue
        due = replica.idle_since + extra_back_s(draft, model, replica, after)
        due = max(_not_again(model.spec, replica, due) or due, draft.stays_until(replica))
        if due <= draft.now:
            found.append((lacking_cost(draft, model, replica, after), model, replica, after))
        draft.at(due)
    return found


def _roomless(draft: Draft) -> list[tuple[ModelView, dict[str, int]]]:
    """Models that were used before, are down, and would find no room now even with what is coming free."""
    found = []
    for model in draft.view.models:
        down = [r for r in model.replicas if r.state in (State.COLD, State.ASLEEP) and r.last_used_at is not None]
        if down and len(down) == len(model.replicas) and draft.free(down[0]):
            if fitting(draft.room, model, down[0]) is not None:
                continue
            need = dict(roomiest(draft.room, model, down[0]).need)
            if draft.room.lack(need, draft.room.soon):
                found.append((model, need))
    return found


def _plus(base: float, after: float | None) -> float | None:
    return None if after is None else base + after
