"""Who yields by cost: what bringing back takes times how soon it is likely wanted, over what it frees."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.plan import Action, Drain, Evict, OverBudget, Stop
from roost.core.policy_spec import PolicySpec
from roost.core.view import Goal, ModelView
from tests.unit.planner.test_plan import ASLEEP, COLD, GPU, NOW, ONE, READY, kinds, model, planned, sized

LRU = PolicySpec(eviction="lru")


def learned(view: ModelView, hazard: float, *, back_s: float = 5.0, **more: Any) -> ModelView:
    """A model whose past says so; `back_s` from every rung."""
    forecast = Forecast(hazard_per_s=hazard, next_s=0.7 / hazard, samples=20.0, **more)
    return replace(view, forecast=forecast, return_s=ReturnCosts(load_s=back_s, level1_s=back_s, level2_s=back_s))


def idle(name: str, since: float, **seen: Any) -> ModelView:
    return model(name, READY, idle_since=since, last_used_at=since, became_ready_at=500.0, since=500.0, **seen)


NEWCOMER = model("n", COLD, waiting_since=990.0)


def evicted(actions: tuple[Action, ...]) -> list[str]:
    return [action.replica[0] for action in actions if isinstance(action, Drain | Stop)]


def test_while_nothing_is_learned_the_least_recently_used_goes() -> None:
    both = idle("a", 900.0), idle("b", 800.0), NEWCOMER
    assert evicted(planned(*both, memory=ONE).actions) == evicted(planned(*both, memory=ONE, policy=LRU).actions)


def test_what_is_wanted_later_goes_first_however_recently_it_was_used() -> None:
    recent, old = learned(idle("a", 990.0), 0.0001), learned(idle("b", 800.0), 0.1)
    made = planned(recent, old, NEWCOMER, memory=replace(ONE, max_resident=2))
    assert evicted(made.actions) == ["a"]
    assert evicted(planned(recent, old, NEWCOMER, memory=replace(ONE, max_resident=2), policy=LRU).actions) == ["b"]


def test_what_is_quick_to_bring_back_goes_first() -> None:
    quick, slow = learned(idle("a", 990.0), 0.01, back_s=1.0), learned(idle("b", 800.0), 0.01, back_s=60.0)
    assert evicted(planned(quick, slow, NEWCOMER, memory=replace(ONE, max_resident=2)).actions) == ["a"]


def test_the_cost_is_counted_per_byte() -> None:
    # a costs 0.01 * 5 for 30 GiB, b 0.01 * 5 for 10 GiB: with 10 GiB lacking a is three times as cheap.
    large, small = learned(idle("a", 990.0, spec=sized(30)), 0.01), learned(idle("b", 800.0, spec=sized(10)), 0.01)
    newcomer = model("n", COLD, spec=sized(10), waiting_since=990.0)
    assert evicted(planned(large, small, newcomer, memory=GPU).actions) == ["a"]


def test_whom_another_victim_makes_needless_stays() -> None:
    # The cheapest per byte frees 5 GiB of 30; the next one is enough by itself, so the first may stay.
    little, enough = learned(idle("a", 990.0, spec=sized(5)), 0.00001), learned(idle("b", 800.0, spec=sized(35)), 0.01)
    newcomer = model("n", COLD, spec=sized(30), waiting_since=990.0)
    assert evicted(planned(little, enough, newcomer, memory=GPU).actions) == ["b"]


def test_those_who_come_while_it_returns_wait_too() -> None:
    # 0.01 * 20 * (1 + 0.5 * 1 * 20) = 2.2 against 0.05 * 20 = 1.
    crowd = learned(idle("a", 800.0), 0.01, back_s=20.0, then_per_s=1.0)
    single = learned(idle("b", 990.0), 0.05, back_s=20.0)
    assert evicted(planned(crowd, single, NEWCOMER, memory=replace(ONE, max_resident=2)).actions) == ["b"]


def test_a_busy_one_goes_last_whatever_it_costs() -> None:
    busy = learned(idle("a", 990.0), 0.00001)
    busy = replace(busy, replicas=(replace(busy.replicas[0], in_flight=1, idle_since=None),))
    assert evicted(
        planned(busy, learned(idle("b", 900.0), 0.5), NEWCOMER, memory=replace(ONE, max_resident=2)).actions
    ) == ["b"]


@pytest.mark.parametrize("change", ["pin", "residency"])
def test_cost_takes_nobody_who_may_not_go(change: str) -> None:
    cheap = learned(idle("a", 800.0), 0.00001)
    policy = PolicySpec()
    if change == "pin":
        cheap = replace(cheap, pinned=True)
    else:
        policy = PolicySpec(residency=300.0)
        cheap = replace(cheap, replicas=(replace(cheap.replicas[0], became_ready_at=900.0),))
    made = planned(cheap, learned(idle("b", 990.0), 0.5), NEWCOMER, memory=replace(ONE, max_resident=2), policy=policy)
    assert evicted(made.actions) == ["b"]


@pytest.mark.parametrize(("keeps", "goal"), [(1, Goal.ASLEEP), (15, Goal.ASLEEP), (25, Goal.STOPPED)])
def test_nobody_is_stopped_where_its_sleep_frees_enough(keeps: int, goal: Goal) -> None:
    """Of 40 GiB 10 are free and 20 wanted. As soon as its load was measured, a stop would look cheaper per byte."""
    holder = replace(idle("a", 900.0, spec=sized(30, asleep=keeps)), return_s=ReturnCosts(load_s=0.5))
    made = planned(holder, model("n", COLD, spec=sized(20), waiting_since=990.0), memory=GPU)
    assert [action.goal for action in made.actions if isinstance(action, Drain)] == [goal]


def test_a_sleeper_is_stopped_for_what_the_deeper_rung_adds_only() -> None:
    # Both hold 10 GiB that are lacking. To stop the sleeper adds 6 - 5 s to its return, to send b to sleep 5 s.
    sleeper = model("a", ASLEEP, spec=sized(20, asleep=10), level=1, last_used_at=800.0)
    sleeper = replace(
        sleeper,
        forecast=Forecast(hazard_per_s=0.02, samples=20.0),
        return_s=ReturnCosts(load_s=6.0, level1_s=5.0),
    )
    awake = learned(idle("b", 990.0, spec=sized(10)), 0.02)
    newcomer = model("n", COLD, spec=sized(30), waiting_since=990.0)
    made = planned(sleeper, awake, newcomer, memory=GPU)
    assert kinds(made) == [(Stop, "a")]


def test_the_reason_gives_the_numbers() -> None:
    made = planned(learned(idle("a", 588.0), 0.0001, back_s=3.1), NEWCOMER, memory=ONE)
    reason = made.actions[0].reason
    assert isinstance(reason, Evict)
    assert str(reason) == (
        "makes a place for 'n': idle 6m 52s, likely wanted again in 116m 40s, back in 3.1 s; max_resident 1"
    )


def test_a_budget_that_is_exceeded_is_relieved_by_cost_too() -> None:
    made = planned(learned(idle("a", 990.0), 0.0001), learned(idle("b", 800.0), 0.1), memory=ONE)
    assert evicted(made.actions) == ["a"]
    reason = made.actions[0].reason
    assert isinstance(reason, OverBudget)
    assert str(reason) == "2 awake, max_resident 1; idle 10 s, likely wanted again in 116m 40s, back in 5.0 s"


def test_one_of_whom_nothing_is_known_is_judged_by_its_age() -> None:
    # 0.5 / 200 s * 5 s against 0.0001 * 5 s, and against 0.1 * 5 s.
    unknown = idle("a", NOW - 200.0)
    rarely, often = learned(idle("b", 990.0), 0.0001), learned(idle("b", 990.0), 0.1)
    two = replace(ONE, max_resident=2)
    assert evicted(planned(unknown, rarely, NEWCOMER, memory=two).actions) == ["b"]
    assert evicted(planned(unknown, often, NEWCOMER, memory=two).actions) == ["a"]
