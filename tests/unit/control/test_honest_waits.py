"""Waits that are known without anybody's having learned them: who cannot wait so long is told so at once."""

import pytest

from roost import clock
from roost.control.budgets import device_view
from roost.control.controller import Controller
from roost.control.holds import Hold
from roost.core.lifecycle import Fact
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec
from roost.core.request import Refusal
from roost.core.spec import QueueSpec, RestartSpec, RoostSpec
from roost.core.view import DeviceView, Goal
from tests.support.fleet import Bench, Client, fleet, pause, settle
from tests.support.virtual import run

GIB = 2**30
GPU = MemorySpec(devices={"gpu0": 80 * GIB})
LARGE = 60 * GIB
ONE = MemorySpec(max_resident=1)


async def asked(bench: Bench, name: str, patience_s: float | None = None) -> Client:
    client = bench.ask(name, patience_s=patience_s, stream=True)
    await settle()
    return client


def refusal(client: Client) -> Refusal:
    assert client.refusal is not None
    assert client.refused_at == client.came_at
    return client.refusal


def expected(client: Client) -> float | None:
    return client.ticket.outlook().expected_s  # type: ignore[attr-defined, no-any-return]


def test_a_load_that_alone_takes_too_long_needs_no_answers_to_be_known() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            await bench.ask("a").settled.wait()
            await bench.control.order("a", Goal.STOPPED, by="test", wait_s=60.0)
            told = refusal(await asked(bench, "a", 3.0))
            assert (told.code, told.retry_after_s) == ("would_wait_too_long", 5.0)
            await pause(told.retry_after_s or 0.0)
            assert bench.states() == {"a": "ready"}  # it came up all the same

    run(main())


def test_the_next_try_of_one_that_failed_is_known() -> None:
    async def main() -> None:
        restart = RestartSpec(backoff=90.0, backoff_max=90.0)
        async with Bench(RoostSpec(models=fleet("a", restart=restart))) as bench:
            bench.owners["a"].fail_next = ["start"]
            first = bench.ask("a")
            await pause(6.0)
            assert (bench.states(), first.outcome) == ({"a": "backoff"}, "open")
            told = refusal(await asked(bench, "a", 20.0))
            assert (told.code, told.retry_after_s) == ("would_wait_too_long", 89.0)
            assert "at least 89 s for this request (its next try 89 s)" in told.message
            patient = await asked(bench, "a", 100.0)
            assert patient.outcome == "open"
            await first.settled.wait()
            assert {first.outcome, patient.outcome} == {"served"}

    run(main())


def test_the_rest_of_a_minimum_stay_is_known_and_told() -> None:
    async def main() -> None:
        spec = RoostSpec(
            models=fleet("a", "b", footprint=LARGE, sleep_after=None), memory=GPU, policy=PolicySpec(residency=300.0)
        )
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            told = refusal(await asked(bench, "b", 60.0))
            assert (told.code, told.retry_after_s) == ("would_wait_too_long", 120.0)
            assert "at least 4m 59s for this request (making room 4m 59s)" in told.message
            patient = await asked(bench, "b")
            assert expected(patient) is None  # its load has never been seen
            await patient.settled.wait()
            assert patient.outcome == "served"

    run(main())


def test_what_others_need_is_less_the_longer_ago_it_was_said() -> None:
    async def main() -> None:
        spec = RoostSpec(
            models=fleet("a", "b", footprint=LARGE, sleep_after=None), memory=GPU, policy=PolicySpec(residency=100.0)
        )
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            patient = await asked(bench, "b")
            assert refusal(await asked(bench, "b", 78.0)).code == "would_wait_too_long"
            await pause(29.0)  # no round since
            later = await asked(bench, "b", 78.0)
            await patient.settled.wait()
            assert (patient.outcome, later.outcome) == ("served", "served")

    run(main())


def held_bench(spec: RoostSpec, until: list[float | None]) -> Bench:
    """gpu0 belongs to its owner until the moment in the list, if there is one."""

    def devices(memory: MemorySpec, now: float) -> tuple[DeviceView, ...]:
        hold = Hold(device="gpu0", since=0.0, until=until[0]) if until else None
        return (device_view("gpu0", memory, None, hold),)

    bench = Bench(spec)
    bench.control = Controller(spec, list(bench.owners.values()), None, devices)
    return bench


def test_of_a_hold_the_end_counts_and_not_what_was_left_of_it_at_the_last_plan() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", footprint=LARGE, queue=QueueSpec(max_wait=9000.0)), memory=GPU)
        until: list[float | None] = [clock.now() + 7200.0]
        async with held_bench(spec, until) as bench:
            patient = await asked(bench, "a")
            assert expected(patient) is None
            assert refusal(await asked(bench, "a", 60.0)).code == "held_back"
            await pause(7180.0)
            late = await asked(bench, "a", 60.0)
            assert late.outcome == "open"
            until.clear()
            bench.control.nudge()
            await patient.settled.wait()
            assert {patient.outcome, late.outcome} == {"served"}

    run(main())


@pytest.mark.parametrize("has_fallback", [True, False])
def test_where_nobody_knows_when_another_model_answers_at_once_if_there_is_one(has_fallback: bool) -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", footprint=LARGE, queue=QueueSpec(max_wait=50.0)), memory=GPU)
        async with held_bench(spec, [None]) as bench:
            client = bench.ask("a", has_fallback=has_fallback)
            await client.settled.wait()
            assert client.refusal is not None
            assert client.refusal.code == ("held_back" if has_fallback else "waited_too_long")
            assert (client.refused_at == client.came_at) is has_fallback

    run(main())


def test_the_end_of_a_turn_is_told_but_nobody_is_refused_for_it() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", "b", sleep_after=None), memory=ONE)) as bench:
            await bench.ask("b").settled.wait()
            await bench.ask("a").settled.wait()
            bench.ask("a", 12.0)
            waits = await asked(bench, "b", 8.0)
            assert waits.outcome == "open"
            bench.control.gate.lane("b").last_wake_s = 1.0
            assert expected(waits) == pytest.approx(31.0)

    run(main())


def test_one_that_drains_comes_back_when_its_requests_are_answered() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            for _ in range(5):
                await bench.ask("a", 6.0).settled.wait()
            bench.ask("a", 6.0)
            bench.control.gate.lane("a").last_wake_s = 1.0
            ordered = bench.control.order("a", Goal.ASLEEP, by="test")
            await ordered
            assert bench.states() == {"a": "draining"}
            assert expected(await asked(bench, "a")) == pytest.approx(7.0)

    run(main())


def test_who_has_waited_in_vain_is_told_what_is_known_by_then() -> None:
    async def main() -> None:
        models = fleet("a", restart=RestartSpec(backoff=90.0, backoff_max=90.0), queue=QueueSpec(max_wait=80.0))
        async with Bench(RoostSpec(models=models)) as bench:
            client = bench.ask("a")
            await pause(6.0)
            bench.owners["a"].see(Fact.GONE)
            await client.settled.wait()
            assert client.refusal is None  # it had been served by then
            bench.owners["a"].fail_next = ["start"]
            late = bench.ask("a")
            await late.settled.wait()
            assert late.refusal is not None
            assert late.refusal.code in ("waited_too_long", "would_wait_too_long")
            assert (late.refusal.retry_after_s or 0) > 5.0

    run(main())
