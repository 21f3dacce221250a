"""How far down an engine goes: asleep at level 1, at level 2, or stopped; each rung only where the engine has it.

Level 1 keeps the weights in host memory. Where that has a budget the level is chosen when the engine goes to sleep, by
what is free then: the configured level, else the next deeper one, else a stop. An engine asleep cannot go deeper; its
next rung is a stop, which a better sleeper may bring about. What runs elsewhere cannot be stopped and keeps its
configured level. Pure; called by `lower` and `victims`.
"""

from dataclasses import dataclass

from roost.core.footprint import HOST
from roost.core.lifecycle import ASLEEP, COLD, State
from roost.core.plan import Stop
from roost.core.reason import Evict, Outslept, OverBudget, Reason
from roost.core.units import format_size
from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.weights import sleep_level


@dataclass(frozen=True, slots=True)
class Rung:
    """Where it comes to rest."""

    after: State
    """ASLEEP or COLD."""
    level: int | None = None
    why: str = ""
    """With the numbers, where host memory had a say."""


def rest(draft: Draft, model: ModelView, replica: ReplicaView, asked: int | None = None) -> Rung:
    """The rung for a replica that is to sleep, by what is free now; a level that is asked for is the only one."""
    levels = replica.sleep_levels
    if not levels:
        return Rung(COLD)
    first = sleep_level(model.spec, levels, asked)
    if HOST not in draft.room.budget or not replica.owned:
        return Rung(ASLEEP, first)
    refused: list[str] = []
    for level in (first, *(level for level in sorted(levels) if level > first and asked is None)):
        need = draft.room.host_need(model, replica, level)
        if need <= 0 or need <= draft.room.free(HOST):
            return Rung(ASLEEP, level, "; ".join(refused))
        refused.append(_too_much(draft, need, level))
    return Rung(COLD, None, "; ".join([*refused, "it is stopped"]))


def clear_bed(draft: Draft, model: ModelView, replica: ReplicaView, reason: Reason) -> bool:
    """Whether it should wait a moment for the configured level, as sleepers that were used longer ago give up their
    host memory for it; orders them to. Not while another waits for what it holds, if it has a deeper level."""
    room, levels = draft.room, replica.sleep_levels
    level = sleep_level(model.spec, levels)
    need = room.host_need(model, replica, level)
    hurried = isinstance(reason, Evict | OverBudget) and max(levels) > level
    if hurried or room.whole(HOST) < need:
        return False
    short = need - room.free(HOST) - _coming(draft)
    leaving: list[ReplicaView] = []
    for other, sleeper in _worse_sleepers(draft, model, replica):
        if short <= 0:
            break
        short -= room.frees(other, sleeper, COLD)[HOST]
        leaving.append(sleeper)
    if short > 0:
        return False
    for sleeper in leaving:
        idle_s = max(0.0, draft.now - last_used(sleeper))
        given = Outslept(for_model=model.name, level=level, idle_s=idle_s, need_bytes=need)
        draft.do(Stop(replica=sleeper.id, reason=given))
    return True


def _worse_sleepers(draft: Draft, model: ModelView, replica: ReplicaView) -> list[tuple[ModelView, ReplicaView]]:
    """The least recently used first; none that is of more use than the one that wants its bed."""
    own = last_used(replica)
    found = [
        (other, sleeper)
        for other, sleeper in draft.room.holders
        if other is not model
        and sleeper.state is ASLEEP
        and sleeper.owned
        and not sleeper.in_flight
        and not other.pinned
        and not other.waiting
        and other.wish is None
        and draft.free(sleeper)
        and last_used(sleeper) < own
        and draft.room.frees(other, sleeper, COLD)[HOST] > 0
    ]
    return sorted(found, key=lambda pair: last_used(pair[1]))


def _coming(draft: Draft) -> int:
    """Host memory that sleepers on their way out give back without further orders."""
    return sum(
        draft.room.frees(model, replica, COLD)[HOST]
        for model, replica in draft.room.holders
        if draft.destination(replica) is COLD and replica.state in (ASLEEP, State.STOPPING)
    )


def no_bed(draft: Draft, model: ModelView, replica: ReplicaView, level: int) -> str:
    """The sentence for an operator whose level cannot be had."""
    need = draft.room.host_need(model, replica, level)
    others = [str(other) for other in replica.sleep_levels if other > level]
    instead = f"Sleep it at level {others[0]}, unload" if others else "Unload"
    return (
        f'Model "{model.name}" cannot be put to sleep: {_too_much(draft, need, level)} of a budget of '
        f"{format_size(draft.room.budget[HOST])}. {instead} it or another sleeper, or raise memory.host."
    )


def _too_much(draft: Draft, need: int, level: int) -> str:
    free = format_size(max(0, draft.room.free(HOST)))
    return f"level {level} needs {format_size(need)} of host memory, and {free} are free"


def last_used(replica: ReplicaView) -> float:
    """When it was last of use, or at least came to be what it is."""
    known = [moment for moment in (replica.last_used_at, replica.became_ready_at) if moment is not None]
    return max(known, default=replica.since)
