"""Requests per second on seven scales."""

import json
from random import Random

import pytest

from roost.planner.pace import Pace


def called(every_s: float, times: int, start: float = 0.0, pace: Pace | None = None) -> tuple[Pace, float]:
    """One that is called so often in even steps, and when it last was."""
    found = pace or Pace(start)
    for number in range(1, times + 1):
        found.add(start + number * every_s)
    return found, start + times * every_s


@pytest.mark.parametrize("every_s", [2.0, 60.0, 3600.0, 43200.0])
def test_a_steady_pace_is_found_at_any_scale(every_s: float) -> None:
    pace, last = called(every_s, 300)
    assert pace.per_s(last + every_s / 2) == pytest.approx(1 / every_s, rel=0.4)


def test_a_burst_shows_at_once_and_is_forgotten_soon() -> None:
    pace, last = called(3600.0, 100)
    usual = pace.per_s(last + 1800.0)
    pace, last = called(5.0, 12, last + 1800.0, pace)
    assert pace.per_s(last) > 100 * usual
    assert pace.per_s(last + 1800.0) < 20 * usual
    assert pace.per_s(last + 2 * 86400.0) < 2 * usual


def test_the_longer_it_is_silent_the_less_it_is_expected() -> None:
    pace, last = called(20.0, 500)
    seen = [pace.per_s(last + after) for after in (1.0, 60.0, 600.0, 6000.0, 60000.0)]
    assert seen == sorted(seen, reverse=True) and seen[0] > 100 * seen[-1]


def test_chance_requests_are_told_by_their_mean() -> None:
    luck, pace, now = Random(4), Pace(0.0), 0.0
    seen = []
    for number in range(3000):
        now += luck.expovariate(0.05)
        if number > 1000:
            seen.append(pace.per_s(now))
        pace.add(now)
    assert sum(seen) / len(seen) == pytest.approx(0.05, rel=0.25)


def test_it_survives_a_restart_and_fades_while_nobody_counts() -> None:
    pace, last = called(20.0, 500)
    before = pace.per_s(last)
    kept = json.loads(json.dumps(pace.values(last)))
    again, later = Pace(7.0), Pace(7.0)
    again.restore(kept, 0.0)
    later.restore(kept, 600.0)
    assert again.per_s(7.0) == pytest.approx(before, rel=0.01)
    assert later.per_s(7.0) == pytest.approx(before, rel=0.2)  # no silence was seen meanwhile
    assert later.spans[-1] < 1.0 < again.spans[-1]


@pytest.mark.parametrize(
    "junk", [[], [[1, 2]], [["x", 1]] * 7, [[-1, 5]] * 7, [[1, 10**12]] * 7, [[1, float("nan")]] * 7]
)
def test_what_cannot_be_read_is_not_known(junk: list[object]) -> None:
    pace = Pace(0.0)
    pace.restore(junk, 0.0)
    assert pace.values(0.0) == Pace(0.0).values(0.0)
