"""What the control plane remembers over roost's end: each replica's last state and use, how long loads and wakes took.

Two `Kept`s for `keeping.py`: `state()` gives what has changed since it was last asked, as JSON with times by wall
clock; `restore()` takes all of it once, before the first plan. What names nobody of today is left alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roost import clock
from roost.control.gate import Gate
from roost.control.lane import Lane
from roost.control.seat import Seat
from roost.core.lifecycle import State

Names = Callable[[], Iterable[str]]
"""The models there are, now."""


class LastStates:
    """Replica -> model, state, level, last_used, ready_at (Unix seconds). With it the least recently used is still the
    same after a restart, and what idles has not begun anew."""

    def __init__(self, gate: Gate, names: Names) -> None:
        self._gate = gate
        self._names = names
        self._remembered: dict[str, Any] = {}
        """Of those who have not been seen since."""
        self._told: dict[str, tuple[Any, ...]] = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._remembered = dict(state)
        self.state()

    def state(self) -> Mapping[str, Any]:
        """A replica that is seen for the first time is told of its last use before."""
        changed, told_before, self._told = {}, self._told, {}
        for seat in _seats(self._gate, self._names):
            own = seat.owner.id
            if own not in told_before:
                _recall_use(seat, self._remembered.pop(own, None))
            owner = seat.owner
            told = (owner.state, owner.level, owner.became_ready_at, seat.last_granted, seat.last_done)
            if told_before.get(own) != told:
                changed[own] = _state(seat)
            self._told[own] = told
        return changed


class Rises:
    """Model -> load_s and wake_s, the seconds that its last load and its last wake took."""

    def __init__(self, gate: Gate, names: Names) -> None:
        self._gate = gate
        self._names = names
        self._remembered: dict[str, Any] = {}
        """Of those who have not been seen since."""
        self._told: dict[str, tuple[float | None, float | None]] = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._remembered = dict(state)
        self.state()

    def state(self) -> Mapping[str, Any]:
        changed, told_before, self._told = {}, self._told, {}
        for name in self._names():
            lane = self._gate.lane(name)
            if name not in told_before:
                _recall_rises(lane, self._remembered.pop(name, None))
            told = (lane.last_load_s, lane.last_wake_s)
            if told_before.get(name, (None, None)) != told:
                changed[name] = {"load_s": told[0], "wake_s": told[1]}
            self._told[name] = told
        return changed


def _seats(gate: Gate, names: Names) -> Iterable[Seat]:
    return (seat for name in names() for seat in gate.lane(name).seats)


def _state(seat: Seat) -> dict[str, Any]:
    owner, moments = seat.owner, [at for at in (seat.last_granted, seat.last_done) if at is not None]
    return {
        "model": owner.model,
        "state": str(owner.state),
        "level": owner.level,
        "last_used": _wall(max(moments, default=None)),
        "ready_at": _wall(owner.became_ready_at),
    }


def _wall(moment: float | None) -> float | None:
    return None if moment is None else round(clock.to_wall(moment), 6)


def _recall_use(seat: Seat, value: Any) -> None:
    unix_s = _number(value, "last_used")
    if unix_s is not None and seat.last_done is None:
        seat.last_done = clock.from_wall(unix_s)
    ready_at = _number(value, "ready_at")
    found = seat.owner.state is State.READY and seat.owner.last_load_at is None
    if ready_at is not None and (found or seat.owner.state is State.COLD):
        seat.owner.recall_ready(clock.from_wall(ready_at))


def _recall_rises(lane: Lane, value: Any) -> None:
    if lane.last_load_s is None:
        lane.last_load_s = _number(value, "load_s")
    if lane.last_wake_s is None:
        lane.last_wake_s = _number(value, "wake_s")


def _number(value: Any, key: str) -> float | None:
    """Of what another version may have written."""
    found = value.get(key) if isinstance(value, dict) else None
    return float(found) if isinstance(found, int | float) else None
