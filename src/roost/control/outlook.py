"""What a waiting request may expect of its model: how far it has come, what is in the way, and how long it takes by
what has been learned. Only reads.

Called by `Entry.outlook`, for clients that asked to be shown their wait; by `gate`, for those who would wait in vain;
and by the console.
"""

from typing import TYPE_CHECKING

from roost import clock
from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.request import Outlook
from roost.core.units import format_duration
from roost.planner.admission import Prospect, queue_s

if TYPE_CHECKING:
    from roost.control.lane import Entry, Lane

_RISING = {State.WAKING: "it is waking up", State.STARTING: "it is being loaded"}
_RESTING = {
    State.ASLEEP: "it sleeps and will be woken",
    State.COLD: "it is not loaded and will be",
    State.BACKOFF: "its engine failed and will be started again",
    State.FAILED: "its engine failed and will be started again",
}
_SINKING = "it was on its way down and comes back after that"


def outlook(entry: "Entry") -> Outlook:
    """The sentence ends with a full stop; it never holds what a refusal would not tell as well."""
    lane = entry.lane
    states = {seat.state for seat in lane.seats}
    is_ready = State.READY in states
    what = "it is ready and serves others first" if is_ready else _way(lane, states)
    position = entry.position
    ahead = (position or 1) - 1
    if lane.spec.concurrency is not None:  # else all who wait are served together
        what += f", with {ahead} request{'s' if ahead != 1 else ''} ahead of this one" if ahead else ""
    return Outlook(
        is_ready=is_ready,
        sentence=f"{what}." if not what.endswith(".") else what,
        position=position,
        expected_s=prospect(entry, ahead, clock.now()).wait_s,
    )


def prospect(entry: "Entry", ahead: int, now: float) -> Prospect:
    """Of a request with `ahead` others before it."""
    lane = entry.lane
    ready = sum(seat.state is State.READY for seat in lane.seats)
    rise_s = 0.0 if ready else _rise_s(lane, now)
    return Prospect(
        queue_s=queue_s(ahead, lane.spec.concurrency, ready, lane.hold_s),
        room_s=0.0 if ready else _room_s(lane, now),
        rise_s=rise_s,
        service_s=lane.hold_s if entry.by_client and not entry.request.stream else 0.0,
        certain_s=0.0 if ready else _certain_room_s(lane, now) + _known_rise_s(lane, now),
        is_retry=not ready and all(seat.state is State.BACKOFF for seat in lane.seats),
        is_waking=not ready and lane.rise() is State.WAKING,
    )


def _rise_s(lane: "Lane", now: float) -> float | None:
    """What is left of the way up by what it last took; of an adapter after its engine's."""
    own = _own_rise_s(lane, now)
    if lane.host is None or any(seat.state is State.READY for seat in lane.host.seats):
        return own
    base = _rise_s(lane.host, now)
    return None if own is None or base is None else own + base


def _own_rise_s(lane: "Lane", now: float) -> float | None:
    way = lane.rise()
    last = lane.last_s(way)
    if last is None:
        return None
    under_way = max((now - seat.owner.since for seat in lane.seats if seat.state is way), default=0.0)
    return max(0.0, last - under_way)


def _known_rise_s(lane: "Lane", now: float) -> float:
    """As much of the way up as something has been learned of."""
    own = _own_rise_s(lane, now) or 0.0
    if lane.host is None or any(seat.state is State.READY for seat in lane.host.seats):
        return own
    return own + _known_rise_s(lane.host, now)


def _room_s(lane: "Lane", now: float) -> float | None:
    """What the last plan said of others that must make room first, or of what else is in the way."""
    if any(seat.state in _RISING for seat in lane.seats):
        return 0.0
    blocked = lane.blocked
    if blocked is None:
        return _own_drain_s(lane)
    least, likely = _still_s(blocked, now), _likely_s(lane, blocked, now)
    if likely is None:
        return least or None
    return max(likely, least)


def _own_drain_s(lane: "Lane") -> float | None:
    """It is on its way down, and comes up again once the requests that still run in it are answered."""
    states = {seat.state for seat in lane.seats if seat.in_flight or seat.state is not State.DRAINING}
    return lane.hold_s if states == {State.DRAINING} else 0.0


def _certain_room_s(lane: "Lane", now: float) -> float:
    """As much of it as is no guess."""
    blocked = lane.blocked
    if blocked is None or any(seat.state in _RISING for seat in lane.seats):
        return 0.0
    learned = 0.0 if blocked.room_is_guess else _likely_s(lane, blocked, now) or 0.0
    return max(learned, _still_s(blocked, now))


def _likely_s(lane: "Lane", blocked: Blocked, now: float) -> float | None:
    """What is left of what others were said to need at the last plan, which may be a while ago."""
    return None if blocked.room_s is None else max(0.0, blocked.room_s - (now - lane.blocked_at))


def _still_s(blocked: Blocked, now: float) -> float:
    """How long it certainly cannot come up."""
    return 0.0 if blocked.not_before is None else max(0.0, blocked.not_before - now)


def _way(lane: "Lane", states: set[State]) -> str:
    for state, words in _RISING.items():
        if state in states:
            last = lane.last_s(state)
            return words if last is None else f"{words} (last time that took {format_duration(round(last, 1))})"
    if lane.blocked is not None:
        return f"it cannot start yet: {lane.blocked.sentence}"
    return next((words for state, words in _RESTING.items() if state in states), _SINKING)
