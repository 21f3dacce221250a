"""Which devices a model comes up on, what it waits for, and what can never be. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.footprint import Footprint, Held
from roost.core.lifecycle import State
from roost.core.memory_spec import FootprintsSpec, HeldSpec, MemorySpec
from roost.core.plan import Drain, Load, Plan
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict
from roost.core.spec import EngineKind, ModelSpec, ReplicaSpec
from roost.core.view import DeviceView, FleetView, Goal, ModelView, Policy
from roost.planner.plan import plan
from tests.unit.planner.test_plan import ASLEEP, COLD, DRAINING, GIB, NOW, QUIET, READY, kinds, model, planned, sized

PAIR = MemorySpec(devices={"gpu0": 40 * GIB, "gpu1": 60 * GIB})


def devices(made: Plan, of: str = "a/0") -> tuple[str, ...]:
    (found,) = (action.devices for action in made.actions if isinstance(action, Load) and action.replica == of)
    return found


def wanted(spec: ModelSpec, **seen: Any) -> ModelView:
    return model("a", spec=spec, waiting_since=990.0, **seen)


def on(name: str, gib: int, *where: str, **seen: Any) -> ModelView:
    return model(name, READY, spec=sized(gib), devices=where, **seen)


def seen_as(memory: MemorySpec, *found: DeviceView, models: tuple[ModelView, ...]) -> Plan:
    return plan(FleetView(now=NOW, models=models, memory=memory, devices=found, started_at=950.0), Policy())


def test_where_it_fits_the_device_with_least_left_is_taken() -> None:
    assert devices(planned(wanted(sized(30)), memory=PAIR)) == ("gpu0",)
    assert devices(planned(wanted(sized(50)), memory=PAIR)) == ("gpu1",)
    full = on("b", 45, "gpu1")
    assert devices(planned(wanted(sized(15)), full, memory=PAIR)) == ("gpu1",)
    assert devices(planned(wanted(sized(30)), on("b", 20, "gpu0"), memory=PAIR)) == ("gpu1",)


@pytest.mark.parametrize("memory", [PAIR, MemorySpec(max_resident=2)])
@pytest.mark.parametrize(("running", "drained_s", "goes"), [(0, 20.0, ["b/0"]), (1, 20.0, []), (0, 5.0, [])])
def test_idle_ones_go_where_it_would_else_wait_for_answers_that_still_run(
    memory: MemorySpec, running: int, drained_s: float, goes: list[str]
) -> None:
    """`a` makes room already, but who knows when; `b` could at once, unless it is busy, too."""
    evict = Evict(for_model="n", idle_s=1.0)
    drains = model("a", DRAINING, spec=sized(35), devices=("gpu0",), in_flight=1, since=NOW - drained_s)
    drains = replace(drains, replicas=(replace(drains.replicas[0], drain_goal=Goal.ASLEEP, drain_reason=evict),))
    other = on("b", 60, "gpu1", in_flight=running, idle_since=None if running else 900.0)
    made = planned(drains, other, model("n", spec=sized(30), waiting_since=900.0), memory=memory)
    assert [action.replica for action in made.actions if isinstance(action, Drain)] == goes


def test_of_equal_devices_the_one_it_ran_on_last_is_taken() -> None:
    equal = MemorySpec(devices={"gpu0": 40 * GIB, "gpu1": 40 * GIB})
    assert devices(planned(wanted(sized(30)), memory=equal)) == ("gpu0",)
    assert devices(planned(wanted(sized(30), last_devices=("gpu1",)), memory=equal)) == ("gpu1",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"devices": ("gpu1",)}, ("gpu1",)),
        ({"device_count": 2}, ("gpu0", "gpu1")),
        ({"devices": ("gpu1", "gpu0"), "device_count": 2}, ("gpu0", "gpu1")),
        ({"env": {"CUDA_VISIBLE_DEVICES": "1"}}, ("gpu1",)),
        ({"env": {"CUDA_VISIBLE_DEVICES": "GPU-6f"}}, ("gpu0",)),
        ({"replicas": (ReplicaSpec(env={"CUDA_VISIBLE_DEVICES": "1"}),)}, ("gpu1",)),
    ],
)
def test_only_devices_it_may_use_and_as_many_as_it_takes(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert devices(planned(wanted(sized(30, **changes)), memory=PAIR)) == expected


def test_whose_size_nobody_knows_is_placed_only_if_the_config_speaks_of_devices() -> None:
    assert devices(planned(wanted(QUIET), memory=PAIR)) == ()
    assert devices(planned(wanted(sized(30)))) == ()
    assert devices(planned(wanted(replace(QUIET, device_count=1)), memory=PAIR)) == ("gpu1",)  # the emptiest
    discovered = replace(PAIR, discover=True)
    assert devices(planned(wanted(QUIET), on("b", 35, "gpu1"), memory=discovered)) == ("gpu0",)


def test_each_replica_has_devices_of_its_own() -> None:
    spec = sized(30, replicas=(ReplicaSpec(), ReplicaSpec()))
    one = model("a", spec=spec, waiting_since=990.0)
    both = replace(one, replicas=(*one.replicas, replace(one.replicas[0], id="a/1")))
    made = planned(both, memory=PAIR)
    assert (devices(made), devices(made, "a/1")) == (("gpu0",), ("gpu1",))


def test_room_is_made_where_the_least_useful_yield() -> None:
    made = planned(
        wanted(sized(30)),
        on("b", 30, "gpu0", last_used_at=900.0),
        on("c", 25, "gpu1", last_used_at=990.0),
        on("d", 25, "gpu1", last_used_at=100.0),
        memory=PAIR,
    )
    assert kinds(made) == [(Drain, "d")]  # with the 10 GiB that are free beside it
    busy = on("d", 25, "gpu1", last_used_at=100.0, in_flight=1)
    made = planned(wanted(sized(30)), on("b", 30, "gpu0"), on("c", 25, "gpu1", last_used_at=990.0), busy, memory=PAIR)
    assert kinds(made) == [(Drain, "b")]


def test_it_waits_where_room_comes_anyway() -> None:
    made = planned(
        wanted(sized(30)),
        on("b", 30, "gpu0", last_used_at=1.0),
        model("c", State.STOPPING, spec=sized(50), devices=("gpu1",)),
        memory=PAIR,
    )
    assert made.actions == ()
    assert made.blocked["a"].sentence == 'Model "a" waits until "c" made room.'


def test_a_sleeper_wakes_where_it_is() -> None:
    sleeper = model("a", ASLEEP, spec=sized(30, 1), waiting_since=990.0, devices=("gpu0",))
    made = planned(sleeper, on("b", 30, "gpu0"), memory=PAIR)
    assert kinds(made) == [(Drain, "b")]


def test_what_is_not_yet_seen_free_counts_as_held() -> None:
    left = model("b", COLD, spec=sized(30), last_devices=("gpu0",), lingering=30 * GIB)
    made = planned(wanted(sized(30, devices=("gpu0",))), left, memory=PAIR)
    assert made.actions == ()
    assert made.blocked["a"].sentence.startswith('Model "a" waits')
    seen = replace(left, replicas=(replace(left.replicas[0], lingering=0),))
    assert devices(planned(wanted(sized(30, devices=("gpu0",))), seen, memory=PAIR)) == ("gpu0",)


def test_nobody_yields_for_what_is_only_not_yet_seen_free() -> None:
    left = model("b", COLD, spec=sized(20), last_devices=("gpu0",), lingering=20 * GIB)
    rest = on("c", 20, "gpu0", last_used_at=1.0)
    assert planned(wanted(sized(15, devices=("gpu0",))), left, rest, memory=PAIR).actions == ()


def test_a_younger_want_leaves_the_devices_that_are_promised() -> None:
    equal = MemorySpec(devices={"gpu0": 40 * GIB, "gpu1": 40 * GIB})
    made = planned(
        wanted(sized(30)),
        model("b", spec=sized(15), waiting_since=995.0),
        model("c", State.STOPPING, spec=sized(20), devices=("gpu0",)),
        on("d", 40, "gpu1", pinned=True),
        memory=equal,
    )
    assert made.actions == ()
    assert set(made.blocked) == {"a", "b"}


def test_what_was_measured_counts() -> None:
    measured = Footprint(awake=Held(device=50 * GIB))
    assert devices(planned(wanted(sized(30), footprint=measured), memory=PAIR)) == ("gpu1",)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            sized(61, engine=EngineKind.VLLM),
            "needs 61.0 GiB on one device; the largest has 60.0 GiB. Lower gpu_memory_utilization or allow 2 devices.",
        ),
        (
            sized(50, device_count=2),
            "needs 50.0 GiB on each of 2 devices; too few have that, the largest 60.0 GiB. "
            "Lower its footprint or raise the budgets.",
        ),
        (
            sized(5, device_count=3),
            "takes 3 devices at once, and may use 2: gpu0, gpu1. Lower device_count or allow it more devices.",
        ),
        (
            replace(QUIET, footprints=FootprintsSpec(awake=HeldSpec(host=20 * GIB))),
            "needs 20.0 GiB of host memory; its budget is 16.0 GiB. Lower its footprint or raise memory.host.",
        ),
    ],
)
def test_what_can_never_fit_is_told_with_the_numbers(spec: ModelSpec, sentence: str) -> None:
    blocked = planned(wanted(spec), memory=replace(PAIR, host=16 * GIB)).blocked["a"]
    assert (blocked.final, blocked.code) == (True, "never_fits")
    assert blocked.sentence == f'Model "a" {sentence}'


def test_devices_full_of_what_roost_may_not_touch() -> None:
    pins = [on("b", 35, "gpu0", pinned=True), on("c", 55, "gpu1", pinned=True)]
    blocked = planned(wanted(sized(10)), *pins, memory=PAIR).blocked["a"]
    assert blocked.final
    assert blocked.sentence.startswith(
        'Model "a" needs 10.0 GiB on gpu0 or gpu1, but it is held by "b" (pinned), "c" (pinned).'
    )
    assert devices(planned(wanted(sized(10)), pins[0], memory=PAIR)) == ("gpu1",)


def held(until: float | None) -> DeviceView:
    return DeviceView(name="gpu0", budget=10 * GIB, held_back=30 * GIB, held_until=until)


def test_who_needs_what_its_owner_holds_is_told_until_when() -> None:
    made = seen_as(PAIR, held(8200.0), models=(wanted(sized(20)),))
    blocked = made.blocked["a"]
    assert (blocked.final, blocked.not_before, made.next_check_at) == (False, 8200.0, 8200.0)
    assert blocked.sentence == (
        'Model "a" needs 20.0 GiB, but of gpu0 30.0 GiB are held for its owner for 2h 00m more.'
    )
    blocked = seen_as(PAIR, held(None), models=(wanted(sized(20)),)).blocked["a"]
    assert (blocked.final, blocked.not_before, blocked.indefinite) == (False, None, True)
    assert "until roost release" in blocked.sentence
    assert devices(seen_as(PAIR, held(None), models=(wanted(sized(10)),))) == ("gpu0",)


def test_beside_a_pinned_model_it_is_told_until_when_the_rest_is_held() -> None:
    """The pin stays, but does not matter once the owner has given back what he holds."""
    pinned, found = on("b", 50, "gpu1", pinned=True), (held(8200.0), DeviceView(name="gpu1", budget=60 * GIB))
    blocked = seen_as(PAIR, *found, models=(wanted(sized(20)), pinned)).blocked["a"]
    assert (blocked.final, blocked.code, blocked.not_before) == (False, "held_back", 8200.0)
    assert blocked.sentence == (
        'Model "a" needs 20.0 GiB, but of gpu0 30.0 GiB are held for its owner for 2h 00m more; held besides: '
        'gpu1 by "b" (pinned).'
    )
    on_it = on("c", 5, "gpu0", pinned=True)
    blocked = seen_as(PAIR, *found, models=(wanted(sized(20)), pinned, on_it)).blocked["a"]
    assert (blocked.final, blocked.not_before) == (False, 8200.0)
    blocked = seen_as(PAIR, *found, models=(wanted(sized(36)), pinned, on_it)).blocked["a"]
    assert (blocked.final, blocked.code) == (True, "no_room")


def test_host_memory_that_is_held_comes_back_beside_a_pinned_model() -> None:
    memory = MemorySpec(host=64 * GIB)
    back = DeviceView(name="host", budget=34 * GIB, held_back=30 * GIB, held_until=8200.0)
    needs = ModelSpec(command="x", footprints=FootprintsSpec(awake=HeldSpec(host=20 * GIB)))
    pinned = model("b", READY, spec=needs, pinned=True)
    blocked = seen_as(memory, back, models=(wanted(needs), pinned)).blocked["a"]
    assert (blocked.final, blocked.not_before) == (False, 8200.0)


def test_what_others_use_may_come_free() -> None:
    used = DeviceView(name="gpu0", budget=10 * GIB, others=30 * GIB)
    blocked = seen_as(PAIR, used, models=(wanted(sized(20)),)).blocked["a"]
    assert not blocked.final
    assert blocked.sentence == 'Model "a" needs 20.0 GiB, but 30.0 GiB of gpu0 are used by others.'
    assert seen_as(PAIR, used, models=(wanted(sized(41)),)).blocked["a"].final


def test_what_is_larger_than_the_written_budget_never_fits_however_much_others_use() -> None:
    used = DeviceView(name="gpu0", budget=20 * GIB, whole=40 * GIB, others=60 * GIB)
    blocked = seen_as(PAIR, used, models=(wanted(sized(50)),)).blocked["a"]
    assert (blocked.code, blocked.final) == ("never_fits", True)
    assert seen_as(PAIR, used, models=(wanted(sized(30)),)).blocked["a"].code == "held_back"


def test_others_who_leave_roost_its_part_are_not_blamed() -> None:
    beside = DeviceView(name="gpu0", budget=10 * GIB, whole=40 * GIB, others=20 * GIB, held_back=30 * GIB)
    sentence = seen_as(PAIR, beside, models=(wanted(sized(20)),)).blocked["a"].sentence
    assert "held for its owner" in sentence
    assert "others" not in sentence


def test_models_drain_off_a_device_that_is_held_and_the_reason_says_so() -> None:
    made = seen_as(PAIR, held(8200.0), models=(on("b", 20, "gpu0"),))
    (drain,) = made.actions
    assert str(drain.reason) == (
        "20.0 GiB held on gpu0, its budget is 10.0 GiB: 30.0 GiB went back to its owner for 2h 00m; "
        "least recently used (100 s ago)"
    )
    note = seen_as(PAIR, held(None), models=(on("b", 20, "gpu0", pinned=True),)).notes[0]
    assert "10.0 GiB (30.0 GiB are held for its owner until roost release)" in note
    assert note.endswith('"b" (pinned). Unpin or unload one, or roost release gpu0.')


def test_a_server_has_its_own_places() -> None:
    inside = [replace(model(name, READY), host="srv") for name in "bc"]
    view = FleetView(now=NOW, models=(replace(wanted(QUIET), host="srv"), *inside), places={"srv": 2}, started_at=950.0)
    made = plan(view, Policy())
    (drain,) = made.actions
    assert isinstance(drain.reason, Evict)
    assert drain.reason.max_resident == 2
    elsewhere = replace(view, models=(wanted(QUIET), *inside))
    assert kinds(plan(elsewhere, Policy())) == [(Load, "a")]
    over = replace(view, models=tuple(inside), places={"srv": 1})
    assert str(plan(over, Policy()).actions[0].reason).startswith("2 loaded in srv, its max_resident is 1;")


def test_a_pin_is_broken_only_as_a_last_resort() -> None:
    leave = PolicySpec(last_resort=("pin",))
    one = MemorySpec(max_resident=1)
    (drain,) = planned(wanted(QUIET), model("b", READY, pinned=True), memory=one, policy=leave).actions
    assert str(drain.reason) == (
        "makes a place for 'a', least recently used (100 s ago); max_resident 1; its pin is broken, as 'a' could else "
        "not be served (policy.last_resort)"
    )
    two = replace(one, max_resident=2)
    made = planned(wanted(QUIET), model("b", READY, pinned=True), model("c", READY), memory=two, policy=leave)
    assert kinds(made) == [(Drain, "c")]
    assert isinstance(drain.reason, Evict)
    broken = model("b", State.DRAINING, pinned=True, in_flight=1, drain_reason=drain.reason)
    assert planned(wanted(QUIET), broken, memory=one, policy=leave).actions == ()


def test_residency_is_broken_only_for_who_could_not_wait_for_its_end() -> None:
    def made(max_wait: float) -> Plan:
        spec = replace(QUIET, queue=replace(QUIET.queue, max_wait=max_wait))
        policy = PolicySpec(last_resort=("residency",), residency=60.0)
        fresh = model("b", READY, became_ready_at=980.0)
        return planned(wanted(spec), fresh, memory=MemorySpec(max_resident=1), policy=policy)

    assert made(51.0).actions == ()
    (drain,) = made(49.0).actions
    assert isinstance(drain.reason, Evict)
    assert drain.reason.last_resort == "residency"
