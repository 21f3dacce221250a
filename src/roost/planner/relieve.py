"""Budgets that are exceeded though nobody new comes: engines that ran already were found, someone else woke one, or
a schedule has made a budget smaller.

Who may yield does, as if a newcomer needed the room: whoever is cheapest to do without first, only as many as needed.
What is left over is told in a note. Groups and matrix are no matter of it: they say who makes way for whom. Pure;
called by `plan` once all wants are looked at, so that what makes way for them counts.
"""

from collections.abc import Mapping

from roost.core.footprint import HOST
from roost.core.reason import OverBudget, held_for_owner
from roost.core.units import format_size
from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.hold import firm, listed, plight
from roost.planner.room import PLACES, is_places, server_of
from roost.planner.rungs import last_used
from roost.planner.victims import Victim, cheapest, fewest, freed, options, send_down
from roost.planner.weights import Amounts
from roost.planner.worth import worth
from roost.planner.yielding import busy, can_yield


def relieve(draft: Draft) -> None:
    """Order down what is too much, and note what cannot go."""
    room = draft.room
    over = room.excess(room.soon)
    if not over:
        return
    if draft.policy.auto:
        for victim in _victims(draft, over):
            send_down(draft, victim, _reason(draft, victim, over))
    for key in room.excess(room.soon):
        draft.notes.append(_note(draft, key))


def _victims(draft: Draft, over: Amounts) -> list[Victim]:
    room = draft.room
    found = [
        (model, replica)
        for model, replica in room.holders
        if not model.pinned and model.wish is None and can_yield(draft, replica)
    ]
    found.sort(key=lambda pair: (busy(*pair), last_used(pair[1])))

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.excess(freed(room.soon, some.values()))

    return list(fewest(cheapest(draft, options(draft, found, over), over), lacking, draft).values())


def _reason(draft: Draft, victim: Victim, over: Amounts) -> OverBudget:
    key = next(key for key in over if victim.frees.get(key, 0) > 0)
    budget, facts = draft.room.budget[key], draft.room.facts.get(key)
    until = None if facts is None else facts.held_until
    return OverBudget(
        idle_s=max(0.0, draft.now - last_used(victim.replica)),
        held=budget + over[key],
        budget=budget,
        device="" if is_places(key) else key,
        server=server_of(key) if is_places(key) else "",
        setting="max_loras" if is_places(key) and server_of(key) in draft.bases else "max_resident",
        held_back=0 if facts is None else facts.held_back,
        held_for_s=None if until is None else until - draft.now,
        window=_window(draft, key),
        rung=victim.why,
        worth=worth(draft, victim.model, victim.replica, victim.after),
    )


def _window(draft: Draft, key: str) -> str:
    """Which schedule sets the budget, if one does."""
    window = draft.room.windows.get(key)
    return "" if window is None else f" {window}"


def _note(draft: Draft, key: str) -> str:
    room = draft.room
    held = [
        f'"{model.name if len(model.replicas) == 1 else replica.id}" ({_plight(draft, model, replica)})'
        for model, replica in room.holders
        if room.weight(model, replica, replica.state).get(key) and draft.destination(replica) is None
    ]
    who = f"none of them can yield now: {listed(held)}"
    if key == PLACES:
        return (
            f"memory.max_resident is {room.budget[key]}{_window(draft, key)}, but {room.held[key]} are awake, and "
            f"{who}. Unpin or unload one, or raise it."
        )
    if is_places(key):
        server = server_of(key)
        setting = f"models.{draft.bases[server][0].name}.max_loras" if server in draft.bases else ""
        setting = setting or f"hosts.{server}.max_resident"
        return (
            f"{setting} is {room.budget[key]}, but {room.held[key]} are loaded there, and {who}. Unpin or unload one, "
            "or raise it."
        )
    facts, setting = room.facts.get(key), "memory.host" if key == HOST else f"memory.devices.{key}"
    budget, remedy = format_size(room.budget[key]) + _window(draft, key), f"raise {setting}"
    if facts is not None and facts.held_back:
        for_s = None if facts.held_until is None else facts.held_until - draft.now
        budget += f" ({held_for_owner(facts.held_back, for_s)})"
        remedy = f"roost release {key}"
    return (
        f"The budget of {key} is {budget}, but {format_size(room.held[key])} are held on it, and {who}. "
        f"Unpin or unload one, or {remedy}."
    )


def _plight(draft: Draft, model: ModelView, replica: ReplicaView) -> str:
    cause = firm(draft, model, replica, sibling=False)
    if not cause and model.wish is not None:
        return f"{model.wish.by} asked for {model.wish.goal}"
    return cause or plight(draft, model, replica)
