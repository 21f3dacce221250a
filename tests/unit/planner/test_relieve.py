"""Budgets exceeded by engines that were found running. `now` is 1000."""

from typing import Any

import pytest

from roost.core.plan import Drain, Undrain
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict, OverBudget, Spared
from roost.core.view import Goal, Wish
from tests.unit.planner.test_plan import ASLEEP, COLD, DRAINING, GIB, GPU, ONE, READY, kinds, model, planned, sized

OVER = OverBudget(idle_s=1.0, held=2, budget=1)


def test_over_max_resident_the_least_recently_used_yields_by_sleep() -> None:
    made = planned(model("a", READY, last_used_at=900.0), model("b", READY, last_used_at=800.0), memory=ONE)
    reason = OverBudget(idle_s=200.0, held=2, budget=1)
    assert made.actions == (Drain(replica="b/0", goal=Goal.ASLEEP, reason=reason),)
    assert made.notes == ()
    assert str(reason) == "2 awake, max_resident 1; least recently used (3m 20s ago)"


@pytest.mark.parametrize(
    ("seen", "policy", "goal"),
    [
        ({"owned": False}, PolicySpec(), Goal.ASLEEP),
        ({"owned": False}, PolicySpec(evict_by="unload"), Goal.ASLEEP),
        ({}, PolicySpec(evict_by="unload"), Goal.STOPPED),
        ({"sleep_levels": ()}, PolicySpec(), Goal.STOPPED),
    ],
)
def test_it_sleeps_where_it_can_else_it_is_stopped_where_it_is_ours(
    seen: dict[str, Any], policy: PolicySpec, goal: Goal
) -> None:
    made = planned(model("a", READY, last_used_at=990.0), model("b", READY, **seen), memory=ONE, policy=policy)
    assert [(action.replica, getattr(action, "goal", None)) for action in made.actions] == [("b/0", goal)]


def test_who_is_idle_yields_before_who_has_requests_and_a_busy_one_ends_them_first() -> None:
    busy = model("a", READY, last_used_at=100.0, in_flight=1)
    assert kinds(planned(busy, model("b", READY, last_used_at=990.0), memory=ONE)) == [(Drain, "b")]
    pinned = model("b", READY, pinned=True)
    assert kinds(planned(busy, pinned, memory=ONE)) == [(Drain, "a")]
    draining = model("a", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP, drain_reason=OVER)
    assert planned(draining, pinned, memory=ONE).actions == ()


def test_on_a_device_only_as_many_yield_as_its_budget_asks_for() -> None:
    made = planned(
        model("a", READY, spec=sized(10), last_used_at=100.0),
        model("b", READY, spec=sized(25), last_used_at=200.0),
        model("c", READY, spec=sized(20), last_used_at=300.0),
        model("d", ASLEEP, spec=sized(30, 1), last_used_at=50.0),
        memory=GPU,
    )
    reason = OverBudget(idle_s=800.0, held=56 * GIB, budget=40 * GIB, device="gpu0")
    assert made.actions == (Drain(replica="b/0", goal=Goal.ASLEEP, reason=reason),)
    assert str(reason).startswith("56.0 GiB held on gpu0, its budget is 40.0 GiB; least recently used (13m 20s ago)")


def test_what_makes_way_for_a_newcomer_counts() -> None:
    made = planned(
        model("a", waiting_since=990.0),
        model("b", READY, last_used_at=100.0),
        model("c", READY, last_used_at=200.0),
        memory=ONE,
    )
    assert kinds(made) == [(Drain, "b"), (Drain, "c")]
    assert all(isinstance(action.reason, Evict) for action in made.actions)


def test_a_budget_that_nobody_can_relieve_is_noted() -> None:
    made = planned(
        model("a", READY, pinned=True),
        model("b", READY, became_ready_at=980.0),
        model("c", READY, wish=Wish(goal=Goal.READY, by="cli", asked_at=999.0)),
        memory=ONE,
        policy=PolicySpec(residency=60.0),
    )
    assert made.actions == ()
    assert made.notes == (
        "memory.max_resident is 1, but 3 are awake, and none of them can yield now: "
        '"a" (pinned), "b" (stays for 40 s more), "c" (cli asked for ready). Unpin or unload one, or raise it.',
    )
    assert made.next_check_at == 1040.0
    far = model("far", READY, spec=sized(50), owned=False, sleep_levels=())
    assert planned(far, memory=GPU).notes == (
        "The budget of gpu0 is 40.0 GiB, but 50.0 GiB are held on it, and none of them can yield now: "
        '"far" (runs elsewhere). Unpin or unload one, or raise memory.devices.gpu0.',
    )


def test_who_can_yield_does_though_that_is_not_enough() -> None:
    made = planned(*(model(name, READY, pinned=name != "c") for name in "abc"), memory=ONE)
    assert made.actions == (Drain(replica="c/0", goal=Goal.ASLEEP, reason=OverBudget(idle_s=100.0, held=3, budget=1)),)
    assert len(made.notes) == 1
    assert '"c"' not in made.notes[0]


def test_a_router_that_only_forwards_notes_it() -> None:
    made = planned(model("a", READY), model("b", READY), memory=ONE, auto=False)
    assert made.actions == ()
    assert len(made.notes) == 1


def test_a_drain_for_a_budget_is_taken_back_once_it_is_kept() -> None:
    draining = model("a", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP, drain_reason=OVER)
    made = planned(draining, model("b", COLD), memory=ONE)
    assert made.actions == (Undrain(replica="a/0", reason=Spared()),)
    assert str(made.actions[0].reason) == "the budget is kept without it"
