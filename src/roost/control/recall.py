"""What the control plane remembers over roost's end: each replica's last state and use, how long loads and wakes took.

Two `Kept`s for `keeping.py`: `state()` gives what has changed since it was last asked, as JSON with times by wall
clock; `restore()` takes all of it once, before the first plan. What names nobody of today is left alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roost import clock
from roost.control.gate import Gate
from roost.control.lane import Lane, Seat

Names = Callable[[], Iterable[str]]
"""The models there are, now."""


class LastStates:
    """Replica -> model, state, level, last_used (Unix seconds). With it the least recently used is still the same
    after a restart."""

    def __init__(self, gate: Gate, names: Names) -> None:
        self._gate = gate
        self._names = names
        self._remembered: Mapping[str, Any] = {}
        self._told: dict[str, tuple[Any, ...]] = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._remembered = state
        self.state()

    def state(self) -> Mapping[str, Any]:
        """A replica that is seen for the first time is told of its last use before."""
        changed = {}
        for seat in _seats(self._gate, self._names):
            own = seat.owner.id
            if own not in self._told:
                _recall_use(seat, self._remembered.get(own))
            used_at = max((at for at in (seat.last_granted, seat.last_done) if at is not None), default=None)
            told = (seat.state, seat.owner.level, used_at)
            if self._told.get(own) != told:
                self._told[own] = told
                changed[own] = {
                    "model": seat.owner.model,
                    "state": str(seat.state),
                    "level": seat.owner.level,
                    "last_used": None if used_at is None else round(clock.to_wall(used_at), 3),
                }
        return changed


class Rises:
    """Model -> load_s and wake_s, the seconds that its last load and its last wake took."""

    def __init__(self, gate: Gate, names: Names) -> None:
        self._gate = gate
        self._names = names
        self._remembered: Mapping[str, Any] = {}
        self._told: dict[str, tuple[float | None, float | None]] = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._remembered = state
        self.state()

    def state(self) -> Mapping[str, Any]:
        changed = {}
        for name in self._names():
            lane = self._gate.lane(name)
            if name not in self._told:
                _recall_rises(lane, self._remembered.get(name))
            told = (lane.last_load_s, lane.last_wake_s)
            if self._told.get(name, (None, None)) != told:
                changed[name] = {"load_s": told[0], "wake_s": told[1]}
            self._told[name] = told
        return changed


def _seats(gate: Gate, names: Names) -> Iterable[Seat]:
    return (seat for name in names() for seat in gate.lane(name).seats)


def _recall_use(seat: Seat, value: Any) -> None:
    unix_s = _number(value, "last_used")
    if unix_s is not None and seat.last_done is None:
        seat.last_done = clock.from_wall(unix_s)


def _recall_rises(lane: Lane, value: Any) -> None:
    if lane.last_load_s is None:
        lane.last_load_s = _number(value, "load_s")
    if lane.last_wake_s is None:
        lane.last_wake_s = _number(value, "wake_s")


def _number(value: Any, key: str) -> float | None:
    """Of what another version may have written."""
    found = value.get(key) if isinstance(value, dict) else None
    return float(found) if isinstance(found, int | float) else None
