"""Devices, host memory and places over generated fleets that are about nothing else, against a ledger of the tests'.

The views of `test_planner_views` are of every kind and reach this seldom; here every model has a size and somewhere to
be.
"""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.footprint import HOST, Footprint, Held
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Load, Sleep, Stop
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict, Idle
from roost.core.spec import ModelSpec, QueueSpec
from roost.core.view import DeviceView, FleetView, Goal, ModelView, Policy, ReplicaView
from roost.planner.plan import plan
from tests.support.ledger import allowed, holds, limits, over_budget

NOW, GIB = 1000.0, 2**30
OFTEN = settings(derandomize=True, deadline=None, database=None, max_examples=500)
_SEEN: list[dict[str, Any]] = [
    *[{"state": State.COLD}] * 5,
    *[{"state": State.READY}] * 7,
    {"state": State.ASLEEP, "level": 1},
    {"state": State.ASLEEP, "level": 2},
    {"state": State.WAKING, "level": 1},
    {"state": State.SUSPENDING, "level": 1},
    {"state": State.SUSPENDING, "level": 2},
    {"state": State.STOPPING},
    {
        "state": State.DRAINING,
        "drain_goal": Goal.ASLEEP,
        "drain_idle": True,
        "drain_reason": Idle(idle_s=9.0, after_s=5.0),
    },
]


@st.composite
def models(draw: st.DrawFn, number: int) -> ModelView:
    name = f"m{number}"
    seen = dict(draw(st.sampled_from(_SEEN)))
    named = draw(st.sampled_from([(), (), ("gpu0",), ("gpu1", "gpu2")]))
    count = 1 if len(named) == 1 else draw(st.sampled_from([1, 1, 2]))
    where = tuple((named or ("gpu0", "gpu1", "gpu2"))[draw(st.integers(0, 1)) * (len(named) != 1) :][:count])
    where = where if len(where) == count else (named or ("gpu0", "gpu1"))[:count]
    size, bed = draw(st.sampled_from([8, 15, 24, 24, 39])) * GIB, draw(st.sampled_from([0, 10, 16, 30])) * GIB
    footprint = Footprint(awake=Held(size, GIB), level1=Held(GIB, bed + GIB), level2=Held(GIB, GIB))
    cold = seen["state"] is State.COLD
    waits = (cold or seen["state"] is State.ASLEEP) and draw(st.booleans())
    spec = ModelSpec(
        command="engine",
        sleep_after=None,
        devices=named,
        device_count=count,
        queue=QueueSpec(max_wait=draw(st.sampled_from([600.0, 15.0]))),
    )
    replica = ReplicaView(
        id=f"{name}/0",
        model=name,
        since=900.0,
        sleep_levels=draw(st.sampled_from([(1, 2), (1,)])),
        became_ready_at=draw(st.sampled_from([900.0, 990.0])) if seen["state"] is State.READY else None,
        last_used_at=float(draw(st.integers(1, 99))),
        footprint=footprint,
        devices=() if cold else where,
        last_devices=where,
        lingering=draw(st.sampled_from([0, 0, 20 * GIB])) if cold else 0,
        **seen,
    )
    return ModelView(
        name=name,
        spec=spec,
        replicas=(replica,),
        waiting=int(waits),
        oldest_wait_at=float(draw(st.integers(980, 999))) if waits else None,
        pinned=seen["state"] is State.READY and draw(st.integers(0, 3)) == 0,
        host=draw(st.sampled_from(["", "", "srv"])),
    )


@st.composite
def crowds(draw: st.DrawFn) -> tuple[FleetView, Policy]:
    memory = MemorySpec(devices=dict.fromkeys(("gpu0", "gpu1", "gpu2"), 40 * GIB), host=32 * GIB)
    back = draw(st.sampled_from([0, 0, 20 * GIB]))
    held = DeviceView(name="gpu0", budget=40 * GIB - back, held_back=back, held_until=1600.0 if back else None)
    rest = [DeviceView(name=name, budget=40 * GIB) for name in ("gpu1", "gpu2")]
    host = DeviceView(name=HOST, budget=32 * GIB)
    view = FleetView(
        now=NOW,
        models=tuple(draw(models(number)) for number in range(draw(st.integers(3, 6)))),
        memory=replace(memory, max_resident=draw(st.sampled_from([None, None, 3]))),
        devices=draw(st.sampled_from([None, (held, *rest, host)])),
        places=draw(st.sampled_from([{}, {"srv": 1}])),
        started_at=950.0,
    )
    policy = PolicySpec(
        residency=draw(st.sampled_from([0.0, 60.0])),
        last_resort=draw(st.sampled_from([(), ("pin",), ("residency",), ("residency", "pin")])),
    )
    return view, Policy(spec=policy)


def replica_of(view: FleetView, replica: str) -> tuple[ModelView, ReplicaView]:
    return next((model, one) for model in view.models for one in model.replicas if one.id == replica)


@OFTEN
@given(crowds())
def test_never_over_any_budget_at_any_moment(crowd: tuple[FleetView, Policy]) -> None:
    """Orders counted as they are given, nothing that goes down counted as gone."""
    view, policy = crowd
    made = plan(view, policy)
    assert over_budget(view, made.actions) == {}, made.actions
    assert made == plan(view, policy)


@OFTEN
@given(crowds())
def test_devices_are_those_it_may_use_and_as_many_as_it_takes(crowd: tuple[FleetView, Policy]) -> None:
    view, policy = crowd
    for action in plan(view, policy).actions:
        if isinstance(action, Load):
            model, _ = replica_of(view, action.replica)
            expected = 0 if model.host else model.spec.device_count
            assert len(set(action.devices)) == len(action.devices) == expected
            assert set(action.devices) <= set(allowed(view, model.spec))


@OFTEN
@given(crowds())
def test_what_fits_now_comes_up_now(crowd: tuple[FleetView, Policy]) -> None:
    """The oldest want, where it may be on any devices that have room: nobody yields for it and it does not wait."""
    view, policy = crowd
    wanted = [(m.oldest_wait_at, number, m) for number, m in enumerate(view.models) if m.oldest_wait_at is not None]
    if not wanted:
        return
    model, budget = min(wanted, key=lambda want: want[:2])[2], limits(view)
    held = dict.fromkeys(budget, 0)
    ordered = {action.replica: action for action in plan(view, policy).actions}
    for other in view.models:
        for replica in other.replicas:
            asleep = ordered.get(replica.id)  # what goes to sleep in this round takes its bed before anything rises
            for key, amount in holds(view, other, replica, asleep if isinstance(asleep, Sleep) else None).items():
                held[key] = held.get(key, 0) + amount
    (replica,) = model.replicas
    seen = replica.footprint
    assert seen is not None
    free = [name for name in allowed(view, model.spec) if held[name] + seen.awake.device <= budget[name]]
    shared = [key for key in ("places", "places in srv" if model.host else "places") if key in budget]
    fits = len(free) >= (model.spec.device_count or 1) and all(held.get(key, 0) < budget[key] for key in shared)
    if replica.state is State.COLD and not model.host and fits and held[HOST] + seen.awake.host <= budget[HOST]:
        assert isinstance(ordered.get(replica.id), Load)


@OFTEN
@given(crowds())
def test_pinned_means_pinned_but_as_a_last_resort(crowd: tuple[FleetView, Policy]) -> None:
    """A pin or a residency is broken only with leave, and only for whom a stricter policy refuses, or lets wait past
    its deadline."""
    view, policy = crowd
    strict = Policy(spec=replace(policy.spec, last_resort=()))
    for action in plan(view, policy).actions:
        model, replica = replica_of(view, action.replica)
        reason = action.reason
        if not isinstance(action, Drain | Stop) or replica.state is State.DRAINING:
            continue
        broken = reason.last_resort if isinstance(reason, Evict) else ""
        stays = (replica.became_ready_at or 0.0) + policy.spec.residency
        assert not model.pinned or broken == "pin"
        assert stays <= view.now or replica.state is not State.READY or broken == "residency"
        if not broken or not isinstance(reason, Evict):
            continue
        assert broken in policy.spec.last_resort
        newcomer = next(one for one in view.models if one.name == reason.for_model)
        alone = tuple(one if one is newcomer else replace(one, waiting=0, oldest_wait_at=None) for one in view.models)
        blocked = plan(replace(view, models=alone), strict).blocked[newcomer.name]
        if broken == "pin":
            assert blocked.final, blocked
        else:
            assert newcomer.oldest_wait_at is not None
            assert stays > newcomer.oldest_wait_at + newcomer.spec.queue.max_wait


@OFTEN
@given(crowds())
def test_what_an_owner_holds_is_no_final_refusal(crowd: tuple[FleetView, Policy]) -> None:
    """Whoever would fit without the hold and without anybody's pin is told until when, and the plan looks again."""
    view, policy = crowd
    made = plan(view, policy)
    pins = any(model.pinned for model in view.models)
    for name, blocked in made.blocked.items():
        if blocked.code == "held_back":
            assert blocked.not_before == 1600.0
            assert made.next_check_at is not None
            assert made.next_check_at <= 1600.0
        assert not blocked.final or pins or blocked.code == "never_fits", (name, blocked)
    if view.devices is not None and not pins:
        assert not any(blocked.code == "no_room" for blocked in made.blocked.values())
