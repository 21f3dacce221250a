"""What `policy.schedules` say at this hour: who is pinned, who is to sleep, which budgets hold, and when that changes.

Windows are the hours that the clocks of their time zone show. Where a change of the clocks skips the time at which one
begins or ends, that is the moment of the change; a time that comes twice is the first of the two. Owned by
`controller`, asked in each round by `observe`. Decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from roost import clock
from roost.core.footprint import HOST
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import ScheduleSpec
from roost.core.problems import ConfigPath, Problem
from roost.core.schedule import BudgetWindow, When, Window, parse_when
from roost.core.spec import RoostSpec

_SPAN_DAYS = 8
"""A week and a day each way show every begin and end that matters now."""
_DRIFT_S = 1.0
"""If the clock on the wall goes this far apart from the steady one, it was set."""
_PLACES = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds now."""

    memory: MemorySpec
    pins: Mapping[str, Window] = field(default_factory=dict)
    """Model -> the window that pins it; of several the one that has been open longest."""
    sleeps: Mapping[str, Window] = field(default_factory=dict)
    budgets: Mapping[str, BudgetWindow] = field(default_factory=dict)
    """Device, or an empty name for `max_resident`."""
    open: tuple[tuple[ScheduleSpec, Window], ...] = ()
    changes_at: float | None = None
    """Monotonic seconds."""


class Timetable:
    """All schedules of one roost. `memory` is what holds outside of them."""

    def __init__(self, memory: MemorySpec, schedules: Sequence[ScheduleSpec] = ()) -> None:
        self._memory = memory
        self._offset = 0.0
        self.use(schedules)

    def use(self, schedules: Sequence[ScheduleSpec]) -> None:
        """These from now on."""
        self._entries = [(one, parse_when(one.when), zone(one.timezone)) for one in schedules]
        self._standing: Standing | None = None if schedules else Standing(memory=self._memory)

    def standing(self) -> Standing:
        """What holds now. The same object until something changes, be it the hour or the clock."""
        known = self._standing
        return known if known is not None and not self._entries else self.at(clock.now(), clock.wall())

    def at(self, now: float, wall: float) -> Standing:
        """What holds at a moment, which is no earlier than the last one asked about."""
        known = self._standing
        if known is None or abs(wall - now - self._offset) > _DRIFT_S or _is_over(known, now):
            self._offset = wall - now
            self._standing = known = self._at(wall)
        return known

    def _at(self, wall: float) -> Standing:
        found, changes = [], []
        for spec, when, where in self._entries:
            for begin, end in _stretches(when, where, wall):
                changes += [moment for moment in (begin, end) if moment > wall]
                if begin <= wall < end:
                    found.append((spec, self._window(spec, begin, end, wall)))
        open_ = tuple(found)
        budgets = _budgets(self._memory, open_)
        return Standing(
            memory=_with(self._memory, {key: amount for key, (amount, _) in budgets.items()}),
            pins=_first((name, window) for spec, window in open_ for name in spec.pin),
            sleeps=_first((name, window) for spec, window in open_ for name in spec.sleep),
            budgets={key: window for key, (_, window) in budgets.items()},
            open=open_,
            changes_at=min(changes) - self._offset if changes else None,
        )

    def _window(self, spec: ScheduleSpec, begin: float, end: float, wall: float) -> Window:
        ends = end - wall < (_SPAN_DAYS - 1) * 86400.0
        return Window(
            when=spec.when,
            timezone=spec.timezone,
            since=begin - self._offset,
            until=end - self._offset if ends else None,
        )


def _is_over(standing: Standing, now: float) -> bool:
    return standing.changes_at is not None and now >= standing.changes_at


def zone(name: str) -> tzinfo | None:
    """None: that of this machine. Raises what `ZoneInfo` raises, and OSError, for a name that is none."""
    return None if name == "local" else ZoneInfo(name)


def validate(spec: RoostSpec) -> list[Problem]:
    """Time zones that this machine does not know; the config's own checks never look at the machine."""
    problems = []
    for index, schedule in enumerate(spec.policy.schedules):
        try:
            zone(schedule.timezone)
        except (OSError, ValueError, LookupError):
            path: ConfigPath = ("policy", "schedules", index, "timezone")
            message = f'"{schedule.timezone}" is not a time zone that this machine knows'
            hint = _likely(schedule.timezone)
            problems.append(Problem(path=path, message=message, hint=hint, value=schedule.timezone))
    return problems


def _likely(name: str) -> str:
    known = available_timezones()
    if not known:
        return "This machine has no time zone database: install tzdata, or write local or UTC."
    by_lower = {one.lower(): one for one in sorted(known)}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f'Did you mean "{by_lower[near[0]]}"?' if near else "Write local, UTC, or a name such as Europe/Berlin."


def _stretches(when: When, where: tzinfo | None, wall: float) -> list[tuple[float, float]]:
    """The windows around a moment as Unix times; those that touch are one."""
    today = datetime.fromtimestamp(wall, where).date()
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(_windows(when, where, today)):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif begin < end:
            merged.append((begin, end))
    return merged


def _windows(when: When, where: tzinfo | None, today: date) -> Iterator[tuple[float, float]]:
    for distance in range(-_SPAN_DAYS, _SPAN_DAYS + 1):
        day = today + timedelta(days=distance)
        if day.weekday() in when.days:
            for begin, end in when.spans:
                yield moment(day, begin, where), moment(day, end, where)


def moment(day: date, minute: int, where: tzinfo | None) -> float:
    """Unix time at which the clocks there first show that minute of the day, or a later one if they skip it."""
    shown = datetime.combine(day, time.min) + timedelta(minutes=minute)
    first, second = (shown.replace(tzinfo=where, fold=fold).timestamp() for fold in (0, 1))
    if second >= first:
        return first
    low, high = int(second), int(first)
    while high - low > 1:
        middle = (low + high) // 2
        skipped = datetime.fromtimestamp(middle, where).replace(tzinfo=None) >= shown
        low, high = (low, middle) if skipped else (middle, high)
    return float(high)


def _budgets(memory: MemorySpec, found: Sequence[tuple[ScheduleSpec, Window]]) -> dict[str, tuple[int, BudgetWindow]]:
    """Key -> the smallest budget that a window sets, and which one."""
    usual: dict[str, int | None] = {**memory.devices, HOST: memory.host, _PLACES: memory.max_resident}
    chosen: dict[str, tuple[int, BudgetWindow]] = {}
    for spec, window in found:
        amounts = dict(spec.devices) if spec.max_resident is None else {**spec.devices, _PLACES: spec.max_resident}
        for key, amount in amounts.items():
            if key not in chosen or amount < chosen[key][0]:
                chosen[key] = amount, BudgetWindow(window=window, usual=usual.get(key))
    return chosen


def _with(memory: MemorySpec, amounts: Mapping[str, int]) -> MemorySpec:
    if not amounts:
        return memory
    devices = {key: amount for key, amount in amounts.items() if key not in (HOST, _PLACES)}
    return replace(
        memory,
        max_resident=amounts.get(_PLACES, memory.max_resident),
        devices={**memory.devices, **devices},
        host=amounts.get(HOST, memory.host),
    )


def _first(pairs: Iterator[tuple[str, Window]]) -> dict[str, Window]:
    chosen: dict[str, Window] = {}
    for name, window in pairs:
        if name not in chosen or window.since < chosen[name].since:
            chosen[name] = window
    return chosen
