"""Gate, planner, loop and owners together, on virtual time."""

import logging

import pytest

from roost import clock
from roost.core.lifecycle import Fact
from roost.core.memory_spec import GroupSpec, MemorySpec
from roost.core.plan import Drain, Load, Plan, Sleep, Stop, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, RestartSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.planner.plan import plan
from roost.proxy.ports import Fleet
from roost.tasks import spawn
from tests.support.fleet import Bench, evictions, fleet, pause, settle
from tests.support.virtual import run


def one_at_a_time(*names: str, **changes: object) -> RoostSpec:
    return RoostSpec(models=fleet(*names, base=None, **changes), memory=MemorySpec(max_resident=1))


def test_one_load_serves_all_waiters() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            clients = [bench.ask("a") for _ in range(5)]
            await clients[-1].settled.wait()
            assert [c.outcome for c in clients] == ["served"] * 5
            assert [type(o) for o in bench.owners["a"].orders] == [Load]
            assert clock.now() == pytest.approx(1006.0)

    run(main())


def test_a_ready_replica_nudges_nothing() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            await bench.ask("a").settled.wait()
            await pause(1.0)
            rounds = bench.control._loop.rounds
            for _ in range(20):
                await bench.ask("a", 0.01).settled.wait()
            assert bench.control._loop.rounds == rounds

    run(main())


def test_the_gate_is_what_the_data_plane_asks_for() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            port: Fleet = bench.control.gate
            assert port.resolve("a") is not None

    run(main())


def test_idle_sleep_then_unload_with_their_reasons(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=60.0, unload_after=300.0)
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a", 10.0).settled.wait()
            idle_from = clock.now()
            await pause(59.0)
            assert bench.states()["a"] == "ready"
            await pause(2.0)
            assert bench.states()["a"] == "asleep"
            await pause(idle_from + 302.0 - clock.now())
            assert bench.states()["a"] == "cold"

    with caplog.at_level(logging.INFO, "roost"):
        run(main())
    assert "sleep a/0 level 1: idle for 60 s (sleep_after 60 s)" in caplog.messages
    assert "stop a/0: idle for 5m 00s (unload_after 5m 00s)" in caplog.messages


@pytest.mark.parametrize("orders", [1, 2])
def test_one_that_is_woken_and_not_used_is_unloaded_after_the_time_from_its_wake(orders: int) -> None:
    """Not from its last use, which lies before the wake; an order to be up that finds it awake counts too."""

    async def main() -> None:
        models = fleet("a", sleep_after=60.0, unload_after=300.0)
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a", 10.0).settled.wait()
            await pause(280.0)
            assert bench.states()["a"] == "asleep"
            for _ in range(orders):
                await bench.control.order("a", Goal.READY, by="cli", wait_s=10.0)
                up_from = clock.now()
                await pause(30.0)
            await pause(60.0)
            assert bench.states()["a"] == "asleep"
            await pause(up_from + 295.0 - clock.now())
            assert bench.states()["a"] == "asleep"
            await pause(10.0)
            assert bench.states()["a"] == "cold"

    run(main())


def test_a_long_request_keeps_it_awake_and_idleness_starts_at_its_end() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=60.0))) as bench:
            client = bench.ask("a", 500.0)
            await client.settled.wait()
            assert bench.states()["a"] == "ready"
            await pause(59.5)
            assert bench.states()["a"] == "ready"
            await pause(1.5)
            assert bench.states()["a"] == "asleep"

    run(main())


def test_the_least_recently_used_yields_and_says_for_whom(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Bench(one_at_a_time("a", "b", sleep_after=None)) as bench:
            await bench.ask("b").settled.wait()
            await pause(412.0)
            await bench.ask("a").settled.wait()
            assert bench.states() == {"a": "ready", "b": "asleep"}

    with caplog.at_level(logging.INFO, "roost"):
        run(main())
    why = "idle 6m 52s, not known when it is wanted again, back in 2.0 s; max_resident 1"
    expected = f"sleep b/0 level 1: makes a place for 'a': {why}"
    assert expected in caplog.messages


def test_two_models_with_endless_demand_alternate() -> None:
    async def main() -> None:
        async with Bench(one_at_a_time("a", "b", concurrency=2)) as bench:
            for _ in range(200):
                bench.ask("a", 0.7)
                bench.ask("b", 0.7)
                await pause(0.4)
            await pause(200.0)
            assert {c.outcome for c in bench.clients} == {"served"}
            assert evictions(bench.owners["a"]) >= 2
            assert evictions(bench.owners["b"]) >= 2

    run(main())


def test_a_drain_waits_for_the_request_and_newcomers_queue() -> None:
    async def main() -> None:
        async with Bench(one_at_a_time("a", "b")) as bench:
            await bench.ask("a").settled.wait()
            long = bench.ask("a", 50.0)
            newcomer = bench.ask("b")
            await pause(31.0)  # a turn
            late = bench.ask("a")
            assert bench.states() == {"a": "draining", "b": "cold"}
            assert late.outcome == "open"
            await newcomer.settled.wait()
            assert long.outcome == "served"
            await late.settled.wait()
            assert late.outcome == "served"

    run(main())


def test_a_request_takes_an_idle_drain_back() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=10.0))) as bench:
            await bench.ask("a").settled.wait()
            quiet = KeySpec(name="probe", key="k", counts=False)
            bench.ask("a", 100.0, key=quiet)
            await pause(11.0)
            assert bench.states()["a"] == "draining"
            client = bench.ask("a")
            await client.settled.wait()
            assert client.outcome == "served"
            assert bench.states()["a"] == "ready"

    run(main())


def test_failed_starts_back_off_then_refuse_with_the_last_error() -> None:
    async def main() -> None:
        models = fleet("a", restart=RestartSpec(tries=3, backoff=1.0, retry_failed_after=60.0))
        async with Bench(RoostSpec(models=models)) as bench:
            bench.owners["a"].fail_next = ["start"] * 3
            client = bench.ask("a")
            await client.settled.wait()
            assert client.refusal is not None
            assert client.refusal.status == 503
            assert client.refusal.retry_after_s is None
            assert "exited with status 1" in client.refusal.message
            assert clock.now() == pytest.approx(1000 + 3 * 5 + 1 + 2, abs=0.3)
            at_once = bench.ask("a")
            await at_once.settled.wait()
            assert at_once.outcome == "refused"
            await pause(61.0)
            again = bench.ask("a")
            await again.settled.wait()
            assert again.outcome == "served"

    run(main())


def test_a_wake_that_fails_ends_in_a_fresh_start_for_the_waiters() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=5.0))) as bench:
            await bench.ask("a").settled.wait()
            await pause(10.0)
            bench.owners["a"].fail_next = ["wake"]
            client = bench.ask("a")
            await client.settled.wait()
            assert client.outcome == "served"
            orders = [type(order) for order in bench.owners["a"].orders]
            assert orders == [Load, Drain, Sleep, Wake, Load]

    run(main())


def test_preload_loads_in_order_what_fits_and_comes_back_after_a_crash() -> None:
    async def main() -> None:
        async with Bench(one_at_a_time("a", "b", preload=True, sleep_after=None)) as bench:
            await pause(10.0)
            assert bench.states() == {"a": "ready", "b": "cold"}
            bench.owners["a"].see(Fact.GONE, "killed")
            assert bench.states()["a"] == "backoff"
            await pause(8.0)
            assert bench.states()["a"] == "ready" or bench.states()["b"] == "ready"

    run(main())


def test_preload_never_brings_an_unloaded_model_back() -> None:
    async def main() -> None:
        models = fleet("a", preload=True, sleep_after=None, unload_after=20.0)
        async with Bench(RoostSpec(models=models)) as bench:
            await pause(100.0)
            assert [type(o) for o in bench.owners["a"].orders] == [Load, Drain, Stop]

    run(main())


def test_orders_load_sleep_wake_unload_restart() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            steps = [
                (Goal.READY, "ready"),
                (Goal.ASLEEP, "asleep"),
                (Goal.READY, "ready"),
                (Goal.RESTARTED, "ready"),
                (Goal.STOPPED, "cold"),
                (Goal.RESTARTED, "ready"),
            ]
            for goal, state in steps:
                result = await bench.control.order("a", goal, by="cli", wait_s=60.0)
                assert (result.success, result.changed, result.state, result.status) == (True, True, state, 200), result
            again = await bench.control.order("a", Goal.READY, by="cli", wait_s=60.0)
            assert (again.success, again.changed) == (True, False)
            assert sum(isinstance(o, Load) for o in bench.owners["a"].orders) == 3

    run(main())


def test_orders_that_cannot_be_met_say_so() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", "far", url="http://127.0.0.1:9"))
        kinds = {"a": {"sleep_levels": ()}, "far": {"owned": False}}
        async with Bench(spec, **kinds) as bench:  # type: ignore[arg-type]
            await bench.control.order("a", Goal.READY, by="cli", wait_s=60.0)
            result = await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert (result.status, result.changed) == (409, False)
            assert result.message == (
                'Model "a" cannot be put to sleep: roost does not know the sleep calls of its engine. Write them as '
                "sleep_steps and wake_steps, or unload it instead."
            )
            cold = await bench.control.order("b", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert cold.status == 409
            bench.owners["far"].see(Fact.READY)
            far = await bench.control.order("far", Goal.STOPPED, by="cli", wait_s=60.0)
            assert far.status == 409
            unknown = await bench.control.order("zzz", Goal.READY, by="cli", wait_s=60.0)
            assert unknown.status == 404

    run(main())


def test_a_load_that_fails_ends_the_order_with_the_error() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            bench.owners["a"].fail_next = ["start"]
            result = await bench.control.order("a", Goal.READY, by="cli", wait_s=60.0)
            assert result.status == 503
            assert "exited with status 1" in result.message
            assert bench.control.wish("a") is None

    run(main())


def test_an_order_that_takes_longer_stands_on() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            result = await bench.control.order("a", Goal.READY, by="cli", wait_s=1.0)
            assert result.status == 202
            await pause(10.0)
            assert bench.states() == {"a": "ready"}

    run(main())


def test_sleep_order_is_refused_at_the_drain_deadline_and_the_model_serves_on() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None, timeouts=TimeoutsSpec(drain=20.0))
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a").settled.wait()
            long = bench.ask("a", 500.0)
            result = await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert result.status == 409
            assert "still answers 1 request after 20 s" in result.message
            await settle()
            assert bench.states() == {"a": "ready"}
            assert long.outcome == "open"

    run(main())


def test_unload_cuts_at_the_drain_deadline_and_at_once_by_force() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None, timeouts=TimeoutsSpec(drain=20.0))
        async with Bench(RoostSpec(models=models)) as bench:
            for force, at_most in ((False, 21.0), (True, 1.0)):
                await bench.ask("a").settled.wait()
                bench.ask("a", 500.0)
                began = clock.now()
                result = await bench.control.order("a", Goal.STOPPED, by="cli", wait_s=60.0, force=force)
                assert result.success
                assert at_most - 1.0 <= clock.now() - began <= at_most
                stop = bench.owners["a"].orders[-1]
                assert isinstance(stop, Stop)
                assert stop.forced

    run(main())


def test_sleep_by_force_takes_the_leases_with_it() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("a", 500.0)
            result = await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0, force=True, level=2)
            assert result.success
            assert bench.owners["a"].level == 2

    run(main())


def test_a_newer_order_takes_the_older_ones_place() -> None:
    async def main() -> None:
        models = fleet("a", sleep_after=None)
        async with Bench(RoostSpec(models=models)) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("a", 30.0)
            first = spawn(bench.control.order("a", Goal.STOPPED, by="one", wait_s=60.0), "first")
            await pause(1.0)
            assert bench.states() == {"a": "draining"}
            second = await bench.control.order("a", Goal.READY, by="two", wait_s=60.0)
            assert (await first).status == 409
            assert second.success
            assert bench.states() == {"a": "ready"}

    run(main())


def test_pin_keeps_it_and_the_newcomer_is_told() -> None:
    async def main() -> None:
        async with Bench(one_at_a_time("a", "b", sleep_after=5.0)) as bench:
            await bench.ask("a").settled.wait()
            assert bench.control.pin("a", True, by="cli").changed
            client = bench.ask("b")
            await client.settled.wait()
            assert client.refusal is not None
            assert "pinned" in client.refusal.message
            await pause(100.0)
            assert bench.states()["a"] == "ready"
            bench.control.pin("a", False, by="cli")
            again = bench.ask("b")
            await again.settled.wait()
            assert again.outcome == "served"

    run(main())


def test_residency_keeps_a_fresh_model() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b"), memory=MemorySpec(max_resident=1), policy=PolicySpec(residency=100.0))
        async with Bench(spec) as bench:
            await bench.ask("a").settled.wait()
            client = bench.ask("b")
            await client.settled.wait()
            assert client.outcome == "served"
            assert clock.now() == pytest.approx(1005.0 + 100.0 + 0.5 + 5.0 + 1.0, abs=0.3)

    run(main())


def test_a_foreign_model_that_is_down_is_waited_for() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("far", url="http://127.0.0.1:9"))
        async with Bench(spec, far={"owned": False, "sleep_levels": ()}) as bench:
            client = bench.ask("far")
            await pause(5.0)
            blocked = bench.control.blocked("far")
            assert blocked is not None
            assert "waits until http://127.0.0.1:9 answers" in blocked.sentence
            assert bench.owners["far"].orders == []
            bench.owners["far"].see(Fact.READY)
            await client.settled.wait()
            assert client.outcome == "served"

    run(main())


def test_max_starts_bounds_starts_and_all_are_served() -> None:
    async def main() -> None:
        names = [f"m{i}" for i in range(6)]
        spec = RoostSpec(models=fleet(*names), policy=PolicySpec(max_starts=2))
        async with Bench(spec) as bench:
            clients = [bench.ask(name) for name in names]
            await settle()
            assert list(bench.states().values()).count("starting") == 2
            for client in clients:
                await client.settled.wait()
            assert {c.outcome for c in clients} == {"served"}
            assert clock.now() == pytest.approx(1016.0, abs=0.5)

    run(main())


def test_a_mistake_in_a_round_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        import roost.control.controller as module

        real, calls = plan, [0]

        def broken(*args: object) -> object:
            calls[0] += 1
            if calls[0] <= 3:
                raise ZeroDivisionError("oops")
            return real(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "Planner", lambda: broken)
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            client = bench.ask("a")
            await client.settled.wait()
            assert client.outcome == "served"
            assert calls[0] < 12

    run(main())
    assert sum("a planning round failed" in message for message in caplog.messages) == 3


def test_rounds_are_bounded_under_a_storm_of_nudges() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            rounds = bench.control._loop.rounds
            for _ in range(1000):
                bench.control.nudge()
                await pause(0.001)
            assert 20 <= bench.control._loop.rounds - rounds <= 40

    run(main())


def test_an_order_without_effect_is_not_given_twice_until_it_is_forgotten() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", base=ModelSpec(command="x")))) as bench:
            bench.owners["a"].deaf = True
            bench.ask("a")
            for _ in range(20):
                bench.control.nudge()
                await pause(1.0)
            assert len(bench.owners["a"].orders) == 1
            await pause(45.0)
            assert len(bench.owners["a"].orders) == 2

    run(main())


def test_plans_reach_listeners_and_a_dry_plan_does_nothing() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            heard: list[Plan] = []
            bench.control.on_plan(heard.append)
            bench.ask("a")
            assert [type(a) for a in bench.control.dry_plan().actions] == [Load]
            assert bench.owners["a"].orders == []
            await settle()
            assert [type(a) for made in heard for a in made.actions] == [Load]

    run(main())


def test_a_waiter_that_leaves_lets_the_idle_clock_be_looked_at_again() -> None:
    """While somebody waits nobody looks at idleness, and an answer's end nudges nothing."""

    async def main() -> None:
        models = fleet("a", concurrency=1, sleep_after=60.0)
        async with Bench(RoostSpec(models=models, policy=PolicySpec(check_interval=1e9))) as bench:
            await bench.ask("a").settled.wait()
            bench.ask("a", 30.0)
            waits = bench.ask("a")
            await pause(1.0)
            bench.leave(waits)
            await pause(100.0)
            assert bench.states()["a"] == "asleep"

    run(main())


def test_defect_10_orders_for_the_same_state_join_and_all_are_answered() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            asked = [spawn(bench.control.order("a", Goal.READY, by=f"o{n}", wait_s=60.0), "order") for n in range(3)]
            results = [await one for one in asked]
            assert [(one.success, one.status) for one in results] == [(True, 200)] * 3
            assert [type(order) for order in bench.owners["a"].orders] == [Load]
            down = spawn(bench.control.order("a", Goal.STOPPED, by="o", wait_s=60.0), "order")
            await settle()
            up = await bench.control.order("a", Goal.READY, by="o", wait_s=60.0)
            assert ((await down).status, up.success) == (409, True)

    run(main())


def test_what_was_stopped_to_be_started_afresh_comes_up_though_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    """A step's `on_failure: restart`: the replica's owner stops it and asks for a fresh start."""

    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            await bench.ask("a").settled.wait()
            owner = bench.owners["a"]
            owner.revive = True
            owner.see(Fact.PROBES_LOST, "step 2 of 3 answered 500")
            owner._later(1.0, owner._stopped)
            await pause(30.0)
            assert (bench.states()["a"], owner.revive) == ("ready", False)

    with caplog.at_level(logging.INFO, "roost"):
        run(main())
    assert "load a/0: stopped to be started afresh" in caplog.messages


def test_a_swap_group_serves_all_its_members_in_turn() -> None:
    async def main() -> None:
        groups = {"big": GroupSpec(members=("a", "b")), "open": GroupSpec(members=("x",), exclusive=False)}
        spec = RoostSpec(models=fleet("a", "b", "x", sleep_after=None), memory=MemorySpec(groups=groups))
        async with Bench(spec) as bench:
            await bench.ask("a", 3.0).settled.wait()
            await bench.ask("x").settled.wait()
            assert bench.states() == {"a": "ready", "b": "cold", "x": "ready"}
            clients = [bench.ask(name, 2.0) for name in ("b", "a", "x", "b")]
            for client in clients:
                await client.settled.wait()
            assert {client.outcome for client in clients} == {"served"}
            assert sorted(bench.states().values()) == ["asleep", "asleep", "ready"]

    run(main())


@pytest.mark.parametrize(
    ("revive", "said"),
    [(False, 'Model "a" was stopped: sleep failed'), (True, 'Model "a" is being restarted: sleep failed')],
)
def test_an_order_to_sleep_in_vain_says_what_becomes_of_the_model(revive: bool, said: str) -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=None))) as bench:
            await bench.ask("a").settled.wait()
            bench.owners["a"].revive = revive
            bench.owners["a"].fail_next = ["sleep"]
            result = await bench.control.order("a", Goal.ASLEEP, by="cli", wait_s=60.0)
            assert (result.status, result.message) == (503, said)

    run(main())
