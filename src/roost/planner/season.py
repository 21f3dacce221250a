"""At which hours of the week a model is taken up again after a rest.

Pure; hours of the week (0 to 167) come from above the waterline. Only beginnings count, not requests: a crowded Monday
at nine says that somebody comes then, however much they ask for. Made and asked by `demand` alone.
"""

from collections.abc import Sequence

HOURS = 168
REST_S = 300.0
"""A model left alone for this long rests; the next request is a beginning."""
_KEEP = 0.8
"""What is left of an hour's counts when the same hour of the next week has passed: five weeks count."""
_DOUBT = 1.0
"""Weeks that an hour counts as an ordinary one, beside those that were seen."""
_FACTOR_MAX = 8.0


class Season:
    """Beginnings per hour of the week, of one model."""

    __slots__ = ("begun", "seen")

    def __init__(self) -> None:
        self.begun = [0.0] * HOURS
        self.seen = [0.0] * HOURS
        """How often each hour has passed, older ones counting less."""

    def passed(self, hour: int) -> None:
        """That hour begins once more."""
        self.begun[hour] *= _KEEP
        self.seen[hour] = self.seen[hour] * _KEEP + 1.0

    def began(self, hour: int) -> None:
        """The model was taken up in that hour."""
        self.begun[hour] += 1.0

    def factor(self, hour: int) -> float:
        """How much likelier a beginning is in that hour than in an ordinary one: 1/8 to 8, and 1 while unknown."""
        begun, seen = sum(self.begun), sum(self.seen)
        if not begun or not seen:
            return 1.0
        usual = begun / seen
        found = (self.begun[hour] + _DOUBT * usual) / (self.seen[hour] + _DOUBT) / usual
        return min(_FACTOR_MAX, max(1.0 / _FACTOR_MAX, found))

    def values(self) -> list[list[float]]:
        """To keep: [hour, beginnings, times seen] for each hour that was seen."""
        return [
            [hour, round(self.begun[hour], 4), round(self.seen[hour], 4)] for hour in range(HOURS) if self.seen[hour]
        ]

    def restore(self, rows: Sequence[object]) -> None:
        """As kept; rows that are none are passed over."""
        for row in rows[:HOURS]:
            match row:
                case [int(hour), int() | float() as begun, int() | float() as seen] if 0 <= hour < HOURS:
                    self.begun[hour], self.seen[hour] = max(0.0, float(begun)), max(0.0, float(seen))
                case _:
                    pass
