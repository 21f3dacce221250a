"""The ladder of idleness: awake, then asleep, then stopped. When is `policy.idle`'s choice.

fixed: by two clocks, `sleep_after` and `unload_after`. break-even: besides, once a model has been idle for as long as
its return takes, and somebody else would find no room; with `wake_ahead` none that is likely wanted soon. histogram:
when its own gaps say that it is not wanted soon, in place of the first clock. Each replica has clocks of its own; both
start when it became idle, and neither runs while requests are with it. Never with `policy.auto_sleep: false`, for a
pinned model, one that requests wait for, or one an operator has given an order for; an engine that runs elsewhere never
goes past sleep. Pure; called by `plan`.
"""

from collections.abc import Mapping, Sequence

from roost.core.forecast import Forecast
from roost.core.lifecycle import State
from roost.core.plan import Drain, Stop
from roost.core.reason import BreakEven, Idle, Unlikely
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.placement import fitting, roomiest
from roost.planner.victims import Victim, fewest, freed, send_down
from roost.planner.weights import Amounts
from roost.planner.worth import extra_back_s, lacking_cost

_SURE_SAMPLES = 4.0
"""Below so many gaps the histogram says nothing."""
_LIKELY = 0.5
"""Chance of a request soon from which a model comes up ahead of it."""
_UNLIKELY = 0.1
"""A model goes down when that chance is below this: between the two it stays what it is."""
_LOOK_S = 5.0
"""How often to ask a model's gaps again, at most."""


def descend(draft: Draft) -> None:
    """Let idle replicas down whose time has come, else note when it will."""
    if not draft.policy.auto or not draft.policy.spec.auto_sleep:
        return
    if draft.policy.spec.idle == "break-even":
        _break_even(draft)
    for one in draft.special:
        if one.is_timed and _may_descend(one.model):
            _ladder(draft, one.model)


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
    forecast = draft.forecast(model) if draft.policy.spec.idle == "histogram" else None
    if forecast is None or forecast.samples < _SURE_SAMPLES:
        return None
    return forecast


def _by_histogram(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    """Down if it is unlikely that it is wanted within many times what its return takes; nothing is gained by going
    down for less than the way back."""
    forecast, base = draft.forecast(model), replica.idle_since
    assert forecast is not None
    least_s = extra_back_s(draft, model, replica, State.ASLEEP)
    due = _not_again(model.spec, replica, (draft.now if base is None else base) + least_s)
    if base is None or due is None or due > draft.now:
        draft.at(None if due is None else max(due, draft.now + _LOOK_S))
    elif forecast.soon < _UNLIKELY:
        reason = Unlikely(idle_s=draft.now - base, soon=forecast.soon, soon_s=forecast.soon_s)
        draft.do(Drain(replica=replica.id, goal=Goal.ASLEEP, reason=reason))
    else:
        draft.at(draft.now + max(_LOOK_S, 0.1 * (draft.now - base)))


def _break_even(draft: Draft) -> None:
    """For each model that is down and would find no room: those who have been idle for as long as their return takes,
    the cheapest to do without first, as few as will do. Nobody where all of them together would not: then nothing is
    gained by their going."""
    spent = _spent(draft)
    if not spent:
        return
    at_most = freed(draft.room.soon, spent)
    for model, replica in _roomless(draft):
        widest = roomiest(draft.room, model, replica, at_most).need
        if draft.room.lack(widest, at_most):
            continue
        nearest = roomiest(draft.room, model, replica, draft.room.soon).need
        chosen = _as_few(draft, spent, nearest)
        if chosen is None:
            chosen = _as_few(draft, spent, widest)
        for victim in chosen or ():
            idle_s = draft.now - (victim.replica.idle_since or draft.now)
            back_s = extra_back_s(draft, victim.model, victim.replica, victim.after)
            send_down(draft, victim, BreakEven(idle_s=idle_s, back_s=back_s, for_model=model.name))
        if chosen:
            spent = [victim for victim in spent if draft.free(victim.replica)]


def _as_few(draft: Draft, spent: Sequence[Victim], need: Amounts) -> list[Victim] | None:
    """Those of them that are enough for it; None if all of them are not."""
    room = draft.room

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.lack(need, freed(room.soon, some.values()))

    chosen = fewest(iter(spent), lacking, draft)
    return None if lacking(chosen) else list(chosen.values())


def _spent(draft: Draft) -> list[Victim]:
    """Who has been idle for as long as its return takes, the cheapest to do without first."""
    found = []
    for model, replica in draft.room.holders:
        if replica.state is not State.READY or not _may_descend(model) or not draft.free(replica):
            continue
        after = State.ASLEEP if replica.sleep_levels else State.COLD
        if after is State.COLD and not replica.owned:
            continue
        back_s = extra_back_s(draft, model, replica, after)
        if replica.idle_since is None or _is_expected(draft, model):
            draft.at(draft.now + max(_LOOK_S, back_s))  # nothing else says when that ends
            continue
        due = replica.idle_since + back_s
        due = max(_not_again(model.spec, replica, due) or due, draft.stays_until(replica))
        if due <= draft.now:
            frees = draft.room.frees(model, replica, after)
            found.append(Victim(model=model, replica=replica, after=after, frees=frees))
        draft.at(due)
    return sorted(found, key=lambda victim: lacking_cost(draft, victim.model, victim.replica, victim.after))


def _is_expected(draft: Draft, model: ModelView) -> bool:
    """Foresight would bring it up again."""
    forecast = draft.forecast(model) if draft.policy.spec.wake_ahead else None
    return forecast is not None and is_likely(forecast)


def is_likely(forecast: Forecast) -> bool:
    """A request is likely soon, by enough of the model's past or by a sign."""
    return forecast.soon >= _LIKELY and (forecast.samples >= _SURE_SAMPLES or bool(forecast.sign))


def _roomless(draft: Draft) -> list[tuple[ModelView, ReplicaView]]:
    """Models that were used before, are down, and would find no room now even with what is coming free."""
    found = []
    for model in draft.models:
        down = [r for r in model.replicas if r.state in (State.COLD, State.ASLEEP) and r.last_used_at is not None]
        at_rest = down and len(down) == len(model.replicas) and draft.free(down[0])
        if at_rest and fitting(draft.room, model, down[0]) is None:
            found.append((model, down[0]))
    return found


def _plus(base: float, after: float | None) -> float | None:
    return None if after is None else base + after
