"""The endpoints of kvcached's controller over a whole roost with simulated engines, through the one port."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost import clock
from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

TWO = """
models:
  org/a: {engine: simulated, aliases: [nick]}
  b: {engine: simulated}
"""
SLOW = "models:\n  a: {engine: simulated, args: [--token-delay, 20ms]}\n"


async def got(roost: RunningRoost, path: str) -> dict[str, Any]:
    answer = await roost.client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def stats(roost: RunningRoost, model: str) -> dict[str, Any]:
    found: dict[str, Any] = (await got(roost, f"/traffic/stats/{model}"))["model_stats"]
    return found


async def ordered(roost: RunningRoost, path: str) -> tuple[int, dict[str, Any]]:
    answer = await roost.client.post(path)
    return answer.status_code, answer.json()


def stream(tokens: int) -> dict[str, Any]:
    return {"model": "a", "prompt": "x", "stream": True, "max_tokens": tokens}


async def ended(roost: RunningRoost, requests: int) -> dict[str, Any]:
    """The statistics of `a` once that many requests have ended; asking gives the data plane its turns."""
    async with asyncio.timeout(10):
        while (found := await stats(roost, "a"))["total_requests"] < requests or found["in_flight"]:
            pass
    return found


@live
async def test_sleep_and_wake_by_both_spellings_and_what_the_status_says(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        status, body = await ordered(roost, "/action/wakeup/org/a")
        assert (status, body["model_name"], body["success"], body["changed"]) == (200, "org/a", True, True)
        status, body = await ordered(roost, "/model/wake/org%2Fa")
        assert (status, body["success"], body["changed"], body["state"]) == (200, True, False, "ready")
        status, body = await ordered(roost, "/model/sleep/org/a")
        assert (status, body["changed"], body["state"]) == (200, True, "asleep")
        status, body = await ordered(roost, "/action/sleep/nick")
        assert (status, body["model_name"], body["success"], body["changed"]) == (200, "org/a", True, False)

        found = await got(roost, "/sleep/status")
        sleeper = found["sleeping_models"]["org/a"]
        assert sleeper["manual_sleep"] is True
        assert sleeper["level"] == 1
        assert "asked for asleep" in sleeper["reason"]
        assert abs(sleeper["sleep_start_time"] + sleeper["sleep_duration"] - clock.wall()) < 5
        assert list(found["sleeping_models"]) == ["org/a"]
        assert found["wakeup_on_request"] is found["auto_sleep_enabled"] is True

        assert (await roost.chat("org/a")).status_code == 200  # wakes it
        assert (await got(roost, "/sleep/status"))["sleeping_models"] == {}


@live
async def test_a_sleep_for_idleness_is_not_manual(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, sleep_after: 100ms}\n"
    async with running_roost(text, tmp_path) as roost:
        assert (await ordered(roost, "/action/wakeup/a"))[0] == 200
        await roost.until("a", State.ASLEEP)
        sleeper = (await got(roost, "/model/sleep/status"))["sleeping_models"]["a"]
        assert sleeper["manual_sleep"] is False
        assert "idle" in sleeper["reason"]


@live
async def test_an_order_that_cannot_be_obeyed_is_409_and_a_refusing_engine_503(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, args: [--refuse-sleep]}\n"
    async with running_roost(text, tmp_path) as roost:
        status, body = await ordered(roost, "/action/sleep/a")  # nothing runs that could sleep
        assert (status, body["success"], body["changed"], body["error"]["code"]) == (409, False, False, "cannot_obey")
        await ordered(roost, "/action/wakeup/a")
        status, body = await ordered(roost, "/action/sleep/a")
        assert (status, body["success"], body["error"]["code"]) == (503, False, "engine_refused")
        assert body["model_name"] == "a"
        assert "500" in body["message"]


@live
async def test_models_without_traffic_appear_everywhere_and_made_up_names_nowhere(tmp_path: Path) -> None:
    async with running_roost("policy: {idle_threshold: 1ms}\n" + TWO, tmp_path) as roost:
        assert (await roost.chat("made/up")).status_code == 404
        assert (await roost.client.post("/v1/completions", json={"model": "evil", "prompt": ""})).status_code == 404
        found = await got(roost, "/traffic/stats")
        assert set(found["traffic_stats"]) == {"org/a", "b"}
        for one in found["traffic_stats"].values():
            assert (one["total_requests"], one["last_activity_time"], one["success_rate"]) == (0, None, None)
            assert one["is_idle"] is True
        assert (await stats(roost, "org/a"))["state"] == "cold"
        assert (await got(roost, "/models/idle"))["idle_models"] == ["org/a", "b"]
        assert (await got(roost, "/models/active?threshold=600"))["active_models"] == ["org/a", "b"]
        assert (await roost.client.get("/traffic/stats/made/up")).status_code == 404


@live
async def test_a_stream_counts_when_it_ends_with_its_whole_time(tmp_path: Path) -> None:
    async with running_roost(SLOW, tmp_path) as roost:
        await roost.chat("a")
        async with roost.client.stream("POST", "/v1/completions", json=stream(10)) as answer:
            pieces = answer.aiter_bytes()
            await anext(pieces)
            during = await stats(roost, "a")
            assert (during["total_requests"], during["in_flight"]) == (1, 1)
            assert (during["idle_time_seconds"], during["is_idle"]) == (0, False)
            async for _ in pieces:
                pass
        found = await ended(roost, 2)
        assert (found["successful_requests"], found["success_rate"]) == (2, 1.0)
        assert found["avg_response_time"] > found["avg_ttft"] > 0
        assert found["avg_response_time"] > 0.15 / 2
        assert abs(found["last_activity_time"] - clock.wall()) < 5


@live
async def test_a_stream_broken_midway_counts_as_failed(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, args: [--crash-mid-stream, '3'], restart: {backoff: 10ms}}\n"
    async with running_roost(text, tmp_path) as roost:
        with pytest.raises(httpx.RemoteProtocolError):
            async with roost.client.stream("POST", "/v1/completions", json=stream(50)) as answer:
                assert answer.status_code == 200
                await answer.aread()
        found = await ended(roost, 1)
        assert (found["failed_requests"], found["successful_requests"], found["cancelled_requests"]) == (1, 0, 0)
        assert (found["success_rate"], found["avg_response_time"]) == (0.0, 0.0)


@live
async def test_a_stream_that_its_client_leaves_counts_as_cancelled(tmp_path: Path) -> None:
    async with running_roost(SLOW, tmp_path) as roost:
        async with roost.client.stream("POST", "/v1/completions", json=stream(2000)) as answer:
            await anext(answer.aiter_bytes())
        found = await ended(roost, 1)
        assert (found["cancelled_requests"], found["failed_requests"], found["successful_requests"]) == (1, 0, 0)
        assert found["success_rate"] is None


@live
async def test_a_long_request_and_a_waiting_one_are_activity(tmp_path: Path) -> None:
    text = "policy: {idle_threshold: 1ms}\nmodels:\n  a: {engine: simulated, concurrency: 1}\n"
    async with running_roost(text, tmp_path) as roost:
        await ordered(roost, "/action/wakeup/a")
        await roost.client.post("/upstream/a/sim/set", json={"hang": "inference"})
        tasks = [asyncio.get_running_loop().create_task(roost.chat("a")) for _ in range(2)]
        async with asyncio.timeout(10):
            while not (found := await stats(roost, "a"))["queue_depth"]:
                pass
        assert (found["in_flight"], found["idle_time_seconds"], found["is_idle"]) == (1, 0, False)
        assert (await got(roost, "/models/idle"))["idle_models"] == []
        assert (await got(roost, "/models/active"))["active_models"] == ["a"]
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@live
async def test_candidates_are_ready_idle_able_to_sleep_and_not_pinned(tmp_path: Path) -> None:
    text = (
        "policy: {auto_sleep: false, idle_threshold: 1ms}\n"
        "models:\n"
        "  a: {engine: simulated, sleep_after: never}\n"
        "  pinned: {engine: simulated, sleep_after: 1ms, pin: true}\n"
        "  later: {engine: simulated, sleep_after: 1h}\n"
        "  cold: {engine: simulated, sleep_after: 1ms}\n"
        "  alone: {engine: simulated, sleep_after: 1ms, args: [--kind, llamacpp-idle]}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        for name in ("a", "pinned", "later", "alone"):
            assert (await ordered(roost, f"/action/wakeup/{name}"))[0] == 200
        found = await got(roost, "/sleep/candidates")
        assert found["sleep_candidates"] == ["a"]
        details = found["candidate_details"]["a"]
        assert details["can_sleep"] is True
        assert details["idle_time_seconds"] > 0.001
        assert found["auto_sleep_enabled"] is False
        assert (await got(roost, "/sleep/status"))["sleep_candidates"] == ["a"]


@live
async def test_history_counts_what_came(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        began = clock.wall()
        for _ in range(3):
            await roost.chat("nick")
        found = await got(roost, "/api/v1/traffic/org/a/history?span=5m&bucket=1m")
        buckets = found["buckets"]
        assert len(buckets) == 5
        assert sum(bucket["requests"] for bucket in buckets) == 3
        filled = [bucket for bucket in buckets if bucket["requests"]]
        assert sum(bucket["tokens_out"] for bucket in filled) == 24
        assert all(bucket["avg_response_time"] > 0 and bucket["avg_ttft"] > 0 for bucket in filled)
        last = buckets[-1]
        assert last["start_unix"] <= clock.wall() < last["start_unix"] + 60.1
        assert buckets[0]["start_unix"] < began - 179
        assert buckets[0]["start"].endswith("Z")
        overview = await got(roost, "/api/v1/traffic")
        assert [one["total_requests"] for one in overview["models"]] == [3, 0]


@live
async def test_both_worlds_meet_in_models_health_and_server_info(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        assert (await ordered(roost, "/action/wakeup/b"))[0] == 200
        addresses = {one.model: f"http://127.0.0.1:{one.address.port}" for one in roost.app.replicas}
        both = await got(roost, "/models")
        assert [one["id"] for one in both["data"]] == ["org/a", "b"]
        assert {name: one["endpoint"] for name, one in both["models"].items()} == addresses
        health = await got(roost, "/health/all")
        assert health["health"] == {"org/a": {addresses["org/a"]: False}, "b": {addresses["b"]: True}}
        assert (await got(roost, "/health/b"))["health"] == {addresses["b"]: True}
        info = await got(roost, "/get_server_info")
        assert info["config_hash"] == roost.app.console.status()["config_hash"]
        assert {name: one["state"] for name, one in info["models"].items()} == {"org/a": "cold", "b": "ready"}
        assert info["engines"] == ["simulated"]
        never_up, came_up = await stats(roost, "org/a"), await stats(roost, "b")
        assert came_up["idle_time_seconds"] < never_up["idle_time_seconds"]  # watched only since it became ready
        assert came_up["last_activity_time"] is None  # the request that verified it is no traffic
        text = await roost.client.get("/health", headers={"accept": "text/plain"})
        assert text.text == "OK\n"


@live
async def test_keys_bound_what_these_routes_give_and_no_secret_is_told(tmp_path: Path) -> None:
    text = (
        "server:\n"
        "  keys:\n"
        "    - {name: infer, key: k-infer}\n"
        "    - {name: read, key: k-read, scopes: [read]}\n"
        "models:\n  a: {engine: simulated, api_key: engine-secret}\n"
    )
    async with running_roost(text, tmp_path) as roost:

        async def status(method: str, path: str, key: str | None) -> int:
            headers = {"authorization": f"Bearer {key}"} if key else {"authorization": ""}
            return (await roost.client.request(method, path, headers=headers)).status_code

        for path in ("/traffic/stats", "/sleep/status", "/models", "/get_server_info", "/model/traffic/idle"):
            found = [await status("GET", path, key) for key in (None, "wrong", "k-infer", "k-read")]
            assert found == [401, 401, 403, 200]
        for path in ("/action/sleep/a", "/model/wake/a"):
            assert [await status("POST", path, key) for key in (None, "k-infer", "k-read")] == [401, 403, 403]
        answer = await roost.client.get("/get_server_info", headers={"authorization": "Bearer k-read"})
        assert "secret" not in answer.text
        assert "k-read" not in answer.text
