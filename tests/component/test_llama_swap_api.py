"""llama-swap's endpoints and `loading_state` over a whole roost with simulated engines."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from roost import logs
from roost.core.lifecycle import State
from roost.proxy import loading
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

TWO = """
models:
  org/a: {engine: simulated, display_name: The A, description: one, api_key: k-hidden, aliases: [nick]}
  b: {engine: simulated, sleep_after: never}
"""


async def running(roost: RunningRoost) -> dict[str, dict[str, Any]]:
    shown = (await roost.client.get("/running")).json()["running"]
    return {one["model"]: one for one in shown}


@live
async def test_running_unload_and_sleep(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        assert await running(roost) == {}
        await asyncio.gather(roost.chat("org/a"), roost.chat("b"))
        shown = await running(roost)
        assert {name: one["state"] for name, one in shown.items()} == {"org/a": "ready", "b": "ready"}
        a = shown["org/a"]
        assert (a["name"], a["description"], a["ttl"], shown["b"]["ttl"]) == ("The A", "one", 300, 0)
        assert "--port" in a["cmd"]
        assert "k-hidden" not in a["cmd"]
        assert a["proxy"].startswith("http://127.0.0.1:")
        post = roost.client.post
        slept = await post("/api/models/sleep/org/a")
        assert (slept.status_code, slept.text) == (200, "OK")
        assert (await running(roost))["org/a"]["state"] == "asleep"
        assert (await post("/api/models/unload/org%2Fa")).text == "OK"
        assert list(await running(roost)) == ["b"]
        assert (await post("/api/models/unload/nope")).status_code == 404
        assert (await roost.client.head("/unload")).status_code == 200
        assert list(await running(roost)) == ["b"]
        assert (await roost.client.get("/unload")).text == "OK"
        assert await running(roost) == {}
        assert (await post("/api/models/unload")).json() == {"msg": "ok"}
        foreign = await post("/api/models/unload", headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403


@live
async def test_a_model_that_cannot_sleep_says_so_and_one_whose_sleep_fails_is_stopped(tmp_path: Path) -> None:
    text = (
        "models:\n  no: {engine: simulated, args: ['--kind llamacpp-idle', '--sleep-idle-seconds 300']}\n"
        "  bad: {engine: simulated, args: [--refuse-sleep]}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        await asyncio.gather(roost.chat("no"), roost.chat("bad"))
        refused = await roost.client.post("/api/models/sleep/no")
        assert refused.status_code == 409
        assert refused.json()["error"]["message"]
        assert roost.state("no") is State.READY
        answer = await roost.client.post("/api/models/sleep/bad")
        assert answer.status_code == 200
        assert answer.text.startswith("OK, stopped instead: ")
        assert roost.state("bad") is State.COLD


@live
async def test_the_first_page_of_an_engine_loads_it_and_other_gets_do_not(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        redirected = await roost.client.get("/upstream/org/a")
        assert (redirected.status_code, redirected.headers["location"]) == (301, "/upstream/org/a/")
        probe = await roost.client.get("/upstream/org/a/health")
        assert probe.status_code == 503
        assert roost.state("org/a") is State.COLD
        await roost.client.get("/upstream/org/a/")
        assert roost.state("org/a") is State.READY
        assert (await roost.client.get("/upstream/org/a/health")).status_code == 200


@live
async def test_logs_are_those_of_roost_and_its_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "kept", kept := logs.Kept())
    monkeypatch.setattr("roost.console.kept", kept)
    monkeypatch.setattr(logs.log, "level", logging.INFO)
    logs.log.addHandler(kept)
    try:
        async with running_roost(TWO, tmp_path) as roost:
            await roost.chat("b")
            text = (await roost.client.get("/logs")).text
            assert "b/0: starting -> ready" in text
            assert "\nb | --- b/0 started at" in text
            async with roost.client.stream("GET", "/logs/stream/proxy?no-history") as answer:
                lines = answer.aiter_lines()
                await roost.client.post("/api/models/unload/b")
                async for line in lines:
                    if "stopping" in line:
                        break
            async with roost.client.stream("GET", "/logs/stream/b") as answer:
                async for line in answer.aiter_lines():
                    assert line.startswith("--- b/0 started at")
                    break
    finally:
        logs.log.removeHandler(kept)


async def streamed(roost: RunningRoost, model: str) -> tuple[int, str, str, list[dict[str, Any]]]:
    """(status, what was told, content, error events) of a streamed chat completion."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}
    told, content, errors, ended = "", "", [], False
    async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            return answer.status_code, "", (await answer.aread()).decode(), []
        async for line in answer.aiter_lines():
            assert not line or line.startswith("data: ")
            if line == "data: [DONE]":
                ended = True
            elif line:
                event = json.loads(line[6:])
                errors += [event["error"]] if "error" in event else []
                for choice in event.get("choices", ()):
                    told += choice["delta"].get("reasoning_content") or ""
                    content += choice["delta"].get("content") or ""
    assert ended
    return answer.status_code, told, content, errors


@live
async def test_loading_and_waking_are_told_and_then_the_answer_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DELAY_S", 0.0)
    text = (
        "models:\n  a: {engine: simulated, loading_state: true, args: ['--start-delay 900ms', '--wake-delay 900ms']}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        status, told, content, errors = await streamed(roost, "a")
        assert (status, errors) == (200, [])
        assert "it is being loaded." in told
        assert "\nReady after " in told
        plain = (await roost.chat("a", max_tokens=4)).json()["choices"][0]["message"]["content"]
        assert content == plain
        assert (await streamed(roost, "a"))[1] == ""  # ready: nothing to tell
        for words in (
            "it is waking up.",
            "it is waking up (last time that took ",
        ):  # how long the load took is not told
            await roost.client.post("/api/models/sleep/a")
            status, told, again, errors = await streamed(roost, "a")
            assert (status, again, errors) == (200, content, [])
            assert words in told
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        assert recent[0]["status"] == 200
        assert recent[0]["ttft_s"] >= recent[0]["queue_s"]


@live
async def test_a_wait_in_vain_ends_in_an_error_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "DELAY_S", 0.0)
    text = (
        "models:\n  a: {engine: simulated, loading_state: true, args: ['--start-delay 60s'],"
        " queue: {size: 1, max_wait: 2s}}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        first, second = await asyncio.gather(streamed(roost, "a"), streamed(roost, "a"))
        late, full = sorted((first, second), key=lambda one: one[0])
        assert full[0] == 429  # decided before any byte
        assert late[0] == 200
        assert "it is being loaded." in late[1]
        assert [error["code"] for error in late[3]] == ["waited_too_long"]
        assert (await streamed(roost, "nope"))[0] == 404
