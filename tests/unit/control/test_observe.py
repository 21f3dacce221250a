"""The view between two rounds: what did not change is the same object, what did is never out of date."""

from roost import clock
from roost.core.memory_spec import MemorySpec
from roost.core.reason import Idle, Stalled
from roost.core.spec import RoostSpec
from roost.core.view import Goal
from tests.support.fleet import Bench, fleet, pause
from tests.support.stage import VLLM
from tests.support.virtual import run

SPEC = RoostSpec(models=fleet("a", "b", base=VLLM), memory=MemorySpec(max_resident=1))


def test_what_rests_is_seen_as_the_same_object() -> None:
    async def main() -> None:
        async with Bench(SPEC) as bench:
            before = bench.control.view()
            await bench.ask("a").settled.wait()
            after = bench.control.view()
            assert after.models[1] is before.models[1]
            assert after.models[0] is not before.models[0]
            assert bench.control.view().models[0] is after.models[0]

    run(main())


def test_each_fact_of_an_owner_is_seen_when_it_changes() -> None:
    async def main() -> None:
        async with Bench(SPEC) as bench:
            owner = bench.owners["a"]
            await bench.ask("a").settled.wait()
            for name, value in (
                ("last_error", "broken"),
                ("failures", 3),
                ("retry_at", 77.0),
                ("last_sleep_at", 5.0),
                ("last_load_at", 6.0),
                ("no_sleep", "its answers changed"),
                ("revive", True),
            ):
                setattr(owner, name, value)
                assert getattr(bench.control.view().models[0].replicas[0], name) == value, name
            owner.levels = (2,)
            assert bench.control.view().models[0].replicas[0].sleep_levels == (2,)
            owner.stalled = "stands still"
            assert bench.control.view().models[0].replicas[0].drain_reason == Stalled(sentence="stands still")
            owner.manual_wake_at = clock.now() + 1.0
            assert bench.control.view().models[0].replicas[0].idle_since == owner.manual_wake_at

    run(main())


def test_queue_lease_pin_and_wish_are_seen_when_they_change() -> None:
    async def main() -> None:
        async with Bench(SPEC) as bench:
            client = bench.ask("a", 5.0)
            waiting = bench.control.view().models[0]
            assert (waiting.waiting, waiting.oldest_wait_at) == (1, clock.now())
            await pause(6.0)
            busy = bench.control.view().models[0]
            assert (busy.waiting, busy.oldest_wait_at, busy.replicas[0].in_flight) == (0, None, 1)
            assert busy.replicas[0].idle_since is None
            await client.settled.wait()
            await pause(10.0)
            idle = bench.control.view().models[0].replicas[0]
            assert (idle.in_flight, idle.idle_since) == (0, idle.last_used_at)
            bench.control.pin("b", True, by="cli")
            assert bench.control.view().models[1].pinned
            bench.control.pin("b", False, by="cli")
            assert not bench.control.view().models[1].pinned
            await bench.control.order("b", Goal.READY, by="cli")
            wished = bench.control.view().models[1]
            assert wished.wish is not None
            await pause(60.0)
            assert bench.control.view().models[1].wish is None

    run(main())


def test_why_it_drains_is_seen() -> None:
    async def main() -> None:
        async with Bench(SPEC) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("a", 50.0)
            await bench.control.order("a", Goal.STOPPED, by="cli")
            await pause(1.0)
            draining = bench.control.view().models[0].replicas[0]
            assert draining.drain_goal is Goal.STOPPED
            assert draining.drain_reason is not None
            assert not isinstance(draining.drain_reason, Idle)

    run(main())
