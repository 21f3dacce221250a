"""Totals, rates and history of one model."""

import pytest

from roost.telemetry.traffic import FINE_S, HORIZON_S, MAX_BUCKETS, Ended, Traffic


def test_rates_count_the_seconds_of_the_window() -> None:
    traffic = Traffic()
    traffic.add(100.0, Ended.OK, 0.5, tokens=(100, 40))
    traffic.add(155.0, Ended.FAILED, 0.1, tokens=(10, 2))
    traffic.add(155.9, Ended.OK, 0.5, tokens=(10, 2))
    short = traffic.rates(159.0, 10)
    assert (short.requests, short.failures, short.tokens_in, short.tokens_out) == (0.2, 0.1, 2.0, 0.4)
    assert traffic.rates(159.0, 60).requests == pytest.approx(3 / 60)
    assert traffic.rates(159.0, 60).tokens_in == pytest.approx(2.0)
    assert traffic.last_request_at == 155.9


def test_five_thousand_requests_a_second_are_all_counted() -> None:
    traffic = Traffic()
    for number in range(50_000):
        traffic.add(1000.0 + number / 5000, Ended.OK, 0.001)
    assert traffic.rates(1009.9999, 10).requests == pytest.approx(5000.0)
    assert traffic.total().requests == 50_000


@pytest.mark.parametrize("window_s", [1e-300, 0.3, 1, 1.5, 2.25, 5, 9])
def test_rates_hold_for_small_and_broken_windows_in_the_middle_of_a_second(window_s: float) -> None:
    traffic = Traffic()
    for number in range(47_500):
        traffic.add(1000.0 + number / 5000, Ended.OK, 0.001)
    assert traffic.rates(1009.5, window_s).requests == pytest.approx(5000.0)


def test_a_minute_cut_by_a_long_window_counts_in_part() -> None:
    traffic = Traffic()
    for second in range(3 * FINE_S):
        traffic.add(float(second), Ended.OK, 0.0)
    assert traffic.rates(3.0 * FINE_S - 0.001, FINE_S + 30).requests == pytest.approx(1.0, rel=1e-3)


def test_totals_and_means_are_over_what_succeeded() -> None:
    traffic = Traffic()
    traffic.add(1.0, Ended.OK, 2.0, 0.5)
    traffic.add(2.0, Ended.OK, 4.0)
    traffic.add(3.0, Ended.FAILED, 100.0, 50.0)
    traffic.add(4.0, Ended.CANCELLED, 100.0)
    total = traffic.total()
    assert (total.requests, total.successful, total.failed, total.cancelled) == (4, 2, 1, 1)
    assert (total.response_s, total.ttft_s) == (3.0, 0.5)


def test_memory_is_bounded_and_a_day_back_is_forgotten() -> None:
    traffic = Traffic()
    for second in range(2 * FINE_S):
        traffic.add(float(second), Ended.OK, 0.0)
    assert traffic.rates(2.0 * FINE_S - 1, FINE_S).requests == 1.0
    assert traffic.rates(2.0 * FINE_S - 1, 2 * FINE_S).requests == 1.0
    traffic.add(3.0 * HORIZON_S, Ended.OK, 0.0)
    assert traffic.rates(3.0 * HORIZON_S, HORIZON_S).requests == 1 / HORIZON_S
    assert traffic.total().requests == 2 * FINE_S + 1


def test_history_has_every_bucket_and_the_running_one() -> None:
    traffic = Traffic()
    traffic.add(61.0, Ended.OK, 1.0, 0.25)
    traffic.add(62.0, Ended.FAILED, 1.0)
    traffic.add(125.0, Ended.OK, 3.0)
    buckets = traffic.history(130.0, 180, 60)
    assert [(b.began_at, b.requests, b.failed) for b in buckets] == [(0.0, 0, 0), (60.0, 2, 1), (120.0, 1, 0)]
    assert [b.response_s for b in buckets] == [None, 1.0, 3.0]
    assert buckets[1].per_s == pytest.approx(2 / 60)
    assert buckets[1].ttft_s == 0.25


def test_a_day_of_history_comes_from_minutes() -> None:
    traffic = Traffic()
    for minute in range(24 * 60):
        traffic.add(minute * 60.0 + 30, Ended.OK, 1.0)
    buckets = traffic.history(HORIZON_S - 1.0, HORIZON_S, 3600)
    assert [b.requests for b in buckets] == [60] * 24


@pytest.mark.parametrize("window_s", [0, -1, HORIZON_S + 1, float("nan"), float("inf")])
def test_a_window_outside_the_bounds_is_refused(window_s: float) -> None:
    with pytest.raises(ValueError, match="86400"):
        Traffic().rates(0.0, window_s)


@pytest.mark.parametrize(
    ("span_s", "bucket_s", "says"),
    [
        (0, 1, "span"),
        (HORIZON_S + 1, 60, "86400"),
        (7200, 90, "minutes"),
        (60, 0, "seconds"),
        (3600, 2, str(MAX_BUCKETS)),
    ],
)
def test_a_history_outside_the_bounds_is_refused(span_s: int, bucket_s: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Traffic().history(0.0, span_s, bucket_s)
