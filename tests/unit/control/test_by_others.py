"""What others do to engines, as the whole control plane lives through it: put to sleep with requests, found running,
ordered down while they stop. On virtual time."""

import logging

import pytest

from roost import clock
from roost.control.lane import Entry
from roost.core.lifecycle import Fact
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Load, Stop, Undrain, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import OverBudget, Stranded
from roost.core.spec import ReplicaSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.tasks import spawn
from tests.support.fleet import Bench, FakeOwner, fleet, pause, settle
from tests.support.virtual import run


def reasons(owner: FakeOwner, kind: type) -> list[object]:
    return [order.reason for order in owner.orders if isinstance(order, kind)]


def test_an_engine_put_to_sleep_with_a_request_wakes_for_it() -> None:
    """Also past the time at which an idle one would be unloaded."""

    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", unload_after=30.0))) as bench:
            await bench.ask("a").settled.wait()
            long, owner = bench.ask("a", 500.0), bench.owners["a"]
            await pause(60.0)
            owner.see(Fact.FELL_ASLEEP, "someone else put it to sleep")
            await pause(1.5)
            assert bench.states() == {"a": "ready"}
            assert reasons(owner, Wake) == [Stranded(requests=1, asleep_s=0.0)]
            await long.settled.wait()
            assert not reasons(owner, Stop)

    run(main())


def test_a_request_that_never_asked_wakes_nobody_and_holds_the_unload_up() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", unload_after=30.0), policy=PolicySpec(check_interval=1e9))
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            lease = bench.control.gate.passed("a/0", clock.now())
            bench.owners["a"].see(Fact.FELL_ASLEEP)
            await pause(100.0)
            assert bench.states() == {"a": "asleep"}
            lease.release(clock.now())
            await pause(31.0)
            assert bench.states() == {"a": "cold"}
            assert not reasons(bench.owners["a"], Wake)

    run(main())


def test_an_unload_waits_for_requests_with_a_sleeper_which_wakes_for_them() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None, timeouts=TimeoutsSpec(drain=60.0))
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a").settled.wait()
            long = bench.ask("a", 10.0)
            bench.owners["a"].see(Fact.FELL_ASLEEP)
            result = await bench.control.order("a", Goal.STOPPED, by="cli", wait_s=60.0)
            assert (result.status, result.state) == (200, "cold")
            assert long.outcome == "served"
            assert len(reasons(bench.owners["a"], Wake)) == 1

    run(main())


def broken(owner: FakeOwner) -> None:
    """A step with `on_failure: restart` failed."""
    owner.revive = True
    owner.see(Fact.PROBES_LOST, "step 2 of 3 answered 500")
    owner._later(1.0, owner._stopped)


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_an_unload_ordered_while_a_restart_stops_it_wins(after_s: float) -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None)
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a").settled.wait()
            owner = bench.owners["a"]
            broken(owner)
            await pause(after_s)
            result = await bench.control.order("a", Goal.STOPPED, by="cli", wait_s=60.0)
            await pause(60.0)
            assert (result.status, result.state) == (200, "cold")
            assert bench.states() == {"a": "cold"}
            assert len(reasons(owner, Load)) == 1

    run(main())


def test_an_unload_that_stands_as_a_restart_begins_wins_and_the_next_restart_is_one_again() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            await bench.ask("a").settled.wait()
            owner = bench.owners["a"]
            long = bench.ask("a", 5.0)
            asked = spawn(bench.control.order("a", Goal.STOPPED, by="cli", wait_s=60.0), "order")
            await settle()
            assert bench.states() == {"a": "draining"}
            broken(owner)
            assert (await asked).status == 200
            await pause(60.0)
            assert bench.states() == {"a": "cold"}
            assert long.outcome == "served"
            await bench.ask("a").settled.wait()
            broken(owner)
            await pause(60.0)
            assert bench.states() == {"a": "ready"}

    run(main())


def test_more_engines_found_running_than_may_be_awake_go_down_and_stay_there() -> None:
    async def main() -> None:
        models = fleet("a", "b", "c", sleep_after=None, url="http://127.0.0.1:9")
        spec = RoostSpec(models=models, memory=MemorySpec(max_resident=1))
        foreign = {"owned": False}
        async with Bench(spec, a=foreign, b=foreign, c=foreign) as bench:
            for owner in bench.owners.values():
                owner.found()
                await pause(1.0)
            await pause(3600.0)
            assert bench.states() == {"a": "asleep", "b": "asleep", "c": "ready"}
            assert [len(owner.orders) for owner in bench.owners.values()] == [2, 2, 0]  # drain and sleep
            await bench.ask("a").settled.wait()
            assert bench.states() == {"a": "ready", "b": "asleep", "c": "asleep"}

    run(main())


def test_a_busy_engine_too_many_ends_its_request_first_and_a_found_one_may_save_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", sleep_after=None), memory=MemorySpec(max_resident=1))
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            long = bench.ask("a", 50.0)
            bench.control.pin("b", True, by="cli")
            bench.owners["b"].found()
            await pause(5.0)
            assert bench.states() == {"a": "draining", "b": "ready"}
            bench.owners["b"].see(Fact.GONE)
            await pause(0.1)
            assert bench.states()["a"] == "ready"
            assert [type(order) for order in bench.owners["a"].orders] == [Load, Drain, Undrain]
            assert isinstance(bench.owners["a"].orders[1].reason, OverBudget)
            bench.control.pin("a", True, by="cli")
            bench.owners["b"].found()
            await pause(100.0)
            assert long.outcome == "served"
            assert bench.states() == {"a": "ready", "b": "ready"}

    with caplog.at_level(logging.WARNING, "roost"):
        run(main())
    said = [message for message in caplog.messages if message.startswith("memory.max_resident is 1, but 2 are awake")]
    assert said == [
        'memory.max_resident is 1, but 2 are awake, and none of them can yield now: "a" (pinned), "b" (pinned). Unpin '
        "or unload one, or raise it."
    ]


def test_a_load_and_a_wake_are_timed_apart() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None)
        async with Bench(RoostSpec(models=models)) as bench:
            lane, owner = bench.control.gate.lane("a"), bench.owners["a"]
            owner.times.start, owner.times.wake = 6.4, 0.3
            await bench.ask("a").settled.wait()
            await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert lane.expected_wait_s == 10.0  # of a wake nothing is known yet
            waiter = bench.ask("a")
            await settle()
            assert told(waiter.ticket) == "it is waking up."
            await waiter.settled.wait()
            await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert lane.expected_wait_s == pytest.approx(0.3)
            await bench.control.order("a", Goal.STOPPED, by="cli", wait_s=60.0)
            assert lane.expected_wait_s == pytest.approx(6.4)
            waiter = bench.ask("a")
            await settle()
            assert told(waiter.ticket) == "it is being loaded (last time that took 6.4 s)."

    run(main())


def test_a_look_at_an_engine_that_others_woke_is_no_wake() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            lane, owner = bench.control.gate.lane("a"), bench.owners["a"]
            owner.times.wake = 2.0
            await bench.ask("a").settled.wait()
            for _ in range(2):
                await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
                await bench.ask("a").settled.wait()
            await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            owner.woken_by_others()
            await pause(1.0)
            assert bench.states() == {"a": "ready"}
            assert lane.last_wake_s == pytest.approx(2.0)

    run(main())


def test_the_replica_that_is_nearest_sets_the_guess() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", replicas=(ReplicaSpec(),) * 2, sleep_after=None))
        async with Bench(spec) as bench:
            lane = bench.control.gate.lane("a")
            lane.last_load_s, lane.last_wake_s = 60.0, 0.5
            assert lane.expected_wait_s == 60.0
            bench.owners["a"].see(Fact.FELL_ASLEEP)
            assert lane.expected_wait_s == 0.5
            bench.owners["a/1"].orders.clear()
            bench.ask("a")
            await settle()
            assert set(bench.states().values()) == {"waking", "starting"}
            assert lane.expected_wait_s == 0.5

    run(main())


def told(ticket: object) -> str:
    assert isinstance(ticket, Entry)
    return ticket.outlook().sentence


@pytest.mark.parametrize("eviction", ["cost", "lru"])
@pytest.mark.parametrize("pause_s", [0.1, 5.0, 100.0])
def test_what_others_have_just_brought_up_counts_as_used_just_then(eviction: str, pause_s: float) -> None:
    """Of two models of which equally little is known the one goes that was of use longer ago, not the newcomer."""

    async def main() -> None:
        models = fleet("one", "two", sleep_after=None)
        policy = PolicySpec(eviction="cost" if eviction == "cost" else "lru")
        async with Bench(RoostSpec(models=models, memory=MemorySpec(max_resident=1), policy=policy)) as bench:
            await bench.ask("one").settled.wait()
            await pause(pause_s)
            bench.owners["two"].found()
            await pause(5.0)
            assert bench.states() == {"one": "asleep", "two": "ready"}
            (reason,) = reasons(bench.owners["one"], Drain)
            assert isinstance(reason, OverBudget)
            assert reason.idle_s == pytest.approx(pause_s, abs=0.1)

    run(main())
