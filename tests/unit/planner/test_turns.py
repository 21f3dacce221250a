"""Whose turn it is, and when it ends. `now` is 1000, a turn 30 s."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.forecast import ReturnCosts
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Plan, Sleep, Stop, Turn, Wake
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.reason import Evict
from roost.core.spec import ModelSpec, QueueSpec, TimeoutsSpec
from roost.core.view import Goal
from tests.unit.planner.test_plan import GPU, ONE, kinds, model, planned, sized

READY, ASLEEP, COLD, DRAINING = State.READY, State.ASLEEP, State.COLD, State.DRAINING
HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def contended(newcomer: dict[str, Any], holder: dict[str, Any]) -> Plan:
    """`a` wants the only place, which `b` has."""
    return planned(model("a", **newcomer), model("b", READY, **holder), memory=ONE)


@pytest.mark.parametrize(
    ("waiting_since", "holder", "ends_at"),
    [
        (990.0, {"waiting_since": 995.0, "became_ready_at": 950.0}, 1020.0),
        (975.0, {"waiting_since": 980.0, "became_ready_at": 950.0}, 1005.0),
        (960.0, {"in_flight": 2, "became_ready_at": 985.0}, 1015.0),
        (960.0, {"onlookers": 1, "became_ready_at": 985.0}, 1015.0),
        (970.0, {"waiting_since": 100.0, "became_ready_at": 950.0}, None),
        (970.0, {"in_flight": 2, "became_ready_at": 950.0}, None),
        (999.0, {"became_ready_at": 998.0}, None),
    ],
)
def test_a_turn_runs_from_ready_or_from_the_others_wait_while_there_is_work(
    waiting_since: float, holder: dict[str, Any], ends_at: float | None
) -> None:
    made = contended({"waiting_since": waiting_since}, holder)
    if ends_at is None:
        assert kinds(made) == [(Drain, "b")]
        assert made.turns == {}
        return
    assert made.actions == ()
    assert made.turns == {"b/0": Turn(for_model="a", ends_at=ends_at)}
    assert made.next_check_at == ends_at
    assert f"its turn ends in {ends_at - 1000:.0f}" in made.blocked["a"].sentence


def test_nobody_is_held_to_a_turn_where_the_room_comes_free_anyway() -> None:
    working = model("b", READY, in_flight=2, became_ready_at=985.0)
    made = planned(
        model("a", waiting_since=990.0), working, model("c", State.STOPPING), memory=MemorySpec(max_resident=2)
    )
    assert made.actions == () and made.turns == {}
    assert made.next_check_at is None
    assert made.blocked["a"].sentence == 'Model "a" waits until "c" made room.'


def test_turns_of_no_length_end_at_once() -> None:
    made = planned(
        model("a", waiting_since=999.0),
        model("b", READY, in_flight=1, became_ready_at=998.0),
        memory=ONE,
        policy=PolicySpec(turn=0.0),
    )
    assert kinds(made) == [(Drain, "b")]


def test_a_newcomer_that_waits_no_longer_than_a_turn_gets_half_of_its_wait() -> None:
    impatient = ModelSpec(command="engine", queue=QueueSpec(max_wait=20.0))
    made = contended({"waiting_since": 995.0, "spec": impatient}, {"in_flight": 1, "became_ready_at": 900.0})
    assert made.turns["b/0"].ends_at == 1005.0


@pytest.mark.parametrize(
    ("max_wait", "costs", "state", "hold_s", "ends_at"),
    [
        (40.0, ReturnCosts(load_s=20.0), COLD, None, 995.0 + 40.0 - 1.25 * (20.0 + 1.0)),
        (40.0, ReturnCosts(load_s=20.0, down_s=2.0), COLD, 4.0, 995.0 + 40.0 - 1.25 * (20.0 + 2.0 + 4.0)),
        (40.0, ReturnCosts(load_s=20.0, level1_s=3.0), ASLEEP, None, 995.0 + 30.0),
        (40.0, ReturnCosts(level1_s=3.0), COLD, None, 995.0 + 20.0),
        (40.0, ReturnCosts(load_s=90.0), COLD, None, 995.0 + 20.0),
        (600.0, ReturnCosts(load_s=90.0), COLD, None, 995.0 + 30.0),
    ],
)
def test_a_turn_leaves_a_newcomer_the_time_that_its_return_is_known_to_take(
    max_wait: float, costs: ReturnCosts, state: State, hold_s: float | None, ends_at: float
) -> None:
    spec = ModelSpec(command="engine", queue=QueueSpec(max_wait=max_wait))
    comes = replace(model("a", state, waiting_since=995.0, spec=spec, level=1), return_s=costs)
    holder = model("b", READY, in_flight=1, became_ready_at=900.0, hold_s=hold_s)
    assert planned(comes, holder, memory=ONE).turns["b/0"].ends_at == pytest.approx(ends_at)


@pytest.mark.parametrize(
    ("newcomer", "holder", "yields"),
    [
        (HIGH, {"in_flight": 1}, True),
        (NORMAL, {"in_flight": 1, "waiting_since": 999.0, "priority": LOW}, False),  # in flight counts as its model's
        (NORMAL, {"waiting_since": 999.0, "priority": LOW}, True),
        (LOW, {"waiting_since": 999.0}, None),
        (LOW, {"in_flight": 1}, False),
        (HIGH, {"waiting_since": 999.0, "priority": HIGH}, False),
    ],
)
def test_a_higher_class_ends_a_turn_and_a_lower_one_waits(
    newcomer: Priority, holder: dict[str, Any], yields: bool | None
) -> None:
    made = contended({"waiting_since": 990.0, "priority": newcomer}, {"became_ready_at": 985.0, **holder})
    assert (kinds(made) == [(Drain, "b")]) is (yields is True)
    if yields is None:
        assert made.turns["b/0"].ends_at is None
        assert "requests of a higher class wait for it" in made.blocked["a"].sentence


def test_a_low_one_waits_on_however_long_and_is_served_when_nobody_higher_waits() -> None:
    old = {"waiting_since": 100.0, "priority": LOW}
    assert contended(old, {"waiting_since": 999.0, "became_ready_at": 50.0}).actions == ()
    assert kinds(contended(old, {"in_flight": 5, "became_ready_at": 50.0})) == [(Drain, "b")]


def test_class_goes_before_age() -> None:
    made = planned(
        model("a", waiting_since=900.0),
        model("b", waiting_since=950.0, priority=HIGH),
        model("c", waiting_since=800.0, spec=ModelSpec(command="engine", priority=LOW)),
        memory=ONE,
    )
    assert [action.replica for action in made.actions] == ["b/0"]


def test_whose_turn_has_ended_is_behind_those_who_wait_already() -> None:
    """Its own requests are older, but some of it have been served meanwhile."""
    made = planned(
        model("a", ASLEEP, waiting_since=900.0, unserved_since=995.0), model("b", waiting_since=990.0), memory=ONE
    )
    assert [action.replica for action in made.actions] == ["b/0"]
    by_use = planned(model("a", ASLEEP, waiting_since=900.0, last_used_at=995.0), model("b", waiting_since=990.0),
                     memory=ONE)  # fmt: skip
    assert [action.replica for action in by_use.actions] == ["b/0"]


def test_what_a_model_keeps_asleep_is_safe_from_those_who_come_after_it() -> None:
    def judged(since: float) -> Plan:
        keeps = model("b", ASLEEP, spec=sized(10, asleep=8), waiting_since=since)
        blocks = model("c", READY, spec=sized(20), pinned=True)
        return planned(model("a", spec=sized(15), waiting_since=980.0), keeps, blocks, memory=GPU)

    assert (Wake, "b") in kinds(judged(970.0))
    assert (Stop, "b") in kinds(judged(990.0))


@pytest.mark.parametrize(
    ("deadline", "since", "expected"), [("wait", 900.0, []), ("cut", 900.0, [(Sleep, "b")]), ("cut", 950.0, [])]
)
def test_a_drain_that_makes_room_is_cut_only_where_that_is_wanted(
    deadline: Any, since: float, expected: list[Any]
) -> None:
    drains = model("b", DRAINING, since=since, in_flight=2, drain_goal=Goal.ASLEEP,
                   drain_reason=Evict(for_model="a", idle_s=0.0))  # fmt: skip
    made = planned(model("a", waiting_since=890.0), drains, memory=ONE, policy=PolicySpec(on_drain_deadline=deadline))
    assert kinds(made) == expected
    if deadline == "cut" and not expected:
        assert made.next_check_at == since + TimeoutsSpec().drain


def test_a_cut_of_one_that_is_to_stop_is_a_forced_stop() -> None:
    drains = model("b", DRAINING, since=900.0, in_flight=2, drain_goal=Goal.STOPPED,
                   drain_reason=Evict(for_model="a", idle_s=0.0))  # fmt: skip
    policy = PolicySpec(on_drain_deadline="cut")
    made = planned(model("a", waiting_since=890.0), drains, memory=ONE, policy=policy)
    assert made.actions == (Stop(replica="b/0", reason=Evict(for_model="a", idle_s=0.0), forced=True),)
