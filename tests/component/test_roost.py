"""The whole of roost over simulated engines: load on request, sleep, eviction, orders, failures, shutdown."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import running_roost

TWO = """
models:
  a: {engine: simulated, aliases: [nick]}
  b: {engine: simulated}
"""


@live
async def test_first_request_loads_and_all_waiters_share_one_start(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        answers = await asyncio.gather(*(roost.chat("a") for _ in range(20)), roost.chat("nick"), roost.chat("b"))
        assert [answer.status_code for answer in answers] == [200] * 22
        texts = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
        assert len(texts) == 2  # a and b answer differently, the alias like a
        model = (await roost.client.get("/api/v1/models/a")).json()
        assert [change["after"] for change in model["history"]] == ["starting", "ready"]
        assert "wait" in model["history"][0]["reason"]


@live
async def test_idle_model_sleeps_and_a_request_wakes_it(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, sleep_after: 200ms, sleep_level: 2}\n"
    async with running_roost(text, tmp_path) as roost:
        first = await roost.chat("a")
        await roost.until("a", State.ASLEEP)
        again = await roost.chat("a")
        assert again.status_code == 200
        assert again.json()["choices"] == first.json()["choices"]  # not garbage: reloaded and verified


@live
async def test_idle_model_is_unloaded_and_comes_back(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, sleep_after: never, unload_after: 200ms}\n"
    async with running_roost(text, tmp_path) as roost:
        await roost.chat("a")
        await roost.until("a", State.COLD)
        assert (await roost.chat("a")).status_code == 200


@live
async def test_max_resident_one_serves_everybody_in_turn(tmp_path: Path) -> None:
    text = "memory: {max_resident: 1}\npolicy: {evict_by: unload}\n" + TWO + "  c: {engine: simulated}\n"
    async with running_roost(text, tmp_path) as roost:
        most = 0

        def count(_: object) -> None:
            nonlocal most
            most = max(most, sum(one.state not in (State.COLD, State.BACKOFF) for one in roost.app.replicas))

        for replica in roost.app.replicas:
            replica.subscribe(count)
        order = ["a", "b", "c", "a", "c", "b"] * 2
        answers = await asyncio.gather(*(roost.chat(name) for name in order))
        assert [answer.status_code for answer in answers] == [200] * len(order)
        assert most == 1
        metrics = (await roost.client.get("/metrics")).text
        assert "roost_evictions_total" in metrics


@live
async def test_orders_and_their_answers(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        post = roost.client.post

        async def order(action: str, **body: object) -> tuple[int, bool, str]:
            answer = await post(f"/api/v1/models/a/{action}", json=body)
            facts = answer.json()
            return answer.status_code, facts["changed"], facts["state"]

        assert await order("load") == (200, True, "ready")
        assert await order("load") == (200, False, "ready")
        assert await order("sleep", level=2) == (200, True, "asleep")
        assert await order("wake") == (200, True, "ready")
        assert await order("restart") == (200, True, "ready")
        assert await order("unload") == (200, True, "cold")
        assert (await post("/api/v1/models/nope/load")).status_code == 404
        assert (await post("/api/v1/models/a/pin")).status_code == 200
        assert (await roost.client.get("/api/v1/models/a")).json()["pinned"]


@live
async def test_failed_model_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    text = (
        "models:\n"
        "  bad: {engine: simulated, args: [--crash-at-start], restart: {tries: 2, backoff: 10ms}}\n"
        "  gone: {engine: command, command: 'no-such-engine --port ${PORT}'}\n"
        "  good: {engine: simulated}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        bad, gone, good = await asyncio.gather(roost.chat("bad"), roost.chat("gone"), roost.chat("good"))
        assert good.status_code == 200
        assert bad.status_code == gone.status_code == 503
        assert "exit status" in bad.json()["error"]["message"]
        assert "no-such-engine" in gone.json()["error"]["message"]
        assert "retry-after" not in gone.headers
        health = (await roost.client.get("/health")).json()
        assert health["status"] == "degraded"
        assert len(health["reasons"]) == 2


@live
async def test_crash_mid_stream_breaks_it_and_the_next_request_is_served(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, args: [--crash-mid-stream, '3'], restart: {backoff: 10ms}}\n"
    async with running_roost(text, tmp_path) as roost:
        body = {"model": "a", "prompt": "x", "stream": True, "max_tokens": 50}
        broken = False
        try:
            async with roost.client.stream("POST", "/v1/completions", json=body) as answer:
                assert answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    pass
        except Exception:
            broken = True
        assert broken
        plain = {"model": "a", "prompt": "x", "max_tokens": 2}
        assert (await roost.client.post("/v1/completions", json=plain)).status_code == 200


@live
async def test_get_never_wakes_and_the_lists_tell_the_states(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        listed = (await roost.client.get("/v1/models")).json()
        assert [(model["id"], model["status"]["value"]) for model in listed["data"]] == [("a", "cold"), ("b", "cold")]
        asleep = await roost.client.get("/v1/anything?model=a")
        assert (asleep.status_code, asleep.json()["error"]["code"]) == (503, "model_asleep")
        assert roost.state("a") is State.COLD
        assert (await roost.client.get("/health/a")).json()["state"] == "cold"
        assert (await roost.client.get("/health/zz")).status_code == 404
        assert (await roost.client.get("/ready")).status_code == 200


@live
async def test_requests_in_flight_are_listed_and_can_be_cancelled(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        await roost.chat("a")
        hang = await roost.client.post("/upstream/a/sim/set", json={"hang": "inference"})
        assert hang.status_code == 200
        task = asyncio.get_running_loop().create_task(roost.chat("a"))
        async with asyncio.timeout(10):
            while not (rows := (await roost.client.get("/api/v1/requests")).json()["requests"]):
                await asyncio.sleep(0)
        assert rows[0]["model"] == "a"
        assert (await roost.client.delete(f"/api/v1/requests/{rows[0]['id']}")).status_code == 200
        assert (await task).json()["error"]["code"] == "cancelled"
        assert (await roost.client.delete("/api/v1/requests/none")).status_code == 404


@live
async def test_queue_is_bounded_and_says_when_to_come_back(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, args: [--start-delay, 60s], queue: {size: 2, max_wait: 500ms}}\n"
    async with running_roost(text, tmp_path) as roost:
        answers = await asyncio.gather(*(roost.chat("a") for _ in range(4)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [429, 429, 503, 503]
        assert all(1 <= int(answer.headers["retry-after"]) <= 120 for answer in answers)
        codes = {answer.json()["error"]["code"] for answer in answers}
        assert codes == {"queue_full", "waited_too_long"}


@live
async def test_events_stream_tells_plan_and_states_with_reasons(tmp_path: Path) -> None:
    async with running_roost(TWO, tmp_path) as roost:
        seen: list[dict[str, object]] = []
        async with roost.client.stream("GET", "/api/v1/events") as stream:
            task = asyncio.get_running_loop().create_task(roost.chat("a"))
            async with asyncio.timeout(20):
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        seen.append(json.loads(line[5:]))
                    if any(event.get("after") == "ready" for event in seen):
                        break
            assert (await task).status_code == 200
        kinds = [event["type"] for event in seen]
        assert "plan" in kinds
        assert [event["after"] for event in seen if event["type"] == "state"] == ["starting", "ready"]


@live
async def test_shutdown_refuses_waiters_lets_streams_end_and_leaves_nothing(tmp_path: Path) -> None:
    text = (
        "models:\n"
        "  slow: {engine: simulated, args: [--token-delay, 20ms]}\n"
        "  never: {engine: simulated, args: [--start-delay, 60s]}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        await roost.chat("slow")
        begun = asyncio.Event()

        async def stream() -> bytes:
            body = {"model": "slow", "prompt": "x", "stream": True, "max_tokens": 30}
            data = b""
            async with roost.client.stream("POST", "/v1/completions", json=body) as answer:
                async for piece in answer.aiter_bytes():
                    data += piece
                    begun.set()
            return data

        streaming = asyncio.get_running_loop().create_task(stream())
        waiting = asyncio.get_running_loop().create_task(roost.chat("never"))
        await begun.wait()
        await roost.until("never", State.STARTING)
        pids = [replica.keeper.pid for replica in roost.app.replicas]
        await roost.app.stop()
        assert (await streaming).endswith(b"data: [DONE]\n\n")
        assert (await waiting).json()["error"]["code"] == "shutting_down"
        assert not any(Path(f"/proc/{pid}/stat").exists() for pid in pids)


@live
async def test_port_and_model_are_filled_in_wherever_they_may_stand(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = (
        "models:\n"
        "  a:\n"
        "    engine: command\n"
        f"    command: {sys.executable} -m roost.sim --port ${{PORT}} --model ${{MODEL}}\n"
        "    health_path: /health?model=${MODEL}\n"
        f"    stop_command: [sh, -c, 'echo ${{MODEL}} ${{PORT}} > {mark}; kill ${{PID}}']\n"
    )
    async with running_roost(text, tmp_path) as roost:
        assert (await roost.chat("a")).status_code == 200
        port = roost.app.replicas[0].address.port
        stopped = await roost.client.post("/api/v1/models/a/unload")
        assert stopped.json()["state"] == "cold"
        assert mark.read_text().split() == ["a", str(port)]


@live
async def test_engine_that_streams_is_not_lost_though_its_probe_fails(tmp_path: Path) -> None:
    """Tokens are a sign of life: a restart would cut the very answer that they belong to."""
    text = """
    models:
      a:
        engine: simulated
        args: ["--token-delay 50ms"]
        timeouts: {probe_lost: 1s}
    """
    async with running_roost(text, tmp_path) as roost:
        await roost.chat("a")
        (replica,) = roost.app.replicas
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, "stream": True}
        async with httpx.AsyncClient(base_url=f"http://{replica.address}", trust_env=False) as engine:
            await engine.post("/sim/set", json={"fail_health_after": 0})
        async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = [line async for line in answer.aiter_lines()]
        assert "data: [DONE]" in lines
        assert replica.state is State.READY


@live
async def test_a_log_that_cannot_be_written_and_a_sweep_that_fails_hold_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "models:\n  a: {engine: simulated, args: [--start-delay 1h], queue: {max_wait: 300ms}}\n"

    def broken(_: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    async with running_roost(text, tmp_path, write_access_log=broken) as roost:
        assert (await roost.client.get("/v1/models")).status_code == 200
        for _ in range(2):
            assert (await roost.chat("a")).status_code == 503  # refused by the sweep, at its time
        sweep, faulty = roost.app.controller.gate.sweep, 2

        def sometimes(now: float) -> None:
            nonlocal faulty
            faulty -= 1
            if faulty >= 0:
                raise RuntimeError("on paper")
            sweep(now)

        monkeypatch.setattr(roost.app.controller.gate, "sweep", sometimes)
        assert (await roost.chat("a")).status_code == 503
    assert sum("request log cannot be written" in line for line in caplog.messages) == 1
    assert sum("a sweep of the waiting requests went wrong" in line for line in caplog.messages) == 1
