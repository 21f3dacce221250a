"""Who holds what a newcomer needs, and why it cannot have it now, or ever: the sentences of those who wait for room.

Orders nothing. Pure; called by `victims`, `beside` and `waits`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from roost.core.lifecycle import State
from roost.core.plan import HELD_BACK, Blocked
from roost.core.reason import held_for_owner
from roost.core.too_large import need_of, remedy, too_many
from roost.core.units import counted, format_duration, format_size
from roost.core.view import ModelView, ReplicaView
from roost.planner.company import Verdict
from roost.planner.draft import Draft
from roost.planner.room import UNBOUNDED, is_places, server_of
from roost.planner.turns import standing, turn_left
from roost.planner.weights import Amounts, Choice

_NEVER = float("inf")
_SHOWN = 8
"""Names that a sentence lists."""


def never(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked | None:
    """It is larger than a whole budget; or than what is left of one beside what its owner holds, others use or a
    schedule takes: then not for ever."""
    room = draft.room
    for key, amount in room.weight(model, replica, State.READY, devices=()).items():
        if amount > room.whole(key):
            return Blocked(model=model.name, sentence=_over(draft, model, key, amount), final=True, code="never_fits")
        if amount > room.budget[key] and not is_places(key):
            return _taken(draft, model, amount, {key: amount}, 1)
    choice = room.choice(model, replica)
    able = [device for device in choice.allowed if choice.each <= room.whole(device)]
    if len(able) < choice.count:
        sentence = _too_large(draft, model, choice)
        return Blocked(model=model.name, sentence=sentence, final=True, code="never_fits")
    if sum(choice.each <= room.budget[device] for device in able) < choice.count:
        return _taken(draft, model, choice.each, dict.fromkeys(able, choice.each), choice.count)
    return None


def _over(draft: Draft, model: ModelView, key: str, amount: int) -> str:
    if not is_places(key):
        return (
            f'Model "{model.name}" needs {format_size(amount)} of host memory; its budget is '
            f"{format_size(draft.room.whole(key))}. Lower its footprint or raise memory.host."
        )
    setting = f"hosts.{server_of(key)}.max_resident" if server_of(key) else "memory.max_resident"
    return f'Model "{model.name}" can never be awake: {setting} is {draft.room.budget[key]}. Raise it.'


def _too_large(draft: Draft, model: ModelView, choice: Choice) -> str:
    memory, room, name = draft.view.memory, draft.room, f'Model "{model.name}"'
    if len(choice.allowed) < choice.count:
        return f"{name} {too_many(choice.count, choice.allowed)}. Lower device_count or allow it more devices."
    sizes = {device: room.whole(device) for device in choice.allowed}
    if len(sizes) == 1 or not choice.told:
        device = min(sizes, key=lambda device: sizes[device])
        written = memory.devices.get(device) if device not in room.facts else None
        less = f" less a reserve of {format_size(memory.reserve)}" if memory.reserve and written is not None else ""
        size = sizes[device] if written is None else written
        return (
            f"{name} needs {format_size(choice.each)} on {device}; its budget is {format_size(size)}{less}. "
            f"Lower its footprint or raise memory.devices.{device}."
        )
    largest = max((size for size in sizes.values() if size < UNBOUNDED), default=0)
    said = need_of(choice.each, choice.count, largest)
    return f"{name} {said}. {remedy(model.spec, choice.each, choice.count, largest)}"


def _taken(draft: Draft, model: ModelView, each: int, needs: Mapping[str, int], count: int) -> Blocked:
    """It would fit, but for what is held for its owner, used by others or taken by a schedule: when that comes back,
    where it is known. `needs`: where it could come up, and what must be free there in all."""
    short = [key for key, amount in needs.items() if amount > draft.room.budget[key]]
    ends = {key: _ends_at(draft, key, needs[key]) for key in short}
    missing = count - (len(needs) - len(short))
    until = sorted(ends.values())[missing - 1]
    known = until < _NEVER
    draft.at(until if known else None)
    said = listed(part for key in short for part in _takers(draft, key))
    sentence = f'Model "{model.name}" needs {format_size(each)}, but {said}.'
    return Blocked(
        model=model.name,
        sentence=sentence,
        code=HELD_BACK,
        not_before=until if known else None,
        indefinite=not known,
    )


def _takers(draft: Draft, key: str) -> Iterator[str]:
    room = draft.room
    facts, window = room.facts.get(key), room.windows.get(key)
    if window is not None and room.taken_by_schedule(key):
        yield f"the budget of {key} is {format_size(room.budget[key])} {window}, {window.window.ends(draft.now)}"
    if facts is not None and facts.held_back:
        yield f"of {key} {held_for_owner(facts.held_back, _for(draft, facts.held_until))}"
    if facts is not None and facts.others and (facts.whole is None or facts.whole > facts.budget + facts.held_back):
        yield f"{format_size(facts.others)} of {key} are used by others"


def _ends_at(draft: Draft, key: str, each: int) -> float:
    """When enough of it will have come back; what others use never counts on coming back."""
    left = draft.room.budget[key]
    for until, amount in returns(draft, key):
        left += amount
        if each <= left:
            return until
    return _NEVER


def returns(draft: Draft, key: str) -> list[tuple[float, int]]:
    """When the budget grows, as far as that is known, and by how much: a hold ends, or a schedule's window."""
    facts, window = draft.room.facts.get(key), draft.room.windows.get(key)
    found = []
    if facts is not None and facts.held_until is not None:
        found.append((facts.held_until, facts.held_back))
    if window is not None and window.window.until is not None:
        found.append((window.window.until, draft.room.taken_by_schedule(key)))
    return sorted(found)


def _for(draft: Draft, until: float | None) -> float | None:
    return None if until is None else until - draft.now


def held_fast(draft: Draft, model: ModelView, replica: ReplicaView, breaks: str = "") -> Blocked | None:
    """What is left beside the models that roost may not or cannot take down is too small; `breaks` is `pin` where pins
    do not count."""
    room = draft.room
    staying = [pair for pair in room.holders if _may_stay(*pair)]
    if not staying:
        return None
    choice = room.choice(model, replica)
    whole = room.weight(model, replica, State.READY, devices=choice.allowed)
    fast = {key: 0 for key, amount in whole.items() if amount > 0}
    holders: dict[str, list[str]] = {key: [] for key in fast}
    for other, held in staying:
        if held is replica:
            continue
        cause = firm(draft, other, held, sibling=other is model, breaks=breaks)
        if not cause:
            continue
        for key, amount in room.weight(other, held, held.state).items():
            if amount and key in fast:
                fast[key] += amount
                holders[key].append(f'"{other.name}" ({cause})')
    full = [key for key, amount in fast.items() if holders[key] and whole[key] + amount > room.budget[key]]
    shared = next((key for key in full if key not in choice.allowed), None)
    if shared is not None:
        needs = {} if is_places(shared) else {shared: whole[shared] + fast[shared]}
        later = _later(draft, model, whole[shared], needs, 1)
        return _beside(later, holders, [shared]) if later else _no_room(model, [shared], whole[shared], holders)
    needs = {device: choice.each + fast.get(device, 0) for device in choice.allowed}
    if full and sum(amount <= room.budget[device] for device, amount in needs.items()) < choice.count:
        later = _later(draft, model, choice.each, needs, choice.count)
        return _beside(later, holders, full) if later else _no_room(model, full, choice.each, holders)
    return None


def _later(draft: Draft, model: ModelView, each: int, needs: Mapping[str, int], count: int) -> Blocked | None:
    """It fits beside those who stay once their owners, others or a schedule give back what they took; None: not even
    then."""
    able = {key: amount for key, amount in needs.items() if amount <= draft.room.whole(key)}
    return _taken(draft, model, each, able, count) if len(able) >= count else None


def _beside(taken: Blocked, holders: Mapping[str, list[str]], full: list[str]) -> Blocked:
    """The sentence with who stays."""
    stays = ", ".join(f"{key} by {listed(holders[key])}" for key in full)
    return replace(taken, sentence=f"{taken.sentence.removesuffix('.')}; held besides: {stays}.")


def _may_stay(model: ModelView, replica: ReplicaView) -> bool:
    return model.pinned or not replica.owned or replica.state is State.STUCK


def _no_room(model: ModelView, keys: list[str], amount: int, holders: Mapping[str, list[str]]) -> Blocked:
    what = "a place" if is_places(keys[0]) else f"{format_size(amount)} on {' or '.join(keys)}"
    sentence = (
        f'Model "{model.name}" needs {what}, but it is held by {listed(n for key in keys for n in holders[key])}.'
    )
    hint = " Unpin or unload one, or raise the budget."
    return Blocked(model=model.name, sentence=sentence + hint, final=True, code="no_room")


def kept_apart(draft: Draft, model: ModelView, verdict: Verdict) -> Blocked | None:
    """Groups or matrix do not allow it beside a model that roost may not or cannot take down."""
    if not verdict.firm:
        return None
    rule = next(iter(verdict.firm.values()))
    named = [
        f'"{other.name}" ({cause})'
        for other in draft.models
        if verdict.firm.get(other.name) == rule
        for replica in other.replicas
        if draft.is_here(replica) and (cause := firm(draft, other, replica, sibling=False))
    ]
    sentence = f'Model "{model.name}" cannot be awake beside {listed(named)}: {rule}. Unpin or unload it.'
    return Blocked(model=model.name, sentence=sentence, final=True, code="no_room")


def firm(draft: Draft, model: ModelView, replica: ReplicaView, *, sibling: bool, breaks: str = "") -> str:
    """Why the replica's memory will not come free by itself or by roost; empty if it may. An order may free that of
    another model; one for the newcomer (`sibling`: its own other replica) does not. `breaks`: `pin` where pins do not
    count."""
    if replica.state is State.STUCK:
        return "survived SIGKILL"
    if draft.destination(replica) is not None or (model.wish is not None and not sibling):
        return ""
    if model.pinned and breaks != "pin":
        return _pinned(model)
    if not replica.owned and (replica.state is State.ASLEEP or not replica.sleep_levels):
        return "runs elsewhere"
    return ""


def _pinned(model: ModelView) -> str:
    return "pinned" if model.called is None else f"pinned by the schedule {model.called}"


def waits_for_others(draft: Draft, model: ModelView, replica: ReplicaView, missing: Amounts) -> str:
    """Bytes or places are missing, and nobody who holds them may yield yet."""
    room = draft.room
    held = [
        f'"{other.name}" ({turn_left(draft, holding, model) or plight(draft, other, holding)})'
        for other, holding in room.holders
        if holding.id != replica.id or holding.lingering
        if any(
            room.weight(other, holding, holding.state).get(key) or room.lingering(other, holding).get(key)
            for key in missing
        )
    ]
    amounts = ", ".join(f"{format_size(n)} more on {key}" for key, n in missing.items() if not is_places(key))
    what = amounts if not any(map(is_places, missing)) else "a place"
    before = served_before(draft, model) if any(room.promised.values()) else ""
    older = f" or by {before}" if before else ""
    return f'Model "{model.name}" waits for {what}, held by {listed(held) or "none"}{older}.'


def served_before(draft: Draft, model: ModelView) -> str:
    """Whose room is kept before this model's; empty if nobody's is."""
    own = standing(draft, model).rank
    first = [name for name, rank in islice(draft.awaited.items(), _SHOWN) if rank < own and name != model.name]
    names = ", ".join(f'"{name}"' for name in first) + (" and others" if len(first) == _SHOWN else "")
    found = [f"requests of a higher class for {names}"] if first else []
    if next(reversed(draft.awaited.values()), -1) >= own:
        found.append("older requests")
    return " and ".join(found)


def waits_for_company(draft: Draft, model: ModelView, verdict: Verdict) -> str:
    """Groups or matrix want others gone first."""
    own, by_rule = standing(draft, model).rank, dict[str, list[str]]()
    for name, rule in verdict.older.items():
        is_higher = draft.awaited.get(name, own) < own
        kind = "requests of a higher class" if is_higher else "older requests"
        by_rule.setdefault(rule, []).append(f'{kind} for "{name}" are answered')
    going: Mapping[str, str] = {} if verdict.older else verdict.victims | verdict.leaving
    for other in draft.models:
        if other.name in going:
            by_rule.setdefault(going[other.name], []).append(f'"{other.name}" {_is_gone(draft, other)}')
    reasons = "; and until ".join(f"{' and '.join(named)}: {rule}" for rule, named in by_rule.items())
    return f'Model "{model.name}" waits until {reasons}.'


def _is_gone(draft: Draft, model: ModelView) -> str:
    """What must become of a model that is here before another takes its place."""
    here = [replica for replica in model.replicas if draft.is_here(replica)]
    stays = max((draft.stays_until(replica) for replica in here), default=draft.now) - draft.now
    if any(replica.in_flight for replica in here) or model.waiting:
        return "is idle"
    if all(draft.destination(replica) is State.ASLEEP for replica in here):
        return "sleeps"
    if all(draft.destination(replica) is not None for replica in here):
        return "has stopped"
    if model.wish is not None:
        return f"has done what {model.wish.by} asked for"
    return f"may yield in {format_duration(stays)} (policy.residency)" if stays > 0 else "yields"


def listed(names: Iterable[str]) -> str:
    """Each once, though several replicas of one model hold something; of many the first ones."""
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - _SHOWN} more" if len(once) > _SHOWN else ""
    return ", ".join(once[:_SHOWN]) + more


def plight(draft: Draft, model: ModelView, replica: ReplicaView) -> str:
    """What keeps it from yielding now, or how it is, in a few words."""
    if model.pinned:
        return _pinned(model)
    stays = draft.stays_until(replica) - draft.now
    if stays > 0:
        return f"stays for {format_duration(stays)} more"
    if replica.lingering:
        return f"{format_size(replica.lingering)} not yet seen free"
    requests = replica.in_flight if replica.state is State.ASLEEP else 0
    return f"asleep with {counted(requests, 'request')}" if requests else str(replica.state)
