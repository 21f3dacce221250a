"""What a waiting request is told of its model: how far it has come and what is in the way. Only reads.

Called by `Entry.outlook`, for clients that asked to be shown their wait.
"""

from typing import TYPE_CHECKING

from roost.core.lifecycle import State
from roost.core.request import Outlook
from roost.core.units import format_duration

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
    if lane.spec.concurrency is not None:  # else all who wait are served together
        ahead = (entry.position or 1) - 1
        what += f", with {ahead} request{'s' if ahead != 1 else ''} ahead of this one" if ahead else ""
    return Outlook(is_ready=is_ready, sentence=f"{what}." if not what.endswith(".") else what)


def _way(lane: "Lane", states: set[State]) -> str:
    for state, words in _RISING.items():
        if state in states:
            last = lane.last_s(state)
            return words if last is None else f"{words} (last time that took {format_duration(round(last, 1))})"
    if lane.blocked is not None:
        return f"it cannot start yet: {lane.blocked.sentence}"
    return next((words for state, words in _RESTING.items() if state in states), _SINKING)
