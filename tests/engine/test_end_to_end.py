"""Real models through a whole roost: llama.cpp engines with tiny GGUF files behind one port."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

THREADS = "args: ['--threads 1', '--ctx-size 1024', '--no-mmap']"


def config(models: Mapping[str, Path], **settings: str) -> str:
    """One llama.cpp model per file; `settings` are further lines of YAML per model, `_top` of the whole."""
    lines = [settings.pop("_top", ""), "models:"]
    for name, path in models.items():
        more = settings.get(name, "sleep_after: never")
        lines.append(f"  {name}: {{weights: {path}, {THREADS}, {more}}}")
    return "\n".join(lines)


@asynccontextmanager
async def serving(folder: Path, text: str) -> AsyncIterator[RunningRoost]:
    async with running_roost(text, folder) as roost:
        yield roost


async def answer(roost: RunningRoost, model: str, **more: Any) -> str:
    got = await roost.chat(model, "Hello", temperature=0, **more)
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["message"]["content"])


@live
async def test_each_name_is_answered_by_its_own_engine(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    async with serving(tmp_path, config(tiny_models)) as roost:
        names = list(tiny_models)
        texts = await asyncio.gather(*(answer(roost, name) for name in names * 3))
        assert len(set(texts)) == len(names)
        assert texts[: len(names)] == texts[len(names) : 2 * len(names)]
        listed = (await roost.client.get("/v1/models")).json()["data"]
        assert all(model["status"]["value"] == "ready" and model["context_length"] for model in listed)


@live
async def test_stream_ends_with_usage_and_is_counted(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    async with serving(tmp_path, config({"a": tiny_models["tiny-a"]})) as roost:
        body = {
            "model": "a",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 12,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with roost.client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = [line async for line in stream.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        events = [json.loads(line[6:]) for line in lines[:-1]]
        assert events[-1]["usage"]["completion_tokens"] == 12
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"][0]
        assert (recent["completion_tokens"], recent["outcome"]) == (12, "ok")
        assert recent["events"] >= 1  # pieces as they came: the kernel may join several events


@live
async def test_client_that_leaves_frees_the_engine(tmp_path: Path, large_model: Path) -> None:
    async with serving(tmp_path, config({"a": large_model}, a="sleep_after: never, concurrency: 1")) as roost:
        body = {"model": "a", "prompt": "x", "max_tokens": 900, "stream": True, "ignore_eos": True}
        async with roost.client.stream("POST", "/v1/completions", json=body) as stream:
            async for _ in stream.aiter_bytes():
                break
        # one slot: this is served at once only if the first generation was cancelled
        async with asyncio.timeout(15):
            assert await answer(roost, "a")
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        assert "client_gone" in [request["outcome"] for request in recent]


@live
async def test_embeddings_come_from_the_same_file(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    async with serving(tmp_path, config({"e": tiny_models["tiny-a"]}, e="task: embed")) as roost:
        got = await roost.client.post("/v1/embeddings", json={"model": "e", "input": ["one", "two"]})
        assert got.status_code == 200
        vectors = [row["embedding"] for row in got.json()["data"]]
        assert len(vectors) == 2
        assert len(vectors[0]) == len(vectors[1]) > 1


@live
async def test_killed_engine_comes_back_with_the_next_request(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    more = "restart: {backoff: 10ms}, sleep_after: never"
    async with serving(tmp_path, config({"a": tiny_models["tiny-a"]}, a=more)) as roost:
        before = await answer(roost, "a")
        pid = roost.app.replicas[0].keeper.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await answer(roost, "a") == before
        assert roost.app.replicas[0].keeper.pid != pid
        model = (await roost.client.get("/api/v1/models/a")).json()
        assert any("SIGKILL" in change["reason"] for change in model["history"])


@live
async def test_idle_engine_gives_memory_back_and_wakes_with_the_same_answer(tmp_path: Path, large_model: Path) -> None:
    async with serving(tmp_path, config({"a": large_model}, a="sleep_after: 1s")) as roost:
        before = await answer(roost, "a")
        keeper = roost.app.replicas[0].keeper
        awake = keeper.memory_bytes() or 0
        await roost.until("a", State.ASLEEP)
        asleep = keeper.memory_bytes() or 0
        assert asleep < awake - (60 << 20)
        pid = keeper.pid
        assert await answer(roost, "a") == before
        assert keeper.pid == pid


@live
async def test_canary_and_memory_around_the_sleep_of_a_real_engine(
    tmp_path: Path, large_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "roost"):
        async with serving(tmp_path, config({"a": large_model}, a="sleep_after: 1s, canary: true")) as roost:
            (replica,) = roost.app.replicas
            before, pid = await answer(roost, "a"), replica.keeper.pid
            assert replica.canary.said == "armed"
            await roost.until("a", State.ASLEEP)
            async with asyncio.timeout(10):
                while "asleep by itself; resident memory" not in caplog.text:
                    await asyncio.sleep(0)
            assert replica.measured is not None
            assert (replica.measured.held or 1 << 40) < 120 << 20
            assert await answer(roost, "a") == before
            assert replica.keeper.pid == pid  # woken, and its answers were the same


@live
async def test_unload_frees_the_process_and_a_request_loads_again(
    tmp_path: Path, tiny_models: Mapping[str, Path]
) -> None:
    async with serving(tmp_path, config({"a": tiny_models["tiny-a"]})) as roost:
        before = await answer(roost, "a")
        pid = roost.app.replicas[0].keeper.pid
        assert pid is not None
        ordered = await roost.client.post("/api/v1/models/a/unload")
        assert ordered.json()["state"] == "cold"
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        refused = await roost.client.post("/api/v1/models/a/sleep")
        assert refused.status_code == 409
        assert await answer(roost, "a") == before


@live
async def test_three_models_take_turns_in_one_place_and_none_is_lost(
    tmp_path: Path, tiny_models: Mapping[str, Path]
) -> None:
    text = config(tiny_models, _top="memory: {max_resident: 1}")
    async with serving(tmp_path, text) as roost:
        names = list(tiny_models)
        alone = {name: await answer(roost, name) for name in names}
        order = [names[(3 * turn + turn // 4) % len(names)] for turn in range(24)]
        texts = await asyncio.gather(*(answer(roost, name) for name in order))
        assert texts == [alone[name] for name in order]
        awake = [one for one in roost.app.replicas if one.state is State.READY]
        assert len(awake) == 1
