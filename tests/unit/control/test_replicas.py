"""Models with several replicas, delays and orders, on virtual time: gate, planner, loop and owners together."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from roost import clock
from roost.control.controller import Controller
from roost.control.lane import Lease
from roost.control.wishes import OrderResult
from roost.core.lifecycle import Fact, State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Load, Undrain, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Preload
from roost.core.request import Refusal, Request
from roost.core.spec import ReplicaSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from tests.support.fleet import Bench, Client, fleet, pause, settle
from tests.support.stage import VLLM, Stage
from tests.support.virtual import run

TWO, THREE = (ReplicaSpec(),) * 2, (ReplicaSpec(),) * 3
VLLM_TWO = replace(VLLM, replicas=TWO, sleep_after=None)


def two(**changes: object) -> RoostSpec:
    """Model "a" with two replicas."""
    return RoostSpec(models=fleet("a", base=None, replicas=TWO, **changes))


async def order(bench: Bench, goal: Goal, wait_s: float = 60.0) -> OrderResult:
    return await bench.control.order("a", goal, by="cli", wait_s=wait_s)


def counts(bench: Bench, kind: type) -> list[int]:
    return [sum(isinstance(o, kind) for o in owner.orders) for owner in bench.owners.values()]


def test_requests_spread_over_the_replicas_the_least_busy_first() -> None:
    async def main() -> None:
        async with Bench(two(concurrency=2)) as bench:
            clients = [bench.ask("a", 50.0) for _ in range(4)]
            await pause(6.0)
            assert [c.lease.replica for c in clients if c.lease] == ["a/0", "a/0", "a/1", "a/1"]
            later = [bench.ask("a") for _ in range(2)]
            await later[-1].settled.wait()
            more = [bench.ask("a", 9.0) for _ in range(4)]
            assert [c.lease.replica for c in more if c.lease] == ["a/0", "a/1", "a/0", "a/1"]

    run(main())


def test_one_request_brings_all_up_and_idle_ones_sleep_one_by_one() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=30.0)) as bench:
            await bench.ask("a").settled.wait()
            assert bench.states() == {"a": "ready", "a/1": "ready"}
            for _ in range(10):
                await bench.ask("a").settled.wait()
                await pause(5.0)
            assert bench.states() == {"a": "ready", "a/1": "asleep"}
            busy = [bench.ask("a", 20.0) for _ in range(3)]
            await busy[-1].settled.wait()
            assert bench.states() == {"a": "ready", "a/1": "asleep"}  # nobody had to wait

    run(main())


def test_who_has_to_wait_wakes_the_sleeping_replica() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=30.0, concurrency=1)) as bench:
            await bench.ask("a").settled.wait()
            for _ in range(10):
                await bench.ask("a").settled.wait()
                await pause(5.0)
            long, waits = bench.ask("a", 500.0), bench.ask("a")
            began = clock.now()
            await waits.settled.wait()
            assert clock.now() - began == pytest.approx(2.0, abs=0.2)
            assert long.outcome == "open"
            assert isinstance(bench.owners["a/1"].orders[-1], Wake)

    run(main())


def test_an_order_to_load_brings_up_all_and_answers_at_the_first() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", replicas=THREE, sleep_after=None), policy=PolicySpec(max_starts=1))
        async with Bench(spec) as bench:
            began = clock.now()
            result = await order(bench, Goal.READY)
            assert (result.status, result.changed, result.state) == (200, True, "ready")
            assert clock.now() - began == pytest.approx(5.0, abs=0.2)
            assert bench.control.wish("a") is not None
            await pause(11.0)
            assert set(bench.states().values()) == {"ready"}
            assert bench.control.wish("a") is None
            again = await order(bench, Goal.READY)
            assert (again.changed, bench.control.wish("a")) == (False, None)

    run(main())


def test_an_order_to_wake_a_model_that_is_up_wakes_its_other_replicas() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None)) as bench:
            bench.owners["a"].see(Fact.READY)
            bench.owners["a/1"].see(Fact.FELL_ASLEEP)
            result = await order(bench, Goal.READY, wait_s=0.0)
            assert (result.status, result.changed) == (200, False)
            await pause(3.0)
            assert bench.states() == {"a": "ready", "a/1": "ready"}
            assert bench.control.wish("a") is None

    run(main())


def test_an_order_without_room_for_all_ends_with_those_that_fit_and_idleness_is_looked_at_again() -> None:
    async def main() -> None:
        models = fleet("a", replicas=TWO, sleep_after=20.0)
        policy = PolicySpec(check_interval=1e9)
        async with Bench(RoostSpec(models=models, memory=MemorySpec(max_resident=1), policy=policy)) as bench:
            assert (await order(bench, Goal.READY)).status == 200
            await settle()
            assert bench.control.wish("a") is None
            assert bench.states() == {"a": "ready", "a/1": "cold"}
            await pause(21.0)
            assert bench.states() == {"a": "asleep", "a/1": "cold"}

    run(main())


def test_one_replica_that_fails_does_not_fail_the_order() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None)) as bench:
            bench.owners["a"].fail_next = ["start"]
            bench.owners["a/1"].times.start = 8.0
            result = await order(bench, Goal.READY)
            assert (result.status, result.state) == (200, "ready")
            assert counts(bench, Load)[0] <= 3  # its own back-off, not a try per round

    run(main())


def test_an_order_fails_when_the_last_replica_has() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None)) as bench:
            for owner in bench.owners.values():
                owner.fail_next = ["start"] * 9
            bench.owners["a/1"].times.start = 8.0
            result = await order(bench, Goal.READY)
            assert result.status == 503
            assert bench.control.wish("a") is None

    run(main())


def test_a_restart_restarts_both_and_is_met_when_both_are_up() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None, timeouts=TimeoutsSpec(drain=30.0))) as bench:
            await order(bench, Goal.READY)
            await pause(6.0)
            long = [bench.ask("a", 100.0), bench.ask("a", 10.0)]
            began = clock.now()
            result = await order(bench, Goal.RESTARTED, wait_s=120.0)
            assert (result.status, result.changed, result.state) == (200, True, "ready")
            assert clock.now() - began == pytest.approx(30.0 + 0.5 + 5.0, abs=0.3)
            assert bench.states() == {"a": "ready", "a/1": "ready"}
            assert counts(bench, Load) == [2, 2]
            assert bench.owners["a/1"].became_ready_at == pytest.approx(began + 10.0 + 0.5 + 5.0, abs=0.3)
            assert [c.lease.replica for c in long if c.lease] == ["a/0", "a/1"]

    run(main())


def test_a_restart_of_which_one_does_not_come_up_ends_and_says_so() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None)) as bench:
            await order(bench, Goal.READY)
            await pause(6.0)
            bench.owners["a/1"].fail_next = ["start"]
            result = await order(bench, Goal.RESTARTED)
            assert (result.status, result.state) == (200, "ready")
            assert "a/1 is backoff" in result.message
            assert bench.control.wish("a") is None

    run(main())


def test_sleep_and_unload_take_all_replicas() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", replicas=THREE, sleep_after=None))) as bench:
            await order(bench, Goal.READY)
            await pause(6.0)
            bench.owners["a/2"].see(Fact.UNLOADED)
            result = await order(bench, Goal.ASLEEP)
            assert (result.status, result.state) == (200, "asleep")
            assert bench.states() == {"a": "asleep", "a/1": "asleep", "a/2": "cold"}
            assert (await order(bench, Goal.STOPPED)).status == 200
            assert set(bench.states().values()) == {"cold"}

    run(main())


def test_a_replica_that_cannot_sleep_for_long_answers_holds_the_order_not_the_other() -> None:
    async def main() -> None:
        async with Bench(two(sleep_after=None, timeouts=TimeoutsSpec(drain=20.0))) as bench:
            await order(bench, Goal.READY)
            await pause(6.0)
            bench.ask("a", 500.0)
            result = await order(bench, Goal.ASLEEP)
            assert (result.status, result.success) == (409, False)
            await settle()
            assert bench.states() == {"a": "ready", "a/1": "asleep"}

    run(main())


def test_the_state_of_a_model_is_its_most_useful_replicas() -> None:
    async def main() -> None:
        async with Bench(two()) as bench:
            bench.owners["a/1"].see(Fact.FELL_ASLEEP)
            assert bench.control.pin("a", True, by="cli").state == "asleep"
            assert (await order(bench, Goal.READY)).state == "ready"
            assert bench.states()["a"] == "starting"
            assert bench.control.pin("a", True, by="cli").state == "ready"

    run(main())


def test_preloads_keep_their_distance_without_a_nudge() -> None:
    async def main() -> None:
        models = fleet("a", "b", replicas=TWO, preload=True, sleep_after=None)
        policy = PolicySpec(launch_delay=20.0, check_interval=1e9)
        async with Bench(RoostSpec(models=models, policy=policy)) as bench:
            await pause(100.0)
            started = [owner.last_load_at for owner in bench.owners.values()]
            assert started == pytest.approx([1000.0, 1020.0, 1040.0, 1060.0], abs=0.1)

    run(main())


def test_the_check_interval_is_the_longest_rest() -> None:
    async def main() -> None:
        for interval, at_most in ((10.0, 11), (1000.0, 2)):
            spec = RoostSpec(models=fleet("a"), policy=PolicySpec(check_interval=interval))
            async with Bench(spec) as bench:
                await pause(100.0)
                assert at_most - 1 <= bench.control._loop.rounds <= at_most

    run(main())


def test_auto_sleep_off_leaves_idle_models_up() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=5.0, unload_after=10.0)
        async with Bench(RoostSpec(models=models, policy=PolicySpec(auto_sleep=False))) as bench:
            await bench.ask("a").settled.wait()
            await pause(1000.0)
            assert bench.states() == {"a": "ready"}

    run(main())


def test_a_newcomer_that_leaves_lets_the_busy_model_serve_on() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", sleep_after=None), memory=MemorySpec(max_resident=1))
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("a", 100.0)
            newcomer = bench.ask("b")
            await pause(31.0)  # a turn
            assert bench.states()["a"] == "draining"
            bench.leave(newcomer)
            await pause(1.0)
            assert bench.states()["a"] == "ready"
            assert [type(o) for o in bench.owners["a"].orders] == [Load, Drain, Undrain]

    run(main())


# real owners between fake keepers and engines


async def up(stages: list[Stage]) -> None:
    async with asyncio.timeout(60.0):
        for stage in stages:
            await stage.until(State.READY)


def enter(control: Controller, hold_s: float = 50.0) -> Client:
    route = control.gate.resolve("a")
    assert route is not None
    client = Client(0, "a", hold_s, clock.now())
    answer = control.gate.enter(Request("r", clock.now(), method="POST", route=route), route, client, clock.now())
    if isinstance(answer, Refusal):
        client.refused(answer)
    elif isinstance(answer, Lease):
        client.use(answer)
    return client


def test_two_real_owners_share_a_model_and_a_refused_one_hands_over(tmp_path: Path) -> None:
    async def main() -> None:
        spec = RoostSpec(models={"a": VLLM_TWO})
        stages = [Stage(tmp_path, VLLM_TWO, index) for index in range(2)]
        control = Controller(spec, [stage.replica for stage in stages])
        for stage in stages:
            await stage.replica.recover()
        control.start()
        waits = enter(control, 0.0)
        await up(stages)
        await waits.settled.wait()
        clients = [enter(control) for _ in range(2)]
        assert [stage.replica.last_load_at for stage in stages] == pytest.approx([1000.0, 1000.0], abs=0.1)
        assert [c.lease.replica for c in clients if c.lease] == ["a/0", "a/1"]
        first = clients[0].lease
        assert first is not None
        stages[0].engine.up = False
        first.refused_connect()
        second = control.gate.another(first, clock.now())
        assert second is not None
        assert second.replica == "a/1"
        clients[0].lease = second
        assert [control.gate.seat(stage.id).in_flight for stage in stages] == [0, 2]
        stages[0].keeper.die("killed")
        assert stages[0].replica.state is State.BACKOFF
        assert [c.lease.replica for c in (enter(control), enter(control)) if c.lease] == ["a/1", "a/1"]
        done = await control.order("a", Goal.ASLEEP, by="cli", wait_s=300.0)
        assert (done.status, done.state) == (200, "asleep")
        control.stop()
        for stage in stages:
            await stage.replica.close(leave=False)

    run(main())


def test_an_adopted_engine_was_never_started_and_delays_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        before = Stage(tmp_path, VLLM)
        await before.replica.recover()
        before.replica.obey(Load(replica="a/0", reason=Preload()))
        await before.until(State.READY)
        assert before.replica.last_load_at == 1000.0
        await before.replica.close(leave=True)
        after = Stage(tmp_path, VLLM)
        after.keeper.adoptable = True
        await after.replica.recover()
        assert (after.replica.state, after.replica.last_load_at) == (State.READY, None)
        await after.replica.close(leave=True)

    run(main())
