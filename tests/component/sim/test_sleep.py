"""Sleep and wake of the simulated engine over HTTP, and the adapter's own steps performed on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psutil
import pytest

from roost.core.spec import ModelSpec, Task
from roost.core.step import Step
from roost.engines.simulated import SIMULATED
from roost.sim.text import is_garbage
from roost.tasks import spawn
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


def _said(answer: httpx.Response) -> str:
    text: str = answer.raise_for_status().json()["choices"][0]["message"]["content"]
    return text


def _finish(answer: httpx.Response) -> str:
    reason: str = answer.raise_for_status().json()["choices"][0]["finish_reason"]
    return reason


@asynccontextmanager
async def _asked(sim: Sim, **extra: Any) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
    """A request under way."""
    task = spawn(sim.client.post("/v1/chat/completions", json={**CHAT, **extra}), "request")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _perform(sim: Sim, *steps: Step) -> list[httpx.Response]:
    return [
        (await sim.client.request(step.method, step.path, params=list(step.query), json=step.json)).raise_for_status()
        for step in steps
    ]


@live
async def test_a_request_to_a_sleeper_waits_in_silence_and_runs_after_the_wake() -> None:
    async with sim_engine(model="a") as sim:
        before = _said(await sim.client.post("/v1/chat/completions", json=CHAT))
        assert (await sim.client.post("/sleep?level=1")).json() == {"status": "sleeping", "level": 1}
        async with _asked(sim) as request:
            await sim.until(waiting=1)
            assert "vllm:num_requests_waiting" in (await sim.client.get("/metrics")).text
            assert (await sim.client.get("/health")).status_code == 200
            assert (await sim.client.get("/is_sleeping")).json() == {"is_sleeping": True}
            assert not request.done()
            assert (await sim.client.post("/wake_up")).json() == {"status": "awake", "tags": None}
            assert _said(await request) == before


@live
async def test_mode_abort_ends_a_stream_with_its_reason_and_done() -> None:
    async with sim_engine("--token-delay", "1h", model="a") as sim, httpx.AsyncClient(timeout=30) as client:
        async with client.stream("POST", f"{sim.url}/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if "content" in line and '"content": ""' not in line:
                    break
            await sim.client.post("/sleep")
            rest = [line async for line in lines if line]
        assert '"finish_reason": "abort"' in rest[-2]
        assert rest[-1] == "data: [DONE]"


@live
async def test_mode_wait_blocks_until_the_last_answer_is_out() -> None:
    async with sim_engine("--hang-mid-stream", "1", model="a") as sim:
        async with _asked(sim) as request:
            await sim.until(running=1)
            order = spawn(sim.client.post("/sleep?mode=wait"), "sleep")
            await sim.until(paused=True)
            assert not order.done()
            assert (await sim.stats())["sleeping"] is False
            await sim.client.post("/abort_requests", json={})
            assert _finish(await request) == "abort"
            assert (await order).status_code == 200
        await sim.until(sleeping=True)


@live
async def test_the_adapters_steps_wake_level_2_soundly_and_a_plain_wake_does_not() -> None:
    spec = ModelSpec()
    async with sim_engine(model="a") as sim:
        before = _said(await sim.client.post("/v1/chat/completions", json=CHAT))
        await _perform(sim, *SIMULATED.sleep(spec, 2))
        async with _asked(sim) as queued:
            await sim.until(waiting=1)
            await _perform(sim, *SIMULATED.wake(spec, 2))
            assert _said(await queued) == before
        await _perform(sim, *SIMULATED.sleep(spec, 2), *SIMULATED.wake(spec, 1))
        assert is_garbage(_said(await sim.client.post("/v1/chat/completions", json=CHAT)))
        calls = (await sim.stats())["calls"]
    assert calls[:5] == [
        "POST /sleep?level=2&mode=wait",
        "POST /wake_up?tags=weights",
        "POST /collective_rpc",
        "POST /wake_up?tags=kv_cache",
        "POST /reset_prefix_cache",
    ]


@live
async def test_the_adapter_reads_whether_it_sleeps() -> None:
    spec, idle = ModelSpec(), ModelSpec(args=("--kind llamacpp-idle",))
    async with sim_engine(model="a") as sim:
        query = SIMULATED.sleep_query(spec)
        assert query is not None
        for wanted, steps in ((False, ()), (True, SIMULATED.sleep(spec, 1)), (False, SIMULATED.wake(spec, 1))):
            await _perform(sim, *steps)
            (answer,) = await _perform(sim, query)
            assert SIMULATED.is_asleep(answer.status_code, answer.json()) is wanted
    async with sim_engine("--kind", "llamacpp-idle", model="a") as sim:
        query = SIMULATED.sleep_query(idle)
        assert query is not None
        (answer,) = await _perform(sim, query)
        assert SIMULATED.is_asleep(answer.status_code, answer.json()) is False


@pytest.mark.parametrize("task", list(Task))
def test_the_adapters_verification_answers(task: Task) -> None:
    @live
    async def main() -> None:
        async with sim_engine(model="a") as sim:
            (answer,) = await _perform(sim, SIMULATED.verify(ModelSpec(task=task), "a"))
            assert answer.status_code == 200

    main()


@live
async def test_bodies_of_sleep_and_wake_are_ignored_and_bad_queries_refused() -> None:
    async with sim_engine(model="a") as sim:
        slept = await sim.client.post("/sleep", json={"level": 2})
        assert slept.json()["level"] == 1
        assert (await sim.client.post("/sleep?level=7")).status_code == 400
        assert (await sim.client.post("/sleep?mode=perhaps")).status_code == 400
        assert (await sim.client.get("/sleep")).status_code == 405
        partly = await sim.client.post("/wake_up?tags=weights", json={"tags": ["kv_cache"]})
        assert partly.json() == {"status": "sleeping", "tags": ["weights"]}
        assert (await sim.stats())["asleep"] == ["kv_cache"]


@live
async def test_pause_and_resume() -> None:
    async with sim_engine(model="a") as sim:
        assert (await sim.client.post("/pause?mode=keep")).json() == {"status": "paused"}
        assert (await sim.client.get("/is_paused")).json() == {"is_paused": True}
        async with _asked(sim) as request:
            await sim.until(waiting=1)
            await sim.client.post("/resume")
            assert _finish(await request) == "length"


@live
async def test_resume_while_asleep_kills_the_engine_at_the_next_step() -> None:
    async with sim_engine(model="a") as sim:
        await sim.client.post("/sleep")
        await sim.client.post("/resume")
        with pytest.raises(httpx.TransportError):
            await sim.client.post("/v1/chat/completions", json=CHAT)
        assert await sim.wait() == 1
        assert "illegal memory access" in sim.log.read_text()


@live
async def test_unknown_rpc_and_refusals_are_500_and_close_the_connection() -> None:
    async with sim_engine("--refuse-wake", "--refuse-sleep", model="a") as sim:
        for path, body in (("/collective_rpc", {"method": "dance"}), ("/sleep", None), ("/wake_up", None)):
            answer = await sim.client.post(path, json=body)
            assert (answer.status_code, answer.headers["connection"]) == (500, "close")
        await sim.set(refuse_wake=False, refuse_sleep=False)
        assert (await sim.client.post("/sleep")).status_code == 200


@live
async def test_garbage_after_any_wake_when_told_so() -> None:
    async with sim_engine("--garbage-after-wake", model="a") as sim:
        assert not is_garbage(_said(await sim.client.post("/v1/chat/completions", json=CHAT)))
        sound = (await sim.client.post("/v1/embeddings", json={"model": "a", "input": "x"})).json()["data"]
        await _perform(sim, *SIMULATED.sleep(ModelSpec(), 2), *SIMULATED.wake(ModelSpec(), 2))
        assert is_garbage(_said(await sim.client.post("/v1/chat/completions", json=CHAT)))
        assert (await sim.client.post("/v1/embeddings", json={"model": "a", "input": "x"})).json()["data"] != sound


@live
async def test_claimed_memory_is_resident_only_while_awake() -> None:
    mib = 2**20
    async with sim_engine("--claim-memory", "64MiB", model="a") as sim:
        resident = psutil.Process(sim.process.pid).memory_info
        await sim.until(loaded=True, memory=64 * mib)
        awake = resident().rss
        await sim.client.post("/sleep?level=1")
        asleep = resident().rss
        assert awake - asleep > 60 * mib
        await sim.client.post("/wake_up?tags=kv_cache")
        assert resident().rss - asleep < 30 * mib
        await sim.client.post("/wake_up?tags=weights")
        assert resident().rss - asleep > 60 * mib


@live
async def test_an_idle_engine_sleeps_by_itself_and_a_request_wakes_it() -> None:
    flags = ("--kind", "llamacpp-idle", "--sleep-idle-seconds", "50ms", "--claim-memory", "8MiB")
    async with sim_engine(*flags, model="a") as sim:
        await sim.until(sleeping=True, memory=0)
        assert (await sim.client.get("/props")).json()["is_sleeping"] is True
        assert (await sim.client.get("/v1/models")).status_code == 200
        assert (await sim.stats())["wakes"] == 0
        assert (await sim.client.post("/sleep")).status_code == 404
        answer = await sim.client.post("/v1/chat/completions", json={**CHAT, "model": "anything"})
        assert not is_garbage(_said(answer))
        await sim.until(wakes=1, sleeping=True)
        await sim.set(sleep_idle_seconds="1h")
        await sim.client.get("/slots")
        await sim.until(wakes=2, sleeping=False)
