"""The simulated engine as SGLang: what sleeps and wakes it, what kills it, and the adapter's own steps on it."""

import httpx
import pytest

from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.engines.sglang import SGLANG
from roost.sim.text import is_garbage
from roost.tasks import spawn
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
KIND = ("--kind", "sglang")


async def _said(sim: Sim) -> str:
    answer = (await sim.client.post("/v1/chat/completions", json=CHAT)).raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])


async def _perform(sim: Sim, *steps: Step) -> None:
    for step in steps:
        (await sim.client.request(step.method, step.path, params=list(step.query), json=step.json)).raise_for_status()


@live
@pytest.mark.parametrize("level", [1, 2])
async def test_the_adapters_steps_sleep_it_and_wake_it_whole(level: int) -> None:
    backup = ("--enable-weights-cpu-backup",) if level == 1 else ()
    spec = ModelSpec(weights="a", sleep_level=2 if level == 2 else 1)
    async with sim_engine(*KIND, *backup, "--claim-memory", "8MiB", model="a") as sim:
        before = await _said(sim)
        await _perform(sim, *SGLANG.sleep(spec, level))
        assert (await sim.stats())["sleeps"] == 1
        await _perform(sim, *SGLANG.wake(spec, level))
        assert await _said(sim) == before
        assert not is_garbage(before)


@live
async def test_weights_without_backup_come_back_as_garbage_unless_they_are_read_again() -> None:
    async with sim_engine(*KIND, model="a") as sim:
        for path in ("/release_memory_occupation", "/resume_memory_occupation"):
            assert (await sim.client.post(path, json={})).status_code == 200
        assert is_garbage(await _said(sim))


@live
async def test_resuming_what_was_not_released_kills_it() -> None:
    async with sim_engine(*KIND) as sim:
        with pytest.raises(httpx.HTTPError):
            await sim.client.post("/resume_memory_occupation", json={})
        assert await sim.wait() == 1


@live
async def test_releasing_while_a_request_runs_kills_it() -> None:
    async with sim_engine(*KIND, "--token-delay", "1h") as sim:
        request = spawn(sim.client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 50}), "request")
        await sim.until(running=1)
        with pytest.raises(httpx.HTTPError):
            await sim.client.post("/release_memory_occupation", json={})
        assert await sim.wait() == 1
        with pytest.raises(httpx.HTTPError):
            await request


@live
async def test_a_release_without_a_body_is_refused_and_ready_tells_a_pause() -> None:
    async with sim_engine(*KIND) as sim:
        assert (await sim.client.post("/release_memory_occupation")).status_code == 400
        assert (await sim.client.get("/ready")).status_code == 200
        await sim.client.post("/pause_generation", json={"mode": "abort"})
        assert (await sim.client.get("/ready")).status_code == 503
        assert (await sim.client.post("/sleep")).status_code == 404
