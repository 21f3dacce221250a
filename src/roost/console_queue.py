"""What the API tells of queues and turns: how many wait, how long for, and whose room others wait for.

Only reads. Called by `console`.
"""

from math import inf
from typing import Any

from roost.control.controller import Controller
from roost.control.lane import Lane
from roost.control.outlook import prospect
from roost.core.request import Outlook


def waiting_facts(controller: Controller, model: str, now: float) -> dict[str, Any]:
    """`queue` and `turn` of a model."""
    lane = controller.gate.lane(model)
    return {"queue": _queue(lane, now), "turn": _turn(controller, lane, now)}


def wait_facts(outlook: Outlook | None) -> dict[str, Any]:
    """Where a request stands that waits, and how long it is expected to wait on; None: it does not wait."""
    if outlook is None:
        return {"position": None, "expected_s": None}
    return {"position": outlook.position, "expected_s": _rounded(outlook.expected_s)}


def _queue(lane: Lane, now: float) -> dict[str, Any]:
    """`expected`: what the last in the queue has to expect, by its parts."""
    waiting = list(lane.queue.in_turn())
    first = min((entry.queued_at for entry in waiting), default=None)
    last = prospect(waiting[-1], len(waiting) - 1, now) if waiting else None
    return {
        "depth": lane.depth,
        "by_class": {str(priority): count for priority, count in lane.queue.sizes().items()},
        "oldest_wait_s": None if first is None else _rounded(now - first),
        "expected": None if last is None else {name: _rounded(part) for name, part in last.parts.items()},
    }


def _turn(controller: Controller, lane: Lane, now: float) -> dict[str, Any] | None:
    """Of its replicas the one whose turn ends first; None where no other model waits for its room."""
    plan = controller.last_plan
    turns = {} if plan is None else plan.turns
    held = [turns[seat.owner.id] for seat in lane.seats if seat.owner.id in turns]
    turn = min(held, key=lambda one: inf if one.ends_at is None else one.ends_at, default=None)
    if turn is None:
        return None
    left = None if turn.ends_at is None else max(0.0, turn.ends_at - now)
    return {"for_model": turn.for_model, "ends_in_s": _rounded(left)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
