"""The gate's own manners: names, bounds, deadlines, shutting down, who may not wake, who does not count."""

import logging

import pytest

from roost import clock
from roost.control.lane import Entry
from roost.core.lifecycle import Fact
from roost.core.memory_spec import MemorySpec
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec
from roost.core.view import Goal
from roost.tasks import spawn
from tests.support.fleet import Bench, fleet, pause, settle
from tests.support.virtual import run

NAMES = RoostSpec(
    models={
        "org/a": ModelSpec(command="x", aliases=("a",), also_serves=("lora",), served_name="served"),
        "org/a/b": ModelSpec(command="x"),
    }
)


@pytest.mark.parametrize(
    ("asked", "name", "rewrite"),
    [("org/a", "org/a", "served"), ("a", "org/a", "served"), ("lora", "org/a", None), ("org/a/b", "org/a/b", None)],
)
def test_names_lead_to_models(asked: str, name: str, rewrite: str | None) -> None:
    async def main() -> None:
        route = Bench(NAMES).control.gate.resolve(asked)
        assert route is not None
        assert (route.name, route.asked, route.rewrite) == (name, asked, rewrite)

    run(main())


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("org/a/v1/x", ("org/a", "/v1/x")),
        ("org/a/b/v1/x", ("org/a/b", "/v1/x")),
        ("org/a", ("org/a", "")),
        ("org/ab/v1", None),
        ("nobody/v1", None),
        ("", None),
        ("/" * 5000, None),
    ],
)
def test_the_longest_name_at_the_start_of_a_path(path: str, found: tuple[str, str] | None) -> None:
    async def main() -> None:
        match = Bench(NAMES).control.gate.match_prefix(path)
        assert (None if match is None else (match[0].name, match[1])) == found

    run(main())


def test_a_name_may_bring_parameters_of_its_own() -> None:
    """Over `set_params`; the name itself leads to the model as an alias does."""
    model = ModelSpec(
        command="x",
        aliases=("a",),
        also_serves=("lora",),
        set_params={"top_k": 5, "seed": 1},
        set_params_by_name={"m:creative": {"top_k": 50}, "a": {"seed": 2}, "m": {"seed": 3}, "lora": {"seed": 4}},
    )

    async def main() -> None:
        gate = Bench(RoostSpec(models={"m": model, "plain": ModelSpec(command="x")})).control.gate
        found = {name: gate.resolve(name) for name in ("m", "a", "m:creative", "lora", "plain")}
        assert {name: route and (route.rewrite, route.set_params) for name, route in found.items()} == {
            "m": (None, {"top_k": 5, "seed": 3}),
            "a": ("m", {"top_k": 5, "seed": 2}),
            "m:creative": ("m", {"top_k": 50, "seed": 1}),
            "lora": (None, {"top_k": 5, "seed": 4}),
            "plain": (None, {}),
        }

    run(main())


def test_more_than_may_run_and_wait_together_get_429() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", max_requests=3, concurrency=2))) as bench:
            first = [bench.ask("a", 10.0) for _ in range(4)]
            assert [client.outcome for client in first] == ["open", "open", "open", "refused"]
            refusal = first[3].refusal
            assert refusal is not None
            assert (refusal.status, refusal.code, refusal.retry_after_s) == (429, "too_many_requests", 10.0)
            assert "0 run and 3 wait (max_requests 3)" in refusal.message
            await pause(6.0)  # two run, one waits
            running = bench.ask("a")
            assert running.refusal is not None
            assert "2 run and 1 waits (max_requests 3)" in running.refusal.message
            await first[1].settled.wait()
            assert bench.ask("a").outcome == "open"

    run(main())


def test_waiters_that_may_not_wake_it_are_served_before_it_yields() -> None:
    async def main() -> None:
        models = {**fleet("a", wake_on_request=False, concurrency=1, sleep_after=None), **fleet("b")}
        async with Bench(RoostSpec(models=models, memory=MemorySpec(max_resident=1))) as bench:
            bench.owners["a"].see(Fact.READY)
            clients = [bench.ask("a", 3.0) for _ in range(3)]
            await pause(0.1)
            other = bench.ask("b")
            await other.settled.wait()
            assert [client.outcome for client in clients] == ["served"] * 3
            assert bench.states()["a"] == "asleep"

    run(main())


def test_the_queue_is_bounded_and_the_longest_wait_too() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", queue=QueueSpec(size=2, max_wait=10.0)))
        async with Bench(spec) as bench:
            bench.owners["a"].times.start = 100.0
            waiting = [bench.ask("a") for _ in range(2)]
            third = bench.ask("a")
            assert third.refusal is not None
            assert third.refusal.status == 429
            assert third.refusal.retry_after_s == 10.0
            assert bench.control.gate.queue_depth == 2
            await waiting[1].settled.wait()
            assert clock.now() == pytest.approx(1010.0, abs=0.3)
            for client in waiting:
                assert client.refusal is not None
                assert (client.refusal.status, client.refusal.code) == (503, "waited_too_long")
                assert "a/0 is starting" in client.refusal.message
                assert 1 <= (client.refusal.retry_after_s or 0) <= 120
            assert bench.control.gate.refusals == {("a", "queue_full"): 1, ("a", "waited_too_long"): 2}

    run(main())


def test_tickets_know_their_place_and_leaving_moves_the_others_up() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            clients = [bench.ask("a") for _ in range(3)]
            tickets = [c.ticket for c in clients if isinstance(c.ticket, Entry)]
            assert [t.position for t in tickets] == [1, 2, 3]
            bench.leave(clients[0])
            bench.leave(clients[0])
            assert [t.position for t in tickets] == [None, 1, 2]
            await clients[2].settled.wait()
            assert [c.outcome for c in clients] == ["gone", "served", "served"]

    run(main())


def test_get_never_wakes_and_is_told_how() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            client = bench.ask("a", method="GET")
            assert client.refusal is not None
            assert client.refusal.code == "model_asleep"
            await pause(5.0)
            assert bench.owners["a"].orders == []

    run(main())


def test_requests_do_not_wake_a_model_that_only_an_order_wakes() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", wake_on_request=False, sleep_after=20.0))) as bench:
            early = bench.ask("a")
            assert early.refusal is not None
            assert (early.refusal.code, early.refusal.retry_after_s) == ("model_asleep", None)
            assert "is cold" in early.refusal.message
            await pause(5.0)
            assert bench.owners["a"].orders == []
            spawn(bench.control.order("a", Goal.READY, by="cli", wait_s=60.0), "wake")
            await settle()
            coming = bench.ask("a")
            await coming.settled.wait()
            assert coming.outcome == "served"
            await pause(25.0)
            assert bench.states() == {"a": "asleep"}
            late = bench.ask("a")
            assert late.refusal is not None
            assert "is asleep" in late.refusal.message
            await pause(5.0)
            assert bench.states() == {"a": "asleep"}

    run(main())


def test_who_waits_for_such_a_model_is_told_when_it_goes_down() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", wake_on_request=False, concurrency=1))) as bench:
            bench.owners["a"].see(Fact.READY)
            bench.ask("a", 50.0)
            waits = bench.ask("a")
            await settle()
            bench.owners["a"].see(Fact.GONE, "killed")
            assert waits.refusal is not None
            assert waits.refusal.code == "model_asleep"
            assert "has crashed" in waits.refusal.message

    run(main())


def test_a_get_that_joined_is_refused_when_nobody_is_left_to_wake_the_model() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            waker = bench.ask("a")
            get = bench.ask("a", method="GET")
            await settle()
            bench.leave(waker)
            bench.owners["a"].see(Fact.GONE, "killed")
            assert get.refusal is not None
            assert get.refusal.code == "model_asleep"

    run(main())


def test_requests_that_do_not_count_keep_nothing_awake() -> None:
    async def main() -> None:
        quiet = KeySpec(name="probe", key="k", counts=False)
        async with Bench(RoostSpec(models=fleet("a", sleep_after=20.0))) as bench:
            await bench.ask("a").settled.wait()
            for _ in range(7):
                await bench.ask("a", 0.1, key=quiet).settled.wait()
                await pause(3.0)
            assert bench.states()["a"] == "asleep"

    run(main())


def test_closing_refuses_who_waits_and_who_comes_and_lets_leases_run() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", concurrency=1))) as bench:
            await bench.ask("a").settled.wait()
            runs, waits = bench.ask("a", 5.0), bench.ask("a")
            bench.control.gate.close()
            late = bench.ask("a")
            for client in (waits, late):
                assert client.refusal is not None
                assert (client.refusal.status, client.refusal.close) == (503, True)
            await runs.settled.wait()
            assert runs.outcome == "served"

    run(main())


def test_a_second_release_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            first, second = bench.ask("a"), bench.ask("a", 50.0)
            await first.settled.wait()
            await settle()
            assert first.lease is not None
            first.lease.release(clock.now())
            assert bench.control.gate.in_flight == 1
            assert second.outcome == "open"

    with caplog.at_level(logging.ERROR, "roost"):
        run(main())
    assert caplog.messages == ["a lease on a/0 was released twice; the second release was ignored"]


def test_a_refused_connect_has_the_owner_look() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            client = bench.ask("a", 50.0)
            await pause(6.0)
            assert client.lease is not None
            client.lease.refused_connect()
            assert bench.owners["a"].suspected == 1
            assert bench.control.gate.another(client.lease, clock.now()) is None
            assert bench.control.gate.in_flight == 1

    run(main())
