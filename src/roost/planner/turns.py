"""Whose turn it is where models contend for the same memory: the order of those that want to come up, and how long
one that is up goes on before it may be asked to yield.

Class goes before age; age counts from when nobody of the model has been served, so that a model whose turn ended
starts anew behind those that wait already. Nobody who is up yields for a lower class while a higher one waits for it.
Pure; called by `rise`, `victims` and `hold`.
"""

import math
from typing import NamedTuple

from roost.core.lifecycle import State
from roost.core.plan import Turn
from roost.core.policy_spec import Priority
from roost.core.units import counted, format_duration
from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.worth import down_s, known_back_s

_SWAP_MARGIN = 1.25
"""Swaps do not always take the same time."""
_RANKS = {priority: rank for rank, priority in enumerate(Priority)}


class Standing(NamedTuple):
    """A model's place among those that want room; the smallest is next."""

    rank: int
    """Of its class, 0 the highest."""
    since: float


def standing(draft: Draft, model: ModelView) -> Standing:
    """By who waits for it, or since when a schedule wants it up."""
    if model.called is not None and is_only_called(model):
        return Standing(_rank(model), model.called.since)
    since = model.unserved_since
    if since is None and model.oldest_wait_at is not None:
        used = (replica.last_used_at for replica in model.replicas if replica.last_used_at is not None)
        since = max(model.oldest_wait_at, *used, -math.inf)
    return Standing(_rank(model), draft.now if since is None else since)


def _rank(model: ModelView) -> int:
    # Whoever waits goes before a schedule.
    return len(_RANKS) if is_only_called(model) else _RANKS[model.priority or model.spec.priority]


def is_only_called(model: ModelView) -> bool:
    """A schedule wants it up, and nobody else does."""
    return model.called is not None and not model.waiting and model.wish is None


def has_its_turn(draft: Draft, holder: ModelView, replica: ReplicaView, newcomer: ModelView, since: float) -> bool:
    """It is not to yield for this newcomer yet, which has waited since then. Notes when it may."""
    if replica.state is not State.READY:  # what it keeps asleep is of use to those who wait for it before the newcomer
        return holder.waiting > 0 and standing(draft, holder) <= Standing(_rank(newcomer), since)
    ends_at = _ends_at(draft, holder, replica, newcomer, since)
    if ends_at <= draft.now:
        return False
    until = None if ends_at == math.inf else ends_at
    draft.turns[replica.id] = Turn(for_model=newcomer.name, ends_at=until)
    draft.at(until)
    return True


def _ends_at(draft: Draft, holder: ModelView, replica: ReplicaView, newcomer: ModelView, since: float) -> float:
    """Its turn runs from when it became ready or the newcomer began to wait, and only while it has something to do, be
    it under way or in the queue: an engine without `concurrency` has its queue inside."""
    waits = holder.waiting > 0 or holder.onlookers > 0
    if not waits and not replica.in_flight:
        return -math.inf
    rank, comes = _rank_at_work(holder, replica, waits=waits), _rank(newcomer)
    if comes < rank:
        return -math.inf
    if (waits and rank < comes) or _awaits_adapter(draft, replica):
        return math.inf
    return max(since, replica.became_ready_at or since) + _turn_s(draft, holder, newcomer)


def _turn_s(draft: Draft, holder: ModelView, newcomer: ModelView) -> float:
    return min(draft.policy.spec.turn, _patience_s(draft, holder, newcomer))


def _patience_s(draft: Draft, holder: ModelView, newcomer: ModelView) -> float:
    """So long its requests can wait for the end of a turn and still be served: else one that waits no longer than a
    turn and a swap would be refused each time. What a swap takes counts as it was measured, with a margin; where that
    is not known, or more than they wait at all, half of their wait is left for it."""
    longest_s, back_s = newcomer.spec.queue.max_wait, known_back_s(newcomer)
    if back_s is None:
        return longest_s / 2
    spare_s = longest_s - _SWAP_MARGIN * (back_s + down_s(draft) + (holder.hold_s or 0.0))
    return spare_s if spare_s > 0 else longest_s / 2


def _awaits_adapter(draft: Draft, replica: ReplicaView) -> bool:
    """It came up for an adapter that is still to be loaded and has served nobody since: to yield now would have been in
    vain, again and again."""
    served = replica.last_used_at is not None and replica.last_used_at >= (replica.became_ready_at or 0.0)
    coming = (State.COLD, State.STARTING)
    return not served and any(m.waiting and r.state in coming for m, r in draft.guests.get(replica.id, ()))


def _rank_at_work(holder: ModelView, replica: ReplicaView, *, waits: bool) -> int:
    """The highest class that it serves. Of requests under way only their model's class is known."""
    own = _RANKS[holder.spec.priority]
    if not waits:
        return own
    return min(_rank(holder), own) if replica.in_flight else _rank(holder)


def turn_left(draft: Draft, replica: ReplicaView, newcomer: ModelView) -> str:
    """What keeps it from yielding to the newcomer, if that is its turn; else empty."""
    turn = draft.turns.get(replica.id)
    if turn is None or turn.for_model != newcomer.name:
        return ""
    if turn.ends_at is None and _awaits_adapter(draft, replica):
        return "an adapter is loaded into it for requests that wait"
    if turn.ends_at is None:
        return "requests of a higher class wait for it"
    return f"its turn ends in {format_duration(turn.ends_at - draft.now)}"


def ended(draft: Draft, holder: ModelView, replica: ReplicaView, newcomer: ModelView, since: float) -> str:
    """How its turn has ended for a newcomer that has waited since then; empty where it has had nothing to do all the
    time, so that no turn was needed."""
    if replica.state is not State.READY or not newcomer.waiting:
        return ""
    queued = holder.waiting + holder.onlookers
    if not replica.in_flight and not queued:
        worked = replica.last_used_at is not None and replica.last_used_at > since
        return "its turn is over, as it has nothing more to do" if worked else ""
    has = f"{counted(replica.in_flight, 'request')} running and {queued} waiting"
    if _rank(newcomer) < _rank_at_work(holder, replica, waits=queued > 0):
        return f"requests of a higher class wait for that, which ends its turn with {has}"
    return f"its turn is over (policy.turn {format_duration(_turn_s(draft, holder, newcomer))}) with {has}"
