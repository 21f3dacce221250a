"""What it would cost to do without a replica, and so who yields first.

`cost`: the seconds that bringing it back takes, times how soon it is likely wanted, over what its going frees of what
is lacking. Equal to `lru` while nothing has been learned. Pure; called by `victims`, `relieve`, `idle` and `ahead`.
"""

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.lifecycle import ASLEEP, COLD, State
from roost.core.reason import Worth
from roost.core.spec import ModelSpec
from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.weights import Amounts

_BACK_GUESS_S = {State.ASLEEP: 2.0, State.COLD: 30.0}
"""Where no model's return from that rung was ever measured."""
_DOWN_GUESS_S = 1.0
_AGE_MIN_S = 10.0
_AGE_LEAST_S = 1.0


def density(
    draft: Draft, model: ModelView, replica: ReplicaView, after: State, gives: tuple[Amounts, Amounts]
) -> float:
    """The cost of its going for what that frees of what is short (`gives`: what it frees, what is short). Each key
    counts as a part of its lack, and more than is lacking counts too: it is room for the next one."""
    frees, short = gives
    part = sum(max(0, frees.get(key, 0)) / amount for key, amount in short.items())
    return lacking_cost(draft, model, replica, after) / part if part else float("inf")


def lacking_cost(draft: Draft, model: ModelView, replica: ReplicaView, after: State) -> float:
    """Seconds that requests would likely wait per second that it is gone, those included that come while it returns.
    For one that sleeps and would be stopped only what the deeper rung adds counts."""
    extra_s = extra_back_s(draft, model, replica, after)
    forecast = draft.forecast(model)
    if forecast is None:
        return extra_s * _blind_hazard(max(_AGE_LEAST_S, idle_s(draft, replica)))
    return return_cost(forecast, extra_s)


def _blind_hazard(age_s: float) -> float:
    """Chance per second of a request for a model without a past: as likely at one scale as at the next, which is what
    `gaps.chance` says of one that was asked for once. So the two are told apart by when they were last of use."""
    return 1.0 / (age_s + max(_AGE_MIN_S, age_s))


def return_cost(forecast: Forecast | None, returning_s: float) -> float:
    """The same for a model whose return takes so long; 0 where nothing is known of its requests."""
    if forecast is None:
        return 0.0
    return forecast.hazard_per_s * returning_s * (1.0 + 0.5 * forecast.then_per_s * returning_s)


def extra_back_s(draft: Draft, model: ModelView, replica: ReplicaView, after: State) -> float:
    """Seconds its return would take from there, less what it would take from where it is now."""
    level = _level(model.spec, replica.sleep_levels) if after is ASLEEP else None
    whole = back_s(draft, model, after, level)
    if replica.state is not ASLEEP:
        return whole
    return max(0.0, whole - back_s(draft, model, ASLEEP, replica.level))


def back_s(draft: Draft, model: ModelView, rest: State, level: int | None = None) -> float:
    """Seconds from rest (ASLEEP at that level, or COLD) to ready: as measured, else as other models take, else a
    guess; a wake of which nothing is known is taken to be twice as quick as the model's own load."""
    own = _of_rung(model.return_s, rest, level)
    if own is not None:
        return own
    if (rest, level) not in draft.typical_s:
        known = [found for m in draft.models if (found := _of_rung(m.return_s, rest, level)) is not None]
        draft.typical_s[rest, level] = sum(known) / len(known) if known else _BACK_GUESS_S[rest]
    typical = draft.typical_s[rest, level]
    load_s = None if model.return_s is None or rest is COLD else model.return_s.load_s
    return typical if load_s is None else min(typical, load_s / 2)


def known_back_s(model: ModelView) -> float | None:
    """The same from where its nearest replica rests, as measured; None: not known."""
    asleep = next((replica for replica in model.replicas if replica.state is State.ASLEEP), None)
    if asleep is not None:
        return _of_rung(model.return_s, State.ASLEEP, asleep.level)
    return _of_rung(model.return_s, State.COLD, None)


def down_s(draft: Draft, model: ModelView | None = None) -> float:
    """How long the model takes to go down, as measured, else as models take over all; else a guess."""
    if model is not None and model.return_s is not None and model.return_s.down_s is not None:
        return model.return_s.down_s
    key = State.STOPPING, None
    if key not in draft.typical_s:
        known = [m.return_s.down_s for m in draft.models if m.return_s is not None and m.return_s.down_s is not None]
        draft.typical_s[key] = sum(known) / len(known) if known else _DOWN_GUESS_S
    return draft.typical_s[key]


def worth(draft: Draft, model: ModelView, replica: ReplicaView, after: State) -> Worth | None:
    """The numbers behind the choice, for its reason; None where `lru` chose, or where the model's past says nothing,
    which amounts to the same."""
    if not draft.counts_costs:
        return None
    forecast = draft.forecast(model)
    next_s = None if forecast is None or forecast.samples < 1.0 else forecast.next_s
    return Worth(next_s=next_s, back_s=extra_back_s(draft, model, replica, after))


def idle_s(draft: Draft, replica: ReplicaView) -> float:
    """Since it was last of use, or at least came to be what it is."""
    known = [moment for moment in (replica.last_used_at, replica.became_ready_at) if moment is not None]
    return max(0.0, draft.now - max(known, default=replica.since))


def _level(spec: ModelSpec, levels: tuple[int, ...]) -> int | None:
    return max((level for level in levels if level <= spec.sleep_level), default=min(levels, default=None))


def _of_rung(costs: ReturnCosts | None, rest: State, level: int | None) -> float | None:
    if costs is None:
        return None
    if rest is not ASLEEP:
        return costs.load_s
    return costs.level2_s if level == 2 else costs.level1_s
