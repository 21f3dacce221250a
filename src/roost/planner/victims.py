"""Who yields: whom groups or matrix take down for the newcomer, then whoever is cheapest to do without first (`worth`;
the least recently used with `eviction: lru`), only as many as needed, only who frees what is lacking.

Never a pinned model, one inside `policy.residency`, one with an order standing, one whose turn it is, or one that
sleeps with requests; of the newcomer's own replicas one that is ready only where nobody else will do, for requests that
are with the newcomer already. Each replica yields by itself, with its own last use.
Sleep where the engine can and that frees enough, else stop. Pure; called by `rise` and `relieve`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Down, Drain, Evict, Stop
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.company import Verdict
from roost.planner.draft import Draft
from roost.planner.hold import held_fast, kept_apart, listed, never, waits_for_company, waits_for_others
from roost.planner.room import PLACES, Amounts
from roost.planner.turns import has_its_turn
from roost.planner.worth import counts_costs, density, lacking_cost, worth


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who needs the room, and since when."""

    model: ModelView
    replica: ReplicaView
    since: float
    need: Amounts
    verdict: Verdict
    """What groups and matrix say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """One replica that could yield, and how."""

    model: ModelView
    replica: ReplicaView
    after: State
    """ASLEEP or COLD."""
    frees: Amounts

    @property
    def last_used(self) -> float:
        """When it was last of use; the LRU order."""
        return last_used(self.replica)


def make_room(draft: Draft, newcomer: Newcomer) -> Blocked:
    """Order victims out of the way if need be, keep the room for the newcomer, and say what it waits for."""
    model, replica, verdict = newcomer.model, newcomer.replica, newcomer.verdict
    hopeless = never(draft, model, replica) or held_fast(draft, model, replica) or kept_apart(draft, model, verdict)
    if hopeless is not None:
        return hopeless
    found = sorted(_candidates(draft, newcomer), key=lambda c: _order(c[0], c[1], newcomer))
    forced = _forced(draft, newcomer, found)
    chosen = None if forced is None else _choose(draft, newcomer, found, forced)
    for victim in chosen or ():
        _evict(draft, newcomer, victim)
    blocked = Blocked(model=model.name, sentence=_sentence(draft, newcomer, forced, chosen))
    draft.room.promise(newcomer.need)
    draft.company.promise(model.name, verdict)
    return blocked


def _sentence(draft: Draft, newcomer: Newcomer, forced: list[Victim] | None, chosen: list[Victim] | None) -> str:
    model, replica, room = newcomer.model, newcomer.replica, draft.room
    if forced is not None and chosen is None:
        missing = room.lack(newcomer.need, freed(room.soon, forced))
        return waits_for_others(draft, model, replica, missing)
    if not newcomer.verdict.clear:
        return waits_for_company(draft, model, newcomer.verdict)
    names = listed(f'"{other.name}"' for other in draft.falling() if other.name != model.name)
    return f'Model "{model.name}" waits until {names or "an older request"} made room.'


def _choose(
    draft: Draft, newcomer: Newcomer, found: list[tuple[ModelView, ReplicaView]], forced: list[Victim]
) -> list[Victim] | None:
    """Those that must yield anyway, and as few others as will do; None if all of them together would not."""
    room, basis = draft.room, {victim.replica.id: victim for victim in forced}

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.lack(newcomer.need, freed(room.soon, {**basis, **some}.values()))

    short = lacking({})
    chosen = fewest(cheapest(draft, options(draft, found, short), short, newcomer.model.name), lacking, draft)
    return None if lacking(chosen) else list((basis | chosen).values())


def cheapest(draft: Draft, some: Iterator[Victim], short: Amounts, newcomer: str = "") -> Iterator[Victim]:
    """With `eviction: cost` those first whose going costs least for what it frees; else as they come. In any case
    idle ones before busy ones, then the newcomer's own, then those whose pin would be broken."""
    if not counts_costs(draft):
        return some

    def order(victim: Victim) -> tuple[bool, bool, bool, float]:
        model, replica = victim.model, victim.replica
        sibling = model.name == newcomer and replica.state is State.READY
        cost = density(draft, model, replica, victim.after, (victim.frees, short))
        return model.pinned, sibling, busy(model, replica), cost

    return iter(sorted(some, key=order))


def fewest(
    some: Iterator[Victim], lacking: Callable[[Mapping[str, Victim]], Amounts], draft: Draft
) -> dict[str, Victim]:
    """By replica, a set of them after which nothing lacks and none of which could be spared, the first ones of equals;
    or all that help, where that is not enough. Whoever costs most is spared first."""
    chosen: dict[str, Victim] = {}
    while short := lacking(chosen):
        option = next(some, None)
        if option is None:
            break
        tried = chosen | {option.replica.id: option}
        chosen = chosen if lacking(tried) == short else tried
    for victim in sorted(chosen.values(), key=lambda v: _dear(draft, v), reverse=True):
        rest = {key: other for key, other in chosen.items() if key != victim.replica.id}
        if lacking(rest) == lacking(chosen):
            chosen = rest
    return chosen


def _dear(draft: Draft, victim: Victim) -> tuple[bool, float, float]:
    cost = lacking_cost(draft, victim.model, victim.replica, victim.after) if counts_costs(draft) else 0.0
    return busy(victim.model, victim.replica), cost, victim.last_used


def _forced(draft: Draft, newcomer: Newcomer, found: list[tuple[ModelView, ReplicaView]]) -> list[Victim] | None:
    """Whom groups or matrix take down for the newcomer; None while one of them may not yield yet, or it is the turn
    of an older want that the newcomer cannot be beside: then nobody goes in vain."""
    if newcomer.verdict.older:
        return None
    victims = {}
    for model, replica in found:
        if model.name in newcomer.verdict.victims and replica.state is State.READY:
            after = State.ASLEEP if _sleeps(draft, replica) else State.COLD
            frees = draft.room.frees(model, replica, after)
            victims[replica.id] = Victim(model=model, replica=replica, after=after, frees=frees)
    for other, replica in draft.room.holders:
        due = other.name in newcomer.verdict.victims and draft.is_here(replica) and draft.destination(replica) is None
        if due and replica.id not in victims:
            return None
    return list(victims.values())


def _sleeps(draft: Draft, replica: ReplicaView) -> bool:
    """It yields by sleep: it can, and that is wanted, or nothing else is possible."""
    return bool(replica.sleep_levels) and (draft.policy.spec.evict_by == "sleep" or not replica.owned)


def freed(soon: Amounts, victims: Iterable[Victim]) -> dict[str, int]:
    """What comes free soon anyway, with what these give back."""
    total = dict(soon)
    for victim in victims:
        for key, amount in victim.frees.items():
            total[key] += amount
    return total


def _candidates(draft: Draft, newcomer: Newcomer) -> Iterator[tuple[ModelView, ReplicaView]]:
    for other, replica in draft.room.holders:
        if replica.id == newcomer.replica.id or other.pinned:
            continue
        # One of the newcomer's own that sleeps may keep what the first to wake needs. One that is ready yields only to
        # requests that are with the newcomer already, and last of all.
        sibling = other.name == newcomer.model.name
        if not sibling and (other.wish is not None or _is_spared(draft, other, replica, newcomer)):
            continue
        if can_yield(draft, replica):
            yield other, replica


def _is_spared(draft: Draft, other: ModelView, replica: ReplicaView, newcomer: Newcomer) -> bool:
    return has_its_turn(draft, other, replica, newcomer.model, newcomer.since)


def can_yield(draft: Draft, replica: ReplicaView) -> bool:
    """It could go down now as far as it is concerned; if that is only a matter of time, the plan looks again then."""
    asleep = replica.state is State.ASLEEP and not replica.in_flight
    if not draft.free(replica) or not (asleep or replica.state is State.READY):
        return False
    stays_until = draft.stays_until(replica)
    draft.at(stays_until)
    return stays_until <= draft.now


def options(draft: Draft, found: list[tuple[ModelView, ReplicaView]], short: Amounts) -> Iterator[Victim]:
    """First what is gentle (sleep; stop for those that cannot), then stops, for those whom sleep frees too little."""
    by_sleep = draft.policy.spec.evict_by == "sleep"
    gentle: list[tuple[ModelView, ReplicaView, State]] = []
    harsh: list[tuple[ModelView, ReplicaView, State]] = []
    for model, replica in found:
        awake = replica.state is State.READY
        if awake and _sleeps(draft, replica):
            gentle.append((model, replica, State.ASLEEP))
        if replica.owned:
            (harsh if not awake or (replica.sleep_levels and by_sleep) else gentle).append((model, replica, State.COLD))
    for model, replica, after in gentle + harsh:
        frees = draft.room.frees(model, replica, after)
        if any(frees.get(key, 0) > 0 for key in short):
            yield Victim(model=model, replica=replica, after=after, frees=frees)


def _evict(draft: Draft, newcomer: Newcomer, victim: Victim) -> None:
    room, need = draft.room, newcomer.need
    short = room.lack(need, {})
    reason = Evict(
        for_model=newcomer.model.name,
        idle_s=max(0.0, draft.now - victim.last_used),
        need_bytes=max((need[key] for key in short if key != PLACES), default=0),
        max_resident=room.budget[PLACES] if PLACES in short else None,
        rule=newcomer.verdict.victims.get(victim.model.name, ""),
        worth=worth(draft, victim.model, victim.replica, victim.after),
    )
    send_down(draft, victim, reason)


def send_down(draft: Draft, victim: Victim, reason: Down) -> None:
    """Order it, and count on what it gives back."""
    replica = victim.replica
    draft.room.expect(victim.frees)
    if replica.state is State.ASLEEP:
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        goal = Goal.ASLEEP if victim.after is State.ASLEEP else Goal.STOPPED
        draft.do(Drain(replica=replica.id, goal=goal, reason=reason))


def _order(model: ModelView, replica: ReplicaView, newcomer: Newcomer) -> tuple[bool, bool, float]:
    sibling = model.name == newcomer.model.name and replica.state is State.READY
    return sibling, busy(model, replica), last_used(replica)


def busy(model: ModelView, replica: ReplicaView) -> bool:
    """Requests are with it, or wait for its model."""
    return replica.in_flight > 0 or model.waiting > 0 or model.onlookers > 0


def last_used(replica: ReplicaView) -> float:
    """When it was last of use, or at least came to be what it is."""
    known = [moment for moment in (replica.last_used_at, replica.became_ready_at) if moment is not None]
    return max(known, default=replica.since)
