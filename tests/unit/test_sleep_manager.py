"""The library's manager on the loop whose clock jumps: what the old controller promised and broke, one test each."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from roost import RequestStats, SleepConfig, SleepManager, TrafficMonitor, clock
from roost.tasks import spawn
from tests.support.engines import Engine, serving
from tests.support.virtual import run

PATH = "/v1/completions"
VERIFIED = "POST /v1/completions"


@dataclass(slots=True)
class Scene:
    """A started manager with one vLLM engine, model "a"."""

    manager: SleepManager
    monitor: TrafficMonitor
    engine: Engine

    def ask(self) -> RequestStats:
        return self.monitor.record_request_start("a", PATH)

    def sleeps(self) -> int:
        return self.engine.count("/sleep")

    async def until(self, met: Callable[[], bool], limit_s: float = 600.0) -> None:
        async with asyncio.timeout(limit_s):
            while not met():
                await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def scene(engine: Engine | None = None, **config: Any) -> AsyncIterator[Scene]:
    engine = engine or Engine()
    with serving(engine) as (port,):
        monitor = TrafficMonitor()
        manager = SleepManager(SleepConfig(**config), monitor)
        manager.add_vllm_model("a", "127.0.0.1", port)
        await manager.start()
        try:
            yield Scene(manager, monitor, engine)
        finally:
            await manager.stop()


def test_defect_10_any_number_of_callers_wake_once_and_all_get_true() -> None:
    async def main() -> None:
        async with scene(Engine(slow={"/wake_up": 3.0})) as on:
            assert await on.manager.put_model_to_sleep("a")
            first = spawn(on.manager.wakeup_model("a"), "order")
            await asyncio.sleep(1.0)
            callers = [on.manager.handle_model_wakeup_on_request("a") for _ in range(5)]
            callers += [on.manager.wakeup_model("a") for _ in range(5)]
            assert await asyncio.gather(first, *callers) == [True] * 11
            assert on.engine.count("/wake_up") == 1

    run(main())


def test_defect_11_going_to_sleep_waits_for_running_requests() -> None:
    async def main() -> None:
        async with scene() as on:
            request, other = on.ask(), on.ask()
            began = clock.now()
            order = spawn(on.manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(10.0)
            on.monitor.record_request_end(request)
            await asyncio.sleep(10.0)
            assert on.sleeps() == 0
            on.monitor.record_request_end(other)
            assert await order
            assert clock.now() - began < 21.0
            assert on.sleeps() == 1

    run(main())


def test_defect_11_a_model_that_stays_busy_is_left_awake(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene() as on:
            began = clock.now()
            on.ask()
            assert not await on.manager.put_model_to_sleep("a")
            assert 60.0 <= clock.now() - began < 62.0
            assert on.sleeps() == 0
            assert await on.manager.handle_model_wakeup_on_request("a")

    run(main())
    assert "still answers 1 request after" in caplog.text


def test_defect_11_requests_that_ran_before_the_manager_began_are_waited_for() -> None:
    async def main() -> None:
        engine = Engine()
        with serving(engine) as (port,):
            monitor = TrafficMonitor()
            request = monitor.record_request_start("a", PATH)
            manager = SleepManager(SleepConfig(vllm_models_config={"a": {"host": "127.0.0.1", "port": port}}), monitor)
            order = spawn(manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(5.0)
            assert engine.count("/sleep") == 0
            monitor.record_request_end(request)
            assert await order
            await manager.stop()

    run(main())


def test_defect_12_a_running_request_keeps_its_model_awake_however_long_it_takes() -> None:
    async def main() -> None:
        async with scene(auto_sleep_enabled=True, idle_threshold_seconds=10, check_interval_seconds=1) as on:
            await on.until(lambda: on.manager.is_model_sleeping("a"))
            assert await on.manager.handle_model_wakeup_on_request("a")
            request = on.ask()
            on.manager.update_config(min_sleep_duration=0)
            await asyncio.sleep(500.0)
            assert (on.sleeps(), on.manager.get_sleep_candidates()) == (1, [])
            on.monitor.record_request_end(request)
            await asyncio.sleep(9.0)
            assert on.sleeps() == 1
            await asyncio.sleep(3.0)
            assert on.sleeps() == 2

    run(main())


def test_defect_12_short_requests_one_after_another_keep_it_awake_too() -> None:
    async def main() -> None:
        async with scene(auto_sleep_enabled=True, idle_threshold_seconds=10) as on:
            for _ in range(20):
                on.monitor.record_request_end(on.ask())
                await asyncio.sleep(8.0)
            assert on.sleeps() == 0

    run(main())


def test_defect_13_a_manual_wake_starts_the_idle_time_anew() -> None:
    async def main() -> None:
        async with scene(auto_sleep_enabled=True, idle_threshold_seconds=100, min_sleep_duration=0) as on:
            await asyncio.sleep(90.0)
            assert await on.manager.wakeup_model("a")  # awake already; it counts as a wake all the same
            await asyncio.sleep(90.0)
            assert on.sleeps() == 0
            await asyncio.sleep(15.0)
            assert on.manager.is_model_sleeping("a")
            assert await on.manager.wakeup_model("a")
            await asyncio.sleep(95.0)
            assert not on.manager.is_model_sleeping("a")
            assert on.manager.get_sleep_candidates() == []

    run(main())


def test_defect_14_the_minimum_sleep_holds_back_sleep_and_never_a_wake() -> None:
    async def main() -> None:
        rules: dict[str, Any] = {"auto_sleep_enabled": True, "idle_threshold_seconds": 10, "min_sleep_duration": 300}
        async with scene(**rules) as on:
            await on.until(lambda: on.manager.is_model_sleeping("a"))
            slept_at = clock.now()
            assert await on.manager.handle_model_wakeup_on_request("a")
            assert clock.now() - slept_at < 1.0
            await asyncio.sleep(slept_at + 280.0 - clock.now())
            assert on.sleeps() == 1
            await asyncio.sleep(30.0)
            assert on.sleeps() == 2
            assert await on.manager.wakeup_model("a")

    run(main())


def test_defect_15_a_request_that_comes_while_it_goes_to_sleep_waits_and_wakes_it() -> None:
    async def main() -> None:
        async with scene(Engine(slow={"/sleep": 5.0})) as on:
            orders = [spawn(on.manager.put_model_to_sleep("a"), "order") for _ in range(3)]
            await asyncio.sleep(1.0)
            assert on.manager.is_model_sleeping("a")
            assert await on.manager.handle_model_wakeup_on_request("a")
            assert await asyncio.gather(*orders) == [True] * 3
            assert (on.sleeps(), on.engine.asleep, on.manager.is_model_sleeping("a")) == (1, False, False)

    run(main())


def test_defect_15_a_request_during_an_ordered_drain_waits_until_it_has_slept() -> None:
    async def main() -> None:
        async with scene() as on:
            running = on.ask()
            order = spawn(on.manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(1.0)
            asked = spawn(on.manager.handle_model_wakeup_on_request("a"), "order")
            await asyncio.sleep(1.0)
            assert not asked.done()
            on.monitor.record_request_end(running)
            assert list(await asyncio.gather(order, asked)) == [True, True]
            assert on.sleeps() == 1

    run(main())


def test_defect_16_a_sleep_that_timed_out_and_came_about_is_known() -> None:
    async def main() -> None:
        async with scene(Engine(hang={"/sleep"})) as on:
            order = spawn(on.manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(1.0)
            on.engine.asleep = True
            assert not await order
            on.engine.hang.clear()
            await on.until(lambda: on.manager.is_model_sleeping("a"), 10.0)
            assert await on.manager.put_model_to_sleep("a")
            assert on.sleeps() == 1
            assert await on.manager.wakeup_model("a")

    run(main())


def test_defect_16_a_wake_right_after_a_sleep_that_timed_out_is_obeyed() -> None:
    async def main() -> None:
        async with scene(Engine(hang={"/sleep"})) as on:
            order = spawn(on.manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(1.0)
            on.engine.asleep = True
            assert not await order
            assert await on.manager.wakeup_model("a")
            assert not on.engine.asleep

    run(main())


def test_defect_16_what_others_do_is_seen_within_seconds_and_at_once_by_an_order() -> None:
    async def main() -> None:
        async with scene(Engine(asleep=True)) as on:
            assert on.manager.is_model_sleeping("a")
            on.engine.asleep = False
            await asyncio.sleep(4.0)
            assert not on.manager.is_model_sleeping("a")
            on.engine.asleep = True
            await asyncio.sleep(4.0)
            assert on.manager.is_model_sleeping("a")
            assert await on.manager.check_model_sleep_status("a") is True
            on.engine.asleep = False
            assert await on.manager.put_model_to_sleep("a")
            assert (on.sleeps(), on.engine.asleep) == (1, True)

    run(main())


def test_defect_17_a_reload_that_failed_resumes_no_second_time() -> None:
    async def main() -> None:
        engine = Engine(dev_mode=False, refuse={"/update_weights_from_disk": 500})
        with serving(engine) as (port,):
            manager = SleepManager()
            manager.add_sglang_model("org/m", "127.0.0.1", port, model_path="/models/m")
            assert await manager.put_model_to_sleep("org/m")
            assert not await manager.wakeup_model("org/m")
            engine.refuse.clear()
            await manager.wakeup_model("org/m")
            await manager.wakeup_model("org/m")
            assert engine.count("/resume_memory_occupation") == 1
            assert engine.bodies["/update_weights_from_disk"] == {"model_path": "/models/m"}
            await manager.stop()

    run(main())


def test_defect_18_a_wake_is_true_only_when_a_request_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene() as on:
            assert await on.manager.put_model_to_sleep("a")
            assert await on.manager.wakeup_model("a")
            assert on.engine.orders[-2:] == ["POST /wake_up", VERIFIED]
            assert await on.manager.put_model_to_sleep("a")
            on.engine.refuse[PATH] = 500
            both = asyncio.gather(on.manager.wakeup_model("a"), on.manager.handle_model_wakeup_on_request("a"))
            assert list(await both) == [False, False]
            assert not on.manager.is_model_sleeping("a")
            on.engine.refuse.clear()
            assert await on.manager.wakeup_model("a")

    run(main())
    assert "/v1/completions answered 500: out of memory" in caplog.text


def test_defect_18_who_waits_for_a_wake_that_fails_hears_of_it_at_once() -> None:
    async def main() -> None:
        async with scene() as on:
            assert await on.manager.put_model_to_sleep("a")
            on.engine.refuse["/wake_up"] = 500
            began = clock.now()
            assert not await on.manager.handle_model_wakeup_on_request("a")
            assert clock.now() - began < 1.0

    run(main())


def test_defect_19_an_unknown_model_is_false_and_never_marked(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene() as on:
            on.monitor.record_request_end(on.monitor.record_request_start("made-up", PATH))
            await asyncio.sleep(1000.0)
            assert on.manager.get_sleep_candidates() == ["a"]
            orders = (on.manager.put_model_to_sleep, on.manager.wakeup_model, on.manager.handle_model_wakeup_on_request)
            assert [await order("made-up") for order in orders] == [False] * 3
            assert await on.manager.check_model_sleep_status("made-up") is None
            assert (on.manager.is_model_sleeping("made-up"), on.manager.sleeping_models) == (False, {})

    run(main())
    assert "'made-up' is no model of this SleepManager" in caplog.text


def test_defect_20_a_model_never_requested_sleeps_too() -> None:
    async def main() -> None:
        async with scene(auto_sleep_enabled=True, idle_threshold_seconds=50, check_interval_seconds=1000) as on:
            await asyncio.sleep(49.0)
            assert on.manager.get_sleep_candidates() == []
            on.manager.update_config(auto_sleep_enabled=False)
            await asyncio.sleep(2.0)
            assert (on.manager.get_sleep_candidates(), on.sleeps()) == (["a"], 0)
            on.manager.update_config(auto_sleep_enabled=True)
            await asyncio.sleep(1.0)
            assert (on.manager.get_sleep_candidates(), on.sleeps()) == ([], 1)

    run(main())


def test_defect_20_a_state_reached_already_is_true_without_a_call() -> None:
    async def main() -> None:
        async with scene(vllm_sleep_level=2) as on:
            assert await on.manager.wakeup_model("a")
            assert on.engine.controls == []
            assert [await on.manager.put_model_to_sleep("a") for _ in range(3)] == [True] * 3
            (call,) = on.engine.controls
            assert "level=2" in call
            assert await on.manager.wakeup_model("a")
            assert "POST /collective_rpc" in on.engine.orders

    run(main())


def test_defect_21_a_sleep_that_fails_is_tried_again_after_growing_waits() -> None:
    async def main() -> None:
        engine = Engine(refuse={"/sleep": 500})
        rules: dict[str, Any] = {"auto_sleep_enabled": True, "idle_threshold_seconds": 1, "min_sleep_duration": 0}
        async with scene(engine, **rules, check_interval_seconds=1) as on:
            await asyncio.sleep(600.0)
            assert 3 <= on.sleeps() <= 20
            assert on.manager.sleeping_models == {}
            engine.refuse.clear()
            await on.until(lambda: on.manager.is_model_sleeping("a"), 120.0)

    run(main())


def test_defect_22_the_managers_models_are_in_the_statistics_from_the_start() -> None:
    async def main() -> None:
        async with scene() as on:
            assert list(on.monitor.get_traffic_summary()) == ["a"]
            on.manager.add_sglang_model("b", "127.0.0.1", 9)
            assert set(on.monitor.get_active_models()) == {"a", "b"}
            request = on.ask()
            assert on.monitor.get_traffic_summary()["a"]["in_flight"] == 1
            on.monitor.record_request_end(request)

    run(main())


def test_defect_24_shown_times_are_wall_times_and_durations_are_not() -> None:
    async def main() -> None:
        async with scene() as on:
            before = clock.wall()
            assert await on.manager.put_model_to_sleep("a", manual=True)
            await asyncio.sleep(42.0)
            facts = on.manager.get_sleeping_models()["a"]
            assert facts["sleep_duration"] == pytest.approx(42.0)
            assert facts["manual_sleep"] is True
            # On this loop 42 s pass in no time at all, so it began 42 s before now.
            assert facts["sleep_start_time"] == pytest.approx(before - 42.0, abs=5.0)
            assert on.manager.sleeping_models["a"] == pytest.approx(facts["sleep_start_time"], abs=1.0)

    run(main())


def test_manual_is_shown_and_gone_after_the_wake() -> None:
    async def main() -> None:
        async with scene() as on:
            assert await on.manager.put_model_to_sleep("a")
            assert on.manager.manual_sleep_models == set()
            assert await on.manager.put_model_to_sleep("a", manual=True)
            assert on.manager.manual_sleep_models == {"a"}
            assert await on.manager.handle_model_wakeup_on_request("a")
            assert on.manager.manual_sleep_models == set()

    run(main())


def test_with_wakeup_on_request_off_only_an_order_wakes() -> None:
    async def main() -> None:
        async with scene(wakeup_on_request=False) as on:
            assert await on.manager.handle_model_wakeup_on_request("a")
            assert await on.manager.put_model_to_sleep("a")
            assert not await on.manager.handle_model_wakeup_on_request("a")
            assert on.engine.asleep
            assert await on.manager.wakeup_model("a")
            assert await on.manager.put_model_to_sleep("a")
            on.manager.update_config(wakeup_on_request=True)
            assert await on.manager.handle_model_wakeup_on_request("a")

    run(main())


def test_the_call_to_sleep_is_made_as_configured_and_given_up_in_time() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"vllm_sleep_mode": "wait", "vllm_sleep_timeout_seconds": 5}
        async with scene(Engine(hang={"/sleep"}), **config) as on:
            began = clock.now()
            assert not await on.manager.put_model_to_sleep("a")
            assert 5.0 <= clock.now() - began < 6.0
            assert on.engine.orders == ["POST /v1/completions", "POST /sleep?level=1&mode=wait"]

    run(main())


def test_the_check_interval_may_be_changed_while_it_runs() -> None:
    async def main() -> None:
        async with scene(check_interval_seconds=10_000) as on:
            tended = on.manager._tended["a"]
            before = tended._controller._loop.rounds
            await asyncio.sleep(1000.0)
            quiet = tended._controller._loop.rounds - before
            on.manager.update_config(check_interval_seconds=10)
            await asyncio.sleep(1000.0)
            assert (quiet, tended._controller._loop.rounds - before >= 100) == (0, True)

    run(main())


def test_orders_work_without_a_start_and_nothing_sleeps_by_itself() -> None:
    async def main() -> None:
        engine = Engine()
        with serving(engine) as (port,):
            manager = SleepManager(SleepConfig(auto_sleep_enabled=True, idle_threshold_seconds=10), TrafficMonitor())
            manager.add_vllm_model("a", "127.0.0.1", port)
            assert await manager.put_model_to_sleep("a")
            assert await manager.wakeup_model("a")
            await asyncio.sleep(1000.0)
            assert engine.count("/sleep") == 1
            await manager.start()
            await asyncio.sleep(15.0)
            assert engine.count("/sleep") == 2
            await manager.stop()

    run(main())


def test_candidates_are_known_without_a_loop() -> None:
    monitor = TrafficMonitor()
    manager = SleepManager(SleepConfig(idle_threshold_seconds=0), monitor)
    manager.add_vllm_model("a")
    manager.add_vllm_model("b")
    monitor.record_request_start("b", PATH)
    assert manager.get_sleep_candidates() == ["a"]
    assert (manager.is_model_sleeping("a"), manager.get_sleeping_models()) == (False, {})


def test_without_a_monitor_orders_work_and_nothing_sleeps_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = Engine()
        with serving(engine) as (port,):
            manager = SleepManager(SleepConfig(auto_sleep_enabled=True, idle_threshold_seconds=5))
            manager.add_vllm_model("a", "127.0.0.1", port)
            await manager.start()
            await asyncio.sleep(100.0)
            assert (engine.count("/sleep"), manager.get_sleep_candidates()) == (0, [])
            assert await manager.put_model_to_sleep("a")
            await manager.stop()

    run(main())
    assert "sees no requests" in caplog.text


def test_an_engine_that_does_not_answer_is_false_soon_and_found_when_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene(Engine(up=False)) as on:
            began = clock.now()
            assert not await on.manager.put_model_to_sleep("a")
            assert not await on.manager.wakeup_model("a")
            assert not await on.manager.handle_model_wakeup_on_request("a")
            assert await on.manager.check_model_sleep_status("a") is None
            assert clock.now() - began < 15.0
            on.engine.up = True
            assert await on.manager.put_model_to_sleep("a")

    run(main())
    assert "a does not answer at 127.0.0.1:" in caplog.text


def test_models_come_and_go_while_it_runs() -> None:
    async def main() -> None:
        old, new = Engine(), Engine()
        with serving(old, new) as (first, second):
            monitor = TrafficMonitor()
            manager = SleepManager(SleepConfig(auto_sleep_enabled=True, idle_threshold_seconds=10), monitor)
            await manager.start()
            manager.add_vllm_model("a", "127.0.0.1", first)
            await asyncio.sleep(15.0)
            assert manager.is_model_sleeping("a")
            manager.add_vllm_model("a", "127.0.0.1", second)
            await asyncio.sleep(1.0)
            assert not manager.is_model_sleeping("a")
            assert await manager.put_model_to_sleep("a")
            assert (old.count("/sleep"), new.count("/sleep")) == (1, 1)
            assert manager.remove_vllm_model("a")
            assert not manager.remove_vllm_model("a")
            assert (manager.is_model_sleeping("a"), manager.get_sleeping_models()) == (False, {})
            assert not await manager.wakeup_model("a")
            looked = len(new.calls)
            await asyncio.sleep(100.0)
            assert len(new.calls) == looked
            await manager.stop()

    run(main())


def test_stopping_ends_what_waits_and_leaves_the_engine_as_it_is() -> None:
    async def main() -> None:
        async with scene() as on:
            on.ask()
            order = spawn(on.manager.put_model_to_sleep("a"), "order")
            await asyncio.sleep(1.0)
            asked = spawn(on.manager.handle_model_wakeup_on_request("a"), "asked")
            await asyncio.sleep(1.0)
            assert not asked.done()
            await on.manager.stop()
            assert list(await asyncio.gather(order, asked)) == [False, False]
            assert on.engine.orders == []
            await asyncio.sleep(5.0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert on.monitor._hearers == ()
            await on.manager.start()
            assert await on.manager.wakeup_model("a")

    run(main())


def test_the_tables_are_copies_and_a_name_is_in_one_of_them() -> None:
    manager = SleepManager()
    manager.add_vllm_model("a")
    manager.add_vllm_model("b", "10.0.0.7", 12346)
    assert manager.get_vllm_models() == {
        "a": {"host": "localhost", "port": "8000"},
        "b": {"host": "10.0.0.7", "port": "12346"},
    }
    manager.get_vllm_models().clear()
    manager.add_sglang_model("b", "::1", "30000")
    assert list(manager.get_vllm_models()) == ["a"]
    assert manager.get_sglang_models() == {"b": {"host": "::1", "port": "30000"}}
    assert manager.remove_sglang_model("b")
    assert manager.get_sglang_models() == {}


def test_defaults_are_the_old_ones_and_tables_may_be_left_out() -> None:
    config = SleepConfig(vllm_models_config=None, sglang_models_config=None)  # type: ignore[arg-type]
    assert (config.vllm_models_config, config.sglang_models_config) == ({}, {})
    assert (config.idle_threshold_seconds, config.check_interval_seconds, config.min_sleep_duration) == (300, 60, 60)
    assert (config.auto_sleep_enabled, config.wakeup_on_request) == (False, True)
    assert (config.vllm_sleep_mode, config.vllm_sleep_timeout_seconds) == ("abort", 30)


def test_update_config_is_all_or_none() -> None:
    manager = SleepManager()
    manager.update_config(idle_threshold_seconds=10, auto_sleep_enabled=True, wakeup_on_request=False)
    with pytest.raises(TypeError, match="Did you mean idle_threshold_seconds"):
        manager.update_config(min_sleep_duration=1, idle_treshold_seconds=3)
    with pytest.raises(ValueError, match="min_sleep_duration"):
        manager.update_config(idle_threshold_seconds=11, min_sleep_duration=-1)
    assert (manager.config.idle_threshold_seconds, manager.config.min_sleep_duration) == (10, 60)
    manager.update_config(vllm_models_config={"a": {"host": "localhost", "port": 1234}})
    assert manager.get_vllm_models() == {"a": {"host": "localhost", "port": "1234"}}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"idle_threshold_seconds": "5m"}, "idle_threshold_seconds is a number"),
        ({"check_interval_seconds": 0}, "check_interval_seconds"),
        ({"vllm_sleep_mode": "now"}, "abort or wait"),
        ({"vllm_sleep_level": 3}, "1 or 2"),
        ({"vllm_models_config": {"a": {"host": "h", "port": "http"}}}, "Model 'a' has the port 'http'"),
        ({"vllm_models_config": {"a": {"host": "http://h", "port": "1"}}}, "has the host 'http://h'"),
        ({"vllm_models_config": {"a": {"hots": "h"}}}, "unknown keys: hots"),
        ({"sglang_models_config": {"a": {"task": "sing"}}}, "has the task 'sing'"),
        ({"sglang_models_config": {"": {}}}, "1 to 200 characters"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SleepConfig(**values)


def test_states_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene() as on:
            assert await on.manager.put_model_to_sleep("a")

    with caplog.at_level(logging.INFO, "roost"):
        run(main())
    assert "a: suspending -> asleep (python asked for asleep)" in caplog.messages
