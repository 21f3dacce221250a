"""Who yields: the least recently used first, only as many as needed, only who frees what is lacking.

Never a pinned model, one inside `policy.residency`, one with an order standing, or one whose turn it is; of the
newcomer's own replicas only one that sleeps. Each replica yields by itself, with its own last use.
Sleep where the engine can and that frees enough, else stop. Pure; called by `rise`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Drain, Evict, Stop
from roost.core.units import format_duration, format_size
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.room import PLACES, Amounts


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who needs the room, and since when."""

    model: ModelView
    replica: ReplicaView
    since: float


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
        return _last_used(self.replica)


def make_room(draft: Draft, model: ModelView, replica: ReplicaView, since: float) -> Blocked:
    """Order victims out of the way if need be, keep the room for `model`, and say what it waits for."""
    room = draft.room
    hopeless = _never(draft, model, replica) or _held_fast(draft, model, replica)
    if hopeless is not None:
        return hopeless
    newcomer, need = Newcomer(model, replica, since), room.need(model, replica)
    if room.lack(need, room.soon):
        for victim in choose(draft, newcomer, need):
            _evict(draft, model, need, victim)
    missing = room.lack(need, room.soon)
    if missing:
        sentence = _waits_for_others(draft, newcomer, missing)
    else:
        names = _listed(f'"{other.name}"' for other in draft.falling() if other.name != model.name)
        sentence = f'Model "{model.name}" waits until {names or "an older request"} made room.'
    room.promise(need)
    return Blocked(model=model.name, sentence=sentence)


def choose(draft: Draft, newcomer: Newcomer, need: Amounts) -> list[Victim]:
    """A smallest sufficient set in LRU order; empty if all of them together would not do."""
    room = draft.room
    short = room.lack(need, room.soon)
    found = sorted(_candidates(draft, newcomer), key=lambda c: (_busy(*c), _last_used(c[1])))
    chosen: dict[str, Victim] = {}

    def enough(some: Iterable[Victim]) -> bool:
        freed = dict(room.soon)
        for victim in some:
            for key, amount in victim.frees.items():
                freed[key] += amount
        return not room.lack(need, freed)

    for option in _options(draft, found, short):
        chosen[option.replica.id] = option
        if enough(chosen.values()):
            break
    else:
        return []
    for victim in sorted(chosen.values(), key=lambda v: (_busy(v.model, v.replica), v.last_used), reverse=True):
        rest = {key: other for key, other in chosen.items() if key != victim.replica.id}
        if enough(rest.values()):
            chosen = rest
    return list(chosen.values())


def _candidates(draft: Draft, newcomer: Newcomer) -> Iterator[tuple[ModelView, ReplicaView]]:
    for other, replica in draft.room.holders:
        if replica.id == newcomer.replica.id or other.pinned:
            continue
        # Of the newcomer's own replicas none is awake, yet one that sleeps may keep what the first to wake needs.
        sibling = other.name == newcomer.model.name
        if not sibling and (other.wish is not None or _has_its_turn(other, newcomer.since)):
            continue
        if draft.free(replica) and replica.state in (State.READY, State.ASLEEP):
            stays_until = _stays_until(draft, replica)
            if stays_until <= draft.now:
                yield other, replica
            else:
                draft.at(stays_until)


def _has_its_turn(model: ModelView, since: float) -> bool:
    """Its own waiters are older, or came before it was ready: a turn serves all who waited as it began. By age
    alone two crowded models would swap after every few requests."""
    if not model.waiting or model.oldest_wait_at is None:
        return model.waiting > 0
    ready = (r.became_ready_at for r in model.replicas if r.state is State.READY)
    return model.oldest_wait_at <= max([since, *(moment for moment in ready if moment is not None)])


def _stays_until(draft: Draft, replica: ReplicaView) -> float:
    if replica.state is not State.READY or replica.became_ready_at is None:
        return draft.now
    return replica.became_ready_at + draft.policy.spec.residency


def _options(draft: Draft, found: list[tuple[ModelView, ReplicaView]], short: Amounts) -> Iterator[Victim]:
    """First what is gentle (sleep; stop for those that cannot), then stops, for those whom sleep frees too little."""
    by_sleep = draft.policy.spec.evict_by == "sleep"
    gentle: list[tuple[ModelView, ReplicaView, State]] = []
    harsh: list[tuple[ModelView, ReplicaView, State]] = []
    for model, replica in found:
        awake = replica.state is State.READY
        if awake and replica.sleep_levels and (by_sleep or not replica.owned):
            gentle.append((model, replica, State.ASLEEP))
        if replica.owned:
            (harsh if not awake or (replica.sleep_levels and by_sleep) else gentle).append((model, replica, State.COLD))
    for model, replica, after in gentle + harsh:
        frees = draft.room.frees(model, replica, after)
        if any(frees.get(key, 0) > 0 for key in short):
            yield Victim(model=model, replica=replica, after=after, frees=frees)


def _evict(draft: Draft, model: ModelView, need: Amounts, victim: Victim) -> None:
    room, replica = draft.room, victim.replica
    short = room.lack(need, {})
    reason = Evict(
        for_model=model.name,
        idle_s=max(0.0, draft.now - victim.last_used),
        need_bytes=max((need[key] for key in short if key != PLACES), default=0),
        max_resident=room.budget[PLACES] if PLACES in short else None,
    )
    room.expect(victim.frees)
    if replica.state is State.ASLEEP:
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        goal = Goal.ASLEEP if victim.after is State.ASLEEP else Goal.STOPPED
        draft.do(Drain(replica=replica.id, goal=goal, reason=reason))


def _busy(model: ModelView, replica: ReplicaView) -> bool:
    return replica.in_flight > 0 or model.waiting > 0


def _last_used(replica: ReplicaView) -> float:
    known = [moment for moment in (replica.last_used_at, replica.became_ready_at) if moment is not None]
    return max(known, default=replica.since)


def _never(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked | None:
    """It is larger than a whole budget."""
    memory, budget = draft.view.memory, draft.room.budget
    for key, amount in draft.room.weight(model, replica, State.READY).items():
        if amount <= budget[key]:
            continue
        if key == PLACES:
            sentence = f'Model "{model.name}" can never be awake: memory.max_resident is {budget[key]}. Raise it.'
        else:
            less = f" less a reserve of {format_size(memory.reserve)}" if memory.reserve else ""
            sentence = (
                f'Model "{model.name}" needs {format_size(amount)} on {key}; its budget is '
                f"{format_size(memory.devices[key])}{less}. Lower its footprint or raise memory.devices.{key}."
            )
        return Blocked(model=model.name, sentence=sentence, final=True, code="never_fits")
    return None


def _held_fast(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked | None:
    """What is left beside the models that roost may not or cannot take down is too small."""
    room = draft.room
    whole = room.weight(model, replica, State.READY)
    fast = {key: 0 for key, amount in whole.items() if amount > 0}
    holders: dict[str, list[str]] = {key: [] for key in fast}
    for other, held in room.holders:
        cause = "" if held is replica else _firm(draft, other, held, sibling=other is model)
        if not cause:
            continue
        for key, amount in room.weight(other, held, held.state).items():
            if amount and key in fast:
                fast[key] += amount
                holders[key].append(f'"{other.name}" ({cause})')
    for key, amount in fast.items():
        if holders[key] and whole[key] + amount > room.budget[key]:
            what = "a place" if key == PLACES else f"{format_size(whole[key])} on {key}"
            sentence = f'Model "{model.name}" needs {what}, but it is held by {_listed(holders[key])}.'
            hint = " Unpin or unload one, or raise the budget."
            return Blocked(model=model.name, sentence=sentence + hint, final=True, code="no_room")
    return None


def _firm(draft: Draft, model: ModelView, replica: ReplicaView, *, sibling: bool) -> str:
    """Why the replica's memory will not come free by itself or by roost; empty if it may. An order may free that of
    another model; one for the newcomer (`sibling`: its own other replica) does not."""
    if replica.state is State.STUCK:
        return "survived SIGKILL"
    if draft.destination(replica) is not None or (model.wish is not None and not sibling):
        return ""
    if model.pinned:
        return "pinned"
    if not replica.owned and (replica.state is State.ASLEEP or not replica.sleep_levels):
        return "runs elsewhere"
    return ""


def _waits_for_others(draft: Draft, newcomer: Newcomer, missing: Amounts) -> str:
    model = newcomer.model
    held = [
        f'"{other.name}" ({_plight(draft, other, replica)})'
        for other, replica in draft.room.holders
        if replica.id != newcomer.replica.id
        and any(draft.room.weight(other, replica, replica.state).get(key) for key in missing)
    ]
    what = "a place" if PLACES in missing else ", ".join(f"{format_size(n)} more on {k}" for k, n in missing.items())
    older = " or by older requests" if any(draft.room.promised.values()) else ""
    return f'Model "{model.name}" waits for {what}, held by {_listed(held) or "none"}{older}.'


def _listed(names: Iterable[str]) -> str:
    """Each once, though several replicas of one model hold something."""
    return ", ".join(dict.fromkeys(names))


def _plight(draft: Draft, model: ModelView, replica: ReplicaView) -> str:
    if model.pinned:
        return "pinned"
    stays = _stays_until(draft, replica) - draft.now
    if stays > 0:
        return f"stays for {format_duration(stays)} more"
    return str(replica.state)
