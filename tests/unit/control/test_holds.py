"""Devices held for their owners: from when to when, over a restart, and who is told."""

import logging
from typing import Any
from unittest import mock

import pytest

from roost import clock
from roost.control.holds import Hold, Holds
from tests.support.fleet import pause
from tests.support.virtual import run

GIB = 1 << 30


class Told:
    """What is written down, and how often the planner was asked to look."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.nudges = 0
        self.holds = Holds(self._save, self._nudge)

    def _save(self, kept: list[dict[str, Any]]) -> None:
        self.kept = kept

    def _nudge(self) -> None:
        self.nudges += 1

    def names(self) -> list[str]:
        return list(self.holds.current(clock.now()))


def hold(device: str = "gpu0", for_s: float | None = None, amount: int | None = None, reason: str = "") -> Hold:
    now = clock.now()
    until = None if for_s is None else now + for_s
    return Hold(device=device, since=now, amount=amount, until=until, reason=reason, by="cli")


def test_it_ends_by_itself_and_the_planner_is_asked_to_look() -> None:
    async def main() -> None:
        told = Told()
        told.holds.place(hold(for_s=60))
        told.holds.place(hold("gpu1", for_s=90))
        assert (told.nudges, told.names(), len(told.kept)) == (2, ["gpu0", "gpu1"], 2)
        await pause(59)
        assert told.names() == ["gpu0", "gpu1"]
        await pause(1.5)
        assert (told.nudges, told.names(), len(told.kept)) == (3, ["gpu1"], 1)
        await pause(30)
        assert (told.nudges, told.names(), told.kept) == (4, [], [])

    run(main())


def test_a_second_one_takes_the_place_of_the_first() -> None:
    async def main() -> None:
        told = Told()
        told.holds.place(hold(for_s=60))
        told.holds.place(hold(amount=GIB))
        await pause(100)
        assert told.holds.current(clock.now())["gpu0"].amount == GIB
        told.holds.close()

    run(main())


def test_release_tells_whether_it_was_held() -> None:
    async def main() -> None:
        told = Told()
        assert not told.holds.release("gpu0", "cli")
        told.holds.place(hold())
        assert told.holds.release("gpu0", "cli")
        assert (told.names(), told.kept, told.nudges) == ([], [], 2)

    run(main())


def test_it_lasts_over_a_restart_by_the_clock_on_the_wall() -> None:
    async def main() -> None:
        wall = 1_700_000_000.0
        told, later = Told(), Told()
        with mock.patch("roost.clock.wall", lambda: wall):
            told.holds.place(hold(for_s=3600, amount=GIB, reason="training"))
            told.holds.place(hold("gpu1", for_s=60))
            told.holds.place(hold("host"))
            told.holds.close()
        with mock.patch("roost.clock.wall", lambda: wall + 600):  # the monotonic clock begins anew meanwhile
            later.holds.restore(told.kept)
        assert later.names() == ["gpu0", "host"]
        again = later.holds.current(clock.now())["gpu0"]
        assert again.until == pytest.approx(clock.now() + 3000)
        assert (again.amount, again.reason, again.by) == (GIB, "training", "cli")
        await pause(3001)
        assert later.names() == ["host"]
        later.holds.close()

    run(main())


def test_what_cannot_be_read_is_left_out() -> None:
    async def main() -> None:
        told = Told()
        told.holds.restore([{}, {"device": 3}, {"device": "gpu0", "until_unix": "x"}, {"device": "gpu1"}])
        assert told.names() == ["gpu1"]

    run(main())


def test_a_disk_that_is_full_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def full(kept: list[dict[str, Any]]) -> None:
        raise OSError("No space left on device")

    async def main() -> None:
        holds = Holds(full)
        holds.place(hold())
        assert list(holds.current(clock.now())) == ["gpu0"]

    with caplog.at_level(logging.WARNING, "roost"):
        run(main())
    assert "No space left on device" in caplog.text


def test_its_sentence_has_the_numbers() -> None:
    one = Hold(device="gpu0", since=10, amount=20 * GIB, until=7210, reason="training")
    assert one.sentence == "20.0 GiB of gpu0 is held for its owner for 2h 00m: training"
    assert Hold(device="gpu0", since=10).sentence == "gpu0 is held for its owner until it is released"
