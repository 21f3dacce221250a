"""Models with several replicas, and preloads: each rule by itself. `now` is 1000, roost began at 950."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Load, Undrain
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict, Idle, Ordered, Preload, Spared
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, ReplicaView, Wish
from tests.unit.planner.test_plan import GIB, GPU, QUIET, kinds, planned, sized
from tests.unit.planner.test_plan import model as single

READY, ASLEEP, COLD, BACKOFF = State.READY, State.ASLEEP, State.COLD, State.BACKOFF
KEPT = replace(QUIET, preload=True)


def model(name: str, *parts: State | dict[str, Any], spec: ModelSpec = QUIET, **of_model: Any) -> ModelView:
    """A model whose replicas are given by state, or by state and facts."""
    replicas = []
    for number, part in enumerate(parts):
        facts = {"state": part} if isinstance(part, State) else part
        usual: dict[str, Any] = {"since": 900.0, "sleep_levels": (1, 2), "last_used_at": 900.0}
        replicas.append(ReplicaView(id=f"{name}/{number}", model=name, **{**usual, **facts}))
    waiting_since = of_model.pop("waiting_since", None)
    of_model |= {"waiting": waiting_since is not None, "oldest_wait_at": waiting_since}
    return ModelView(name=name, spec=spec, replicas=tuple(replicas), **of_model)


def orders(*actions: Action) -> list[tuple[str, str]]:
    return [(type(action).__name__, action.replica) for action in actions]


def wish(goal: Goal = Goal.READY, **changes: Any) -> Wish:
    return Wish(goal=goal, by="cli", asked_at=990.0, **changes)


# coming up


def test_demand_brings_up_every_replica_the_easiest_first() -> None:
    made = planned(model("a", COLD, ASLEEP, COLD, waiting_since=990.0))
    assert orders(*made.actions) == [("Wake", "a/1"), ("Load", "a/0"), ("Load", "a/2")]


def test_other_replicas_follow_while_requests_wait_and_not_once_they_are_served() -> None:
    assert orders(*planned(model("a", READY, ASLEEP, waiting_since=990.0)).actions) == [("Wake", "a/1")]
    assert planned(model("a", READY, ASLEEP, COLD)).actions == ()


def test_only_the_first_replica_makes_others_yield() -> None:
    memory = MemorySpec(max_resident=2)
    first = planned(model("a", COLD, COLD, waiting_since=990.0), model("b", READY, READY), memory=memory)
    assert orders(*first.actions) == [("Drain", "b/0")]
    then = planned(model("a", State.STARTING, COLD, waiting_since=990.0), model("b", ASLEEP, READY), memory=memory)
    assert then.actions == ()
    assert then.blocked == {}


def test_another_models_first_replica_goes_before_further_ones() -> None:
    made = planned(
        model("a", COLD, COLD, waiting_since=990.0),
        model("b", COLD, COLD, waiting_since=995.0),
        policy=PolicySpec(max_starts=3),
    )
    assert orders(*made.actions) == [("Load", "a/0"), ("Load", "b/0"), ("Load", "a/1")]


def test_a_further_replica_does_not_take_room_promised_to_an_older_want() -> None:
    made = planned(
        model("a", READY, COLD, spec=sized(10), waiting_since=995.0),
        model("b", COLD, spec=sized(25), waiting_since=990.0),
        model("c", State.STOPPING, spec=sized(10)),
        memory=GPU,
    )
    assert made.actions == ()


def test_each_replica_takes_a_place_of_its_own() -> None:
    made = planned(model("a", COLD, COLD, COLD, waiting_since=990.0), memory=MemorySpec(max_resident=2))
    assert orders(*made.actions) == [("Load", "a/0"), ("Load", "a/1")]


def test_a_failed_replica_hinders_no_other() -> None:
    made = planned(model("a", {"state": State.FAILED, "failures": 5}, COLD, waiting_since=990.0))
    assert (orders(*made.actions), made.blocked) == ([("Load", "a/1")], {})


def test_of_crashed_replicas_the_one_that_may_be_tried_soonest_speaks() -> None:
    late, soon = ({"state": BACKOFF, "retry_at": moment, "failures": 1} for moment in (1060.0, 1004.0))
    made = planned(model("a", late, soon, waiting_since=990.0))
    assert "in 4.0 s" in made.blocked["a"].sentence
    assert made.next_check_at == 1004.0


def test_one_that_runs_elsewhere_and_is_down_is_awaited_only_if_roost_can_start_no_other() -> None:
    far = {"state": COLD, "owned": False}
    assert orders(*planned(model("a", far, COLD, waiting_since=990.0)).actions) == [("Load", "a/1")]
    alone = planned(model("a", far, {"state": State.STUCK, "owned": False}, waiting_since=990.0))
    assert "roost does not start it" in alone.blocked["a"].sentence


def test_a_sleeping_sibling_is_stopped_where_its_bytes_are_what_is_lacking() -> None:
    """Two that sleep may keep so much that neither could ever wake."""
    both = (ASLEEP, {"state": ASLEEP, "last_used_at": 800.0})
    made = planned(model("a", *both, spec=sized(36, 6), waiting_since=990.0), memory=GPU)
    assert orders(*made.actions) == [("Stop", "a/1")]
    pinned = planned(model("a", *both, spec=sized(36, 6), waiting_since=990.0, pinned=True), memory=GPU)
    assert pinned.actions == ()
    assert pinned.blocked["a"].final
    assert "(pinned)" in pinned.blocked["a"].sentence


def test_a_stuck_sibling_whose_memory_is_needed_is_named() -> None:
    made = planned(model("a", State.STUCK, COLD, spec=sized(30), waiting_since=990.0), memory=GPU)
    assert made.blocked["a"].final
    assert '"a" (survived SIGKILL)' in made.blocked["a"].sentence


def test_replicas_yield_and_idle_one_by_one() -> None:
    used = ({"state": READY, "last_used_at": moment} for moment in (900.0, 700.0))
    made = planned(single("b", waiting_since=990.0), model("a", *used), memory=MemorySpec(max_resident=2))
    assert orders(*made.actions) == [("Drain", "a/1")]
    idle = ({"state": READY, "idle_since": moment} for moment in (980.0, 930.0))
    made = planned(model("a", *idle, spec=ModelSpec(command="x", sleep_after=60.0)))
    assert orders(*made.actions) == [("Drain", "a/1")]
    assert made.next_check_at == 1040.0


# orders


def test_an_order_to_be_ready_brings_up_all_that_fit_and_is_settled_when_nothing_is_left() -> None:
    made = planned(model("a", READY, ASLEEP, COLD, wish=wish()))
    assert orders(*made.actions) == [("Wake", "a/1"), ("Load", "a/2")]
    assert made.settled == ()
    assert planned(model("a", READY, State.STARTING, wish=wish())).settled == ()
    assert planned(model("a", READY, READY, wish=wish())).settled == ("a",)
    full = planned(model("a", READY, COLD, wish=wish()), memory=MemorySpec(max_resident=1))
    assert (full.actions, full.settled, full.denied) == ((), ("a",), {})


def test_an_order_waits_for_its_turn_to_start_the_others() -> None:
    made = planned(model("a", READY, COLD, wish=wish()), single("b", State.STARTING), policy=PolicySpec(max_starts=1))
    assert (made.actions, made.settled) == ((), ())


def test_an_order_tries_what_crashed_once_and_then_keeps_to_its_back_off() -> None:
    crashed = {"state": BACKOFF, "retry_at": 1060.0, "failures": 1}
    before = planned(model("a", READY, {**crashed, "last_load_at": 980.0}, wish=wish()))
    assert before.actions == (Load(replica="a/1", reason=Ordered(goal=Goal.READY, by="cli")),)
    since = planned(model("a", READY, {**crashed, "last_load_at": 991.0}, wish=wish()))
    assert (since.actions, since.settled) == ((), ("a",))


def test_a_restart_takes_each_replica_down_once_and_starts_each_as_it_is_down() -> None:
    begun = planned(model("a", READY, READY, wish=wish(Goal.RESTARTED)))
    assert [(type(a), a.replica) for a in begun.actions] == [(Drain, "a/0"), (Drain, "a/1")]
    draining = {"state": State.DRAINING, "drain_goal": Goal.RESTARTED, "in_flight": 1}
    reason = Ordered(goal=Goal.RESTARTED, by="cli")
    going = wish(Goal.RESTARTED, force_at=1040.0, gone_down=frozenset({"a/0"}))
    half = planned(model("a", COLD, {**draining, "drain_reason": reason}, wish=going))
    assert half.actions == (Load(replica="a/0", reason=reason),)
    assert half.next_check_at == 1040.0
    up = planned(model("a", READY, {**draining, "drain_reason": reason}, wish=going))
    assert (up.actions, up.settled) == ((), ())
    all_down = replace(going, gone_down=frozenset({"a/0", "a/1"}))
    assert orders(*planned(model("a", READY, COLD, wish=all_down)).actions) == [("Load", "a/1")]
    assert planned(model("a", READY, READY, wish=all_down)).settled == ("a",)


def test_a_sleep_order_passes_over_what_does_not_run() -> None:
    made = planned(model("a", READY, COLD, BACKOFF, wish=wish(Goal.ASLEEP)))
    assert (kinds(made), made.denied) == ([(Drain, "a")], {})
    nothing = planned(model("a", COLD, BACKOFF, wish=wish(Goal.ASLEEP)))
    assert nothing.denied["a"].code == "not_awake"


def test_a_sleep_order_that_one_replica_cannot_obey_moves_none() -> None:
    made = planned(model("a", READY, {"state": ASLEEP, "level": 1}, wish=wish(Goal.ASLEEP, level=2)))
    assert (made.actions, made.denied["a"].code) == ((), "cannot_sleep")


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.RESTARTED])
def test_of_a_mixed_model_only_what_roost_started_goes_down(goal: Goal) -> None:
    made = planned(model("a", READY, {"state": READY, "owned": False}, wish=wish(goal)))
    assert (orders(*made.actions), made.denied) == ([("Drain", "a/0")], {})


# preload and idleness


def test_preload_starts_every_replica_that_was_never_started() -> None:
    moved = {"state": COLD, "since": 960.0}
    made = planned(model("a", COLD, READY, moved, COLD, spec=KEPT))
    assert made.actions == tuple(Load(replica=f"a/{number}", reason=Preload()) for number in (0, 3))


def test_preloads_begin_one_after_another_in_config_order() -> None:
    policy = PolicySpec(launch_delay=30.0)
    first = planned(model("a", COLD, COLD, spec=KEPT), model("b", COLD, spec=KEPT), policy=policy)
    assert (orders(*first.actions), first.next_check_at) == ([("Load", "a/0")], 1030.0)
    started = {"state": State.STARTING, "last_load_at": 975.0}
    then = planned(model("a", started, COLD, spec=KEPT), model("b", COLD, spec=KEPT), policy=policy)
    assert (then.actions, then.next_check_at) == ((), 1005.0)
    due = planned(model("a", {**started, "last_load_at": 970.0}, COLD, spec=KEPT), policy=policy)
    assert (orders(*due.actions), due.next_check_at) == ([("Load", "a/1")], None)


def test_a_start_for_requests_in_the_same_round_delays_preloads_too() -> None:
    asked = model("b", COLD, spec=KEPT, waiting_since=999.0)
    made = planned(model("a", COLD, spec=KEPT), asked, policy=PolicySpec(launch_delay=30.0))
    assert (orders(*made.actions), made.next_check_at) == ([("Load", "b/0")], 1030.0)


@pytest.mark.parametrize("seen", [{"state": READY}, {"state": READY, "became_ready_at": 999.0}, {"state": ASLEEP}])
def test_an_engine_found_running_delays_nobody(seen: dict[str, Any]) -> None:
    made = planned(model("a", seen, COLD, spec=KEPT), policy=PolicySpec(launch_delay=30.0))
    assert orders(*made.actions) == [("Load", "a/1")]


def test_demand_and_orders_do_not_wait_for_the_delay_and_a_crashed_one_has_its_back_off() -> None:
    policy = PolicySpec(launch_delay=30.0)
    begun = model("a", {"state": State.STARTING, "last_load_at": 999.0}, spec=KEPT)
    asked = model("b", COLD, spec=KEPT, waiting_since=999.0)
    ordered = model("c", COLD, spec=KEPT, wish=wish())
    crashed = model("d", {"state": BACKOFF, "retry_at": 1000.0}, spec=KEPT)
    made = planned(begun, asked, ordered, crashed, policy=policy)
    assert orders(*made.actions) == [("Load", "c/0"), ("Load", "b/0"), ("Load", "d/0")]


def test_without_auto_sleep_nothing_goes_down_for_idleness_and_the_rest_stays() -> None:
    spec = ModelSpec(command="x", sleep_after=10.0, unload_after=20.0, preload=True)
    policy = PolicySpec(auto_sleep=False)
    idle = planned(
        model("a", {"state": READY, "idle_since": 900.0}, ASLEEP, COLD, spec=spec), single("b"), policy=policy
    )
    assert (orders(*idle.actions), idle.next_check_at) == ([("Load", "a/2")], None)
    evicts = planned(
        single("a", waiting_since=990.0), single("b", READY), memory=MemorySpec(max_resident=1), policy=policy
    )
    assert kinds(evicts) == [(Drain, "b")]
    assert not any(isinstance(action.reason, Idle) for action in (*idle.actions, *evicts.actions))


# room nobody needs any more


def test_a_drain_for_a_newcomer_that_left_is_taken_back() -> None:
    drains = single("a", State.DRAINING, drain_goal=Goal.ASLEEP, drain_reason=Evict(for_model="b", idle_s=3.0))
    made = planned(drains, single("b"))
    assert made.actions == (Undrain(replica="a/0", reason=Spared(for_model="b")),)


@pytest.mark.parametrize("other", ["b", "c"])
def test_it_goes_on_while_anybody_may_count_on_its_room(other: str) -> None:
    drains = single(
        "a", State.DRAINING, in_flight=1, drain_goal=Goal.ASLEEP, drain_reason=Evict(for_model="b", idle_s=3.0)
    )
    memory = MemorySpec(max_resident=1)
    assert planned(drains, single(other, waiting_since=990.0), memory=memory).actions == ()
    assert planned(drains, single(other, wish=wish()), memory=memory).actions == ()


def evicted(*, name: str = "a", **facts: Any) -> ModelView:
    """It has begun to make room on gpu0."""
    reason = Evict(for_model="b", idle_s=3.0)
    return single(name, State.DRAINING, drain_goal=Goal.ASLEEP, drain_reason=reason, **{"in_flight": 1, **facts})


@pytest.mark.parametrize(
    "other",
    [
        single("b", State.STARTING, spec=sized(20), waiting_since=990.0, devices=("gpu1",)),
        single("b", State.WAKING, spec=sized(20), waiting_since=990.0, devices=("gpu1",)),
        single("b", COLD, spec=sized(20, devices=("gpu1",)), waiting_since=990.0),
        single("b", READY, spec=sized(20), wish=wish(Goal.ASLEEP), devices=("gpu1",), in_flight=1),
    ],
    ids=["starts elsewhere", "wakes elsewhere", "may not come here", "is to go down"],
)
def test_nobody_counts_on_room_that_he_will_not_use(other: ModelView) -> None:
    memory = MemorySpec(devices=dict.fromkeys(("gpu0", "gpu1"), 30 * GIB))
    made = planned(evicted(spec=sized(20), devices=("gpu0",)), other, memory=memory)
    assert Undrain(replica="a/0", reason=Spared(for_model="b")) in made.actions


def test_whoever_may_come_there_counts_on_it() -> None:
    memory = MemorySpec(devices=dict.fromkeys(("gpu0", "gpu1"), 30 * GIB))
    drains = evicted(spec=sized(20), devices=("gpu0",))
    fills = single("c", READY, spec=sized(20), devices=("gpu1",), pinned=True)
    assert planned(drains, fills, single("b", spec=sized(20), waiting_since=990.0), memory=memory).actions == ()


def test_requests_that_are_stranded_count_on_it() -> None:
    memory = MemorySpec(max_resident=1)
    stranded = single("b", ASLEEP, in_flight=2, stranded=2, since=997.0)
    assert planned(evicted(), stranded, memory=memory).actions == ()


def test_sizes_of_replicas_add_up() -> None:
    made = planned(model("a", COLD, COLD, COLD, spec=sized(15), waiting_since=990.0), memory=GPU)
    assert orders(*made.actions) == [("Load", "a/0"), ("Load", "a/1")]  # of 40 GiB


# one model inside several servers


def inside(host: str, state: State = COLD, **facts: Any) -> dict[str, Any]:
    return {"state": state, "host": host, "sleep_levels": (), **facts}


def test_inside_servers_one_copy_comes_and_a_second_only_if_the_first_is_up_and_not_enough() -> None:
    first = planned(model("a", inside("one"), inside("two"), waiting_since=990.0))
    assert orders(*first.actions) == [("Load", "a/0")]
    assert planned(model("a", inside("one", State.STARTING), inside("two"), waiting_since=990.0)).actions == ()
    busy = planned(model("a", inside("one", READY, in_flight=3), inside("two"), waiting_since=990.0))
    assert orders(*busy.actions) == [("Load", "a/1")]


def test_an_order_brings_up_every_copy() -> None:
    made = planned(model("a", inside("one"), inside("two"), wish=wish()))
    assert orders(*made.actions) == [("Load", "a/0"), ("Load", "a/1")]


def test_the_server_that_holds_fewer_gets_it() -> None:
    there = model("b", inside("one", READY), waiting_since=None)
    made = planned(model("a", inside("one"), inside("two"), waiting_since=990.0), there)
    assert orders(*made.actions) == [("Load", "a/1")]
    both = [model(name, inside("one"), inside("two"), waiting_since=990.0) for name in "ab"]
    assert orders(*planned(*both).actions) == [("Load", "a/0"), ("Load", "b/1")]


def test_a_server_that_refused_it_comes_after_one_that_was_not_asked() -> None:
    refused = inside("one", BACKOFF, absent="It refuses.", retry_at=990.0)
    made = planned(model("a", refused, inside("two"), waiting_since=990.0))
    assert orders(*made.actions) == [("Load", "a/1")]
