import json

import pytest

from roost.loadgen.report import POINTS_MAX, How, Sample, Tally

HOW = How(url="u", load="2 at once", stream=True)


def _sample(model: str = "a", start: float = 10.0, end: float = 12.0, error: str | None = None) -> Sample:
    first = None if error else start + 0.5
    gaps = () if error else (0.25, 0.75)
    return Sample(
        model=model, started_at=start, ended_at=end, error=error, first_token_at=first, gaps=gaps, tokens_out=4
    )


def test_figures_of_one_model_and_of_all() -> None:
    tally = Tally(("a", "b"))
    tally.add(_sample(start=10, end=12))
    tally.add(_sample(start=11, end=14))
    tally.add(_sample("b", start=12, end=13, error="HTTP 429"))
    report = tally.report(HOW)
    a, b = report.models["a"], report.models["b"]
    assert report.duration_s == 4.0
    assert (a.requests, a.answered, a.errors, a.tokens_out) == (2, 2, {}, 8)
    assert (a.requests_per_s, a.tokens_per_s) == (0.5, 2.0)
    assert a.ttft_s is not None and a.ttft_s.mean == 0.5
    assert a.itl_s is not None and (a.itl_s.count, a.itl_s.mean) == (4, 0.5)
    assert a.tpot_s is not None and a.tpot_s.max == pytest.approx(2.5 / 3)
    assert a.e2e_s is not None and a.e2e_s.p50 == 2.5
    assert (b.requests, b.answered, b.errors, b.e2e_s, b.tokens_out) == (1, 0, {"HTTP 429": 1}, None, None)
    assert (report.total.requests, report.total.answered) == (3, 2)


def test_a_failed_request_is_in_no_time() -> None:
    tally = Tally(("a",))
    tally.add(_sample(end=1000.0, error="timed out"))
    tally.add(_sample())
    figures = tally.report(HOW).total
    assert figures.e2e_s is not None and figures.e2e_s.max == 2.0


def test_a_report_of_nothing_holds_no_invented_zeros() -> None:
    report = Tally(("a",)).report(HOW, cut=3, interrupted=True)
    assert (report.total.ttft_s, report.total.tokens_per_s, report.duration_s) == (None, None, 0.0)
    assert json.loads(json.dumps(report.to_dict()))["cut"] == 3


def test_time_per_token_needs_two_tokens() -> None:
    one = Sample(model="a", started_at=0, ended_at=1, first_token_at=0.5, tokens_out=1)
    assert one.tpot_s is None


def test_points_for_a_plot_are_bounded_and_spread_over_all_samples() -> None:
    tally = Tally(("a",))
    for number in range(POINTS_MAX + 5000):
        tally.add(_sample(start=float(number), end=number + 1.0))
    report = tally.report(HOW)
    starts = [point.started_at for point in report.points]
    assert len(starts) == POINTS_MAX
    assert starts == sorted(starts)
    assert sum(start >= POINTS_MAX for start in starts) > 2000
    assert "points" not in report.to_dict()
