"""A whole roost over an engine that falls silent in the middle of its answers while its health stays 200."""

import asyncio
import contextlib
import json
from pathlib import Path

import httpx
import pytest

from roost.core.lifecycle import State
from roost.host import watching
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

STALLING = "models:\n  a: {engine: simulated, timeouts: {stall_after: 500ms, drain: 300ms}}\n"
ASKED = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "stream": True}


async def read_until_cut(roost: RunningRoost, begun: asyncio.Event) -> bytes:
    got = b""
    with contextlib.suppress(httpx.RemoteProtocolError):
        async with roost.client.stream("POST", "/v1/chat/completions", json=ASKED) as answer:
            async for piece in answer.aiter_raw():
                got += piece
                begun.set()
    return got


@live
async def test_engine_that_stands_still_is_restarted_and_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "WATCH_S", 0.05)
    async with running_roost(STALLING, tmp_path) as roost:
        assert (await roost.chat("a")).status_code == 200
        await roost.client.post("/upstream/a/sim/set", json={"hang_mid_stream": 3})
        begun = asyncio.Event()
        hung = spawn(read_until_cut(roost, begun), "a reader")
        await begun.wait()
        await roost.until("a", State.DRAINING)
        waiting = spawn(roost.chat("a"), "a waiter")  # meets it on its way down, and waits
        assert b'"finish_reason": "stop"' not in await hung
        assert (await waiting).status_code == 200
        facts = (await roost.client.get("/api/v1/models/a")).json()
        moves = [(change["after"], change["event"]) for change in facts["history"]][2:]
        assert moves == [
            ("draining", "stalled"),
            ("stopping", "stop"),
            ("backoff", "gone after failure"),
            ("starting", "load"),
            ("ready", "ready"),
        ]
        assert "1 running answer sent nothing" in facts["history"][2]["reason"]
        assert "its own counters stay at" in facts["history"][3]["reason"]
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        assert [one["outcome"] for one in recent][:2] == ["ok", "refused"]  # roost itself ended the hung one
        assert "stopped it while it answered" in recent[1]["error"]
        metrics = (await roost.client.get("/metrics")).text
        assert 'roost_stalls_total{model="a"} 1.0' in metrics
    assert any(one.levelname == "WARNING" and "stands still" in one.getMessage() for one in caplog.records)


@live
async def test_requests_that_failed_under_status_200_are_shown_as_failed(tmp_path: Path) -> None:
    """Someone aborts vLLM's requests behind roost's back."""
    text = "models:\n  a: {engine: simulated, args: [--token-delay 50ms]}\n"
    async with running_roost(text, tmp_path) as roost:
        await roost.chat("a", max_tokens=1)
        port = roost.app.replicas[0].address.port
        async with roost.client.stream("POST", "/v1/chat/completions", json={**ASKED, "max_tokens": 500}) as answer:
            pieces = answer.aiter_raw()
            await anext(pieces)
            async with httpx.AsyncClient(trust_env=False) as other:
                await other.post(f"http://127.0.0.1:{port}/abort_requests", json={})
            body = b"".join([piece async for piece in pieces])
        assert body.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason": "abort"' in body
        recent = (await roost.client.get("/api/v1/requests/recent")).json()
        last = next(one for one in recent["requests"] if one["hidden_failure"])
        assert (last["status"], last["outcome"], last["hidden_failure"]) == (200, "engine_failed", "abort")
        assert "did not ask" in json.dumps(last)
        assert 'roost_hidden_failures_total{kind="abort",model="a"} 1.0' in (await roost.client.get("/metrics")).text
