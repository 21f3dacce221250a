"""When requests come: exact for ramps and even spacing, seeded and of the right rate for the others."""

from itertools import islice, pairwise
from random import Random

import pytest

from roost.loadgen.arrivals import Closed, Even, Moment, Open, Poisson, Ramp, Replay, ends, moments


def times(arrivals: Open, count: int, seed: int = 0) -> list[float]:
    return [moment.at_s for moment in islice(moments(arrivals, Random(seed)), count)]


def test_a_ramp_has_so_many_requests_in_each_second_evenly_spaced() -> None:
    given = times(Ramp(4), 1000)
    by_second = [[at for at in given if int(at) == second] for second in range(8)]
    assert [len(one) for one in by_second] == [0, 1, 2, 3, 4, 3, 2, 1]
    assert by_second[4] == [4.0, 4.25, 4.5, 4.75]
    assert ends(Ramp(4))
    assert "ramp to 4" in str(Ramp(4))


def test_even_spacing_is_exact_and_never_drifts() -> None:
    assert times(Even(4.0), 5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert times(Even(3.0), 3_001)[-1] == 1000.0


def test_poisson_keeps_its_rate_and_its_seed() -> None:
    given = times(Poisson(50.0), 20_000)
    assert given[-1] == pytest.approx(400.0, rel=0.05)
    assert given == sorted(given)
    assert given == times(Poisson(50.0), 20_000)
    assert given != times(Poisson(50.0), 20_000, seed=1)
    gaps = [after - before for before, after in pairwise(given)]
    mean = sum(gaps) / len(gaps)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)


def test_a_replay_is_what_it_is() -> None:
    given = Replay((Moment(at_s=0.5, max_tokens=3), Moment(at_s=2.0)), "file")
    assert list(moments(given, Random(0))) == list(given.moments)
    assert str(given) == "file: 2 requests in 2 s"
    assert ends(given) and not ends(Closed(1)) and not ends(Even(1.0))
