"""What comes up before it is asked for: a model that is likely wanted soon, into free memory or in place of models that
are far colder. And what goes down so that whoever comes next finds room at once.

All three weigh seconds of likely waiting against one another, the first two with a margin, for a forecast errs. Only
while nobody waits for room and a start is to spare; one model a round. A model that a clock of idleness sent down stays
down for as long as it had been unused by then, so vain attempts come ever more rarely; a hint or a companion's call,
once each, needs no such rest. Pure; called by `plan` after everything that somebody waits for, with
`policy.wake_ahead`; only the first with `idle: histogram` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from roost.core.forecast import Forecast
from roost.core.lifecycle import State
from roost.core.plan import Load, Wake
from roost.core.reason import Ahead, Colder, KeepsRoom
from roost.core.view import ModelView, ReplicaView
from roost.planner.beside import may_come
from roost.planner.draft import Draft
from roost.planner.gaps import BURST_S
from roost.planner.guests import lacks_base
from roost.planner.idle import is_likely
from roost.planner.placement import Place, fitting, roomiest
from roost.planner.victims import Victim, cheapest, fewest, freed, options, send_down
from roost.planner.weights import Amounts
from roost.planner.worth import back_s, down_s, idle_s, lacking_cost, return_cost, worth
from roost.planner.yielding import busy, can_yield

SURE = 0.7
"""Chance from which a hint or a companion's call takes free memory in any case, and sends others away."""
MARGIN = 4.0
"""Where others would need its memory, doing without it must cost so many times what its coming costs them: forecasts
err, and two moves cost more than one."""
COLD_S = 10.0
"""Nobody who was used this lately goes for a model that nobody waits for. To keep room only a burst must be over: on
the traces the longer bound there costs 5 % more waiting."""
_REST_MIN_S = 10.0
_LOOK_S = 5.0
"""How often to look while some model is down that could come up ahead."""
_RIVALS_MAX = 64
"""Models looked at that may come next, the likeliest."""
_STEPS_MAX = 4
"""Models taken down at once to keep room."""


@dataclass(frozen=True, slots=True)
class _Resting:
    """A model that could come up, the replica that would, and what that takes."""

    model: ModelView
    replica: ReplicaView
    place: Place
    """Where it fits, else where least lacks."""
    forecast: Forecast

    @property
    def need(self) -> Amounts:
        return self.place.need


@dataclass(frozen=True, slots=True)
class _Idle:
    """One that could go down, how it would go first, and what doing without it would cost."""

    model: ModelView
    replica: ReplicaView
    after: State
    lost: float


def ahead(draft: Draft) -> None:
    """Order the likeliest one up, or begin to make room for it, or for whoever is next."""
    spec = draft.policy.spec
    if not draft.policy.auto or not (spec.wake_ahead or spec.idle == "histogram"):
        return
    if draft.blocked or any(draft.room.promised.values()):
        return
    resting = _resting(draft)
    if not resting:
        return
    draft.at(draft.now + _LOOK_S)
    idle = _idle(draft)
    if draft.starts <= max(0, spec.max_starts - 2) and _bring_one_up(draft, resting, idle):
        return
    if spec.wake_ahead:
        _keep_room(draft, resting, idle)


def _resting(draft: Draft) -> list[_Resting]:
    """Models at rest that may be wanted, the likeliest first."""
    found = []
    for model in draft.models:
        replica = _at_rest(draft, model)
        forecast = None if replica is None else draft.forecast(model)
        if replica is not None and forecast is not None:
            found.append((forecast, model, replica))
    found.sort(key=lambda one: one[0].hazard_per_s, reverse=True)
    return [_Resting(m, r, _place(draft, m, r), forecast) for forecast, m, r in found[:_RIVALS_MAX]]


def _place(draft: Draft, model: ModelView, replica: ReplicaView) -> Place:
    return fitting(draft.room, model, replica) or roomiest(draft.room, model, replica, draft.room.soon)


def _at_rest(draft: Draft, model: ModelView) -> ReplicaView | None:
    """The replica that would come up; None while one is up or on its way, or somebody decides otherwise."""
    if model.wish is not None or model.rests is not None or not model.spec.wake_on_request:
        return None
    for replica in model.replicas:
        if replica.state not in (State.ASLEEP, State.COLD) or not draft.free(replica):
            return None
        if lacks_base(draft, replica) or replica.unlisted:
            return None
    usable = [r for r in model.replicas if r.state is State.ASLEEP or r.owned]
    return min(usable, key=lambda r: r.state is not State.ASLEEP, default=None)


def _idle(draft: Draft) -> list[_Idle]:
    found = []
    for model, replica in draft.room.holders:
        if _is_idle(draft, model, replica):
            after = State.ASLEEP if replica.sleep_levels else State.COLD
            found.append(_Idle(model, replica, after, lacking_cost(draft, model, replica, after)))
    return found


def _bring_one_up(draft: Draft, resting: list[_Resting], idle: list[_Idle]) -> bool:
    """True if one comes up, or its room is on its way."""
    likely = [(_cost(draft, one), one) for one in resting if _is_likely(draft, one)]
    for cost, one in sorted(likely, key=lambda pair: pair[0], reverse=True):
        if not may_come(draft, one.model, one.replica):
            continue
        if draft.room.fits(one.need):
            if _is_worth_the_room(draft, one, cost, resting, idle):
                _bring_up(draft, one)
                return True
        elif draft.policy.spec.wake_ahead:
            if not draft.room.lack(one.need, draft.room.soon):
                return True
            if _make_room(draft, one, cost, idle):
                return True
    return False


def _is_likely(draft: Draft, one: _Resting) -> bool:
    forecast, replica = one.forecast, one.replica
    if not is_likely(forecast):
        return False
    return _is_news(forecast, replica) or draft.now - replica.since >= _rest_s(draft, one)


def _is_news(forecast: Forecast, replica: ReplicaView) -> bool:
    """A hint or a call that it has not come up for yet; an hour lasts too long for that."""
    rises = [moment for moment in (replica.came_up_at, replica.last_load_at) if moment is not None]
    return forecast.sign_at is not None and all(moment < forecast.sign_at for moment in rises)


def _rest_s(draft: Draft, one: _Resting) -> float:
    """How long it stays down for the sake of its past alone: where a clock of idleness has sent it down, as long as it
    had been unused by then."""
    policy, spec, replica = draft.policy.spec, one.model.spec, one.replica
    unused_s = idle_s(draft, replica) - (draft.now - replica.since)
    clocks = [0.0 if policy.idle == "break-even" else None]
    clocks.append(spec.sleep_after if replica.sleep_levels else None)
    clocks.append(spec.unload_after if replica.owned else None)
    by_clock = policy.auto_sleep and any(clock is not None and unused_s >= clock for clock in clocks)
    return max(_REST_MIN_S, unused_s) if by_clock else _REST_MIN_S


def _may_displace(forecast: Forecast) -> bool:
    """A mere sign must be a good one before anybody goes for it; what the model's own past says is weighed instead."""
    return not forecast.sign or forecast.soon >= SURE


def _cost(draft: Draft, one: _Resting) -> float:
    """Seconds of likely waiting per second that it stays down."""
    return return_cost(one.forecast, back_s(draft, one.model, one.replica.state, one.replica.level))


def _is_worth_the_room(draft: Draft, one: _Resting, cost: float, resting: list[_Resting], idle: list[_Idle]) -> bool:
    """Free memory is free only while nobody else at rest would need it. Else whoever is next sends someone away for
    it, and waits for that; only a good hint or companion's call says who is next."""
    if one.forecast.sign_at is not None and one.forecast.soon >= SURE:
        return True
    room, taken = draft.room, {key: -amount for key, amount in one.need.items()}
    kept_out = [other for other in resting if other is not one and room.lack(other.need, taken)]
    if not kept_out:
        return True
    waits = down_s(draft) * sum(other.forecast.hazard_per_s for other in kept_out if not room.lack(other.need, {}))
    prices = [other.lost / part for other in idle if (part := _part(draft, other, one.need))]
    return _may_displace(one.forecast) and cost > MARGIN * (waits + min(prices, default=0.0))


def _part(draft: Draft, one: _Idle, need: Amounts) -> float:
    """How much of what is needed its going gives, each key for itself."""
    frees = draft.room.frees(one.model, one.replica, one.after)
    return sum(max(0, frees.get(key, 0)) / amount for key, amount in need.items() if amount > 0)


def _bring_up(draft: Draft, one: _Resting) -> None:
    forecast, replica = one.forecast, one.replica
    returning_s = back_s(draft, one.model, replica.state, replica.level)
    reason = Ahead(soon=forecast.soon, soon_s=forecast.soon_s, back_s=returning_s, sign=forecast.sign)
    is_asleep = replica.state is State.ASLEEP
    action = (
        Wake(replica=replica.id, reason=reason)
        if is_asleep
        else Load(replica=replica.id, reason=reason, devices=one.place.told)
    )
    draft.start(one.model, action, one.need)


def _make_room(draft: Draft, one: _Resting, cost: float, idle: list[_Idle]) -> bool:
    """True if those who are far colder go for it."""
    forecast, room = one.forecast, draft.room
    found = [(other.model, other.replica) for other in idle if idle_s(draft, other.replica) >= COLD_S]
    if not _may_displace(forecast) or _least(idle) * MARGIN > cost:
        return False

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.lack(one.need, freed(room.soon, some.values()))

    short = lacking({})
    chosen = fewest(cheapest(draft, options(draft, found, short), short), lacking, draft)
    lost = sum(lacking_cost(draft, v.model, v.replica, v.after) for v in chosen.values())
    if lacking(chosen) or lost * MARGIN > cost:
        return False
    for victim in chosen.values():
        reason = Colder(
            for_model=one.model.name,
            soon=forecast.soon,
            soon_s=forecast.soon_s,
            idle_s=idle_s(draft, victim.replica),
            worth=worth(draft, victim.model, victim.replica, victim.after),
        )
        send_down(draft, victim, reason)
    return True


def _least(idle: list[_Idle]) -> float:
    return min((one.lost for one in idle), default=float("inf"))


def _keep_room(draft: Draft, resting: list[_Resting], idle: list[_Idle]) -> None:
    """Take down the coldest where others, who would then find room at once, save more by that."""
    room = draft.room
    idle = [one for one in idle if idle_s(draft, one.replica) >= BURST_S]
    roomless = [one for one in resting if room.lack(one.need, room.soon)]
    wanted = sum(one.forecast.hazard_per_s for one in roomless)
    if not any(wanted * down_s(draft, one.model) > one.lost for one in idle):
        return
    short: dict[str, int] = {}
    for one in roomless:
        for key, amount in room.lack(one.need, room.soon).items():
            short[key] = max(short.get(key, 0), amount)
    found = [(one.model, one.replica) for one in idle]
    best: tuple[float, list[Victim], list[_Resting]] = (0.0, [], [])
    going: dict[str, Victim] = {}
    lost = saved_s = 0.0
    for victim in cheapest(draft, options(draft, found, short), short):
        if len(going) == _STEPS_MAX or victim.replica.id in going:
            break
        going[victim.replica.id] = victim
        lost += lacking_cost(draft, victim.model, victim.replica, victim.after)
        then = freed(room.soon, going.values())
        helped = [one for one in roomless if not room.lack(one.need, then)]
        saved_s = max(saved_s, down_s(draft, victim.model))
        gain = saved_s * sum(one.forecast.hazard_per_s for one in helped) - lost
        if gain > best[0]:
            best = gain, list(going.values()), helped
    for victim in best[1]:
        reason = KeepsRoom(
            for_model=best[2][0].model.name,
            others=len(best[2]) - 1,
            idle_s=idle_s(draft, victim.replica),
            worth=worth(draft, victim.model, victim.replica, victim.after),
        )
        send_down(draft, victim, reason)


def _is_idle(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Its going would hurt nobody now."""
    if replica.state is not State.READY or model.pinned or model.wish is not None or busy(model, replica):
        return False
    return can_yield(draft, replica)
