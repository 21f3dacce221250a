import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.loadgen.stats import Reservoir, percentile


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.5),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0.5, 3.0),
        ([10.0, 20.0], 0.9, 19.0),
        ([float(n) for n in range(101)], 0.99, 99.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentiles_of_known_data(values: list[float], share: float, wanted: float) -> None:
    assert percentile(values, share) == pytest.approx(wanted)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_percentiles_agree_with_the_standard_library(values: list[float]) -> None:
    quarters = statistics.quantiles(values, n=4, method="inclusive")
    ordered = sorted(values)
    assert [percentile(ordered, share) for share in (0.25, 0.5, 0.75)] == pytest.approx(quarters, abs=1e-6)


def test_a_summary_of_known_data() -> None:
    reservoir = Reservoir()
    reservoir.extend([4.0, 1.0, 3.0, 2.0])
    summary = reservoir.summary()
    assert summary is not None
    assert (summary.count, summary.mean, summary.p50, summary.max) == (4, 2.5, 2.5, 4.0)


def test_nothing_measured_is_none_not_zero() -> None:
    assert Reservoir().summary() is None


def test_a_full_reservoir_stays_an_even_sample_and_counts_on() -> None:
    reservoir = Reservoir(size=500, seed=1)
    values = [float(n) for n in range(20_000)]
    random.Random(2).shuffle(values)
    reservoir.extend(values)
    summary = reservoir.summary()
    assert summary is not None
    assert (summary.count, summary.mean, summary.max) == (20_000, 9_999.5, 19_999.0)
    assert summary.p50 == pytest.approx(10_000, rel=0.1)
    assert summary.p90 == pytest.approx(18_000, rel=0.05)
