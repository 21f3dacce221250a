"""How far down an engine goes, by host memory. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import FootprintsSpec, HeldSpec, MemorySpec
from roost.core.plan import Drain, Plan, Sleep, Stop, Wake
from roost.core.reason import Evict, Idle, Ordered, Outslept, OverBudget
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, Wish
from tests.unit.planner.test_plan import ASLEEP, DRAINING, GIB, QUIET, READY, model, planned

HOST = MemorySpec(host=40 * GIB, host_reserve=8 * GIB)
IDLE = Idle(idle_s=70.0, after_s=60.0)


def keeps(one: int, two: int = 0, awake: int = 0, **changes: Any) -> ModelSpec:
    """GiB of host memory asleep at level 1 and 2, and awake."""
    footprints = FootprintsSpec(
        awake=HeldSpec(host=awake * GIB), level1=HeldSpec(host=one * GIB), level2=HeldSpec(host=two * GIB)
    )
    return replace(QUIET, footprints=footprints, **changes)


def idle(name: str, spec: ModelSpec, **seen: Any) -> ModelView:
    """Drained for idleness, with nobody left."""
    facts = {"drain_goal": Goal.ASLEEP, "drain_idle": True, "drain_reason": IDLE, **seen}
    return model(name, DRAINING, spec=spec, **facts)


def only(made: Plan) -> Any:
    (action,) = made.actions
    return action


def test_level_1_where_its_weights_fit() -> None:
    assert only(planned(idle("a", keeps(32)), memory=HOST)) == Sleep(replica="a/0", level=1, reason=IDLE)
    assert only(planned(idle("a", keeps(99)))).level == 1  # no budget, no bound


def test_else_level_2_else_a_stop_and_the_reason_says_why() -> None:
    deep = only(planned(idle("a", keeps(33, 2)), memory=HOST))
    assert (type(deep), deep.level) == (Sleep, 2)
    why = "idle for 70 s (sleep_after 60 s); level 1 needs 33.0 GiB of host memory, and 32.0 GiB are free"
    assert str(deep.reason) == why
    stopped = only(planned(idle("a", keeps(33), sleep_levels=(1,)), memory=HOST))
    assert isinstance(stopped, Stop)
    assert str(stopped.reason) == f"{why}; it is stopped"


def test_a_level_that_is_configured_is_not_left_for_a_lighter_one() -> None:
    assert only(planned(idle("a", keeps(1, 2, sleep_level=2)), memory=HOST)).level == 2


def test_what_runs_elsewhere_keeps_its_level_as_nobody_may_stop_it() -> None:
    assert only(planned(idle("a", keeps(33), owned=False), memory=HOST)).level == 1


def test_two_that_go_to_sleep_at_once_do_not_count_on_the_same_memory() -> None:
    made = planned(idle("a", keeps(20)), idle("b", keeps(20)), memory=HOST)
    assert [action.level for action in made.actions if isinstance(action, Sleep)] == [1, 2]


def test_one_on_its_way_counts_as_at_the_level_it_goes_to() -> None:
    def level(going: int) -> int:
        way = model("b", State.SUSPENDING, spec=keeps(20, 1), level=going)
        return only(planned(idle("a", keeps(20)), way, memory=HOST)).level  # type: ignore[no-any-return]

    assert (level(1), level(2)) == (2, 1)


def test_a_wake_gives_its_bed_back_only_once_it_is_awake() -> None:
    waking = model("b", State.WAKING, spec=keeps(20), level=1)
    assert only(planned(idle("a", keeps(20)), waking, memory=HOST)).level == 2
    up = model("b", READY, spec=keeps(20))
    assert only(planned(idle("a", keeps(20)), up, memory=HOST)).level == 1


def test_a_sleeper_used_longer_ago_gives_up_its_bed_and_is_waited_for() -> None:
    better, worse = idle("a", keeps(20), last_used_at=950.0), model("b", ASLEEP, spec=keeps(20), level=1)
    stop = only(planned(better, worse, memory=HOST))
    reason = Outslept(for_model="a", level=1, idle_s=100.0, need_bytes=20 * GIB)
    assert stop == Stop(replica="b/0", reason=reason)
    assert str(reason) == (
        "makes 20.0 GiB of host memory for 'a' to sleep at level 1, least recently used of those asleep (100 s ago)"
    )
    stopping = model("b", State.STOPPING, spec=keeps(20))
    assert planned(better, stopping, memory=HOST).actions == ()


@pytest.mark.parametrize(
    "seen",
    [
        {"last_used_at": 960.0},
        {"pinned": True},
        {"in_flight": 1},
        {"waiting_since": 999.0},
        {"owned": False},
        {"wish": Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0)},
    ],
)
def test_a_better_sleeper_keeps_its_bed(seen: dict[str, Any]) -> None:
    other = model("b", ASLEEP, spec=keeps(20), level=1, **seen)
    made = planned(idle("a", keeps(20), last_used_at=950.0), other, memory=HOST)
    assert [action.level for action in made.actions if isinstance(action, Sleep)] == [2]
    assert not any(isinstance(action, Stop) for action in made.actions)


def test_nobody_waits_for_a_bed_while_another_waits_for_the_device() -> None:
    evicted = idle("a", keeps(20), drain_idle=False, drain_reason=Evict(for_model="c", idle_s=1.0))
    worse = model("b", ASLEEP, spec=keeps(20), level=1, last_used_at=100.0)
    memory = replace(HOST, max_resident=1)
    made = planned(evicted, worse, model("c", waiting_since=990.0), memory=memory)
    assert only(made).level == 2


def test_an_order_for_a_level_is_obeyed_or_refused_with_the_numbers() -> None:
    def ordered(spec: ModelSpec, level: int | None, **seen: Any) -> Plan:
        wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0, level=level)
        return planned(model("a", READY, spec=spec, wish=wish, **seen), memory=HOST)

    assert isinstance(only(ordered(keeps(32), 1)), Drain)
    assert isinstance(only(ordered(keeps(33), None)), Drain)
    assert isinstance(only(ordered(keeps(33), 2)), Drain)
    denied = ordered(keeps(33), 1).denied["a"]
    assert (denied.code, denied.final) == ("no_host_memory", True)
    assert denied.sentence == (
        'Model "a" cannot be put to sleep: level 1 needs 33.0 GiB of host memory, and 32.0 GiB are free of a budget of '
        "32.0 GiB. Sleep it at level 2, unload it or another sleeper, or raise memory.host."
    )


def test_an_order_to_sleep_is_none_to_stop() -> None:
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0)
    reason = Ordered(goal=Goal.ASLEEP, by="cli")
    drained = idle("a", keeps(33), sleep_levels=(1,), wish=wish, drain_idle=False, drain_reason=reason)
    made = planned(drained, memory=HOST)
    assert [type(action).__name__ for action in made.actions] == ["Undrain"]
    assert "Unload it or another sleeper" in made.denied["a"].sentence


def test_a_budget_of_the_host_makes_sleepers_yield() -> None:
    beds = [model(name, ASLEEP, spec=keeps(20), level=1, last_used_at=used) for name, used in (("a", 9.0), ("b", 1.0))]
    stop = only(planned(*beds, memory=HOST))
    assert (stop.replica, type(stop.reason)) == ("b/0", OverBudget)
    on_cpu = model("c", spec=keeps(0, awake=20), waiting_since=990.0)
    made = planned(beds[0], on_cpu, memory=HOST)
    assert [(type(action), action.replica) for action in made.actions] == [(Stop, "a/0")]
    assert isinstance(only(planned(replace(beds[0], waiting=1, oldest_wait_at=990.0), memory=HOST)), Wake)
