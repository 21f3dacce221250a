"""What schedules say by the clock on the wall: around midnight, the change of the clocks, and clocks that are set."""

import time
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from roost.control.schedule import Standing, Timetable, validate
from roost.core.footprint import HOST
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec, ScheduleSpec
from roost.core.spec import RoostSpec
from tests.support.wall import unix

BERLIN = "Europe/Berlin"
GIB = 2**30


@pytest.fixture
def ask() -> Iterator[Callable[[Timetable, float], Standing]]:
    """Ask a timetable at a Unix time, by a machine that was started at Unix time 1000."""
    with mock.patch("roost.clock.wall") as wall, mock.patch("roost.clock.now") as now:

        def asked(table: Timetable, unix_s: float) -> Standing:
            wall.return_value, now.return_value = unix_s, unix_s - 1000.0
            return table.standing()

        yield asked


Ask = Callable[[Timetable, float], Standing]


def table(*schedules: ScheduleSpec, memory: MemorySpec | None = None) -> Timetable:
    return Timetable(memory or MemorySpec(), schedules)


def hours(when: str, zone: str = BERLIN, **more: object) -> ScheduleSpec:
    return ScheduleSpec(when=when, timezone=zone, **{"pin": ("a",), **more})  # type: ignore[arg-type]


def span(standing: Standing) -> tuple[float, float | None]:
    """Unix times of the window that pins `a`."""
    window = standing.pins["a"]
    return window.since + 1000.0, None if window.until is None else window.until + 1000.0


def berlin(text: str, fold: int = 0) -> float:
    return unix(text, BERLIN, fold)


def test_open_from_its_first_second_until_its_last(ask: Ask) -> None:
    office = table(hours("mon-fri 08:00-18:00"))
    begin, end = berlin("2026-11-20 08:00"), berlin("2026-11-20 18:00")  # a Friday
    assert not ask(office, begin - 1).pins
    assert ask(office, begin - 1).changes_at == begin - 1000.0
    assert span(ask(office, begin)) == (begin, end)
    assert span(ask(office, end - 1)) == (begin, end)
    assert not ask(office, end).open
    assert ask(office, end).changes_at == berlin("2026-11-23 08:00") - 1000.0


def test_past_midnight_it_belongs_to_the_day_it_began_on(ask: Ask) -> None:
    night = table(hours("fri 22:00-06:00"))
    assert not ask(night, berlin("2026-11-20 05:00")).pins
    assert span(ask(night, berlin("2026-11-21 05:59"))) == (berlin("2026-11-20 22:00"), berlin("2026-11-21 06:00"))
    assert not ask(night, berlin("2026-11-21 22:30")).pins


def test_windows_that_touch_are_one(ask: Ask) -> None:
    weekend = table(hours("sat,sun"))
    assert span(ask(weekend, berlin("2026-11-22 12:00"))) == (berlin("2026-11-21 00:00"), berlin("2026-11-23 00:00"))
    shifts = table(hours("mon 06:00-14:00,14:00-22:00"))
    assert span(ask(shifts, berlin("2026-11-23 07:00"))) == (berlin("2026-11-23 06:00"), berlin("2026-11-23 22:00"))
    always = ask(table(hours("mon-sun")), berlin("2026-11-22 12:00"))
    assert span(always)[1] is None


@pytest.mark.parametrize(
    ("when", "begin", "end", "length_h"),
    [
        # On 29 March 2026 the clocks go from 02:00 to 03:00.
        ("sat 22:00-06:00", berlin("2026-03-28 22:00"), berlin("2026-03-29 06:00"), 7.0),
        ("sun 02:30-05:00", unix("2026-03-29 01:00"), berlin("2026-03-29 05:00"), 2.0),
        ("sun 01:00-02:30", berlin("2026-03-29 01:00"), unix("2026-03-29 01:00"), 1.0),
        ("sun", berlin("2026-03-29 00:00"), berlin("2026-03-30 00:00"), 23.0),
    ],
)
def test_the_night_in_which_an_hour_is_skipped(ask: Ask, when: str, begin: float, end: float, length_h: float) -> None:
    spring = table(hours(when))
    assert not ask(spring, begin - 1).pins
    assert span(ask(spring, begin)) == (begin, end)
    assert not ask(spring, end).pins
    assert end - begin == length_h * 3600


def test_a_window_inside_the_skipped_hour_does_not_open_that_night(ask: Ask) -> None:
    skipped = table(hours("sun 02:10-02:50"))
    for second in range(0, 3 * 3600, 300):
        assert not ask(skipped, berlin("2026-03-29 00:30") + second).pins
    assert ask(skipped, berlin("2026-04-05 02:30")).pins


@pytest.mark.parametrize(
    ("when", "begin", "end", "length_h"),
    [
        # On 25 October 2026 the clocks show 02:00 to 03:00 twice.
        ("sat 22:00-06:00", berlin("2026-10-24 22:00"), berlin("2026-10-25 06:00"), 9.0),
        ("sun 02:30-05:00", berlin("2026-10-25 02:30"), berlin("2026-10-25 05:00"), 3.5),
        ("sun 01:00-02:30", berlin("2026-10-25 01:00"), berlin("2026-10-25 02:30"), 1.5),
        ("sun", berlin("2026-10-25 00:00"), berlin("2026-10-26 00:00"), 25.0),
    ],
)
def test_the_night_in_which_an_hour_comes_twice(ask: Ask, when: str, begin: float, end: float, length_h: float) -> None:
    autumn = table(hours(when))
    assert not ask(autumn, begin - 1).pins
    assert span(ask(autumn, begin)) == (begin, end)
    assert not ask(autumn, end).pins
    assert end - begin == length_h * 3600


def test_the_second_two_thirty_opens_nothing_again(ask: Ask) -> None:
    autumn = table(hours("sun 02:30-02:45"))
    assert ask(autumn, berlin("2026-10-25 02:35")).pins
    assert not ask(autumn, berlin("2026-10-25 02:35", fold=1)).pins


def test_two_zones_at_once(ask: Ask) -> None:
    both = table(hours("08:00-10:00"), hours("08:00-10:00", "America/New_York", pin=("b",)))
    assert set(ask(both, berlin("2026-11-20 09:00")).pins) == {"a"}
    assert set(ask(both, unix("2026-11-20 09:00", "America/New_York")).pins) == {"b"}


def test_local_is_the_zone_of_this_machine(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        spring = table(hours("sun 02:30-05:00", "local"))
        begin = unix("2026-03-29 01:00")
        assert not ask(spring, begin - 1).pins
        assert span(ask(spring, begin)) == (begin, berlin("2026-03-29 05:00"))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_pins_add_up_and_of_budgets_the_smaller_counts(ask: Ask) -> None:
    memory = MemorySpec(max_resident=4, devices={"gpu0": 80 * GIB, "gpu1": 40 * GIB}, host=99 * GIB)
    both = table(
        hours("mon-fri", pin=("a", "b"), max_resident=2, devices={"gpu0": 60 * GIB, HOST: 10 * GIB}),
        hours("08:00-18:00", pin=("b", "c"), max_resident=3, devices={"gpu0": 20 * GIB}, sleep=("d",)),
        memory=memory,
    )
    found = ask(both, berlin("2026-11-20 12:00"))
    assert set(found.pins) == {"a", "b", "c"}
    assert found.pins["b"].when == "mon-fri"  # open longer
    assert set(found.sleeps) == {"d"}
    devices = {"gpu0": 20 * GIB, "gpu1": 40 * GIB}
    assert found.memory == MemorySpec(max_resident=2, devices=devices, host=10 * GIB)
    assert {key: one.window.when for key, one in found.budgets.items()} == {
        "gpu0": "08:00-18:00",
        HOST: "mon-fri",
        "": "mon-fri",
    }
    assert found.budgets["gpu0"].usual == 80 * GIB
    assert ask(both, berlin("2026-11-21 03:00")).memory is memory


def test_a_single_window_may_also_allow_more(ask: Ask) -> None:
    night = table(hours("22:00-06:00", max_resident=8), memory=MemorySpec(max_resident=2))
    assert ask(night, berlin("2026-11-20 23:00")).memory.max_resident == 8


def test_the_same_answer_until_something_changes(ask: Ask) -> None:
    office = table(hours("mon-fri 08:00-18:00"))
    begin = berlin("2026-11-20 08:00")
    assert ask(office, begin) is ask(office, begin + 36_000 - 1)
    assert ask(office, begin) is not ask(office, begin + 36_000)
    empty = table()
    assert ask(empty, 0.0) is ask(empty, 1e9)


def test_a_clock_that_is_set_is_followed() -> None:
    office = table(hours("mon-fri 08:00-18:00"))
    noon = berlin("2026-11-20 12:00")
    with mock.patch("roost.clock.wall") as wall, mock.patch("roost.clock.now", return_value=50.0):
        wall.return_value = noon
        assert office.standing().pins["a"].until == 50.0 + 6 * 3600
        wall.return_value = noon - 7200
        assert office.standing().pins["a"].until == 50.0 + 8 * 3600
        wall.return_value = noon + 8 * 3600
        assert not office.standing().pins


def test_other_schedules_from_now_on(ask: Ask) -> None:
    office = table(hours("mon-sun"))
    assert ask(office, 5.0).pins
    office.use(())
    assert not ask(office, 5.0).pins
    office.use((hours("mon-sun", pin=("b",)),))
    assert set(ask(office, 5.0).pins) == {"b"}


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berlyn", 'Did you mean "Europe/Berlin"?'),
        ("Mars/Olympus Mons", "Write local, UTC, or a name such as Europe/Berlin."),
        ("../etc/passwd", "Write local"),
        ("", "Write local"),
        ("Europe", "Did you mean"),
    ],
)
def test_a_time_zone_that_this_machine_does_not_know(zone: str, hint: str) -> None:
    (problem,) = validate(RoostSpec(policy=PolicySpec(schedules=(hours("sat", "UTC"), hours("sat", zone)))))
    assert problem.path == ("policy", "schedules", 1, "timezone")
    assert f'"{zone}" is not a time zone that this machine knows' in problem.message
    assert problem.hint.startswith(hint)


def test_without_a_time_zone_database_the_way_out_is_told() -> None:
    with mock.patch("roost.control.schedule.available_timezones", return_value=set()):
        (problem,) = validate(RoostSpec(policy=PolicySpec(schedules=(hours("sat", "Mars/Base"),))))
    assert "install tzdata" in problem.hint
