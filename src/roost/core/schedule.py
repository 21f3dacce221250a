"""Days and hours as people write them in `policy.schedules`, and what the planner gets to see of windows that are open.

Pure parsing and values; which window is open by the clock on the wall is `control/schedule.py`'s. Called by the
config's checks and by control.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from roost.core.units import format_duration

DAY_MIN = 24 * 60
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHORT = tuple(day[:3] for day in _DAYS)
_EVERY_DAY = frozenset(range(7))
_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")


@dataclass(frozen=True, slots=True)
class When:
    """Spans of the clock on certain days."""

    days: frozenset[int]
    """0 is Monday."""
    spans: tuple[tuple[int, int], ...]
    """Minutes since midnight of the day that a span begins on; one past midnight ends after 1440."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A schedule that holds now, from when and until when without a gap."""

    when: str
    timezone: str
    since: float
    """Monotonic seconds."""
    until: float | None
    """None: it holds all week."""

    def __str__(self) -> str:
        return f'"{self.when}"' if self.timezone == "local" else f'"{self.when}" ({self.timezone})'

    def ends(self, now: float) -> str:
        """`for 2h 05m more`."""
        return "always" if self.until is None else f"for {format_duration(max(0.0, self.until - now))} more"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWindow:
    """A budget that a schedule sets now."""

    window: Window
    usual: int | None
    """What it is else; None: no bound."""

    def __str__(self) -> str:
        return f"by the schedule {self.window}"


def parse_when(text: str) -> When:
    """`mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00,12:00-13:00`. ValueError with what to write instead."""
    words = re.sub(r"\s*([,-])\s*", r"\1", text.strip().lower()).split()
    days = [word for word in words if not word[0].isdigit()]
    hours = [word for word in words if word[0].isdigit()]
    if not words or len(days) > 1 or len(hours) > 1 or words != days + hours:
        raise ValueError("write days, hours or both, such as mon-fri 08:00-18:00")
    spans = tuple(_span(part) for part in hours[0].split(",")) if hours else ((0, DAY_MIN),)
    return When(_days(days[0]) if days else _EVERY_DAY, spans)


def _days(word: str) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first)
        end = _day(last) if dash else begin
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(word: str) -> int:
    for names in (_SHORT, _DAYS):
        if word in names:
            return names.index(word)
    near = get_close_matches(word, (*_SHORT, *_DAYS), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"days are {', '.join(_SHORT)}"
    raise ValueError(f'"{word}" is not a day; {hint}')


def _span(word: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(word)
    if found is None:
        raise ValueError(f'"{word}" is not a span of hours; write it as 08:00-18:00')
    begin, end = (60 * int(hour) + int(minute) for hour, minute in (found.group(1, 2), found.group(3, 4)))
    if begin >= DAY_MIN or end > DAY_MIN or int(found[2]) > 59 or int(found[4]) > 59:
        raise ValueError(f'"{word}" has a time that no clock shows; hours go from 00:00 to 24:00')
    if begin == end:
        raise ValueError(f'"{word}" begins when it ends; for the whole day leave the hours out')
    return begin, end if end > begin else end + DAY_MIN
