"""What comes up before it is asked for, and what makes room for whoever is next."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Load, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Ahead, Colder, KeepsRoom
from roost.core.view import Goal, ModelView
from tests.unit.planner.test_plan import ASLEEP, COLD, GIB, GPU, NOW, READY, kinds, model, planned, sized

FORESIGHT = PolicySpec(wake_ahead=True)


def resting(name: str, soon: float = 0.9, hazard: float = 0.1, sign: str = "", **seen: Any) -> ModelView:
    """Asleep for 100 s, unused for 150 s; `sign_at`: when the sign was given."""
    sign_at = seen.pop("sign_at", None)
    facts = {"level": 1, "since": NOW - 100.0, "last_used_at": NOW - 150.0, **seen}
    view = model(name, facts.pop("state", ASLEEP), **facts)
    forecast = Forecast(
        hazard_per_s=hazard, next_s=5.0, samples=20.0, soon=soon, soon_s=60.0, sign=sign, sign_at=sign_at
    )
    return replace(view, forecast=forecast, return_s=ReturnCosts(load_s=30.0, level1_s=3.0, down_s=1.0))


def awake(name: str, idle_s: float = 100.0, hazard: float = 0.00001, **seen: Any) -> ModelView:
    since = NOW - idle_s
    view = model(name, READY, idle_since=since, last_used_at=since, became_ready_at=100.0, since=100.0, **seen)
    forecast = Forecast(hazard_per_s=hazard, next_s=9000.0, samples=20.0, soon=0.01, soon_s=60.0)
    return replace(view, forecast=forecast, return_s=ReturnCosts(load_s=30.0, level1_s=3.0, down_s=1.0))


def test_a_model_that_is_likely_wanted_comes_up_into_free_memory() -> None:
    made = planned(resting("a"), policy=FORESIGHT)
    reason = Ahead(soon=0.9, soon_s=60.0, back_s=3.0)
    assert made.actions == (Wake(replica="a/0", reason=reason),)
    assert str(reason) == "wanted within 60 s with a chance of 90%, and it takes 3.0 s to come up"


def test_a_cold_one_is_loaded_and_the_sign_is_told() -> None:
    made = planned(resting("a", state=COLD, level=None, sign="a client said it is next"), policy=FORESIGHT)
    assert kinds(made) == [(Load, "a")]
    assert "90% (a client said it is next), and" in str(made.actions[0].reason)


@pytest.mark.parametrize("policy", [FORESIGHT, PolicySpec(idle="histogram")])
def test_it_comes_up_on_a_device_where_it_fits(policy: PolicySpec) -> None:
    two = MemorySpec(devices={"gpu0": 40 * GIB, "gpu1": 40 * GIB})
    busy = awake("b", spec=replace(sized(30), devices=("gpu0",)), devices=("gpu0",), in_flight=1)
    cold = resting("a", state=COLD, level=None, spec=sized(30))
    (load,) = planned(cold, busy, memory=two, policy=policy).actions
    assert isinstance(load, Load) and load.devices == ("gpu1",)


@pytest.mark.parametrize("policy", [PolicySpec(), PolicySpec(idle="break-even")])
def test_without_foresight_nothing_comes_unasked(policy: PolicySpec) -> None:
    assert planned(resting("a"), policy=policy).actions == ()


def test_histogram_wakes_ahead_into_free_memory_only() -> None:
    histogram = PolicySpec(idle="histogram")
    assert kinds(planned(resting("a"), policy=histogram)) == [(Wake, "a")]
    made = planned(resting("a", spec=sized(30)), awake("b", spec=sized(30)), memory=GPU, policy=histogram)
    assert made.actions == ()


@pytest.mark.parametrize(
    "view",
    [
        resting("a", soon=0.4),
        resting("a", since=NOW - 5.0),  # it has just gone down
        # Its clock sent it down after 300 s without use, 100 s ago.
        resting("a", since=NOW - 100.0, last_used_at=NOW - 400.0, spec=sized(1, sleep_after=300.0)),
        replace(resting("a"), forecast=Forecast(hazard_per_s=0.1, samples=1.0, soon=0.9)),
        replace(resting("a"), forecast=None),
        resting("a", spec=sized(1, wake_on_request=False)),
    ],
)
def test_what_does_not_come_up(view: ModelView) -> None:
    assert planned(view, policy=FORESIGHT).actions == ()


def test_what_its_clock_sent_down_comes_up_after_as_long_a_rest_and_what_was_evicted_soon() -> None:
    spec = sized(1, sleep_after=300.0)
    rested = resting("a", since=NOW - 301.0, last_used_at=NOW - 601.0, spec=spec)
    evicted = resting("a", since=NOW - 11.0, last_used_at=NOW - 200.0, spec=spec)
    assert kinds(planned(rested, policy=FORESIGHT)) == kinds(planned(evicted, policy=FORESIGHT)) == [(Wake, "a")]


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        # No sleep, and it was stopped after 120 s without use.
        (
            FORESIGHT,
            {"state": COLD, "level": None, "sleep_levels": (), "spec": sized(1, sleep_after=300.0, unload_after=120.0)},
        ),
        (FORESIGHT, {"state": COLD, "level": None, "spec": sized(1, sleep_after=None, unload_after=120.0)}),
        # It was idle for as long as its return takes.
        (PolicySpec(wake_ahead=True, idle="break-even"), {"spec": sized(1, sleep_after=None)}),
    ],
)
def test_so_does_what_any_other_clock_of_idleness_sent_down(policy: PolicySpec, seen: dict[str, Any]) -> None:
    fresh = resting("a", since=NOW - 119.0, last_used_at=NOW - 239.0, **seen)
    rested = resting("a", since=NOW - 120.0, last_used_at=NOW - 240.0, **seen)
    assert planned(fresh, policy=policy).actions == ()
    assert [name for _, name in kinds(planned(rested, policy=policy))] == ["a"]


def test_a_clock_that_does_not_run_for_it_asks_for_no_rest() -> None:
    spec = sized(1, sleep_after=300.0)
    evicted = resting(
        "a", state=COLD, level=None, sleep_levels=(), since=NOW - 11.0, last_used_at=NOW - 400.0, spec=spec
    )
    assert kinds(planned(evicted, policy=FORESIGHT)) == [(Load, "a")]


def test_a_hint_needs_no_rest_but_brings_up_once() -> None:
    hint: dict[str, Any] = {"since": NOW - 1.0, "sign": "a client said it is next", "sign_at": NOW - 20.0}
    for earlier in (hint, hint | {"came_up_at": NOW - 21.0}):
        assert kinds(planned(resting("a", **earlier), policy=FORESIGHT)) == [(Wake, "a")]
    for since in ("came_up_at", "last_load_at"):  # nobody came, and its clock has sent it down again
        assert planned(resting("a", **(hint | {since: NOW - 19.0})), policy=FORESIGHT).actions == ()


def test_the_hour_of_the_week_spares_it_no_rest() -> None:
    spec = sized(1, sleep_after=60.0)
    seen: dict[str, Any] = {"sign": "at this hour it is called 8.0 times as often as usual", "spec": spec}
    fresh = resting("a", since=NOW - 1.0, last_used_at=NOW - 62.0, **seen)
    assert planned(fresh, policy=FORESIGHT).actions == ()
    rested = resting("a", since=NOW - 62.0, last_used_at=NOW - 123.0, **seen)
    assert kinds(planned(rested, policy=FORESIGHT)) == [(Wake, "a")]


def test_one_a_round_and_a_start_is_left_for_requests() -> None:
    both = resting("a", hazard=0.01), resting("b", hazard=0.1)
    assert kinds(planned(*both, policy=FORESIGHT)) == [(Wake, "b")]
    busy = (model("c", COLD, waiting_since=990.0), model("d", COLD, waiting_since=990.0), *both)
    assert kinds(planned(*busy, policy=replace(FORESIGHT, max_starts=3))) == [(Load, "c"), (Load, "d")]


def test_nothing_comes_ahead_while_somebody_waits_for_room() -> None:
    waits = model("c", COLD, spec=sized(35), waiting_since=990.0)
    held = replace(awake("b", spec=sized(35)), replicas=(replace(awake("b").replicas[0], in_flight=1),))
    made = planned(waits, held, resting("a", spec=sized(2)), memory=GPU, policy=FORESIGHT)
    assert (Wake, "a") not in kinds(made)


def test_it_comes_over_one_that_is_far_colder() -> None:
    made = planned(resting("a", spec=sized(30)), awake("b", spec=sized(30)), memory=GPU, policy=FORESIGHT)
    assert [(type(a), a.replica) for a in made.actions] == [(Drain, "b/0")]
    reason = made.actions[0].reason
    assert isinstance(reason, Colder)
    assert str(reason) == (
        "makes room for 'a', wanted within 60 s with a chance of 90%: idle 100 s, likely wanted again in 2h 30m, "
        "back in 3.0 s"
    )


@pytest.mark.parametrize(
    "other",
    [
        awake("b", spec=sized(30), hazard=0.05),  # by no margin
        awake("b", spec=sized(30), idle_s=20.0, hazard=0.05),
        replace(awake("b", spec=sized(30)), pinned=True),
        replace(awake("b", spec=sized(30)), waiting=1),
    ],
)
def test_it_does_not_come_over_one_that_is_not(other: ModelView) -> None:
    assert planned(resting("a", spec=sized(30)), other, memory=GPU, policy=FORESIGHT).actions == ()


def test_memory_that_somebody_else_would_need_has_its_price() -> None:
    # 20 GiB are free. b would find them, and a for itself is not worth that b does not.
    models = resting("a", hazard=0.005, spec=sized(20)), resting("b", soon=0.1, hazard=0.02, spec=sized(20))
    held = awake("c", hazard=0.02, spec=sized(20))
    assert planned(*models, held, memory=GPU, policy=FORESIGHT).actions == ()
    alone = planned(models[0], held, memory=GPU, policy=FORESIGHT)
    assert kinds(alone) == [(Wake, "a")]


def test_a_good_hint_brings_a_model_into_free_memory_in_any_case() -> None:
    # 20 GiB are free; by its own past a would not be worth that b, as likely wanted, does not find them.
    other = resting("b", soon=0.4, hazard=0.02, spec=sized(20))
    held = awake("c", idle_s=30.0, hazard=0.02, spec=sized(20))
    for soon, expected in ((0.9, [(Wake, "a")]), (0.6, [])):
        hinted = resting(
            "a", soon=soon, hazard=0.005, sign="a client said it is next", sign_at=NOW - 1.0, spec=sized(20)
        )
        assert kinds(planned(hinted, other, held, memory=GPU, policy=FORESIGHT)) == expected


def test_room_is_kept_for_whoever_is_next() -> None:
    # a and b are each not likely by themselves; that one of them finds room at once is worth 0.04 * 1 s.
    models = resting("a", soon=0.3, hazard=0.02, spec=sized(20)), resting("b", soon=0.3, hazard=0.02, spec=sized(20))
    made = planned(*models, awake("c", spec=sized(30)), memory=GPU, policy=FORESIGHT)
    reason = made.actions[0].reason
    assert kinds(made) == [(Drain, "c")]
    assert isinstance(reason, KeepsRoom) and isinstance(made.actions[0], Drain)
    assert made.actions[0].goal is Goal.ASLEEP
    assert str(reason).startswith(
        "keeps room for 'a' or 1 other, should one of them be next: idle 100 s, likely wanted again"
    )
    dear = planned(*models, awake("c", hazard=0.014, spec=sized(30)), memory=GPU, policy=FORESIGHT)
    assert dear.actions == ()
    in_a_burst = awake("c", idle_s=0.5, spec=sized(30))
    assert planned(*models, in_a_burst, memory=GPU, policy=FORESIGHT).actions == ()


def test_no_room_is_kept_where_there_is_some() -> None:
    made = planned(resting("a", soon=0.3, spec=sized(10)), awake("c", spec=sized(30)), memory=GPU, policy=FORESIGHT)
    assert made.actions == ()
    assert planned(resting("a", soon=0.3), awake("c"), memory=MemorySpec(), policy=FORESIGHT).actions == ()
