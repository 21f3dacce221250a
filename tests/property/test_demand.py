"""Whatever comes when: a forecast is a sensible number, and what is kept is what was known."""

import json
from math import isfinite

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.planner.demand import Demand

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(st.floats(0, 3), st.floats(0, 5000), st.floats(0, 1e7))
HAPPENINGS = st.lists(
    st.tuples(STEPS, NAMES, st.sampled_from(["ask", "ask", "ask", "hint", "hour", "load", "level1", "look"])),
    max_size=60,
)


def played(happenings: list[tuple[float, str, str]]) -> tuple[Demand, float]:
    demand, now = Demand(), 0.0
    for step_s, name, what in happenings:
        now += step_s
        match what:
            case "ask":
                demand.arrived(name, now)
            case "hint":
                demand.hinted(name, now)
            case "hour":
                demand.hour(int(now // 3600) % 168)
            case "look":
                demand.forecast(name, now)
            case rung:
                demand.returned(name, rung, step_s)
    return demand, now


@settings(derandomize=True, deadline=None, database=None)
@given(HAPPENINGS, STEPS)
def test_a_forecast_is_finite_and_never_below_zero(happenings: list[tuple[float, str, str]], later_s: float) -> None:
    demand, now = played(happenings)
    for name in "abc":
        forecast = demand.forecast(name, now + later_s)
        if forecast is None:
            continue
        assert isfinite(forecast.hazard_per_s) and forecast.hazard_per_s >= 0
        assert forecast.next_s is not None and isfinite(forecast.next_s) and forecast.next_s >= 0
        assert 0 <= forecast.soon <= 1 and forecast.soon_s > 0
        assert 0 <= forecast.then_per_s <= 1 and isfinite(forecast.samples) and forecast.samples >= 0


@settings(derandomize=True, deadline=None, database=None)
@given(HAPPENINGS)
def test_what_is_kept_is_what_was_known(happenings: list[tuple[float, str, str]]) -> None:
    demand, now = played(happenings)
    again = Demand()
    for name in "abc":
        again.restore(name, json.loads(json.dumps(demand.state(name, now))), 7.0, 0.0)
    for name in "abc":
        kept, told = demand.state(name, now), again.state(name, 7.0)
        assert told.keys() == kept.keys()
        assert told["back_s"] == kept["back_s"]
        for own, other in zip(kept.get("gaps", []), told.get("gaps", []), strict=True):  # type: ignore[call-overload]
            assert abs(own - other) <= 1e-3 * max(1.0, own)
