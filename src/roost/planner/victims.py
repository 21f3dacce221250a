"""Who yields: whom groups or matrix take down for the newcomer, then whoever is cheapest to do without first (`worth`;
the least recently used with `eviction: lru`), only as many as needed, only who frees what is lacking.

Who may yield at all is `yielding`'s; nobody is asked while the room is coming free anyway. Each replica yields by
itself, with its own last use. Sleep where the engine can and that frees enough, else stop. Pure; called by `rise` and
`relieve`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from roost.core.lifecycle import ASLEEP, COLD, DRAINING, READY, State
from roost.core.plan import Blocked, Drain, Stop
from roost.core.reason import Down, Evict
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.beside import judge
from roost.planner.draft import Draft
from roost.planner.hold import held_fast, kept_apart, listed, never, served_before, waits_for_company, waits_for_others
from roost.planner.room import is_places
from roost.planner.rungs import Rung, last_used, rest
from roost.planner.turns import ended, is_only_called, standing
from roost.planner.weights import Amounts
from roost.planner.worth import density, lacking_cost, worth
from roost.planner.yielding import Newcomer, busy, candidates

PATIENCE_S = 10.0
"""So long a newcomer waits for the answers of whoever drains for it before idle ones go in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """One replica that could yield, and how."""

    model: ModelView
    replica: ReplicaView
    after: State
    """ASLEEP or COLD."""
    frees: Amounts
    why: str = ""
    """Why no lighter sleep, where host memory had a say."""

    @property
    def last_used(self) -> float:
        """When it was last of use; the LRU order."""
        return last_used(self.replica)


def make_room(draft: Draft, newcomer: Newcomer) -> Blocked:
    """Order victims out of the way if need be, keep the room for the newcomer, and say what it waits for."""
    if _is_coming(draft, newcomer):
        return _keep(draft, newcomer, [], [])
    found = candidates(draft, newcomer)
    forced = forced_out(draft, newcomer, found)
    chosen = None if forced is None else _choose(draft, newcomer, found, forced)
    if chosen is None and not newcomer.breaks and _is_too_late(draft, newcomer):
        return make_room(draft, replace(newcomer, breaks="residency", found=None))
    for victim in _at_once(draft, newcomer, found, forced or []) or chosen or ():
        _evict(draft, newcomer, victim)
    return _keep(draft, newcomer, forced, chosen)


def _is_coming(draft: Draft, newcomer: Newcomer) -> bool:
    """Nobody else has to go: what it needs comes free, and soon."""
    room = draft.room
    return newcomer.verdict.clear and not room.lack(newcomer.need, room.soon) and not running_out(draft)


def _keep(draft: Draft, newcomer: Newcomer, forced: list[Victim] | None, chosen: list[Victim] | None) -> Blocked:
    """The room is the newcomer's from now on; what it waits for."""
    model = newcomer.model
    sentence = _sentence(draft, newcomer, forced, chosen)
    draft.promise(model, standing(draft, model).rank, newcomer.need, newcomer.verdict)
    return Blocked(model=model.name, sentence=sentence)


def hopeless(draft: Draft, newcomer: Newcomer) -> Blocked | Newcomer:
    """Why it can never be served, or not before somebody gives back what is his; else the newcomer, who breaks pins
    where nothing else is possible and `policy.last_resort` has it."""
    model, replica = newcomer.model, newcomer.replica
    larger = never(draft, model, replica)
    if larger is not None:
        return larger
    kept = held_fast(draft, model, replica) or kept_apart(draft, model, newcomer.verdict)
    if kept is None:
        return newcomer
    if "pin" not in draft.policy.spec.last_resort or is_only_called(model):
        return kept
    verdict = judge(draft, model, replica, breaks="pin")
    kept = held_fast(draft, model, replica, breaks="pin") or kept_apart(draft, model, verdict)
    return kept or replace(newcomer, breaks="pin", verdict=verdict, found=None)


def _is_too_late(draft: Draft, newcomer: Newcomer) -> bool:
    """Those who must stay a while stay longer than the newcomer's requests wait, and may be sent away for it."""
    model, stay = newcomer.model, draft.policy.spec.residency
    if "residency" not in draft.policy.spec.last_resort or model.oldest_wait_at is None or stay <= 0:
        return False
    deadline = model.oldest_wait_at + model.spec.queue.max_wait
    freshest = replace(newcomer, breaks="residency", found=None)
    found = candidates(draft, freshest)
    forced = forced_out(draft, freshest, found)
    chosen = None if forced is None else _choose(draft, freshest, found, forced)
    return chosen is not None and max((draft.stays_until(v.replica) for v in chosen), default=0.0) > deadline


def _sentence(draft: Draft, newcomer: Newcomer, forced: list[Victim] | None, chosen: list[Victim] | None) -> str:
    model, replica, room = newcomer.model, newcomer.replica, draft.room
    if forced is not None and chosen is None:
        missing = room.lack(newcomer.need, freed(room.soon, forced))
        return waits_for_others(draft, model, replica, missing)
    if not newcomer.verdict.clear:
        return waits_for_company(draft, model, newcomer.verdict)
    names = listed(f'"{other.name}"' for other in draft.falling() if other.name != model.name)
    before = f"{served_before(draft, model) or 'older requests'} are answered"
    return f'Model "{model.name}" waits until {f"{names} made room" if names else before}.'


def _at_once(
    draft: Draft, newcomer: Newcomer, found: list[tuple[ModelView, ReplicaView]], forced: list[Victim]
) -> list[Victim]:
    """Idle ones that make the room now, where it would else hang on answers that still run at those who go already;
    empty where it does not, or where they would not do."""
    room, running = draft.room, running_out(draft)
    if not running:
        return []
    sooner = without(room.soon, running)
    basis = {victim.replica.id: victim for victim in forced}

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.lack(newcomer.need, freed(sooner, {**basis, **some}.values()))

    short = lacking({})
    idle = [pair for pair in found if not busy(*pair)] if short else []
    chosen = fewest(cheapest(draft, options(draft, idle, short), short, newcomer.model.name), lacking, draft)
    return [] if not chosen or lacking(chosen) else list((basis | chosen).values())


def running_out(draft: Draft) -> dict[str, int]:
    """What those give back who have drained for a while and still answer requests: nobody knows when."""
    total: dict[str, int] = {}
    for model, replica in [one.pair for one in draft.room.falling]:
        after = draft.destination(replica) if replica.in_flight and replica.state is DRAINING else None
        if after is None:
            continue
        draft.at(replica.since + PATIENCE_S)
        if draft.now >= replica.since + PATIENCE_S:
            for key, amount in draft.room.frees(model, replica, after).items():
                total[key] = total.get(key, 0) + amount
    return total


def without(amounts: Amounts, less: Amounts) -> dict[str, int]:
    """Key by key."""
    return {key: amount - less.get(key, 0) for key, amount in amounts.items()}


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
    """With `eviction: cost` those first whose going costs least for what it frees, none of them stopped while sleeps
    would do; else as they come. In any case idle ones before busy ones, then the newcomer's own, then those whose pin
    would be broken."""
    if not draft.counts_costs:
        return some
    given = list(some)
    could_sleep = {victim.replica.id for victim in given if victim.after is ASLEEP}

    def order(victim: Victim) -> tuple[bool, bool, bool, bool, float]:
        model, replica = victim.model, victim.replica
        sibling = model.name == newcomer and replica.state is READY
        harsh = victim.after is COLD and replica.id in could_sleep
        cost = density(draft, model, replica, victim.after, (victim.frees, short))
        return model.pinned, sibling, busy(model, replica), harsh, cost

    return iter(sorted(given, key=order))


def by_cost(
    draft: Draft, newcomer: Newcomer, found: list[tuple[ModelView, ReplicaView]]
) -> list[tuple[ModelView, ReplicaView]]:
    """With `eviction: cost` those first that would be missed least, among equals of all else; else as they come."""
    if not draft.counts_costs:
        return found

    def order(pair: tuple[ModelView, ReplicaView]) -> tuple[bool, bool, bool, float]:
        model, replica = pair
        sibling = model.name == newcomer.model.name and replica.state is READY
        return model.pinned, sibling, busy(model, replica), missed(draft, model, replica)

    return sorted(found, key=order)


def missed(draft: Draft, model: ModelView, replica: ReplicaView) -> float:
    """What doing without it costs, by the way it would go down."""
    awake = replica.state is READY
    after = ASLEEP if awake and _sleeps(draft, replica) else COLD
    return lacking_cost(draft, model, replica, after)


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
    cost = lacking_cost(draft, victim.model, victim.replica, victim.after) if draft.counts_costs else 0.0
    return busy(victim.model, victim.replica), cost, victim.last_used


def forced_out(draft: Draft, newcomer: Newcomer, found: list[tuple[ModelView, ReplicaView]]) -> list[Victim] | None:
    """Whom groups or matrix take down for the newcomer; None while one of them may not yield yet, or it is the turn
    of an older want that the newcomer cannot be beside: then nobody goes in vain."""
    if newcomer.verdict.older:
        return None
    victims = {}
    for model, replica in found if newcomer.verdict.victims else ():
        if model.name in newcomer.verdict.victims and replica.state is READY:
            rung = rest(draft, model, replica) if _sleeps(draft, replica) else Rung(COLD)
            victims[replica.id] = _victim(draft, model, replica, rung)
    for other, replica in draft.room.holders if newcomer.verdict.victims else ():
        due = other.name in newcomer.verdict.victims and draft.is_here(replica) and draft.destination(replica) is None
        if due and replica.id not in victims:
            return None
    return list(victims.values())


def _sleeps(draft: Draft, replica: ReplicaView) -> bool:
    """It yields by sleep: it can, and that is wanted, or nothing else is possible."""
    return bool(replica.sleep_levels) and (draft.policy.spec.evict_by == "sleep" or not replica.owned)


def _victim(draft: Draft, model: ModelView, replica: ReplicaView, rung: Rung) -> Victim:
    frees = draft.room.frees(model, replica, rung.after, rung.level)
    return Victim(model=model, replica=replica, after=rung.after, frees=frees, why=rung.why)


def freed(soon: Amounts, victims: Iterable[Victim]) -> dict[str, int]:
    """What comes free soon anyway, with what these give back."""
    total = dict(soon)
    for victim in victims:
        for key, amount in victim.frees.items():
            total[key] += amount
    return total


def options(draft: Draft, found: list[tuple[ModelView, ReplicaView]], short: Amounts) -> Iterator[Victim]:
    """First what is gentle (sleep; stop for those that cannot), then stops, for those whom sleep frees too little."""
    gentle: list[tuple[ModelView, ReplicaView, Rung]] = []
    harsh: list[tuple[ModelView, ReplicaView, Rung]] = []
    for model, replica in _concerned(draft, found, short):
        awake = replica.state is READY
        if awake and _sleeps(draft, replica):
            rung = rest(draft, model, replica)
            gentle.append((model, replica, rung))
            if replica.owned and rung.after is ASLEEP:
                harsh.append((model, replica, Rung(COLD)))
        elif replica.owned:
            (gentle if awake else harsh).append((model, replica, Rung(COLD)))
    for model, replica, rung in gentle + harsh:
        victim = _victim(draft, model, replica, rung)
        if any(victim.frees.get(key, 0) > 0 for key in short):
            yield victim


def _concerned(
    draft: Draft, found: list[tuple[ModelView, ReplicaView]], short: Amounts
) -> list[tuple[ModelView, ReplicaView]]:
    """Those of them that hold something of what is short: in a large fleet few are on the same devices."""
    on_device = draft.room.on_device
    if not all(key in on_device for key in short):
        return found
    there = {replica.id for key in short for _, replica in on_device[key]}
    return [pair for pair in found if pair[1].id in there]


def _evict(draft: Draft, newcomer: Newcomer, victim: Victim) -> None:
    room, need = draft.room, newcomer.need
    short = room.lack(need, {})
    turn = ended(draft, victim.model, victim.replica, newcomer.model, newcomer.since)
    reason = Evict(
        for_model=newcomer.model.name,
        idle_s=max(0.0, draft.now - victim.last_used),
        need_bytes=max((need[key] for key in short if not is_places(key)), default=0),
        setting="max_loras" if newcomer.replica.base else "max_resident",
        max_resident=next((room.budget[key] for key in short if is_places(key)), None),
        rule=newcomer.verdict.victims.get(victim.model.name, ""),
        worth=worth(draft, victim.model, victim.replica, victim.after),
        turn=turn,
        waited_s=draft.now - (newcomer.model.oldest_wait_at or draft.now) if turn else 0.0,
        last_resort=_broken(draft, newcomer, victim),
        rung=victim.why,
    )
    send_down(draft, victim, reason)


def _broken(draft: Draft, newcomer: Newcomer, victim: Victim) -> str:
    if newcomer.breaks == "pin" and victim.model.pinned:
        return "pin"
    fresh = newcomer.breaks == "residency" and draft.stays_until(victim.replica) > draft.now
    return "residency" if fresh else ""


def send_down(draft: Draft, victim: Victim, reason: Down) -> None:
    """Order it, and count on what it gives back."""
    replica = victim.replica
    draft.room.expect(victim.frees)
    if replica.state is ASLEEP:
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        goal = Goal.ASLEEP if victim.after is ASLEEP else Goal.STOPPED
        draft.do(Drain(replica=replica.id, goal=goal, reason=reason))
