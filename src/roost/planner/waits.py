"""How long a newcomer is likely to wait until others have made room for it, and until when it certainly does.

Likely: the rest of a turn, the requests that still run in whoever drains, the rest of a minimum stay. Certain is only
what no event but an order or a crash can shorten: minimum stays of models without which the room is too small, also
once owners and schedules have given back what is theirs for a while, and not beyond the moment when a schedule may
change everything. What is not known is None, never 0. Orders nothing. Pure; called by `rise` once room is being made.
"""

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Turn
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.hold import firm, returns
from roost.planner.lower import cut_at
from roost.planner.weights import Amounts
from roost.planner.yielding import Newcomer

_CUT_BY_ORDER = frozenset({Goal.STOPPED, Goal.RESTARTED})
"""An order to sleep is given up at its deadline instead."""


@dataclass(frozen=True, slots=True)
class _Goes:
    """One replica that gives something back, and when."""

    model: str
    frees: Amounts
    after_s: float
    is_guess: bool = False


def with_wait(draft: Draft, newcomer: Newcomer, blocked: Blocked) -> Blocked:
    """The sentence with how long the newcomer waits, as far as it is known."""
    until, lacks = _not_before(draft, newcomer), _lacks(draft, newcomer)
    likely = None if newcomer.verdict.older else _until_enough(lacks, _likely(draft, newcomer, lacks))
    if likely is None:
        return replace(blocked, not_before=until)
    return replace(blocked, room_s=likely.after_s, room_is_guess=likely.is_guess, not_before=until)


@dataclass(frozen=True, slots=True)
class _Lacks:
    """What must come free, and who must be gone whatever it gives."""

    amounts: Amounts
    apart: Set[str]


def _lacks(draft: Draft, newcomer: Newcomer) -> _Lacks:
    """With all that is promised to older wants; its own is among that."""
    room = draft.room
    over = {key: room.held[key] + room.promised[key] - room.budget[key] for key, n in newcomer.need.items() if n > 0}
    return _Lacks({key: amount for key, amount in over.items() if amount > 0}, _apart(newcomer))


def _comes_back(draft: Draft, lacks: _Lacks) -> Iterator[_Goes]:
    """What an owner or a schedule gives back of a budget, in its time."""
    for key in lacks.amounts:
        for moment, amount in returns(draft, key):
            yield _Goes("", {key: amount}, max(0.0, moment - draft.now))


def _apart(newcomer: Newcomer) -> Set[str]:
    return newcomer.verdict.victims.keys() | newcomer.verdict.leaving.keys()


def _until_enough(lacks: _Lacks, goes: Iterable[_Goes]) -> _Goes | None:
    """When enough have gone, all of them taken as one; None: that is not known."""
    if not lacks.amounts and not lacks.apart:
        return None  # older wants, who lack nothing either, go before
    missing, apart, after_s, is_guess = dict(lacks.amounts), set(lacks.apart), 0.0, False
    for one in sorted(goes, key=lambda one: one.after_s):
        if one.model in lacks.apart or any(one.frees.get(key, 0) > 0 for key in missing):
            after_s, is_guess = one.after_s, is_guess or one.is_guess
            missing = {key: left for key, amount in missing.items() if (left := amount - one.frees.get(key, 0)) > 0}
            apart.discard(one.model)
    return None if missing or apart or after_s == math.inf else _Goes("", {}, after_s, is_guess)


def _concerned(draft: Draft, newcomer: Newcomer, lacks: _Lacks) -> list[tuple[ModelView, ReplicaView]]:
    """Who else may hold something of that: in a large fleet few are on the same devices."""
    on_device, found = draft.room.on_device, draft.room.holders
    if not lacks.apart and all(key in on_device for key in lacks.amounts):
        found = list({pair[1].id: pair for key in lacks.amounts for pair in on_device[key]}.values())
    return [pair for pair in found if pair[1].id != newcomer.replica.id]


def _likely(draft: Draft, newcomer: Newcomer, lacks: _Lacks) -> Iterator[_Goes]:
    yield from _comes_back(draft, lacks)
    for other, replica in _concerned(draft, newcomer, lacks):
        turn, after = draft.turns.get(replica.id), draft.destination(replica)
        if replica.lingering:
            yield _Goes(other.name, draft.room.lingering(other, replica), 0.0)
        if after is not None:
            rest_s = _answers_s(draft, other, replica) if replica.in_flight else 0.0
            yield _Goes(other.name, draft.room.frees(other, replica, after), rest_s)
        elif turn is not None and turn.for_model == newcomer.model.name:
            yield _after_turn(draft, other, replica, turn)
        elif draft.stays_until(replica) > draft.now and not _is_firm(draft, newcomer, other, replica):
            rest_s = _answers_s(draft, other, replica) if replica.in_flight else 0.0
            stays_s = draft.stays_until(replica) - draft.now + rest_s
            yield _Goes(other.name, _all_of(draft, other, replica), stays_s)


def _after_turn(draft: Draft, holder: ModelView, replica: ReplicaView, turn: Turn) -> _Goes:
    """To its end or, where that comes first, until it has done what it has now. How long its requests take is not
    always known: then its end is told, and is a guess, for the work may end before."""
    hold_s, frees = holder.hold_s, _all_of(draft, holder, replica)
    left_s = math.inf if turn.ends_at is None else turn.ends_at - draft.now
    if hold_s is None:
        return _Goes(holder.name, frees, left_s, is_guess=True)
    requests = replica.in_flight + holder.waiting + holder.onlookers
    work_s = hold_s * math.ceil(requests / (holder.spec.concurrency or max(1, requests)))
    return _Goes(holder.name, frees, min(work_s, left_s + _answers_s(draft, holder, replica)))


def _answers_s(draft: Draft, model: ModelView, replica: ReplicaView) -> float:
    """Until the requests that it has are answered, or cut; infinite where nobody knows how long they take."""
    if model.hold_s is None:
        return math.inf
    cuts_at = _cut_at(draft, model, replica)
    return model.hold_s if cuts_at is None else min(model.hold_s, max(0.0, cuts_at - draft.now))


def _cut_at(draft: Draft, model: ModelView, replica: ReplicaView) -> float | None:
    """Whatever it drains for, or would."""
    if model.wish is not None:
        return model.wish.force_at if model.wish.goal in _CUT_BY_ORDER and replica.owned else None
    return cut_at(draft, model, replica)


def _not_before(draft: Draft, newcomer: Newcomer) -> float | None:
    """The moment before which minimum stays alone keep the room too small on every device where it could come up. Only
    of a model with one replica: another one may find room elsewhere."""
    if draft.policy.spec.residency <= 0 or len(newcomer.model.replicas) > 1:
        return None
    need, devices = newcomer.need, draft.room.devices
    stays_s = [_stay_s(draft, newcomer, {key: n for key, n in need.items() if key not in devices}, _apart(newcomer))]
    choice = draft.room.choice(newcomer.model, newcomer.replica)
    if choice.count:
        possible = choice.allowed if choice.told else tuple(key for key in need if key in devices)
        each = (_stay_s(draft, newcomer, {key: need.get(key, choice.each)}, frozenset()) for key in possible)
        stays_s.extend(sorted(each)[: choice.count])
    if max(stays_s) <= 0:
        return None
    changes_at = draft.view.schedule_changes_at
    return min(draft.now + max(stays_s), math.inf if changes_at is None else max(draft.now, changes_at))


def _stay_s(draft: Draft, newcomer: Newcomer, need: Amounts, apart: Set[str]) -> float:
    """For how long it is certain that so much is not free and those have not gone, whatever else happens."""
    room = draft.room
    over = {key: room.held[key] + amount - room.budget[key] for key, amount in need.items() if amount > 0}
    lacks = _Lacks({key: amount for key, amount in over.items() if amount > 0}, apart)
    stays = [(pair, _certain_stay_s(draft, *pair)) for pair in _concerned(draft, newcomer, lacks)]
    if not any(stay_s > 0 for _, stay_s in stays):
        return 0.0
    goes = list(_comes_back(draft, lacks))
    goes += [_Goes("", {key: room.facts[key].others}, 0.0) for key in lacks.amounts if key in room.facts]
    for (other, replica), stay_s in stays:
        if replica.lingering:
            goes.append(_Goes(other.name, room.lingering(other, replica), 0.0))
        if not _is_firm(draft, newcomer, other, replica):
            goes.append(_Goes(other.name, _all_of(draft, other, replica), stay_s))
    found = _until_enough(lacks, goes)
    return 0.0 if found is None else found.after_s


def _certain_stay_s(draft: Draft, model: ModelView, replica: ReplicaView) -> float:
    """The rest of its minimum stay, unless its own clocks or an order send it down before."""
    if replica.state is not State.READY or model.wish is not None or draft.destination(replica) is not None:
        return 0.0
    stays_s, spec = draft.stays_until(replica) - draft.now, draft.policy.spec
    if not draft.policy.auto or not spec.auto_sleep or model.pinned:
        return stays_s
    if spec.idle == "histogram" or model.rests is not None:
        return 0.0
    clocks = [after for after in (model.spec.sleep_after, model.spec.unload_after) if after is not None]
    since = draft.now if replica.idle_since is None else replica.idle_since
    return min([stays_s, *(max(0.0, since + after - draft.now) for after in clocks)])


def _is_firm(draft: Draft, newcomer: Newcomer, other: ModelView, replica: ReplicaView) -> bool:
    sibling = other.name == newcomer.model.name
    return bool(firm(draft, other, replica, sibling=sibling, breaks=newcomer.breaks))


def _all_of(draft: Draft, model: ModelView, replica: ReplicaView) -> Amounts:
    """What it gives back at most."""
    after = State.COLD if replica.owned else State.ASLEEP
    return draft.room.frees(model, replica, after)
