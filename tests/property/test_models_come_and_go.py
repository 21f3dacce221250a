"""Models added and removed in any order under traffic: every request gets one answer, every lease comes back, nothing
of a removed model stays, and a budget is kept meanwhile."""

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.memory_spec import MemorySpec
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec, TimeoutsSpec
from roost.tasks import spawn
from tests.support.fleet import Bench, FakeOwner, fleet, pause
from tests.support.virtual import run

NAMES = ("a", "b", "c", "d")
SPEC = ModelSpec(
    command="engine", concurrency=2, timeouts=TimeoutsSpec(drain=8.0), queue=QueueSpec(size=50, max_wait=120.0)
)

steps = st.lists(
    st.tuples(
        st.sampled_from(["ask"] * 6 + ["add"] * 2 + ["remove"] * 2 + ["leave", "crash"]),
        st.sampled_from(NAMES),
        st.sampled_from([0.0, 0.3, 2.0, 9.0]),
    ),
    min_size=6,
    max_size=40,
)


async def remove(bench: Bench, name: str) -> None:
    await bench.control.retire(name)
    bench.control.forget(name)


def add(bench: Bench, name: str) -> None:
    owner = bench.owners[name] = FakeOwner(name, SPEC)
    owner.subscribe(bench._cut)
    bench.control.add({name: SPEC}, [owner])


@settings(derandomize=True, deadline=None, database=None, max_examples=120)
@given(script=steps, resident=st.sampled_from([None, 1, 2]))
def test_nobody_is_lost(script: list[tuple[str, str, float]], resident: int | None) -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", base=SPEC), memory=MemorySpec(max_resident=resident))
        async with Bench(spec) as bench:
            gate, under_way = bench.control.gate, []
            everyone = set(bench.owners.values())
            for what, name, then_s in script:
                here = gate.resolve(name) is not None
                match what:
                    case "ask" if here:
                        bench.ask(name, hold_s=then_s + 0.5)
                    case "add" if gate.owner_of(name) is None:
                        add(bench, name)
                    case "remove" if here:
                        under_way.append(spawn(remove(bench, name), f"remove {name}"))
                    case "leave" if bench.clients:
                        bench.leave(bench.clients[-1])
                await pause(then_s)
                everyone.update(bench.owners.values())
                awake = sum(owner.awake for owner in everyone)
                assert resident is None or awake <= resident
            for task in under_way:
                await task
            await bench.rest(3600)
            left = {client.number: client.outcome for client in bench.clients if client.outcome == "open"}
            assert left == {}
            assert all(client.calls <= 1 for client in bench.clients)
            assert gate.in_flight == gate.queue_depth == 0
            known = {lane.name for lane in gate.lanes()}
            assert {model.name for model in bench.control.view().models} == known
            assert known == {name for name in NAMES if gate.resolve(name) is not None}
            assert not any(bench.control.is_leaving(name) for name in NAMES)

    run(main(), limit_s=200_000)
