"""Fine-tunes as models: roost over a simulated vLLM that it starts itself, with adapters loaded on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from roost.core.lifecycle import State
from roost.core.view import Goal
from roost.sim.text import is_garbage
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

CONFIG = """
{more}
models:
  base:
    engine: simulated
    sleep_after: never
    args: [{args}]
    max_loras: {places}
    restart: {{backoff: 10ms}}
    adapters:
      sql: {{path: /loras/sql, aliases: [sql-v2]}}
      poem: {{path: org/poem}}
      law: {{path: org/law}}
  other: {{engine: simulated, sleep_after: never}}
"""


@asynccontextmanager
async def fleet(folder: Path, *args: str, places: int = 2, more: str = "") -> AsyncIterator[RunningRoost]:
    text = CONFIG.format(args=", ".join(f'"{one}"' for one in args), places=places, more=more)
    async with running_roost(text, folder) as roost:
        yield roost


async def engine(roost: RunningRoost, path: str, model: str = "base", **body: Any) -> Any:
    """Past roost, to the engine itself."""
    address = next(one for one in roost.app.replicas if one.model == model).address
    async with httpx.AsyncClient(base_url=address.url, timeout=30.0, trust_env=False) as client:
        answer = await (client.post(path, json=body) if body else client.get(path))
        return answer.raise_for_status().json()


async def loaded(roost: RunningRoost) -> list[str]:
    return list((await engine(roost, "/sim/stats"))["loras"])


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


@live
async def test_an_adapter_is_a_model_that_brings_its_base_up(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        said = text_of(await roost.chat("sql"))
        assert roost.state("base") is State.READY
        assert roost.state("sql") is State.READY
        assert await loaded(roost) == ["sql"]
        assert said == text_of(await roost.chat("sql-v2"))
        assert said != text_of(await roost.chat("base"))
        assert said != text_of(await roost.chat("poem"))
        listed = {entry["id"]: entry for entry in (await roost.client.get("/v1/models")).json()["data"]}
        assert {name: entry.get("parent") for name, entry in listed.items()} == {
            "base": None,
            "sql": "base",
            "poem": "base",
            "law": "base",
            "other": None,
        }


@live
async def test_the_least_recently_used_adapter_makes_way(tmp_path: Path) -> None:
    async with fleet(tmp_path, more="policy: {eviction: lru}") as roost:
        for name in ("sql", "poem", "sql", "law"):
            await roost.chat(name)
        assert await loaded(roost) == ["sql", "law"]
        assert roost.state("poem") is State.COLD
        assert (await engine(roost, "/sim/stats"))["lora_swaps"] == 0
        assert roost.state("base") is State.READY


@live
async def test_adapters_are_loaded_again_after_a_sleep_that_dropped_them(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        before = text_of(await roost.chat("sql"))
        for level in (2, 1):
            done = await roost.app.controller.order("base", Goal.ASLEEP, by="test", level=level, wait_s=30)
            assert done.success, done.message
            assert roost.state("sql") is State.COLD
            assert await loaded(roost) == ["sql"]  # vLLM lists it, whether or not its weights are there
            after = text_of(await roost.chat("sql"))
            assert not is_garbage(after)
            assert after == before
        calls = [call for call in (await engine(roost, "/sim/stats"))["calls"] if "lora" in call]
        load, unload = "POST /v1/load_lora_adapter", "POST /v1/unload_lora_adapter"
        assert calls == [load, unload, load]  # level 1 kept it


@live
async def test_an_adapter_that_outlasts_a_sleep_yields_before_another_is_loaded(tmp_path: Path) -> None:
    async with fleet(tmp_path, places=1) as roost:
        await roost.chat("law")
        await roost.client.post("/api/v1/models/base/sleep", json={"level": 1})
        assert roost.state("law") is State.COLD
        await roost.chat("sql")
        assert await loaded(roost) == ["sql"]
        law = next(one for one in roost.app.replicas if one.model == "law")
        assert (law.reason_kind, law.state) == ("evict", State.COLD), law.reason
        assert law.reason.startswith("makes a place for 'sql'")
        facts = (await roost.client.get("/api/v1/models/law")).json()
        assert facts["host"]["trouble"] == ""


@live
async def test_adapters_are_loaded_again_after_a_restart_of_the_base(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        before = text_of(await roost.chat("sql"))
        base = next(one for one in roost.app.replicas if one.model == "base")
        base.keeper.kill()
        await roost.until("base", State.BACKOFF, State.STARTING, State.COLD)
        assert roost.state("sql") is State.COLD
        assert text_of(await roost.chat("sql")) == before
        assert await loaded(roost) == ["sql"]


@live
async def test_an_adapter_with_requests_keeps_its_base_awake(tmp_path: Path) -> None:
    async with fleet(tmp_path, "--token-delay=20ms", more="memory: {max_resident: 1}") as roost:
        await roost.chat("sql")
        running = spawn(roost.chat("sql", max_tokens=60), "test")
        seat = roost.app.controller.gate.seat("base/0")
        while not seat.in_flight:
            await asyncio.sleep(0)
        assert (seat.guests, seat.own_in_flight) == (1, 0)
        swapped = spawn(roost.chat("other"), "test")
        assert (await running).json()["usage"]["completion_tokens"] == 60
        assert (await swapped).status_code == 200
        assert roost.state("base") is State.ASLEEP
        assert roost.state("sql") is State.COLD
        assert (await roost.chat("sql")).status_code == 200


@live
async def test_a_path_without_adapter_is_404_and_the_others_are_not_touched(tmp_path: Path) -> None:
    async with fleet(tmp_path, "--lora-missing=org/law") as roost:
        answer = await roost.chat("law")
        assert answer.status_code == 404
        assert "org/law" in answer.json()["error"]["message"]
        assert (await roost.chat("sql")).status_code == 200


@live
async def test_an_adapter_that_cannot_be_loaded_fails_alone(tmp_path: Path) -> None:
    async with fleet(tmp_path, "--refuse-lora") as roost:
        assert (await roost.chat("base")).status_code == 200
        answer = await roost.chat("sql")
        assert answer.status_code == 503
        assert "POST /v1/load_lora_adapter" in answer.json()["error"]["message"]
        assert roost.state("base") is State.READY
        await engine(roost, "/sim/set", refuse_lora=False)
        done = await roost.app.controller.order("sql", Goal.READY, by="test", wait_s=30)
        assert done.success, done.message


@live
async def test_an_adapter_unloaded_by_others_is_loaded_for_the_request_that_finds_it_gone(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        await roost.chat("sql")
        await engine(roost, "/v1/unload_lora_adapter", lora_name="sql")
        assert (await roost.chat("sql")).status_code == 200
        assert await loaded(roost) == ["sql"]


@live
async def test_orders_on_an_adapter(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        controller = roost.app.controller
        done = await controller.order("sql", Goal.READY, by="test", wait_s=30)
        assert done.success, done.message
        assert (roost.state("base"), roost.state("sql")) == (State.READY, State.READY)
        refused = await controller.order("sql", Goal.ASLEEP, by="test", wait_s=30)
        assert refused.status == 409
        assert 'lives inside "base"' in refused.message
        done = await controller.order("sql", Goal.STOPPED, by="test", wait_s=30)
        assert done.success, done.message
        assert await loaded(roost) == []
        assert roost.state("base") is State.READY


@live
async def test_the_base_leaves_with_its_adapters(tmp_path: Path) -> None:
    async with fleet(tmp_path) as roost:
        await roost.chat("sql")
        await roost.app.remove_model("base")
        assert (await roost.chat("sql")).status_code == 404
        assert [one.model for one in roost.app.replicas] == ["other"]
