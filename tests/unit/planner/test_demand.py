"""What is learned of a model's past, against numbers worked out by hand."""

import json

import pytest

from roost.planner.companions import Companions
from roost.planner.demand import Demand
from roost.planner.gaps import BINS, Gaps, chance
from roost.planner.season import Season

NOBODY = Gaps()


def filled(*gaps_s: float) -> Gaps:
    gaps = Gaps()
    for gap_s in gaps_s:
        gaps.add(gap_s)
    return gaps


def every(demand: Demand, model: str, step_s: float, times: int, start_s: float = 0.0) -> float:
    """Requests at an even pace; the moment of the last one."""
    for number in range(times):
        demand.arrived(model, start_s + number * step_s)
    return start_s + (times - 1) * step_s


def test_without_any_gap_half_of_all_comes_within_as_long_again() -> None:
    assert chance(NOBODY, NOBODY, 100.0, 100.0) == pytest.approx(0.5)
    assert chance(NOBODY, NOBODY, 100.0, 300.0) == pytest.approx(0.75)


def test_own_gaps_count_with_two_of_all_models() -> None:
    # Three gaps of which two are over by 100 s: at age 0 within 100 s, (2 + 2 * 1) / (3 + 2) with a blind pool.
    own = filled(20.0, 40.0, 5000.0)
    weights = [0.99**2 * 2 ** -((40 + 5000) / (3 * 86400)), 0.99 * 2 ** -(5000 / (3 * 86400)), 1.0]
    left = sum(weights)
    assert own.longer(0.0) == pytest.approx(left)
    assert chance(own, NOBODY, 0.0, 100.0) == pytest.approx((weights[0] + weights[1] + 2.0) / (left + 2.0))


def test_gaps_that_are_over_say_nothing_at_a_later_age() -> None:
    own = filled(*[20.0] * 50)
    assert chance(own, NOBODY, 10.0, 20.0) > 0.9
    assert chance(own, NOBODY, 1000.0, 1000.0) == pytest.approx(0.5)


def test_within_a_bin_gaps_lie_evenly_on_a_log_scale() -> None:
    own = filled(20.0)
    low, high = 2.0**4.25, 2.0**4.5
    assert own.longer(low) == pytest.approx(1.0)
    assert own.longer((low * high) ** 0.5) == pytest.approx(0.5)
    assert own.longer(high) == pytest.approx(0.0)


def test_old_gaps_fade() -> None:
    own = filled(*[20.0] * 100, *[500.0] * 200)
    assert own.longer(100.0) / own.longer(0.0) > 0.85


def test_weights_stay_finite_over_years() -> None:
    own = filled(*[50 * 86400.0] * 100)
    assert own.longer(0.0) < 10.0
    assert max(own.counts) < float("inf")


def test_a_model_in_steady_use_is_wanted_at_its_pace() -> None:
    demand = Demand()
    last = every(demand, "a", 20.0, 100)
    forecast = demand.forecast("a", last + 15.0)
    assert forecast is not None
    assert 1 / 15.0 < forecast.hazard_per_s < 1 / 5.0  # oftener than usual: it is due within 5 s
    assert forecast.soon > 0.9
    assert forecast.next_s is not None and forecast.next_s < 15.0


def test_a_burst_is_one_request() -> None:
    demand = Demand()
    for number in range(100):
        demand.arrived("a", number * 0.01)
    forecast = demand.forecast("a", 2.0)
    assert forecast is not None
    assert forecast.samples == 0.0


def test_nobody_asked_nothing_is_known() -> None:
    assert Demand().forecast("a", 5.0) is None
    assert Demand().costs("a") is None


def test_a_new_model_is_judged_as_models_are() -> None:
    demand = Demand()
    last = every(demand, "busy", 5.0, 400)
    demand.arrived("new", last)
    at_once = Demand()
    at_once.arrived("new", 0.0)
    blind = at_once.forecast("new", 2.0)
    known = demand.forecast("new", last + 2.0)
    assert known is not None and blind is not None
    assert known.hazard_per_s > blind.hazard_per_s


def test_returns_are_smoothed_per_rung() -> None:
    demand = Demand()
    demand.returned("a", "load", 10.0)
    demand.returned("a", "load", 20.0)
    demand.returned("a", "level1", 1.0)
    costs = demand.costs("a")
    assert costs is not None
    assert costs.load_s == pytest.approx(13.0)
    assert (costs.level1_s, costs.level2_s) == (1.0, None)


def test_the_hour_of_the_week_raises_what_is_likely_then() -> None:
    season = Season()
    for _ in range(3):
        for hour in range(168):
            season.passed(hour)
        season.begun[9] += 1.0
    assert season.factor(9) == 8.0
    assert season.factor(10) < 1.0
    assert Season().factor(9) == 1.0


def test_a_companion_is_wanted_after_its_leader() -> None:
    demand = Demand()
    for number in range(20):
        demand.arrived("first", number * 5000.0)
        demand.arrived("second", number * 5000.0 + 10.0)
    now = 20 * 5000.0
    before = demand.forecast("second", now)
    demand.arrived("first", now)
    after = demand.forecast("second", now + 1.0)
    assert before is not None and after is not None
    assert after.hazard_per_s > 20 * before.hazard_per_s
    assert after.soon > 0.8
    assert (after.sign, after.sign_at) == ('"first" was just called, and it usually follows', now)


def test_a_companion_that_is_forgotten_leads_nobody() -> None:
    seen = Companions()
    seen.called("a", 0.0)
    seen.forget("a")
    seen.called("b", 10.0)
    assert not list(seen.leaders("b", 11.0)) and not seen.followers("a")


def test_companions_are_bounded() -> None:
    companions = Companions()
    for number in range(200):
        companions.called("first", number * 1000.0)
        companions.called(f"m{number}", number * 1000.0 + 1.0)
    assert len(companions.followers("first")) == 8


def test_a_hint_counts_for_a_minute_and_by_how_often_it_came_true() -> None:
    demand = Demand()
    every(demand, "a", 3000.0, 10)
    demand.hinted("a", 60000.0)
    hinted = demand.forecast("a", 60001.0)
    assert hinted is not None
    assert (hinted.sign, hinted.sign_at) == ("a client said it is next", 60000.0)
    assert hinted.soon == pytest.approx(0.9)  # hints are believed from the start
    late = demand.forecast("a", 60200.0)
    assert late is not None and (late.sign, late.sign_at) == ("", None)
    for number in range(5):  # which, with the first one, makes 3.6 of 10
        demand.hinted("a", 70000.0 + 3000 * number)
    demand.hinted("a", 150000.0)
    doubted = demand.forecast("a", 150001.0)
    assert doubted is not None and doubted.soon == pytest.approx(0.36)


def test_a_hint_is_no_request() -> None:
    """A model that was only announced has no past: no gap begins with the hint, and nothing stays once it is over."""
    demand = Demand()
    demand.hinted("a", 100.0)
    hinted = demand.forecast("a", 101.0)
    assert hinted is not None
    assert (hinted.sign, hinted.samples) == ("a client said it is next", 0.0)
    assert hinted.soon == pytest.approx(0.9)
    assert demand.forecast("a", 160.0) is None
    assert demand.state("a", 160.0) == {"back_s": {}}
    demand.arrived("a", 500.0)
    first = demand.forecast("a", 500.0)
    assert first is not None and first.samples == 0.0
    demand.arrived("a", 600.0)
    second = demand.forecast("a", 600.0)
    assert second is not None and second.samples == pytest.approx(1.0)


def test_what_is_known_survives_a_restart() -> None:
    demand = Demand()
    demand.hour(5)
    for number in range(20):
        demand.arrived("a", number * 700.0)
        demand.arrived("b", number * 700.0 + 5.0)
    demand.returned("a", "level1", 2.5)
    now = 20 * 700.0
    again = Demand()
    for name in ("a", "b"):
        again.restore(name, json.loads(json.dumps(demand.state(name, now))), 50.0, away_s=0.0)
    again.hour(5)
    one, other = demand.forecast("a", now), again.forecast("a", 50.0)
    assert one is not None and other is not None
    assert other.samples == pytest.approx(one.samples, rel=0.01)
    assert again.costs("a") == demand.costs("a")
    again.arrived("a", 3000.0)
    assert (follower := again.forecast("b", 3001.0)) is not None and "usually follows" in follower.sign


def test_what_cannot_be_read_is_not_known() -> None:
    demand = Demand()
    for junk in ({}, {"idle_s": "x", "gaps": 3}, {"idle_s": -5, "gaps": []}, {"back_s": {"load": "x"}, "gaps": None}):
        demand.restore("a", junk, 10.0, 0.0)
    assert demand.forecast("a", 10.0) is None
    demand.restore("a", {"idle_s": 5.0, "gaps": ["x", -1, 10**12], "season": [["x"]], "companions": {"calls": 0}}, 9, 0)
    assert demand.forecast("a", 10.0) is not None
    assert len(Gaps().values()) == BINS
