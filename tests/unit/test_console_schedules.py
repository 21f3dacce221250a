"""What the API shows of schedules."""

from unittest import mock

from roost.console_schedules import schedule_facts
from roost.control.schedule import Timetable
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import ScheduleSpec
from tests.support.wall import unix


def test_open_windows_with_their_whole_seconds_and_what_they_set() -> None:
    spec = ScheduleSpec(when="fri 08:00-18:00", timezone="UTC", pin=("a",), max_resident=1, devices={"gpu0": 5})
    with mock.patch("roost.clock.wall") as wall, mock.patch("roost.clock.now", return_value=50.25):
        wall.return_value = unix("2026-11-20 12:00")
        standing = Timetable(MemorySpec(), (spec, ScheduleSpec(when="sat", timezone="UTC"))).standing()
        wall.return_value -= 0.001
        facts = schedule_facts(standing)
    assert facts == {
        "open": [
            {
                "when": "fri 08:00-18:00",
                "timezone": "UTC",
                "since": "2026-11-20T08:00:00.000Z",
                "until": "2026-11-20T18:00:00.000Z",
                "pin": ["a"],
                "sleep": [],
                "max_resident": 1,
                "devices": {"gpu0": 5},
            }
        ],
        "next_change": "2026-11-20T18:00:00.000Z",
    }
