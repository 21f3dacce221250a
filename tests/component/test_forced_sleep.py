"""A sleep ordered by force waits for nobody: a running answer ends, and what was not answered yet is answered later."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost.core.lifecycle import State
from roost.core.request import Outcome
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

SLOW = """
models:
  a:
    engine: simulated
    args: [--token-delay, 200ms]
    sleep_after: never
    timeouts: {sleep: 5s}
"""


async def ordered_to_sleep(roost: RunningRoost) -> httpx.Response:
    return await roost.client.post("/api/v1/models/a/sleep", json={"wait": 20, "force": True})


def leased(roost: RunningRoost, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the next request has its lease."""
    gate, event = roost.app.controller.gate, asyncio.Event()
    enter = gate.enter

    def heard(*args: Any) -> Any:
        event.set()
        return enter(*args)

    monkeypatch.setattr(gate, "enter", heard)
    return event


@live
async def test_a_running_stream_is_cut_and_the_engine_sleeps_at_once(tmp_path: Path) -> None:
    async with running_roost(SLOW, tmp_path) as roost:
        await roost.chat("a", max_tokens=1)
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 400, "stream": True}
        async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            pieces = answer.aiter_bytes()
            await anext(pieces)
            assert (await ordered_to_sleep(roost)).status_code == 200
            assert roost.state("a") is State.ASLEEP
            with pytest.raises(httpx.RemoteProtocolError):
                _ = [piece async for piece in pieces]
        pid = roost.app.replicas[0].keeper.pid
        assert (await roost.chat("a", max_tokens=1)).status_code == 200
        assert roost.app.replicas[0].keeper.pid == pid  # nothing was started afresh
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        cut = [one for one in recent if one["outcome"] == Outcome.REFUSED]
        assert len(cut) == 1 and "to sleep or stopped it while it answered" in json.dumps(cut)


@live
async def test_a_request_without_a_byte_of_its_answer_waits_for_the_wake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_roost(SLOW, tmp_path) as roost:
        await roost.chat("a", max_tokens=1)
        entered = leased(roost, monkeypatch)
        whole = spawn(roost.chat("a", max_tokens=20), "chat")
        await entered.wait()
        assert (await ordered_to_sleep(roost)).status_code == 200
        answer = await whole
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 20
        wakes = [one.event for one in roost.app.replicas[0].history if one.before is State.WAKING]
        assert [str(event) for event in wakes] == ["ready"]
