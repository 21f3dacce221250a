"""The answers of the gate to those who cannot be served: whose model is gone, cannot come, or did not come in time.

Values only. Called by `gate`, and by whoever refuses in its name.
"""

from dataclasses import replace

from roost.control.lane import Entry, Lane, priority_of
from roost.control.outlook import prospect
from roost.core.plan import Blocked
from roost.core.request import Fault, Refusal, Request
from roost.core.units import counted, format_duration
from roost.planner.admission import bounded_retry

_FOR_LACK_OF_PLACE = frozenset({"queue_full", "too_many_requests"})


def removed(model: str) -> Refusal:
    """The answer to those who came for a model and find it gone."""
    message = f'Model "{model}" was removed from this roost. GET /v1/models lists what is there.'
    return Refusal(status=404, code="model_removed", message=message, fault=Fault.GATEWAY)


def refusal_for(blocked: Blocked, now: float) -> Refusal:
    """The answer to those who wait for what cannot come."""
    absent = blocked.code == "model_not_found"
    return Refusal(
        status=404 if absent else 503,
        code=blocked.code,
        message=blocked.sentence,
        fault=Fault.CLIENT if absent else Fault.ENGINE if blocked.code == "model_failed" else Fault.GATEWAY,
        retry_after_s=None if blocked.not_before is None else bounded_retry(blocked.not_before - now),
    )


def too_late(entry: Entry, now: float) -> Refusal:
    """The answer to one whose time is over."""
    lane = entry.lane
    why = lane.blocked.sentence if lane.blocked is not None else _plight(lane)
    expected = prospect(entry, max(0, lane.depth - 1), now)
    guess = lane.expected_wait_s if expected.total_s is None else 0.0
    retry = bounded_retry(max(expected.known_s, guess))
    return Refusal(
        status=503,
        code="waited_too_long",
        message=f"No replica was free within {format_duration(now - entry.queued_at)}. {why}{_outranked(entry)}",
        fault=Fault.GATEWAY,
        retry_after_s=retry,
    )


def turned_away(lane: Lane, request: Request, refusal: Refusal) -> Refusal:
    """The answer to one for whom there is no place, which says so if higher classes have it."""
    higher = lane.queue.waiting_above(priority_of(lane, request))
    if refusal.code not in _FOR_LACK_OF_PLACE or not higher:
        return refusal
    who = f"{counted(higher, 'request')} of a higher class than this one {'waits' if higher == 1 else 'wait'} there."
    return replace(refusal, message=f"{refusal.message} {who}")


def _outranked(entry: Entry) -> str:
    """That requests of a higher class were in its way, in the same queue; empty if none were."""
    queue, priority = entry.lane.queue, entry.priority
    went, wait = queue.taken_above(priority) - entry.outranked_before, queue.waiting_above(priority)
    parts = [f"{went} {'was' if went == 1 else 'were'} served first"] if went else []
    parts += [f"{wait} {'waits' if wait == 1 else 'wait'} still"] if wait else []
    return f" Requests of a higher class were in its way: {' and '.join(parts)}." if parts else ""


def _plight(lane: Lane) -> str:
    states = ", ".join(f"{seat.owner.id} is {seat.state} with {seat.in_flight} in flight" for seat in lane.seats)
    return f'Model "{lane.name}": {states or "no replica"}; {counted(lane.depth, "request", "waits", "wait")}.'
