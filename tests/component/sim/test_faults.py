"""What can be told to go wrong around sleep, wake and streams, as a router sees it: over HTTP, told at run time."""

import json
from typing import Any

import httpx
import pytest

from roost.sim.text import is_garbage
from roost.tasks import spawn
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
STREAM = {**CHAT, "stream": True}


async def _post(sim: Sim, path: str, **more: Any) -> httpx.Response:
    return await sim.client.post(path, **more)


async def _asleep(sim: Sim) -> bool:
    answer: dict[str, bool] = (await sim.client.get("/is_sleeping")).json()
    return answer["is_sleeping"]


async def _gauge(sim: Sim) -> dict[str, float]:
    lines = (await sim.client.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("vllm:engine_sleep_state{")]
    return {line.split('sleep_state="')[1].split('"')[0]: float(line.split()[-1]) for line in found}


async def _said(sim: Sim) -> str:
    return str((await _post(sim, "/v1/chat/completions", json=CHAT)).json()["choices"][0]["message"]["content"])


async def _lines(sim: Sim, body: dict[str, Any] = STREAM) -> list[str]:
    return (await _post(sim, "/v1/chat/completions", json=body)).text.split("\n\n")


@live
async def test_it_says_it_sleeps_and_does_not() -> None:
    async with sim_engine("--claim-memory", "4MiB", model="a") as sim:
        await sim.set(fake_sleep=True)
        assert (await _post(sim, "/sleep?level=1")).json() == {"status": "sleeping", "level": 1}
        assert not await _asleep(sim)
        assert (await sim.stats())["memory"] == 4 << 20


@live
async def test_it_sleeps_at_another_level_than_asked() -> None:
    async with sim_engine("--force-sleep-level", "1", model="a") as sim:
        assert (await _post(sim, "/sleep?level=2")).status_code == 200
        assert await _gauge(sim) == {"awake": 0.0, "weights_offloaded": 1.0, "discard_all": 0.0}
        assert (await sim.client.post("/sim/set", json={"force_sleep_level": 3})).status_code == 400


@live
async def test_it_says_it_wakes_and_does_not() -> None:
    async with sim_engine(model="a") as sim:
        await sim.set(fake_wake=True)
        await _post(sim, "/sleep?level=1")
        assert (await _post(sim, "/wake_up")).status_code == 200
        assert await _asleep(sim)


@live
@pytest.mark.parametrize(("fault", "status"), [("refuse_reload", 500), ("fake_reload", 200)])
async def test_the_weights_are_not_read_again(fault: str, status: int) -> None:
    async with sim_engine(model="a") as sim:
        await sim.set(**{fault: True})
        await _post(sim, "/sleep?level=2")
        await _post(sim, "/wake_up?tags=weights")
        assert (await _post(sim, "/collective_rpc", json={"method": "reload_weights"})).status_code == status
        await _post(sim, "/wake_up?tags=kv_cache")
        assert is_garbage(await _said(sim))


@live
async def test_sglang_says_in_the_body_that_the_weights_were_not_read() -> None:
    async with sim_engine("--kind", "sglang", "--refuse-reload", model="a") as sim:
        answer = await _post(sim, "/update_weights_from_disk", json={"model_path": "a"})
        assert (answer.status_code, answer.json()["success"]) == (400, False)


@live
async def test_memory_is_kept_at_sleep() -> None:
    async with sim_engine("--claim-memory", "4MiB", "--keep-memory", model="a") as sim:
        await _post(sim, "/sleep?level=1")
        assert (await sim.stats())["memory"] == 4 << 20


@live
async def test_it_dies_while_it_sleeps() -> None:
    async with sim_engine("--crash-asleep", "1ms", model="a") as sim:
        await _post(sim, "/sleep?level=1")
        assert await sim.wait() == 1


@live
async def test_development_endpoints_and_single_paths_can_be_missing() -> None:
    async with sim_engine("--missing", "/is_paused", model="a") as sim:
        assert (await sim.client.get("/is_paused")).status_code == 404
        assert (await sim.client.get("/is_sleeping")).status_code == 200
        await sim.set(no_dev_endpoints=True, no_sleep_gauge=True)
        assert (await sim.client.get("/is_sleeping")).status_code == 404
        assert (await _post(sim, "/sleep")).status_code == 404
        assert (await sim.client.get("/health")).status_code == 200
        assert await _gauge(sim) == {}


@live
async def test_an_endpoint_fails_a_few_times_and_then_does_its_work() -> None:
    async with sim_engine(model="a") as sim:
        await sim.set(fail_first={"/sleep": 2})
        assert [(await _post(sim, "/sleep")).status_code for _ in range(3)] == [503, 503, 200]
        assert (await sim.stats())["sleeps"] == 1


@live
async def test_an_endpoint_is_slow() -> None:
    async with sim_engine("--slow-endpoint", "/wake_up=1h", model="a") as sim:
        await _post(sim, "/sleep")
        with pytest.raises(httpx.ReadTimeout):
            await _post(sim, "/wake_up", timeout=0.05)
        await sim.set(slow_endpoint=[])
        assert (await _post(sim, "/wake_up")).status_code == 200
        assert not await _asleep(sim)


@live
async def test_an_answer_lacks_its_fields() -> None:
    async with sim_engine("--answer-body", "/reset_prefix_cache=", model="a") as sim:
        assert (await _post(sim, "/reset_prefix_cache")).text == ""
        await sim.set(answer_body={"/collective_rpc": "{}"})
        assert (await _post(sim, "/collective_rpc", json={"method": "reload_weights"})).json() == {}
        assert (await _post(sim, "/reset_prefix_cache")).json() == {"success": True}


@live
async def test_an_error_comes_inside_a_stream() -> None:
    async with sim_engine("--error-mid-stream", "2", model="a") as sim:
        *_, error, done, end = await _lines(sim)
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == 500
        assert (done, end) == ("data: [DONE]", "")
        assert (await _post(sim, "/v1/chat/completions", json=CHAT)).status_code == 500
        anthropic = await _post(sim, "/v1/messages", json={**STREAM, "max_tokens": 8})
        assert anthropic.text.split("\n\n")[-2].startswith("event: error\ndata: ")


@live
async def test_an_answer_ends_as_aborted() -> None:
    async with sim_engine("--abort-mid-stream", "2", model="a") as sim:
        answer = (await _post(sim, "/v1/chat/completions", json=CHAT)).json()
        assert answer["choices"][0]["finish_reason"] == "abort"
        assert answer["usage"]["completion_tokens"] == 2


@live
async def test_a_body_ends_bare_and_may_say_something_last() -> None:
    async with sim_engine(model="a") as sim:
        await sim.set(end_mid_stream=2)
        bare = await _lines(sim)
        assert bare[-1] == ""
        assert "[DONE]" not in "".join(bare)
        assert '"finish_reason": "' not in "".join(bare)
        await sim.set(bare_text="proxy error: gone")
        assert (await _lines(sim))[-1] == "proxy error: gone"


@live
async def test_tokens_stand_still_while_health_is_well_and_go_on_when_told() -> None:
    async with sim_engine("--stall", model="a") as sim:
        request = spawn(_said(sim), "request")
        await sim.until(running=1)
        seen = (await sim.client.get("/metrics")).text
        assert (await sim.client.get("/health")).status_code == 200
        assert "vllm:num_requests_running" in seen
        assert next(line for line in seen.splitlines() if line.startswith("vllm:generation_tokens")).endswith(" 0.0")
        await sim.set(stall=False)
        assert not is_garbage(await request)


@live
async def test_a_paused_engine_may_refuse_but_a_sleeping_one_queues() -> None:
    async with sim_engine("--refuse-while-paused", model="a") as sim:
        await _post(sim, "/pause")
        assert (await _post(sim, "/v1/chat/completions", json=CHAT)).status_code == 503
        await _post(sim, "/sleep?level=1")
        request = spawn(_said(sim), "request")
        await sim.until(waiting=1)
        await _post(sim, "/wake_up")
        assert not is_garbage(await request)


@live
async def test_sglangs_health_makes_a_token_where_nobody_told_it_not_to() -> None:
    async with sim_engine("--kind", "sglang", "--health-generates", model="a") as sim:
        assert (await sim.client.get("/health")).status_code == 200
        assert (await sim.stats())["tokens"] == 1
        await _post(sim, "/release_memory_occupation", json={})
        with pytest.raises(httpx.HTTPError):
            await sim.client.get("/health")
        assert await sim.wait() == 1
