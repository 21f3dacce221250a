"""Turns, classes, shares and honest waits, from the first request to the last answer."""

from collections import Counter
from dataclasses import replace

import pytest

from roost import clock
from roost.core.lifecycle import Fact
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Stop
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from tests.support.fleet import Bench, Client, evictions, fleet, pause, settle
from tests.support.virtual import run

ONE = MemorySpec(max_resident=1)


def one_place(*names: str, policy: PolicySpec | None = None, **changes: object) -> RoostSpec:
    models = fleet(*names, sleep_after=None)
    models = {name: replace(spec, **changes) for name, spec in models.items()}  # type: ignore[arg-type]
    return RoostSpec(models=models, memory=ONE, policy=policy or PolicySpec())


def done(client: Client) -> float:
    assert client.done_at is not None, client.refusal
    return client.done_at


async def keep_busy(bench: Bench, name: str, seconds: float, *, every_s: float = 0.5, hold_s: float = 1.0) -> None:
    until = clock.now() + seconds
    while clock.now() < until:
        bench.ask(name, hold_s)
        await pause(every_s)


def test_a_model_that_never_stops_yields_after_a_turn_and_gets_its_own_again() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            await bench.ask("a").settled.wait()
            newcomer = bench.ask("b")
            await keep_busy(bench, "a", 100.0)
            assert 30.0 < done(newcomer) - newcomer.came_at < 30.0 + 1.0 + 0.5 + 5.0 + 1.0 + 0.5
            await bench.rest(100.0)
            assert {client.outcome for client in bench.clients} == {"served"}
            assert evictions(bench.owners["a"]) == evictions(bench.owners["b"]) == 1

    run(main())


def test_nobody_else_waits_and_nothing_changes() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            await keep_busy(bench, "a", 200.0)
            assert evictions(bench.owners["a"]) == 0

    run(main())


def test_its_turn_ends_as_soon_as_it_has_nothing_to_do() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            await bench.ask("a").settled.wait()
            last, newcomer = bench.ask("a", 4.0), bench.ask("b")
            await last.settled.wait()
            await settle()
            assert bench.states()["a"] in ("draining", "suspending")
            await newcomer.settled.wait()
            assert done(newcomer) - done(last) < 0.5 + 5.0 + 1.0 + 0.2

    run(main())


def test_many_models_go_round_by_age() -> None:
    """Five crowded ones: nobody comes twice before everybody has come once."""

    async def main() -> list[str]:
        names = [f"m{n}" for n in range(5)]
        spec = one_place(*names, concurrency=1, queue=QueueSpec(size=500, max_wait=100_000.0))
        async with Bench(spec) as bench:
            for n, name in enumerate(names):
                for _ in range(80):
                    bench.ask(name, 1.0)
                await pause(0.1 * n)
            await bench.rest(5000.0)
            assert {client.outcome for client in bench.clients} == {"served"}
            turns = sorted((done(client), client.model) for client in bench.clients)
            return [name for n, (_, name) in enumerate(turns) if n == 0 or turns[n - 1][1] != name]

    order = run(main())
    assert order[:5] == order[5:10] == [f"m{n}" for n in range(5)]
    assert 10 <= len(order) <= 15  # 80 requests of a second are three turns of 30 s at most


def test_a_high_request_ends_the_turn_of_others_and_is_before_them_in_its_own_queue() -> None:
    vip = KeySpec(name="vip", key="v", priority=Priority.HIGH)

    async def main() -> None:
        async with Bench(one_place("a", "b", concurrency=1)) as bench:
            await bench.ask("a").settled.wait()
            crowd = [bench.ask("a") for _ in range(20)]
            early = [bench.ask("b") for _ in range(3)]
            await pause(2.2)
            first = bench.ask("b", key=vip)
            await first.settled.wait()
            assert done(first) - first.came_at < 1.0 + 0.5 + 5.0 + 1.0 + 0.5
            assert not any(client.done_at for client in early)
            await bench.rest(500.0)
            assert {client.outcome for client in (*crowd, *early)} == {"served"}

    run(main())


def test_a_low_model_is_refused_with_the_reason_where_higher_ones_never_stop_waiting() -> None:
    async def main() -> None:
        models = fleet("a", concurrency=1, sleep_after=None) | fleet(
            "b", priority=Priority.LOW, queue=QueueSpec(max_wait=50.0)
        )
        async with Bench(RoostSpec(models=models, memory=ONE)) as bench:
            await bench.ask("a").settled.wait()
            low = bench.ask("b")
            await keep_busy(bench, "a", 60.0)
            assert low.refusal is not None
            assert low.refusal.status == 503
            assert "requests of a higher class wait for it" in low.refusal.message

    run(main())


def test_shares_of_a_queue_come_out_as_weights() -> None:
    keys = [KeySpec(name=name, key=name, weight=weight) for name, weight in (("a", 1.0), ("b", 3.0))]

    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("m", concurrency=2))) as bench:
            by_key = {key.name: [bench.ask("m", 1.0, key=key) for _ in range(60)] for key in keys}
            await pause(5.0 + 20.5)
            served = Counter(name for name, clients in by_key.items() for client in clients if client.done_at)
            assert served["a"] == pytest.approx(10, abs=1)
            assert served["b"] == pytest.approx(30, abs=1)

    run(main())


def test_a_drain_past_its_deadline_is_cut_where_that_is_wanted() -> None:
    policy = PolicySpec(on_drain_deadline="cut", evict_by="unload")

    async def main() -> None:
        async with Bench(one_place("a", "b", policy=policy, timeouts=TimeoutsSpec(drain=20.0))) as bench:
            await bench.ask("a").settled.wait()
            endless, newcomer = bench.ask("a", 1000.0), bench.ask("b")
            await newcomer.settled.wait()
            assert done(newcomer) - newcomer.came_at == pytest.approx(30.0 + 20.0 + 0.5 + 5.0 + 1.0, abs=0.5)
            assert done(endless) < done(newcomer)
            assert any(isinstance(order, Stop) and order.forced for order in bench.owners["a"].orders)

    run(main())


# honest waits


async def impatient(bench: Bench, name: str, patience_s: float, *, stream: bool = False) -> Client:
    client = bench.ask(name, patience_s=patience_s, stream=stream)
    await settle()
    return client


def test_a_first_request_is_never_refused_on_a_guess() -> None:
    async def main() -> None:
        async with Bench(one_place("a")) as bench:
            first = await impatient(bench, "a", 2.0)
            assert first.outcome == "open"

    run(main())


def test_what_is_known_to_take_too_long_is_refused_at_once_and_comes_up_all_the_same() -> None:
    async def main() -> None:
        async with Bench(one_place("a", sleep_after=20.0, unload_after=40.0)) as bench:
            for _ in range(4):
                await bench.ask("a").settled.wait()
            await pause(50.0)
            assert bench.states() == {"a": "cold"}
            refused = await impatient(bench, "a", 3.0)
            assert refused.refusal is not None
            assert (refused.refusal.status, refused.refusal.code) == (503, "would_wait_too_long")
            assert refused.refusal.retry_after_s == 6.0
            assert refused.refusal.message == (
                'Model "a" is expected to need 6.0 s for this request (the load 5.0 s, the answer 1.0 s), and it may '
                "take 3.0 s (the client's own deadline). Try again in 6 s."
            )
            assert bench.control.gate.refusals == {("a", "would_wait_too_long"): 1}
            await pause(refused.refusal.retry_after_s)
            assert bench.states() == {"a": "ready"}
            again = await impatient(bench, "a", 3.0)
            await again.settled.wait()
            assert again.outcome == "served"

    run(main())


def test_a_patient_one_waits_and_so_does_one_that_needs_only_its_first_byte_in_time() -> None:
    async def main() -> None:
        async with Bench(one_place("a", sleep_after=None)) as bench:
            for _ in range(5):
                await bench.ask("a", 10.0).settled.wait()
            await bench.control.order("a", Goal.STOPPED, by="test", wait_s=60.0)
            whole = await impatient(bench, "a", 6.0)
            first_byte = await impatient(bench, "a", 6.0, stream=True)
            assert (whole.outcome, first_byte.outcome) == ("refused", "open")
            await first_byte.settled.wait()
            assert first_byte.outcome == "served"

    run(main())


def test_the_drain_of_who_must_yield_counts_and_is_told_with_the_plan() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b", policy=PolicySpec(turn=0.0))) as bench:
            for _ in range(5):  # b's wake has been seen then, too
                await bench.ask("b", 1.0).settled.wait()
                await bench.ask("a", 20.0).settled.wait()
            bench.ask("a", 20.0)
            patient = await impatient(bench, "b", 30.0, stream=True)
            assert patient.outcome == "open"
            refused = await impatient(bench, "b", 10.0, stream=True)
            assert refused.refusal is not None
            assert "making room 20 s, the wake 1.0 s" in refused.refusal.message
            assert refused.refusal.retry_after_s == 21.0

    run(main())


def test_a_long_queue_is_told_to_who_cannot_wait_for_its_end() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", concurrency=2))) as bench:
            for _ in range(5):
                await bench.ask("a", 4.0).settled.wait()
            crowd = [bench.ask("a", 4.0) for _ in range(12)]
            late = bench.ask("a", 4.0, patience_s=10.0, stream=True)
            assert late.refusal is not None
            assert late.refusal.retry_after_s == 22.0  # ten before it, two at a time, and then its own place
            calm = bench.ask("a", 4.0, patience_s=60.0, stream=True)
            assert calm.outcome == "open"
            vip = KeySpec(name="vip", key="v", priority=Priority.HIGH)
            assert bench.ask("a", 4.0, patience_s=10.0, stream=True, key=vip).outcome == "open"
            await bench.rest(100.0)
            assert {client.outcome for client in crowd} == {"served"}

    run(main())


def test_queue_max_wait_is_a_deadline_too() -> None:
    async def main() -> None:
        async with Bench(one_place("a", queue=QueueSpec(max_wait=3.5))) as bench:
            first = bench.ask("a")
            await first.settled.wait()
            assert first.refusal is not None
            assert first.refusal.code == "waited_too_long"
            await pause(5.0)
            for _ in range(4):
                await bench.ask("a").settled.wait()
            bench.owners["a"].see(Fact.GONE, "killed")
            late = bench.ask("a")
            await settle()
            assert late.refusal is not None
            assert "it may take 3.5 s (queue.max_wait)" in late.refusal.message

    run(main())


def test_places_and_expected_times_are_told() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models={"a": replace(ModelSpec(command="engine"), concurrency=1)})) as bench:
            for _ in range(5):
                await bench.ask("a", 4.0).settled.wait()
            clients = [bench.ask("a", 4.0) for _ in range(4)]
            told = [client.ticket.outlook() for client in clients[1:]]  # type: ignore[attr-defined]
            assert [(one.position, one.expected_s) for one in told] == [(1, 4.0), (2, 8.0), (3, 12.0)]

    run(main())


LOW, HIGH = (KeySpec(name=p.value, key=p.value, priority=p) for p in (Priority.LOW, Priority.HIGH))


def test_a_low_request_whose_time_is_over_is_told_who_went_before_it() -> None:
    async def main() -> str:
        models = fleet("a", concurrency=1, queue=QueueSpec(max_wait=30.0))
        async with Bench(RoostSpec(models=models)) as bench:
            bench.ask("a", 1.0, key=HIGH)
            await pause(5.5)
            low = bench.ask("a", 1.0, key=LOW)
            await pause(0.4)
            for _ in range(5):
                bench.ask("a", 10.0, key=HIGH)
            await low.settled.wait()
            assert low.refusal is not None
            return low.refusal.message

    assert run(main()).endswith("Requests of a higher class were in its way: 3 were served first and 2 wait still.")


def test_a_full_queue_says_how_many_of_a_higher_class_are_in_it() -> None:
    async def main() -> tuple[str, str]:
        models = fleet("a", concurrency=1, queue=QueueSpec(size=3))
        async with Bench(RoostSpec(models=models)) as bench:
            for key in (HIGH, HIGH, LOW):
                bench.ask("a", key=key)
            low, high = bench.ask("a", key=LOW).refusal, bench.ask("a", key=HIGH).refusal
            assert low is not None and high is not None
            return low.message, high.message

    low, high = run(main())
    assert "3 requests wait (queue.size 3)" in low
    assert low.endswith("2 requests of a higher class than this one wait there.")
    assert "class" not in high


def test_a_model_of_a_lower_class_is_told_whose_room_is_kept_before_its_own() -> None:
    async def main() -> str:
        spec = one_place("a", "b", "c", queue=QueueSpec(max_wait=40.0))
        models = {**spec.models, "b": replace(spec.models["b"], priority=Priority.HIGH)}
        models["c"] = replace(models["c"], priority=Priority.LOW)
        async with Bench(replace(spec, models=models)) as bench:
            bench.ask("a", 200.0)
            await pause(10.0)
            low = bench.ask("c")
            await pause(1.0)
            bench.ask("b")
            await low.settled.wait()
            assert low.refusal is not None
            return low.refusal.message

    assert 'requests of a higher class for "b"' in run(main())


def drain_reasons(bench: Bench, name: str) -> list[str]:
    return [str(order.reason) for order in bench.owners[name].orders if isinstance(order, Drain)]


def test_whose_turn_has_ended_is_said_to_go_for_that() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("b")
            await keep_busy(bench, "a", 40.0)
            (reason,) = drain_reasons(bench, "a")
            assert reason.startswith("makes a place for 'b', whose first request has waited 30")
            assert "its turn is over (policy.turn 30 s) with 2 requests running and 0 waiting" in reason
            assert "idle" not in reason

    run(main())


def test_one_that_has_nothing_more_to_do_is_said_to_have_ended_its_turn() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            bench.ask("a", 10.0)
            await pause(7.0)
            bench.ask("b")
            await pause(20.0)
            (reason,) = drain_reasons(bench, "a")
            assert "whose first request has waited 8" in reason
            assert "its turn is over, as it has nothing more to do" in reason

    run(main())


def test_a_higher_class_is_said_to_end_a_turn() -> None:
    async def main() -> None:
        async with Bench(one_place("a", "b")) as bench:
            bench.ask("a", 20.0)
            await pause(7.0)
            bench.ask("b", key=HIGH)
            await settle()
            (reason,) = drain_reasons(bench, "a")
            assert "requests of a higher class wait for that, which ends its turn with 1 request running" in reason

    run(main())
