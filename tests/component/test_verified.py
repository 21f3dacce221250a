"""A whole roost over simulated engines that wake with other weights, or sleep without giving memory back: clients get
the right answer all the same, and are never counted for what roost asks by itself.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost.core.lifecycle import State
from roost.sim.text import is_garbage
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

OWN_STEPS = "sleep_steps: [{endpoint: '/sleep?level=2'}], wake_steps: [{endpoint: '/wake_up'}]"  # the weights stay away


def config(*args: str, more: str = "sleep_level: 2") -> str:
    return f"models:\n  a: {{engine: simulated, args: {list(args)}, sleep_after: never, {more}}}\n"


async def order(roost: RunningRoost, action: str, **body: Any) -> dict[str, Any]:
    answer = await roost.client.post(f"/api/v1/models/a/{action}", json=body)
    facts: dict[str, Any] = answer.json()
    return facts


async def facts(roost: RunningRoost) -> dict[str, Any]:
    answer: dict[str, Any] = (await roost.client.get("/api/v1/models/a")).json()
    return answer


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def slept_and_asked(roost: RunningRoost, waiters: int = 4) -> list[str]:
    """What clients hear that all come while it sleeps."""
    await order(roost, "sleep")
    assert roost.state("a") is State.ASLEEP
    return [said(one) for one in await asyncio.gather(*(roost.chat("a") for _ in range(waiters)))]


@live
async def test_garbage_after_a_wake_never_reaches_a_client(tmp_path: Path) -> None:
    async with running_roost(config("--garbage-after-wake"), tmp_path) as roost:
        (replica,) = roost.app.replicas
        right = said(await roost.chat("a"))
        pids = [replica.keeper.pid]
        for _ in range(2):
            assert await slept_and_asked(roost) == [right] * 4
            pids.append(replica.keeper.pid)
        assert len(set(pids)) == 3  # a fresh start for each
        assert not is_garbage(right)
        seen = await facts(roost)
        assert "sleep level 2 given up" in seen["canary"]
        assert "its answers are not what they were before its sleep" in seen["last_error"]
        refused = await order(roost, "sleep", level=2)
        assert "no sleep level 2" in refused["error"]["message"]


@live
async def test_own_steps_that_forget_the_reload_are_found_out(tmp_path: Path) -> None:
    async with running_roost(config(more=f"sleep_level: 2, {OWN_STEPS}"), tmp_path) as roost:
        right = said(await roost.chat("a"))
        pid = roost.app.replicas[0].keeper.pid
        assert await slept_and_asked(roost) == [right] * 4
        assert roost.app.replicas[0].keeper.pid != pid


@live
async def test_wake_by_someone_else_without_a_reload_is_found_out(tmp_path: Path) -> None:
    async with running_roost(config(), tmp_path) as roost:
        (replica,) = roost.app.replicas
        right, pid = said(await roost.chat("a")), replica.keeper.pid
        await order(roost, "sleep")
        async with httpx.AsyncClient(base_url=f"http://{replica.address}", trust_env=False) as someone:
            await someone.post("/wake_up")
        await roost.until("a", State.COLD)
        assert "someone woke it, and its answers are not what they were" in replica.last_error
        assert said(await roost.chat("a")) == right
        assert replica.keeper.pid != pid


@pytest.mark.parametrize("task", ["embed", "rerank"])
@live
async def test_vectors_and_scores_are_compared_as_well(tmp_path: Path, task: str) -> None:
    asks: dict[str, tuple[str, dict[str, Any]]] = {
        "embed": ("/v1/embeddings", {"input": "Hi"}),
        "rerank": ("/v1/rerank", {"query": "Hi", "documents": ["Hi there", "Ho"]}),
    }
    path, body = asks[task]
    async with running_roost(config("--garbage-after-wake", more=f"sleep_level: 2, task: {task}"), tmp_path) as roost:

        async def asked() -> Any:
            answer = (await roost.client.post(path, json={"model": "a", **body})).json()
            return answer["data"] if task == "embed" else answer["results"]

        right, pid = await asked(), roost.app.replicas[0].keeper.pid
        await order(roost, "sleep")
        assert await asked() == right
        assert roost.app.replicas[0].keeper.pid != pid


@live
async def test_what_roost_asks_is_no_traffic(tmp_path: Path) -> None:
    async with running_roost(config(), tmp_path) as roost:
        await order(roost, "load")
        await order(roost, "sleep")
        await order(roost, "wake")
        assert (await roost.client.get("/api/v1/requests/recent")).json()["requests"] == []
        assert (await facts(roost))["requests_per_s"] == 0
        assert (await facts(roost))["canary"] == "armed"
        stats = (await roost.client.get("/upstream/a/sim/stats")).json()
        assert stats["requests"] == 4  # verified, asked twice, asked after the wake


@live
async def test_sleep_that_keeps_the_memory_stops_the_engine(tmp_path: Path) -> None:
    async with running_roost(config("--claim-memory", "300MiB", "--keep-memory"), tmp_path) as roost:
        right, pid = said(await roost.chat("a")), roost.app.replicas[0].keeper.pid
        await order(roost, "sleep")
        await roost.until("a", State.COLD)
        seen = await facts(roost)
        assert "the sleep failed: its memory did not fall (resident memory 3" in seen["last_error"]
        assert said(await roost.chat("a")) == right
        assert roost.app.replicas[0].keeper.pid != pid


@live
async def test_sleep_that_gives_it_back_is_measured(tmp_path: Path) -> None:
    async with running_roost(config("--claim-memory", "300MiB"), tmp_path) as roost:
        (replica,) = roost.app.replicas
        await roost.chat("a")
        await order(roost, "sleep")
        assert roost.state("a") is State.ASLEEP
        assert replica.measured is not None
        assert (replica.measured.held or 1 << 40) < 150 << 20
