"""Roost over a real llama-server in router mode: three tiny models that it holds, and roost decides who is loaded.

Collected only where ROOST_LLAMA_SERVER names the program; `./check llama-server` builds it.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from roost.core.hosted_spec import Preset
from roost.core.lifecycle import State
from roost.tasks import spawn
from tests.support.environment import router as serving
from tests.support.llama_router import NAMES, LlamaRouter, llama_router
from tests.support.roost import RunningRoost, running_roost

PROGRAM = os.environ.get("ROOST_LLAMA_SERVER", "llama-server")
LIMIT_S = 240.0
REQUESTS = 200
AT_ONCE = 40
CONFIG = """
memory: {{max_resident: {resident}}}
defaults: {{restart: {{backoff: 100ms}}}}
hosts:
  box: {{url: "{url}", load_timeout: 60s}}
models:
  alpha: {{inside: box}}
  beta: {{inside: box}}
  gamma: {{inside: box}}
  nobody: {{inside: box}}
"""


@asynccontextmanager
async def served(folder: Path, *, resident: int = 1) -> AsyncIterator[tuple[RunningRoost, LlamaRouter]]:
    async with (
        asyncio.timeout(LIMIT_S),
        llama_router(PROGRAM, folder) as router,
        running_roost(CONFIG.format(url=router.url, resident=resident), folder) as roost,
    ):
        yield roost, router


async def loaded(router: LlamaRouter) -> set[str]:
    async with router.client() as client:
        return {name for name, status in (await router.statuses(client)).items() if status == "loaded"}


async def answer(roost: RunningRoost, model: str) -> str:
    """What the model says to a fixed question."""
    got = await roost.chat(model, "Which way is the river?", temperature=0, seed=1)
    assert got.status_code == 200, got.text
    text = got.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_models_are_loaded_on_demand_and_answer_for_themselves(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (roost, router):
            way = roost.app.servers["box"].way
            assert way is not None
            assert way.preset is Preset.LLAMA_SERVER
            said = [await answer(roost, name) for name in NAMES]
            assert len(set(said)) == len(NAMES)
            assert await loaded(router) == {"gamma"}
            assert [await answer(roost, name) for name in NAMES] == said

    asyncio.run(story())


def test_two_places_keep_two_models(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path, resident=2) as (roost, router):
            await answer(roost, "alpha")
            await answer(roost, "beta")
            assert await loaded(router) == {"alpha", "beta"}
            await answer(roost, "gamma")
            assert len(await loaded(router)) == 2

    asyncio.run(story())


def test_what_others_unload_is_loaded_again_and_what_they_load_is_ready(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path, resident=2) as (roost, router):
            said = await answer(roost, "alpha")
            await router.order("unload", "alpha")
            await router.until(alpha="unloaded")
            assert await answer(roost, "alpha") == said
            await router.order("load", "beta")
            await roost.until("beta", State.READY)

    asyncio.run(story())


def test_a_killed_child_is_loaded_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (roost, router):
            said = await answer(roost, "alpha")
            for child in router.children():
                child.kill()
                await asyncio.to_thread(psutil.wait_procs, [child], 10)
            assert await answer(roost, "alpha") == said

    asyncio.run(story())


def test_a_restart_of_the_whole_server_is_seen(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (roost, router):
            said = await answer(roost, "alpha")
            await router.stop()
            await roost.until("alpha", State.BACKOFF)
            waiting = spawn(answer(roost, "alpha"), "test")
            await router.start()
            assert await waiting == said

    asyncio.run(story())


def test_a_name_that_the_server_does_not_know_is_404(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (roost, _):
            got = await roost.chat("nobody")
            assert got.status_code == 404
            assert got.json()["error"]["code"] == "model_not_found"
            assert 'refuses to load "nobody"' in got.json()["error"]["message"]

    asyncio.run(story())


def test_with_nothing_but_the_environment(tmp_path: Path) -> None:
    """No model is written anywhere: the list is the server's, the capacity is kept, what others do is followed."""

    async def story() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            llama_router(PROGRAM, tmp_path) as router,
            serving(tmp_path, router.url, MAX_RESIDENT="2") as one,
        ):
            assert await one.loaded() == []
            assert await one.loaded("?all=true") == list(NAMES)
            for name in (*NAMES, "alpha"):
                answer = await one.complete(name)
                assert (answer.status_code, answer.json()["model"]) == (200, name)
            assert await loaded(router) == {"alpha", "gamma"} == set(await one.loaded())
            refused = await one.complete("nobody")
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
            await router.order("unload", "alpha")
            await router.until(alpha="unloaded")
            assert (await one.complete("alpha")).status_code == 200
            assert await loaded(router) == {"alpha", "gamma"}
            assert one.said("Unloading model") == ["Unloading model alpha", "Unloading model beta"]
            assert (await one.client.get("/health")).text == "OK\n"

    asyncio.run(story())


def test_200_mixed_requests_for_three_models_in_one_place(tmp_path: Path) -> None:
    """None lost, none cut, and never more than one model there."""

    async def story() -> None:
        async with served(tmp_path) as (roost, router):
            rng = random.Random(5)
            done = asyncio.Event()
            seen: list[int] = []
            watching = spawn(_watch(router, done, seen), "test")
            limits = httpx.Limits(max_connections=REQUESTS)
            async with httpx.AsyncClient(base_url=roost.url, timeout=LIMIT_S, trust_env=False, limits=limits) as client:
                room = asyncio.Semaphore(AT_ONCE)
                jobs = [_one(client, room, _body(rng)) for _ in range(REQUESTS)]
                faults = await asyncio.gather(*jobs)
            done.set()
            await watching
            assert [fault for fault in faults if fault] == []
            assert max(seen) == 1
            assert len(seen) > 20

    asyncio.run(story())


async def _watch(router: LlamaRouter, done: asyncio.Event, seen: list[int]) -> None:
    """How many models are there, or on their way, at each look."""
    async with router.client() as client:
        while not done.is_set():
            statuses = await router.statuses(client)
            seen.append(sum(status != "unloaded" for status in statuses.values()))


def _body(rng: random.Random) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": rng.choice(NAMES),
        "max_tokens": rng.randint(1, 60),
        "stream": rng.random() < 0.7,
        "seed": 1,
    }
    return body | ({"messages": [{"role": "user", "content": "go"}]} if rng.random() < 0.5 else {"prompt": "the river"})


async def _one(client: httpx.AsyncClient, room: asyncio.Semaphore, body: dict[str, Any]) -> str:
    """What was wrong with one answer; empty if it was whole."""
    async with room:
        got = await client.post("/v1/chat/completions" if "messages" in body else "/v1/completions", json=body)
    if got.status_code != 200:
        return f"{body['model']}: {got.status_code} {got.text}"
    if not body["stream"]:
        return "" if got.json()["choices"][0]["finish_reason"] else f"{body['model']}: no finish reason"
    lines = [line[6:] for line in got.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    finished = any(choice.get("finish_reason") for chunk in chunks for choice in chunk.get("choices", ()))
    return "" if finished and lines[-1] == "[DONE]" else f"{body['model']}: cut after {got.text[-300:]!r}"
