"""Adapters at the gate and in the rounds: leases count for the base, one wait brings both up, places are kept."""

from dataclasses import replace

from roost.core.memory_spec import MemorySpec
from roost.core.plan import Load, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec, ReplicaSpec, RoostSpec
from roost.core.view import Goal
from roost.tasks import spawn
from tests.support.adapters import AdapterBench, with_loras
from tests.support.fleet import pause
from tests.support.virtual import run

PLAIN = ModelSpec(command="engine", sleep_after=None)


def bench(base: ModelSpec, memory: MemorySpec | None = None, policy: PolicySpec | None = None) -> AdapterBench:
    return AdapterBench(
        RoostSpec(models={"base": base, "other": PLAIN}, memory=memory or MemorySpec(), policy=policy or PolicySpec())
    )


def test_a_request_for_an_adapter_brings_its_base_up_and_counts_there() -> None:
    async def main() -> None:
        async with bench(with_loras(PLAIN, "x", "y", places=2)) as b:
            client = b.ask("x", hold_s=10.0)
            await pause(0.5)
            sentence = b.control.blocked("x")
            assert sentence is not None
            assert sentence.sentence == 'Model "x" waits for "base", which holds it and is being loaded.'
            await pause(7.0)
            assert client.lease is not None
            base, own = b.control.gate.seat("base/0"), b.control.gate.seat("x/0")
            assert (base.in_flight, base.guests, base.own_in_flight, own.in_flight) == (1, 1, 0, 1)
            assert b.control.gate.in_flight == 1
            view = {model.name: model for model in b.control.view().models}
            assert view["base"].replicas[0].idle_since is None
            assert view["x"].replicas[0].base == "base/0"
            assert b.control.view().places == {"base/0": 2}
            await b.rest(30.0)
            assert (base.in_flight, base.guests, base.last_done) == (0, 0, own.last_done)
            assert b.states() == {"base": "ready", "x": "ready", "y": "cold", "other": "cold"}
            assert b.faults == []

    run(main())


def test_while_the_base_drains_its_adapter_takes_nobody_and_ends_what_it_has() -> None:
    async def main() -> None:
        async with bench(with_loras(PLAIN, "x")) as b:
            b.ask("x", hold_s=0.1)
            await b.rest(30.0)
            running = b.ask("x", hold_s=20.0)
            task = spawn(b.control.order("base", Goal.ASLEEP, by="test", wait_s=60.0), "test")
            await pause(1.0)
            assert (b.states()["base"], b.states()["x"]) == ("draining", "ready")
            late = b.ask("x")
            assert late.lease is None
            assert (await task).success
            assert running.outcome == "served"
            assert b.states()["x"] == "cold"
            await b.rest(60.0)
            assert late.outcome == "served"
            assert b.faults == []

    run(main())


def test_places_are_kept_and_the_least_recently_used_goes() -> None:
    async def main() -> None:
        policy = PolicySpec(eviction="lru")
        async with bench(with_loras(PLAIN, "x", "y", "z", places=2), policy=policy) as b:
            for name in ("x", "y", "x", "z"):
                b.ask(name)
                await b.rest(60.0, step_s=2.0)
            assert b.states() == {"base": "ready", "x": "ready", "y": "cold", "z": "ready", "other": "cold"}
            assert b.faults == []

    run(main())


def test_waiters_of_an_adapter_are_reason_enough_for_its_base_to_come_back() -> None:
    async def main() -> None:
        async with bench(with_loras(PLAIN, "x"), MemorySpec(max_resident=1)) as b:
            first = b.ask("x")
            await b.rest(60.0)
            other = b.ask("other")
            await b.rest(60.0)
            again = b.ask("x")
            await b.rest(60.0)
            assert [one.outcome for one in (first, other, again)] == ["served"] * 3
            kinds = [type(order) for order in b.owners["base"].orders]
            assert kinds.count(Load) == 1
            assert kinds.count(Wake) == 1
            assert [type(order) for order in b.owners["x"].orders] == [Load, Load]
            assert b.faults == []

    run(main())


def test_a_base_that_came_up_for_an_adapter_does_not_yield_before_that_is_served() -> None:
    async def main() -> None:
        policy = PolicySpec(turn=0.0)
        async with bench(with_loras(PLAIN, "x"), MemorySpec(max_resident=1), policy) as b:
            b.owners["x"].times.start = 20.0
            clients = [b.ask(name) for name in ("other", "x", "other", "x")]
            await b.rest(300.0)
            assert [client.outcome for client in clients] == ["served"] * 4
            assert sum(isinstance(order, Load | Wake) for order in b.owners["base"].orders) <= 2
            assert b.faults == []

    run(main())


def test_concurrency_is_the_engines_and_whoever_waited_longest_is_next() -> None:
    async def main() -> None:
        async with bench(with_loras(replace(PLAIN, concurrency=1), "x", "y", places=2)) as b:
            for name in ("x", "y", "base"):
                b.ask(name, hold_s=0.1)
                await b.rest(60.0, step_s=1.0)
            order = []
            for name in ("x", "y", "base", "x"):
                order.append(b.ask(name, hold_s=5.0))
                await pause(0.1)
            assert [client.lease is not None for client in order] == [True, False, False, False]
            await b.rest(60.0)
            granted = [client.granted_at for client in order]
            assert granted == sorted(granted, key=lambda moment: moment or 0.0)
            assert b.faults == []

    run(main())


def test_a_preloaded_adapter_comes_with_its_base_and_not_again_after_an_unload() -> None:
    async def main() -> None:
        async with bench(with_loras(PLAIN, "x", "y", preload=("x",))) as b:
            await pause(20.0)
            assert b.states()["base"] == "cold"
            b.ask("base")
            await b.rest(60.0)
            assert b.states()["x"] == "ready"
            done = await b.control.order("x", Goal.STOPPED, by="test", wait_s=60.0)
            assert done.success
            await pause(30.0)
            assert b.states()["x"] == "cold"
            assert (await b.control.order("base", Goal.ASLEEP, by="test", wait_s=60.0)).success
            b.ask("base")
            await b.rest(60.0)
            assert b.states()["x"] == "ready"
            assert b.faults == []

    run(main())


def test_an_order_for_an_adapter_brings_the_base_up_and_a_failing_base_ends_it() -> None:
    async def main() -> None:
        async with bench(with_loras(PLAIN, "x")) as b:
            assert (await b.control.order("x", Goal.READY, by="test", wait_s=60.0)).success
            assert b.states()["base"] == "ready"
        async with bench(with_loras(PLAIN, "x")) as b:
            b.owners["base"].fail_next = ["start"] * 5
            client = b.ask("x")
            await b.rest(120.0)
            assert client.refusal is not None
            assert client.refusal.code == "model_failed"
            assert client.refusal.message.startswith(
                'Model "x" lives inside "base". Model "base" failed to run 5 times'
            )

    run(main())


def test_each_replica_of_the_base_has_places_of_its_own() -> None:
    async def main() -> None:
        base = replace(PLAIN, replicas=(ReplicaSpec(), ReplicaSpec()))
        async with bench(with_loras(base, "x", "y")) as b:
            clients = [b.ask("x", hold_s=30.0) for _ in range(4)]
            await b.rest(120.0)
            assert [client.outcome for client in clients] == ["served"] * 4
            assert b.control.view().places == {"base/0": 1, "base/1": 1}
            assert (b.states()["x"], b.states()["x/1"]) == ("ready", "ready")
            assert b.faults == []

    run(main())
