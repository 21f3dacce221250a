"""Adapters over scripts: never more loaded than places, never an engine taken down under one, everybody served.

Engines take virtual time and obey; what varies is who asks for what and when, places, budgets, replicas and orders.
"""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec, ReplicaSpec, RoostSpec
from roost.core.view import Goal
from tests.property.test_planner_rounds import BOUNDED
from tests.support.adapters import AdapterBench, with_loras
from tests.support.fleet import pause
from tests.support.virtual import run

NAMES = ("base", "x", "y", "z", "other", "solo", "s1")
ORDERS = (None, None, None, Goal.ASLEEP, Goal.STOPPED, Goal.READY, Goal.RESTARTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    wait_s: float
    who: str
    hold_s: float
    order: Goal | None


@st.composite
def specs(draw: st.DrawFn) -> RoostSpec:
    plain = ModelSpec(command="engine", sleep_after=draw(st.sampled_from([None, 5.0])))
    replicas = (ReplicaSpec(),) * draw(st.sampled_from([1, 1, 2]))
    base = replace(plain, concurrency=draw(st.sampled_from([None, 1, 2])), replicas=replicas)
    models = {
        "base": with_loras(
            base, "x", "y", "z", places=draw(st.integers(1, 3)), preload=draw(st.sampled_from([(), ("z",)]))
        ),
        "other": plain,
        "solo": with_loras(plain, "s1"),
    }
    policy = PolicySpec(turn=draw(st.sampled_from([0.0, 5.0, 30.0])), eviction=draw(st.sampled_from(["lru", "cost"])))
    resident = draw(st.sampled_from([None, len(replicas), len(replicas) + 1]))
    return RoostSpec(models=models, memory=MemorySpec(max_resident=resident), policy=policy)


asks = st.lists(
    st.builds(
        Ask,
        wait_s=st.sampled_from([0.0, 0.1, 1.0, 4.0, 9.0]),
        who=st.sampled_from(NAMES),
        hold_s=st.sampled_from([0.1, 1.0, 8.0]),
        order=st.sampled_from(ORDERS),
    ),
    min_size=1,
    max_size=12,
)


@BOUNDED
@given(specs(), asks)
def test_whatever_comes_places_are_kept_and_nobody_is_forgotten(spec: RoostSpec, script: list[Ask]) -> None:
    async def main() -> None:
        async with AdapterBench(spec) as bench:
            for ask in script:
                await pause(ask.wait_s)
                if ask.order is None:
                    bench.ask(ask.who, ask.hold_s)
                else:
                    await bench.control.order(ask.who, ask.order, by="test")
            await bench.rest(900.0)
            assert bench.faults == []
            assert [(client.model, client.outcome) for client in bench.clients if client.outcome != "served"] == []
            gate = bench.control.gate
            assert gate.in_flight == 0
            counts = {
                owner.id: (gate.seat(owner.id).in_flight, gate.seat(owner.id).guests) for owner in bench.owners.values()
            }
            assert set(counts.values()) == {(0, 0)}

    run(main())
