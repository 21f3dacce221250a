"""Each rule of the planner by itself, on a view made by hand. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Load, Plan, Sleep, Stop, Undrain, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict, Idle, Ordered, Preload, Stalled, Wanted
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, Goal, ModelView, Policy, ReplicaView, Wish
from roost.planner.plan import plan

GIB = 2**30
NOW = 1000.0
READY, ASLEEP, COLD, DRAINING = State.READY, State.ASLEEP, State.COLD, State.DRAINING
QUIET = ModelSpec(command="engine", sleep_after=None)


def model(
    name: str, state: State = COLD, *, spec: ModelSpec = QUIET, waiting_since: float | None = None, **seen: Any
) -> ModelView:
    """One model with one replica; `seen` goes to the replica, except what is the model's."""
    known = (
        "pinned",
        "wish",
        "onlookers",
        "oldest_onlooker_at",
        "priority",
        "unserved_since",
        "hold_s",
        "called",
        "rests",
    )
    of_model = {key: seen.pop(key) for key in known if key in seen}
    facts: dict[str, Any] = {"since": 900.0, "sleep_levels": (1, 2), "last_used_at": 900.0, **seen}
    replica = ReplicaView(id=f"{name}/0", model=name, state=state, **facts)
    return ModelView(
        name=name,
        spec=spec,
        replicas=(replica,),
        waiting=waiting_since is not None,
        oldest_wait_at=waiting_since,
        **of_model,
    )


def planned(
    *models: ModelView,
    memory: MemorySpec | None = None,
    policy: PolicySpec | None = None,
    auto: bool = True,
    **seen: Any,
) -> Plan:
    view = FleetView(now=NOW, models=models, memory=memory or MemorySpec(), started_at=950.0, **seen)
    return plan(view, Policy(spec=policy or PolicySpec(), auto=auto))


def kinds(made: Plan) -> list[tuple[type[Action], str]]:
    return [(type(action), action.replica[0]) for action in made.actions]


ONE = MemorySpec(max_resident=1)
GPU = MemorySpec(devices={"gpu0": 40 * GIB})


def sized(gib: int, asleep: int = 0, **changes: Any) -> ModelSpec:
    return replace(QUIET, footprint=gib * GIB, footprint_asleep=asleep * GIB, **changes)


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (State.COLD, {}, Load),
        (State.ASLEEP, {}, Wake),
        (State.BACKOFF, {"retry_at": 999.0}, Load),
        (State.FAILED, {"retry_at": 999.0}, Load),
        (State.DRAINING, {"drain_goal": Goal.ASLEEP, "drain_idle": True, "in_flight": 1}, Undrain),
    ],
)
def test_demand_brings_a_model_up(state: State, seen: dict[str, Any], expected: type[Action]) -> None:
    made = planned(model("a", state, waiting_since=990.0, **seen))
    assert kinds(made) == [(expected, "a")]
    assert made.blocked == {}


@pytest.mark.parametrize(
    "state", [State.STARTING, State.WAKING, State.SUSPENDING, State.STOPPING, State.READY, State.DRAINING]
)
def test_demand_waits_for_what_is_under_way(state: State) -> None:
    made = planned(model("a", state, waiting_since=990.0, in_flight=1, drain_goal=Goal.ASLEEP))
    assert made.actions == ()


def test_undrain_says_how_many_came() -> None:
    made = planned(model("a", DRAINING, waiting_since=990.0, in_flight=1, drain_idle=True, drain_goal=Goal.ASLEEP))
    assert made.actions == (Undrain(replica="a/0", reason=Wanted(waiting=1)),)


def test_backoff_waits_for_its_time_and_says_when() -> None:
    made = planned(model("a", State.BACKOFF, waiting_since=990.0, retry_at=1004.0, failures=2, last_error="exit 1"))
    assert made.actions == ()
    assert made.blocked["a"].sentence == 'Model "a" failed to run 2 times: exit 1. The next try is in 4.0 s.'
    assert not made.blocked["a"].final
    assert made.next_check_at == 1004.0


@pytest.mark.parametrize("retry_at", [None, 1004.0])
def test_failed_refuses_with_the_last_error(retry_at: float | None) -> None:
    made = planned(
        model("a", State.FAILED, waiting_since=990.0, retry_at=retry_at, failures=5, last_error="no weights")
    )
    blocked = made.blocked["a"]
    assert (blocked.final, blocked.code, blocked.not_before) == (True, "model_failed", None)
    assert "no weights" in blocked.sentence
    assert "roost load a" in blocked.sentence


def test_an_operator_may_load_what_failed() -> None:
    wish = Wish(goal=Goal.READY, by="cli", asked_at=999.0)
    made = planned(model("a", State.FAILED, wish=wish))
    assert made.actions == (Load(replica="a/0", reason=Ordered(goal=Goal.READY, by="cli")),)


def test_stuck_refuses() -> None:
    made = planned(model("a", State.STUCK, waiting_since=990.0))
    assert made.blocked["a"].code == "model_stuck"
    assert made.blocked["a"].final


def test_nothing_is_ordered_for_what_is_pending() -> None:
    assert planned(model("a", waiting_since=990.0), pending={"a/0": "load"}).actions == ()


def test_a_pending_load_already_takes_its_place() -> None:
    made = planned(model("a"), model("b", waiting_since=990.0), memory=ONE, pending={"a/0": "load"})
    assert made.actions == ()


def test_the_least_recently_used_yields_with_its_numbers() -> None:
    made = planned(
        model("a", waiting_since=990.0),
        model("b", READY, last_used_at=588.0),
        model("c", READY, last_used_at=700.0),
        memory=MemorySpec(max_resident=2),
    )
    reason = Evict(for_model="a", idle_s=412.0, max_resident=2)
    assert made.actions == (Drain(replica="b/0", goal=Goal.ASLEEP, reason=reason),)
    assert made.blocked["a"].sentence == 'Model "a" waits until "b" made room.'


def test_an_idle_model_yields_before_a_busy_one_used_longer_ago() -> None:
    made = planned(
        model("a", waiting_since=990.0),
        model("b", READY, last_used_at=100.0, in_flight=1),
        model("c", READY, last_used_at=980.0),
        memory=MemorySpec(max_resident=2),
    )
    assert kinds(made) == [(Drain, "c")]


def test_a_busy_model_is_drained_where_it_is_the_only_way() -> None:
    """Once its turn is over."""
    made = planned(model("a", waiting_since=960.0), model("b", READY, in_flight=3), memory=ONE)
    assert kinds(made) == [(Drain, "b")]


@pytest.mark.parametrize(
    "seen",
    [
        {"state": State.SUSPENDING},
        {"state": State.STOPPING},
        {"state": State.DRAINING, "drain_goal": Goal.STOPPED, "in_flight": 1, "since": NOW - 5.0},
    ],
)
def test_who_goes_down_already_is_waited_for(seen: dict[str, Any]) -> None:
    state = seen.pop("state")
    assert isinstance(state, State)
    made = planned(
        model("a", waiting_since=990.0),
        model("b", state, **seen),
        model("c", READY),
        memory=MemorySpec(max_resident=2),
    )
    assert kinds(made) == []
    assert made.blocked["a"].sentence == 'Model "a" waits until "b" made room.'


def test_two_wants_do_not_count_on_the_same_room() -> None:
    made = planned(
        model("a", waiting_since=990.0),
        model("b", waiting_since=991.0),
        model("c", State.STOPPING),
        model("d", READY),
        memory=MemorySpec(max_resident=2),
    )
    assert kinds(made) == [(Drain, "d")]
    assert isinstance(made.actions[0].reason, Evict)
    assert made.actions[0].reason.for_model == "b"


def test_a_younger_want_does_not_slip_into_promised_room() -> None:
    made = planned(
        model("a", spec=sized(30), waiting_since=990.0),
        model("b", spec=sized(10), waiting_since=995.0),
        model("c", State.STOPPING, spec=sized(25)),
        memory=GPU,
    )
    assert made.actions == ()
    assert set(made.blocked) == {"a", "b"}


def test_one_with_an_order_standing_does_not_yield() -> None:
    wish = Wish(goal=Goal.READY, by="cli", asked_at=999.0)
    made = planned(model("a", waiting_since=990.0), model("b", READY, wish=wish), memory=ONE)
    assert made.actions == ()
    assert made.blocked["a"].sentence == 'Model "a" waits for a place, held by "b" (ready).'


def test_residency_holds_and_sets_the_next_look() -> None:
    made = planned(
        model("a", waiting_since=990.0), model("b", READY, became_ready_at=980.0), memory=ONE,
        policy=PolicySpec(residency=60.0),
    )  # fmt: skip
    assert made.actions == ()
    assert made.next_check_at == 1040.0
    assert "stays for 40 s more" in made.blocked["a"].sentence


def test_a_pinned_model_never_yields_and_the_refusal_names_it() -> None:
    made = planned(model("a", waiting_since=990.0), model("b", READY, pinned=True), memory=ONE)
    assert made.actions == ()
    assert made.blocked["a"].final
    expected = 'Model "a" needs a place, but it is held by "b" (pinned). Unpin or unload one, or raise the budget.'
    assert made.blocked["a"].sentence == expected


def test_what_can_never_fit_is_told_with_numbers() -> None:
    made = planned(model("a", spec=sized(61), waiting_since=990.0), memory=replace(GPU, reserve=4 * GIB))
    assert made.blocked["a"].final
    assert made.blocked["a"].sentence == (
        'Model "a" needs 61.0 GiB on gpu0; its budget is 40.0 GiB less a reserve of 4.0 GiB. '
        "Lower its footprint or raise memory.devices.gpu0."
    )


def test_sleep_where_it_frees_enough_else_stop() -> None:
    def by(asleep: int) -> Action:
        made = planned(
            model("a", spec=sized(30), waiting_since=990.0), model("b", READY, spec=sized(38, asleep)), memory=GPU
        )
        return made.actions[0]

    gentle, harsh = by(5), by(15)
    assert isinstance(gentle, Drain)
    assert isinstance(harsh, Drain)
    assert (gentle.goal, harsh.goal) == (Goal.ASLEEP, Goal.STOPPED)
    assert isinstance(gentle.reason, Evict)
    assert gentle.reason.need_bytes == 30 * GIB


def test_evict_by_unload_stops() -> None:
    made = planned(model("a", waiting_since=990.0), model("b", READY), memory=ONE, policy=PolicySpec(evict_by="unload"))
    assert isinstance(made.actions[0], Drain)
    assert made.actions[0].goal is Goal.STOPPED


def test_a_sleeper_is_stopped_for_the_bytes_it_keeps() -> None:
    made = planned(model("a", spec=sized(39), waiting_since=990.0), model("b", ASLEEP, spec=sized(30, 2)), memory=GPU)
    assert kinds(made) == [(Stop, "b")]


def test_only_who_frees_something_on_the_right_device_yields() -> None:
    memory = MemorySpec(devices={"gpu0": 40 * GIB, "gpu1": 40 * GIB})
    made = planned(
        model("a", spec=sized(30, devices=("gpu1",)), waiting_since=990.0),
        model("b", READY, spec=sized(30, devices=("gpu0",)), last_used_at=1.0),
        model("c", READY, spec=sized(30, devices=("gpu1",)), last_used_at=900.0),
        memory=memory,
    )
    assert kinds(made) == [(Drain, "c")]


def test_only_as_many_victims_as_needed() -> None:
    made = planned(
        model("a", spec=sized(20), waiting_since=990.0),
        model("b", READY, spec=sized(5), last_used_at=1.0),
        model("c", READY, spec=sized(30), last_used_at=2.0),
        memory=GPU,
    )
    assert kinds(made) == [(Drain, "c")]  # b alone would not do, and with c it is not needed


def test_stuck_memory_stays_counted_and_refuses_who_needs_it() -> None:
    made = planned(model("a", spec=sized(30), waiting_since=990.0), model("b", State.STUCK, spec=sized(30)), memory=GPU)
    assert made.blocked["a"].final
    assert '"b" (survived SIGKILL)' in made.blocked["a"].sentence


def test_max_starts_bounds_and_says_so() -> None:
    made = planned(
        model("a", waiting_since=990.0), model("b", waiting_since=991.0), model("c", State.WAKING),
        policy=PolicySpec(max_starts=2),
    )  # fmt: skip
    assert kinds(made) == [(Load, "a")]
    assert made.blocked["b"].sentence == 'Model "b" waits for its turn: 2 engines are starting (max_starts 2).'


def test_the_ladder_down_with_its_reasons() -> None:
    spec = ModelSpec(command="x", sleep_after=60.0, unload_after=300.0)
    made = planned(model("a", READY, spec=spec, idle_since=930.0))
    assert made.actions == (Drain(replica="a/0", goal=Goal.ASLEEP, reason=Idle(idle_s=70.0, after_s=60.0)),)
    made = planned(model("a", READY, spec=spec, idle_since=950.0))
    assert (made.actions, made.next_check_at) == ((), 1010.0)
    made = planned(model("a", ASLEEP, spec=spec, last_used_at=700.0))
    assert made.actions == (Stop(replica="a/0", reason=Idle(idle_s=300.0, after_s=300.0, setting="unload_after")),)
    made = planned(model("a", ASLEEP, spec=spec, last_used_at=720.0))
    assert (made.actions, made.next_check_at) == ((), 1020.0)


def test_a_busy_model_is_looked_at_when_it_could_be_idle_at_the_earliest() -> None:
    made = planned(model("a", READY, spec=ModelSpec(command="x", sleep_after=60.0), in_flight=1))
    assert made.next_check_at == 1060.0


def test_min_sleep_duration_counts_from_the_start_of_the_last_sleep() -> None:
    spec = ModelSpec(command="x", sleep_after=60.0, min_sleep_duration=200.0)
    made = planned(model("a", READY, spec=spec, idle_since=900.0, last_sleep_at=850.0))
    assert (made.actions, made.next_check_at) == ((), 1050.0)


@pytest.mark.parametrize("seen", [{"pinned": True}, {"sleep_levels": ()}, {"waiting_since": 999.0, "in_flight": 1}])
def test_who_is_not_put_to_sleep(seen: dict[str, Any]) -> None:
    spec = ModelSpec(command="x", sleep_after=60.0)
    assert planned(model("a", READY, spec=spec, idle_since=900.0, **seen)).actions == ()


def test_without_auto_nothing_sleeps_or_is_preloaded() -> None:
    spec = ModelSpec(command="x", sleep_after=60.0, preload=True)
    made = planned(model("a", READY, spec=spec, idle_since=900.0), model("b", spec=spec), auto=False)
    assert made.actions == ()


def test_a_drain_ends_in_what_it_was_for_and_keeps_its_reason() -> None:
    reason = Evict(for_model="b", idle_s=3.0)

    def ends(goal: Goal, in_flight: int) -> tuple[Action, ...]:
        drains = model("a", DRAINING, in_flight=in_flight, drain_goal=goal, drain_reason=reason)
        return planned(drains, model("b", waiting_since=990.0), memory=ONE).actions

    assert ends(Goal.ASLEEP, 1) == ends(Goal.STOPPED, 1) == ()
    assert ends(Goal.ASLEEP, 0) == (Sleep(replica="a/0", level=1, reason=reason),)
    assert ends(Goal.STOPPED, 0) == (Stop(replica="a/0", reason=reason),)


@pytest.mark.parametrize(("configured", "levels", "used"), [(2, (1, 2), 2), (2, (1,), 1), (1, (2,), 2)])
def test_the_level_is_one_the_engine_has(configured: int, levels: tuple[int, ...], used: int) -> None:
    spec = replace(QUIET, sleep_level=configured)  # type: ignore[arg-type]
    made = planned(model("a", DRAINING, spec=spec, sleep_levels=levels, drain_goal=Goal.ASLEEP))
    assert isinstance(made.actions[0], Sleep)
    assert made.actions[0].level == used


def test_preload_goes_in_config_order_and_never_evicts() -> None:
    spec = replace(QUIET, preload=True)
    made = planned(model("a", READY), model("b", spec=spec), model("c", spec=spec), memory=MemorySpec(max_resident=2))
    assert made.actions == (Load(replica="b/0", reason=Preload()),)
    assert made.blocked == {}


def test_demand_goes_before_preload() -> None:
    made = planned(model("a", spec=replace(QUIET, preload=True)), model("b", waiting_since=999.0), memory=ONE)
    assert kinds(made) == [(Load, "b")]


def test_who_crashed_comes_back_by_itself_only_if_it_is_to_be_kept() -> None:
    kept = replace(QUIET, preload=True)
    made = planned(
        model("a", State.BACKOFF, retry_at=999.0),
        model("b", State.BACKOFF, retry_at=999.0, spec=kept),
        model("c", State.BACKOFF, retry_at=999.0, pinned=True),
        model("d", State.BACKOFF, retry_at=1007.0, spec=kept),
    )
    assert kinds(made) == [(Load, "b"), (Load, "c")]
    assert made.next_check_at == 1007.0


def test_a_foreign_engine_is_awaited_woken_and_slept_never_started_or_stopped() -> None:
    spec = ModelSpec(url="http://127.0.0.1:9", sleep_after=60.0, unload_after=60.0)
    down = planned(model("a", spec=spec, owned=False, waiting_since=990.0))
    assert down.actions == ()
    assert not down.blocked["a"].final
    assert "http://127.0.0.1:9" in down.blocked["a"].sentence
    assert kinds(planned(model("a", ASLEEP, spec=spec, owned=False, waiting_since=990.0))) == [(Wake, "a")]
    slept = planned(model("a", READY, spec=spec, owned=False, idle_since=900.0)).actions[0]
    assert isinstance(slept, Drain)
    assert slept.goal is Goal.ASLEEP
    assert planned(model("a", ASLEEP, spec=spec, owned=False, last_used_at=100.0)).actions == ()


def test_a_foreign_engine_without_sleep_takes_no_place() -> None:
    made = planned(model("a", waiting_since=990.0), model("b", READY, owned=False, sleep_levels=()), memory=ONE)
    assert kinds(made) == [(Load, "a")]


def test_an_order_waits_for_requests_until_its_deadline_then_cuts() -> None:
    def after(force_at: float) -> Plan:
        wish = Wish(goal=Goal.STOPPED, by="cli", asked_at=950.0, force_at=force_at)
        return planned(model("a", DRAINING, in_flight=1, drain_goal=Goal.STOPPED, wish=wish))

    assert (after(1010.0).actions, after(1010.0).next_check_at) == ((), 1010.0)
    stop = after(1000.0).actions[0]
    assert isinstance(stop, Stop)
    assert stop.forced


def test_a_denied_sleep_touches_no_waiting_request() -> None:
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0)
    made = planned(model("a", READY, sleep_levels=(), wish=wish, waiting_since=990.0, in_flight=1))
    assert made.denied["a"].code == "cannot_sleep"
    assert made.blocked == {}
    assert made.actions == ()


def test_demand_does_not_wake_against_a_standing_order() -> None:
    wish = Wish(goal=Goal.STOPPED, by="cli", asked_at=999.0, force_at=1060.0)
    made = planned(model("a", ASLEEP, wish=wish, waiting_since=990.0))
    assert kinds(made) == [(Stop, "a")]


def test_a_pin_given_during_an_idle_drain_takes_it_back() -> None:
    made = planned(model("a", DRAINING, drain_goal=Goal.ASLEEP, drain_idle=True, pinned=True))
    assert kinds(made) == [(Undrain, "a")]


def stalled(since: float = NOW - 59.0, **seen: Any) -> ModelView:
    reason = Stalled(sentence="it stands still")
    return model("a", State.DRAINING, since=since, drain_goal=Goal.RESTARTED, drain_reason=reason, **seen)


def test_an_engine_that_stands_still_is_stopped_when_its_leases_are_back_or_overdue() -> None:
    reason = Stalled(sentence="it stands still")
    assert planned(stalled()).actions == (Stop(replica="a/0", reason=reason),)
    waiting = planned(stalled(in_flight=2))
    assert (waiting.actions, waiting.next_check_at) == ((), NOW + 1.0)
    late = stalled(in_flight=2, since=NOW - 60.0)
    assert planned(late).actions == (Stop(replica="a/0", reason=reason, forced=True),)


def test_neither_pin_nor_waiters_nor_an_order_to_sleep_take_a_stalled_engine_back() -> None:
    reason = Stalled(sentence="it stands still")
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=NOW)
    cases: tuple[dict[str, Any], ...] = ({"pinned": True}, {"waiting_since": NOW - 1.0}, {"wish": wish})
    for seen in cases:
        assert planned(stalled(in_flight=1, **seen)).actions == (), seen
        assert planned(stalled(**seen)).actions == (Stop(replica="a/0", reason=reason),), seen
