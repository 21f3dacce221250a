"""Rehearsals of generated fleets: the same each time, never over a budget, every request ends."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.lifecycle import RESIDENT, State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Plan
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec
from roost.core.view import FleetView, Policy
from roost.planner.plan import plan
from roost.planner.rehearse import rehearse
from roost.planner.rehearse_stage import Arrival, Mechanics, Stage

GIB = 1024**3
QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=120)
seconds = st.sampled_from([0.0, 0.1, 1.0, 4.0, 15.0])


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    count = draw(st.integers(1, 4))
    models = {
        f"m{number}": ModelSpec(
            command="engine",
            footprint=draw(st.sampled_from([5 * GIB, 10 * GIB, 18 * GIB])),
            footprint_asleep=draw(st.sampled_from([0, GIB])),
            sleep_after=draw(st.sampled_from([None, 30.0])),
            unload_after=draw(st.sampled_from([None, 90.0])),
            concurrency=draw(st.sampled_from([None, 1, 2])),
            preload=draw(st.booleans()),
            queue=QueueSpec(size=draw(st.sampled_from([2, 256])), max_wait=draw(st.sampled_from([8.0, 600.0]))),
        )
        for number in range(count)
    }
    mechanics = [
        Mechanics(
            load_s=draw(seconds),
            stop_s=draw(seconds),
            levels=draw(st.sampled_from([(), (1,), (1, 2)])),
            sleep_s=(draw(seconds), draw(seconds)),
            wake_s=(draw(seconds), draw(seconds)),
        )
        for _ in range(count)
    ]
    arrival = st.tuples(st.floats(0, 400, allow_nan=False), st.integers(0, count - 1), seconds)
    arrivals = sorted(Arrival(*one) for one in draw(st.lists(arrival, max_size=40)))
    memory = MemorySpec(
        devices=draw(st.sampled_from([{}, {"gpu0": 20 * GIB}, {"gpu0": 30 * GIB}])),
        max_resident=draw(st.sampled_from([None, 1, 2])),
    )
    policy = PolicySpec(
        max_starts=draw(st.sampled_from([1, 4])),
        evict_by=draw(st.sampled_from(["sleep", "unload"])),
        residency=draw(st.sampled_from([0.0, 20.0])),
        eviction=draw(st.sampled_from(["cost", "lru"])),
    )
    spec = RoostSpec(models=models, memory=memory, policy=policy)
    return Stage(spec=spec, mechanics=mechanics, arrivals=arrivals, until_s=draw(st.sampled_from([0.0, 600.0])))


@QUICK
@given(stages())
def test_every_request_ends_and_the_same_stage_gives_the_same_record(stage: Stage) -> None:
    stage = replace(stage, told=True)
    record, again = rehearse(stage), rehearse(stage)
    assert record == again
    assert len(record.waits) == len(stage.arrivals)
    assert len(set(record.refused)) == len(record.refused)
    models = list(stage.spec.models.values())
    for index, arrival in enumerate(stage.arrivals):
        bound = models[arrival.model].queue.max_wait
        assert 0 <= record.waits[index] <= bound + 1e-6
    assert abs(record.total_wait_s - record.room_s - record.rise_s - record.queue_s) < 1e-6


@QUICK
@given(stages())
def test_no_budget_is_ever_exceeded(stage: Stage) -> None:
    memory, held = stage.spec.memory, 0

    def chooser(view: FleetView, policy: Policy) -> Plan:
        nonlocal held
        held = awake = 0
        for model in view.models:
            for replica in model.replicas:
                resident = replica.state in RESIDENT
                awake += resident
                size = model.spec.footprint if resident else 0
                held += (size or 0) if replica.state is not State.ASLEEP else model.spec.footprint_asleep
        assert held <= memory.devices.get("gpu0", held)
        assert memory.max_resident is None or awake <= memory.max_resident
        return plan(view, policy)

    rehearse(stage, chooser)


@QUICK
@given(stages())
def test_what_meets_a_ready_model_with_room_does_not_wait(stage: Stage) -> None:
    """One model, no bound: after its first load nobody waits while it stays up."""
    spec = stage.spec
    name, model = next(iter(spec.models.items()))
    alone = replace(model, concurrency=None, sleep_after=None, unload_after=None, queue=QueueSpec())
    arrivals = [arrival for arrival in stage.arrivals if arrival.model == 0]
    only = RoostSpec(models={name: alone}, policy=spec.policy)
    record = rehearse(replace(stage, spec=only, mechanics=stage.mechanics[:1], arrivals=arrivals))
    assert record.loads <= 1
    up_at = stage.mechanics[0].load_s + (0.0 if alone.preload or not arrivals else arrivals[0].at_s)
    for arrival, wait in zip(arrivals, record.waits, strict=True):
        assert abs(wait - max(0.0, up_at - arrival.at_s)) < 1e-6
