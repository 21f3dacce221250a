"""Schedules, gate, planner, loop and owners together: virtual time, and a clock on the wall that goes with it.

Every test begins on Friday 2026-11-20 at 07:59 UTC; the window opens at 08:00, a minute later.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from roost import clock
from roost.core.lifecycle import Fact
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain, Load, Sleep, Stop, Wake
from roost.core.policy_spec import PolicySpec, ScheduleSpec
from roost.core.reason import Evict, OverBudget, Scheduled
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, RestartSpec, RoostSpec
from roost.core.view import Goal, Policy
from tests.support.fleet import Bench, fleet, pause
from tests.support.virtual import run
from tests.support.wall import Wall, unix, wall

OPENS_S = 60.0
OFFICE = "fri 08:00-18:00"
ONE = MemorySpec(max_resident=1)
QUIET_KEY = KeySpec(name="probe", key="k", counts=False)


def spec(
    models: dict[str, ModelSpec], *schedules: ScheduleSpec, memory: MemorySpec | None = None, **policy: Any
) -> RoostSpec:
    policy = {"schedules": schedules, "turn": 10.0, **policy}
    return RoostSpec(models=models, memory=memory or MemorySpec(), policy=PolicySpec(**policy))


def window(when: str = OFFICE, **sets: Any) -> ScheduleSpec:
    return ScheduleSpec(when=when, timezone="UTC", **sets)


def play(roost: RoostSpec, script: Callable[[Bench, Wall], Coroutine[Any, Any, None]], **kinds: Any) -> None:
    async def main() -> None:
        with wall("2026-11-20 07:59") as shown:
            async with Bench(roost, **kinds) as bench:
                await script(bench, shown)

    run(main())


def quiet(*names: str, **changes: Any) -> dict[str, ModelSpec]:
    return fleet(*names, sleep_after=None, **changes)


def kinds_of(bench: Bench, name: str) -> list[str]:
    return [type(order).__name__ for order in bench.owners[name].orders]


# pins


def test_a_pinned_model_comes_up_when_its_window_opens_and_goes_its_way_after_it() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S - 1)
        assert bench.states()["a"] == "cold" and not bench.control.pinned("a")
        await pause(2)
        assert bench.states()["a"] == "starting"
        (order,) = bench.owners["a"].orders
        assert isinstance(order, Load) and isinstance(order.reason, Scheduled)
        assert str(order.reason) == f'pinned by the schedule "{OFFICE}" (UTC), open for 10h 00m more'
        await pause(9 * 3600)
        assert bench.states()["a"] == "ready" and bench.control.pinned("a")  # idle for long, and stays
        await pause(3600 + 30)
        assert bench.states()["a"] == "asleep" and not bench.control.pinned("a")

    play(spec(fleet("a", sleep_after=60.0), window(pin=("a",))), script)


def test_it_comes_up_in_place_of_an_idle_model() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await bench.ask("b").settled.wait()
        await pause(OPENS_S + 10 - (clock.now() - 1000.0))
        assert bench.states() == {"a": "ready", "b": "asleep"}
        (drain,) = [order for order in bench.owners["b"].orders if isinstance(order, Drain)]
        assert isinstance(drain.reason, Evict) and drain.reason.for_model == "a"

    play(spec(quiet("a", "b"), window(pin=("a",)), memory=ONE), script)


def test_requests_that_wait_for_others_go_first() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S - 2)
        first = [bench.ask("b", 20.0) for _ in range(3)]  # one by one
        await first[-1].settled.wait()
        assert [client.outcome for client in first] == ["served"] * 3
        assert bench.states()["a"] == "cold"
        await pause(10)
        assert bench.states() == {"a": "ready", "b": "asleep"}

    play(spec(quiet("a", "b", concurrency=1), window(pin=("a",)), memory=ONE), script)


def test_while_it_waits_for_its_place_it_is_told_why_and_nobody_is_refused() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        busy = bench.ask("b", 300.0)
        await pause(OPENS_S + 5)
        blocked = bench.control.blocked("a")
        assert blocked is not None and 'Model "a" waits for a place, held by "b"' in blocked.sentence
        assert bench.states()["a"] == "cold"
        await pause(10)  # b's turn is over: it ends what it has
        assert bench.states()["b"] == "draining"
        await busy.settled.wait()
        await pause(10)
        assert (busy.outcome, bench.states()["a"]) == ("served", "ready")

    play(spec(quiet("a", "b"), window(pin=("a",)), memory=ONE), script)


def test_where_pins_hold_everything_a_note_says_so_and_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await bench.ask("b").settled.wait()
        bench.control.pin("b", True, by="cli")
        await pause(OPENS_S + 600)
        assert bench.states() == {"a": "cold", "b": "ready"}
        plan = bench.control.last_plan
        assert plan is not None and not plan.blocked
        assert plan.notes == (
            'Model "a" needs a place, but it is held by "b" (pinned). Unpin or unload one, or raise the budget.',
        )

    play(spec(quiet("a", "b"), window(pin=("a",)), memory=ONE), script)


def test_a_roost_that_begins_inside_the_window_brings_it_up_at_once() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(6)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a"), window("fri 06:00-18:00", pin=("a",))), script)


def test_it_comes_back_when_others_took_it_down_or_it_crashed() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 10)
        bench.owners["a"].see(Fact.FELL_ASLEEP)
        await pause(5)
        assert bench.states()["a"] == "ready"
        bench.owners["a"].see(Fact.GONE)
        await pause(10)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a"), window(pin=("a",))), script)


def test_what_has_used_up_its_tries_is_left_alone() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        bench.owners["a"].fail_next = ["start"] * 9
        await pause(OPENS_S + 600)
        assert bench.states()["a"] == "failed"
        assert kinds_of(bench, "a") == ["Load"] * 2

    play(spec(quiet("a", restart=RestartSpec(tries=2, retry_failed_after=30.0)), window(pin=("a",))), script)


def test_what_an_operator_sends_down_stays_down_until_the_next_window() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 10)
        assert (await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=10)).success
        await pause(600)
        assert bench.states()["a"] == "asleep"
        await bench.ask("a").settled.wait()
        await pause(600)
        assert bench.states()["a"] == "ready"  # a request brings it back, and then it stays
        assert (await bench.control.order("a", Goal.STOPPED, by="cli", wait_s=10)).success
        shown.set(unix("2026-11-27 07:00"))
        await pause(1800)
        assert bench.states()["a"] == "cold"
        await pause(1830)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a"), window(pin=("a",))), script)


def test_an_order_that_is_refused_changes_nothing() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 10)
        assert not (await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=10)).success
        bench.owners["a"].see(Fact.GONE)
        await pause(10)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a"), window(pin=("a",))), script, a={"sleep_levels": ()})


def test_an_operators_unpin_holds_until_the_next_window() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 10)
        assert bench.control.pin("a", False, by="cli").changed
        await pause(120)
        assert bench.states()["a"] == "asleep"
        shown.set(unix("2026-11-27 08:00"))
        await pause(60)
        assert bench.states()["a"] == "ready" and bench.control.pinned("a")

    play(spec(fleet("a", sleep_after=60.0), window(pin=("a",))), script)


def test_a_router_that_only_forwards_starts_and_sleeps_nothing() -> None:
    roost = spec(quiet("a", "b"), window(pin=("a",), sleep=("b",)))

    async def script(bench: Bench, shown: Wall) -> None:
        bench.owners["b"].see(Fact.READY)
        await pause(OPENS_S + 600)
        assert bench.states() == {"a": "cold", "b": "ready"}

    play(roost, script, policy=Policy(spec=roost.policy, auto=False))


# sleep


def test_in_its_window_a_model_sleeps_as_soon_as_it_is_idle_and_a_request_wakes_it() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        busy = bench.ask("a", 120.0)
        await pause(OPENS_S + 30)
        assert bench.states()["a"] == "ready"
        await busy.settled.wait()
        await pause(6)
        assert bench.states()["a"] == "asleep"
        (drain,) = [order for order in bench.owners["a"].orders if isinstance(order, Drain)]
        assert isinstance(drain.reason, Scheduled)
        assert str(drain.reason).startswith(f'idle, and to be down by the schedule "{OFFICE}" (UTC), open for 9h')
        await pause(600)
        again = bench.ask("a")
        await again.settled.wait()
        assert again.outcome == "served"
        await pause(6)
        assert bench.states()["a"] == "asleep"
        await pause(10 * 3600)
        await bench.ask("a").settled.wait()
        await pause(600)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a", min_sleep_duration=0.0), window(sleep=("a",))), script)


def test_what_cannot_sleep_is_stopped_and_a_preload_waits_for_the_end() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 10)
        assert bench.states() == {"a": "cold", "b": "asleep"}
        assert [type(order) for order in bench.owners["a"].orders] == [Load, Drain, Stop]
        assert [type(order) for order in bench.owners["b"].orders] == [Load, Drain, Sleep]

    roost = spec(quiet("a", "b", preload=True), window(sleep=("a", "b")))
    play(roost, script, a={"sleep_levels": ()})

    async def late(bench: Bench, shown: Wall) -> None:
        await pause(3600)
        assert bench.states()["a"] == "cold" and not bench.owners["a"].orders
        await pause(9 * 3600 + 120)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a", preload=True), window("fri 07:00-18:00", sleep=("a",))), late)


def test_min_sleep_duration_and_residency_hold_besides() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S)
        await bench.ask("a").settled.wait()
        asleep_from = clock.now()
        await pause(100 - 1.5)
        assert bench.states()["a"] == "ready"
        await pause(2)
        assert bench.states()["a"] == "asleep"
        await bench.ask("a").settled.wait()
        await pause(asleep_from + 390 - clock.now())
        assert bench.states()["a"] == "ready"
        await pause(20)
        assert bench.states()["a"] == "asleep"

    models = quiet("a", min_sleep_duration=300.0)
    play(spec(models, window(sleep=("a",)), residency=100.0), script)


def test_it_does_so_though_nothing_sleeps_for_idleness_else() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await bench.ask("a").settled.wait()
        await pause(OPENS_S)
        assert bench.states()["a"] == "asleep"

    play(spec(quiet("a"), window(sleep=("a",)), auto_sleep=False), script)


def test_a_pin_goes_before_a_window_that_sends_to_sleep() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S + 600)
        assert bench.states()["a"] == "ready"

    play(spec(quiet("a"), window(pin=("a",)), window("07:00-20:00", sleep=("a",))), script)


def test_a_request_takes_back_the_way_down() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await bench.ask("a").settled.wait()
        probe = bench.ask("a", 120.0, key=QUIET_KEY)  # counts as no traffic, and is not cut
        await pause(OPENS_S)
        assert bench.states()["a"] == "draining"
        real = bench.ask("a", 300.0)
        await pause(1)
        assert bench.states()["a"] == "ready" and real.granted_at is not None
        await real.settled.wait()
        assert probe.outcome == "served"

    play(spec(quiet("a"), window(sleep=("a",))), script)


# budgets


def test_a_smaller_budget_drains_models_off_with_the_window_as_the_reason() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await bench.ask("b").settled.wait()
        busy = bench.ask("a", 120.0)
        await pause(OPENS_S + 5)
        assert bench.states() == {"a": "ready", "b": "asleep"}
        (drain,) = [order for order in bench.owners["b"].orders if isinstance(order, Drain)]
        assert isinstance(drain.reason, OverBudget)
        assert f'2 awake, max_resident 1 by the schedule "{OFFICE}" (UTC)' in str(drain.reason)
        await busy.settled.wait()
        shown.set(unix("2026-11-20 18:01"))
        await pause(40)
        await bench.ask("b").settled.wait()
        assert bench.states() == {"a": "ready", "b": "ready"}

    play(spec(quiet("a", "b"), window(max_resident=1), memory=MemorySpec(max_resident=2)), script)


def test_who_could_not_wait_for_the_windows_end_is_told_at_once_and_who_can_is_served() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        await pause(OPENS_S)
        for _ in range(2):
            client = bench.ask("a")
            await pause(0.1)
            assert client.refusal is not None
            assert (client.refusal.status, client.refusal.code) == (503, "held_back")
            assert client.refusal.retry_after_s == 120.0
            assert f'the budget of gpu0 is 10.0 GiB by the schedule "{OFFICE}" (UTC), for 10h 00m more' in (
                client.refusal.message
            )
        shown.set(unix("2026-11-20 17:55"))
        await pause(40)
        patient = bench.ask("a")
        await patient.settled.wait()
        assert patient.outcome == "served" and shown() >= unix("2026-11-20 18:00")

    models = quiet("a", footprint=20 * 2**30)
    memory = MemorySpec(devices={"gpu0": 40 * 2**30})
    play(spec(models, window(devices={"gpu0": 10 * 2**30}), memory=memory), script)


def test_budgets_that_only_a_window_sets() -> None:
    async def script(bench: Bench, shown: Wall) -> None:
        for name in ("a", "b"):
            await bench.ask(name).settled.wait()
        await pause(OPENS_S)
        assert sorted(bench.states().values()) == ["asleep", "ready"]
        wakes = [bench.ask(name) for name in ("a", "b")]
        for client in wakes:
            await client.settled.wait()
        assert [client.outcome for client in wakes] == ["served"] * 2
        assert list(bench.states().values()).count("ready") == 1
        assert any(isinstance(order, Wake) for owner in bench.owners.values() for order in owner.orders)

    play(spec(quiet("a", "b"), window(max_resident=1)), script)
