"""Who holds what a newcomer needs, and why it cannot have it now, or ever: the sentences of those who wait for room.

Orders nothing. Pure; called by `victims` and `beside`.
"""

from collections.abc import Iterable, Mapping

from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.units import counted, format_duration, format_size
from roost.core.view import ModelView, ReplicaView
from roost.planner.company import Verdict
from roost.planner.draft import Draft
from roost.planner.room import PLACES, Amounts
from roost.planner.turns import turn_left


def never(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked | None:
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


def held_fast(draft: Draft, model: ModelView, replica: ReplicaView) -> Blocked | None:
    """What is left beside the models that roost may not or cannot take down is too small."""
    room = draft.room
    whole = room.weight(model, replica, State.READY)
    fast = {key: 0 for key, amount in whole.items() if amount > 0}
    holders: dict[str, list[str]] = {key: [] for key in fast}
    for other, held in room.holders:
        cause = "" if held is replica else firm(draft, other, held, sibling=other is model)
        if not cause:
            continue
        for key, amount in room.weight(other, held, held.state).items():
            if amount and key in fast:
                fast[key] += amount
                holders[key].append(f'"{other.name}" ({cause})')
    for key, amount in fast.items():
        if holders[key] and whole[key] + amount > room.budget[key]:
            what = "a place" if key == PLACES else f"{format_size(whole[key])} on {key}"
            sentence = f'Model "{model.name}" needs {what}, but it is held by {listed(holders[key])}.'
            hint = " Unpin or unload one, or raise the budget."
            return Blocked(model=model.name, sentence=sentence + hint, final=True, code="no_room")
    return None


def kept_apart(draft: Draft, model: ModelView, verdict: Verdict) -> Blocked | None:
    """Groups or matrix do not allow it beside a model that roost may not or cannot take down."""
    if not verdict.firm:
        return None
    rule = next(iter(verdict.firm.values()))
    named = [
        f'"{other.name}" ({cause})'
        for other in draft.view.models
        if verdict.firm.get(other.name) == rule
        for replica in other.replicas
        if draft.is_here(replica) and (cause := firm(draft, other, replica, sibling=False))
    ]
    sentence = f'Model "{model.name}" cannot be awake beside {listed(named)}: {rule}. Unpin or unload it.'
    return Blocked(model=model.name, sentence=sentence, final=True, code="no_room")


def firm(draft: Draft, model: ModelView, replica: ReplicaView, *, sibling: bool) -> str:
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


def waits_for_others(draft: Draft, model: ModelView, replica: ReplicaView, missing: Amounts) -> str:
    """Bytes or places are missing, and nobody who holds them may yield yet."""
    held = [
        f'"{other.name}" ({turn_left(draft, holding, model) or plight(draft, other, holding)})'
        for other, holding in draft.room.holders
        if holding.id != replica.id
        and any(draft.room.weight(other, holding, holding.state).get(key) for key in missing)
    ]
    what = "a place" if PLACES in missing else ", ".join(f"{format_size(n)} more on {k}" for k, n in missing.items())
    older = " or by older requests" if any(draft.room.promised.values()) else ""
    return f'Model "{model.name}" waits for {what}, held by {listed(held) or "none"}{older}.'


def waits_for_company(draft: Draft, model: ModelView, verdict: Verdict) -> str:
    """Groups or matrix want others gone first."""
    by_rule: dict[str, list[str]] = {}
    for name, rule in verdict.older.items():
        by_rule.setdefault(rule, []).append(f'older requests for "{name}" are answered')
    going: Mapping[str, str] = {} if verdict.older else verdict.victims | verdict.leaving
    for other in draft.view.models:
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
    """Each once, though several replicas of one model hold something."""
    return ", ".join(dict.fromkeys(names))


def plight(draft: Draft, model: ModelView, replica: ReplicaView) -> str:
    """What keeps it from yielding now, or how it is, in a few words."""
    if model.pinned:
        return "pinned"
    stays = draft.stays_until(replica) - draft.now
    if stays > 0:
        return f"stays for {format_duration(stays)} more"
    requests = replica.in_flight if replica.state is State.ASLEEP else 0
    return f"asleep with {counted(requests, 'request')}" if requests else str(replica.state)
