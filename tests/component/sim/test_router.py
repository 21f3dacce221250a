"""The simulated engine as llama-server's router: models come and go one by one, and the calls do not wait for it."""

import pytest

from roost.tasks import spawn
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

KIND = ("--kind", "llamacpp-router", "--served-model-name", "a", "b")
CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


async def _status(sim: Sim, name: str) -> dict[str, object]:
    listed = (await sim.client.get("/v1/models")).json()["data"]
    found: dict[str, object] = next(entry["status"] for entry in listed if entry["id"] == name)
    return found


async def _call(sim: Sim, what: str, model: str = "a") -> int:
    return (await sim.client.post(f"/models/{what}", json={"model": model})).status_code


async def _chat(sim: Sim, **more: object) -> int:
    return (await sim.client.post("/v1/chat/completions", json={**CHAT, **more})).status_code


@live
async def test_load_and_unload_answer_at_once_and_happen_later() -> None:
    async with sim_engine(*KIND, "--claim-memory", "4MiB", "--wake-delay", "1h") as sim:
        assert (await sim.client.get("/props")).json()["role"] == "router"
        assert (await sim.stats())["memory"] == 0
        assert await _call(sim, "load") == 200
        assert await _status(sim, "a") == {"value": "loading"}
        assert await _call(sim, "load") == 400
        assert await _call(sim, "unload") == 200
        await sim.until(models={"a": "unloaded", "b": "unloaded"})
        await sim.set(wake_delay="1ms")
        assert await _call(sim, "load") == 200
        assert (await sim.until(models={"a": "loaded", "b": "unloaded"}))["memory"] == 4 << 20
        assert await _call(sim, "unload") == 200
        assert (await sim.until(models={"a": "unloaded", "b": "unloaded"}))["memory"] == 0


@live
async def test_what_is_unknown_or_not_running_is_refused() -> None:
    async with sim_engine(*KIND) as sim:
        assert [await _call(sim, "load", "x"), await _call(sim, "unload", "x")] == [404, 400]
        assert await _call(sim, "unload") == 400
        assert await _chat(sim, model="x") == 400


@live
async def test_a_request_loads_its_model_unless_told_not_to() -> None:
    async with sim_engine(*KIND, "--no-autoload") as sim:
        assert await _chat(sim) == 400
        await sim.set(no_autoload=False)
        assert await _chat(sim) == 200
        assert await _status(sim, "a") == {"value": "loaded"}


@live
async def test_a_load_that_fails_says_so_in_the_list() -> None:
    async with sim_engine(*KIND, "--fail-load") as sim:
        assert await _call(sim, "load") == 200
        await sim.until(models={"a": "unloaded", "b": "unloaded"})
        assert await _status(sim, "a") == {"value": "unloaded", "failed": True, "exit_code": 1}
        assert await _chat(sim) == 500


@live
@pytest.mark.parametrize("stream", [True, False])
async def test_unloading_cuts_what_runs(stream: bool) -> None:
    async with sim_engine(*KIND, "--token-delay", "1h") as sim:
        request = spawn(sim.client.post("/v1/chat/completions", json={**CHAT, "stream": stream}), "request")
        await sim.until(running=1, tokens=1)
        assert await _call(sim, "unload") == 200
        answer = await request
        assert answer.status_code == (200 if stream else 500)
        assert "proxy error: Failed to read connection" in answer.text
        assert "[DONE]" not in answer.text
