"""When a rehearsed fleet thrashes, and which budget ends it."""

from dataclasses import replace

from roost.core.hosted_spec import HostSpec
from roost.core.memory_spec import MemorySpec
from roost.core.spec import ModelSpec, RoostSpec
from roost.planner.rehearse import rehearse
from roost.planner.rehearse_advice import enough, larger_budgets, verdict
from roost.planner.rehearse_stage import Arrival, Mechanics, Record, Stage

GIB = 1024**3
MODEL = ModelSpec(command="engine", footprint=10 * GIB, sleep_after=None)
MOVES = Mechanics(load_s=5.0, levels=(1,))


def of(memory: MemorySpec) -> RoostSpec:
    return RoostSpec(models={"a": MODEL, "b": MODEL}, memory=memory)


def play(spec: RoostSpec, gap_s: float) -> Record:
    """Two models that are asked in turns."""
    arrivals = [Arrival(i * gap_s, i % 2, 1.0) for i in range(60)]
    return rehearse(Stage(spec=spec, mechanics=[MOVES, MOVES], arrivals=arrivals, told=True))


def test_models_that_take_turns_in_one_place_thrash_and_two_places_end_it() -> None:
    spec = of(MemorySpec(devices={"gpu0": 14 * GIB}))
    found = verdict(play(spec, 30.0))
    assert found.thrashes
    assert (found.requests, found.waited) == (60, 60)
    assert found.in_vain >= found.evictions - 2
    remedy = enough(spec, lambda larger: play(larger, 30.0))
    assert remedy is not None
    assert remedy[0].memory.devices == {"gpu0": 21 * GIB}
    assert not remedy[1].thrashes


def test_the_same_moves_far_apart_are_no_thrashing() -> None:
    assert not verdict(play(of(MemorySpec(max_resident=1)), 3600.0)).thrashes


def test_places_are_tried_one_by_one() -> None:
    remedy = enough(of(MemorySpec(max_resident=1)), lambda larger: play(larger, 30.0))
    assert remedy is not None
    assert remedy[0].memory.max_resident == 2


def test_places_in_a_server_are_tried_too() -> None:
    inside = replace(MODEL, command=None, inside="h")
    hosts = {"h": HostSpec(url="http://h:1", max_resident=1)}
    remedy = enough(RoostSpec(models={"a": inside, "b": inside}, hosts=hosts), lambda larger: play(larger, 30.0))
    assert remedy is not None
    assert remedy[0].hosts["h"].max_resident == 2


def test_where_no_budget_helps_none_is_named() -> None:
    bad = play(of(MemorySpec(max_resident=1)), 30.0)
    assert enough(of(MemorySpec(max_resident=1)), lambda _: bad) is None
    assert enough(of(MemorySpec()), lambda _: bad) is None


def test_larger_budgets_grow_all_together() -> None:
    tried = larger_budgets(MemorySpec(devices={"gpu0": 100, "gpu1": 200}, max_resident=3))
    assert [memory.devices["gpu1"] for memory in tried] == sorted(memory.devices["gpu1"] for memory in tried)
    assert all((memory.max_resident or 0) > 3 for memory in tried)
