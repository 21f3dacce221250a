"""TrafficMonitor and SleepManager as another program uses them, with simulated engines behind real sockets."""

import ast
import asyncio
import inspect
from typing import Any

import pytest

from roost import SleepConfig, SleepManager, TrafficMonitor
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

LLAMA = "meta-llama/Llama-3.2-1B"

IMPORTS = """
from roost import TrafficMonitor, SleepManager, SleepConfig
"""
MONITOR = """
monitor = TrafficMonitor(idle_threshold_seconds=300)
await monitor.start()

# Record requests
stats = monitor.record_request_start("meta-llama/Llama-3.2-1B", "/v1/completions")
monitor.record_request_end(stats, success=True)

# Check status
idle_models = monitor.get_idle_models(idle_threshold_seconds=300)

summary = monitor.get_traffic_summary(window_seconds=60)
"""
SLEEP = """
config = SleepConfig(idle_threshold_seconds=300, auto_sleep_enabled=True)
sleep_manager = SleepManager(config, traffic_monitor=monitor)

sleep_manager.add_vllm_model("meta-llama/Llama-3.2-1B", "localhost", "12346")
await sleep_manager.start()

# Manual control
slept = await sleep_manager.put_model_to_sleep("meta-llama/Llama-3.2-1B", manual=True)
in_between = await sleep_manager.check_model_sleep_status("meta-llama/Llama-3.2-1B")

woken = await sleep_manager.wakeup_model("meta-llama/Llama-3.2-1B")

is_sleeping = sleep_manager.is_model_sleeping("meta-llama/Llama-3.2-1B")
"""
"""The old controller's example, but for the import line, the names given to its results, and one more question."""


async def execute(source: str) -> dict[str, Any]:
    """The names that it made; `await` may stand at its top."""
    names: dict[str, Any] = {}
    work = eval(compile(source, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(work):
        await work
    return names


async def tended(sim: Sim, **config: Any) -> SleepManager:
    manager = SleepManager(SleepConfig(**config), TrafficMonitor())
    manager.add_vllm_model(LLAMA, "127.0.0.1", sim.port)
    await manager.start()
    return manager


@live
async def test_defect_31_the_old_example_runs_and_gives_what_it_says() -> None:
    async with sim_engine(model=LLAMA) as sim:
        names = await execute(IMPORTS + MONITOR + SLEEP.replace("12346", str(sim.port)))
        try:
            assert (names["slept"], names["in_between"], names["woken"], names["is_sleeping"]) == (
                True,
                True,
                True,
                False,
            )
            assert names["idle_models"] == []  # the example says otherwise of a model that was used just now
            summary = names["summary"][LLAMA]
            assert (summary["total_requests"], summary["successful_requests"], summary["failed_requests"]) == (1, 1, 0)
            assert summary["last_request_time"].utcoffset() is not None
            stats = await sim.stats()
            assert (stats["sleeps"], stats["wakes"], stats["sleeping"]) == (1, 1, False)
        finally:
            await names["sleep_manager"].stop()
            await names["monitor"].stop()


@live
async def test_defect_10_many_requests_at_once_wake_once_and_all_are_served() -> None:
    async with sim_engine("--wake-delay", "50ms", model=LLAMA) as sim:
        manager = await tended(sim)
        assert await manager.put_model_to_sleep(LLAMA)
        wakes = [manager.handle_model_wakeup_on_request(LLAMA) for _ in range(10)]
        wakes += [manager.wakeup_model(LLAMA) for _ in range(10)]
        assert await asyncio.gather(*wakes) == [True] * 20
        assert (await sim.stats())["wakes"] == 1
        await manager.stop()


@live
async def test_defect_16_what_others_did_to_the_engine_is_known_at_the_next_order() -> None:
    async with sim_engine(model=LLAMA) as sim:
        await sim.client.post("/sleep?level=1")
        manager = await tended(sim)
        assert manager.is_model_sleeping(LLAMA)
        await sim.client.post("/wake_up")
        assert await manager.wakeup_model(LLAMA)
        await sim.client.post("/sleep?level=2")
        assert await manager.wakeup_model(LLAMA)
        stats = await sim.stats()
        assert (stats["sleeping"], stats["sound"]) == (False, True)
        await manager.stop()


@live
async def test_defect_17_sglang_resumes_and_reloads_once_and_only_what_was_released() -> None:
    async with sim_engine("--kind", "sglang", model=LLAMA) as sim:
        manager = SleepManager()
        manager.add_sglang_model(LLAMA, "127.0.0.1", str(sim.port))
        assert await manager.wakeup_model(LLAMA)  # awake already: resuming what was not released kills the server
        assert await manager.check_model_sleep_status(LLAMA) is None
        assert await manager.put_model_to_sleep(LLAMA)
        await manager.stop()
        await manager.start()
        assert manager.is_model_sleeping(LLAMA)  # the engine itself cannot tell
        assert await asyncio.gather(*(manager.wakeup_model(LLAMA) for _ in range(4))) == [True] * 4
        paths = (await sim.stats())["paths"]
        assert (paths["/resume_memory_occupation"], paths["/update_weights_from_disk"]) == (1, 1)
        await manager.stop()


@live
async def test_a_manager_may_be_asked_from_other_loops() -> None:
    async with sim_engine(model=LLAMA) as sim:
        manager = await tended(sim)
        assert await asyncio.to_thread(lambda: asyncio.run(manager.put_model_to_sleep(LLAMA, manual=True)))
        assert await asyncio.to_thread(lambda: manager.manual_sleep_models) == {LLAMA}
        assert await asyncio.to_thread(lambda: asyncio.run(manager.wakeup_model(LLAMA)))
        assert manager.get_sleeping_models() == {}
        await manager.stop()


def test_a_manager_whose_loop_has_ended_says_so() -> None:
    manager = SleepManager()
    assert asyncio.run(manager.wakeup_model("a")) is False
    with pytest.raises(RuntimeError, match="loop that this SleepManager works on has ended"):
        asyncio.run(manager.wakeup_model("a"))


@live
async def test_the_page_on_the_api_runs_as_it_stands() -> None:
    from tests.support.sim import SRC

    page = (SRC.parent / "docs" / "python-api.md").read_text()
    example = page.split("```python\n", 1)[1].split("```", 1)[0]
    async with sim_engine(model=LLAMA) as sim:
        names = await execute(example.replace("12346", str(sim.port)).replace("asyncio.run(main())", ""))
        await names["main"]()
        stats = await sim.stats()
        assert (stats["sleeps"], stats["wakes"], stats["sleeping"]) == (1, 1, False)
