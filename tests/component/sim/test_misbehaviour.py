"""What the simulated engine does when it is told to fail, seen from outside the process."""

import asyncio
import contextlib
import os
import signal
import socket

import httpx
import pytest
import websockets

from roost.tasks import spawn
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
STREAM = {**CHAT, "stream": True}


async def _status(sim: Sim) -> int:
    return (await sim.client.post("/v1/chat/completions", json=CHAT)).status_code


@live
async def test_until_it_has_loaded_all_is_503() -> None:
    async with sim_engine("--start-delay", "1h", model="a") as sim:
        assert (await sim.client.get("/health")).status_code == 503
        assert await _status(sim) == 503
        assert (await sim.stats())["loaded"] is False
    async with sim_engine("--start-delay", "1ms", model="a") as sim:
        await sim.until(loaded=True)
        assert (await sim.client.get("/health")).status_code == 200


@live
async def test_crash_at_start_ends_with_1_and_says_so() -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 1: .*line 2 of 2.*told to crash at start"):
        async with sim_engine("--crash-at-start", "--log-lines", "2", model="a"):
            pass


@live
async def test_a_wrong_flag_ends_with_2() -> None:
    with pytest.raises(AssertionError, match="ended with 2"):
        async with sim_engine("--tokens", "many", model="a"):
            pass


@live
async def test_crash_after_requests() -> None:
    async with sim_engine("--crash-after-requests", "2", model="a") as sim:
        assert [await _status(sim), await _status(sim)] == [200, 200]
        with pytest.raises(httpx.TransportError):
            await _status(sim)
        assert await sim.wait() == 1


@live
async def test_crash_mid_stream_breaks_the_answer_after_so_many_tokens() -> None:
    async with sim_engine("--crash-mid-stream", "3", model="a") as sim:
        lines: list[str] = []
        with pytest.raises(httpx.RemoteProtocolError):
            async with sim.client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
                async for line in answer.aiter_lines():
                    lines.append(line)
        assert len([line for line in lines if line.startswith("data: ")]) == 1 + 3
        assert await sim.wait() == 1


@live
async def test_hang_accepts_and_never_answers_and_can_be_lifted() -> None:
    async with sim_engine("--hang", model="a") as sim:
        hung = spawn(sim.client.get("/health"), "health")
        async with asyncio.timeout(10):
            while "/health" not in (await sim.stats())["paths"]:
                pass
        assert not hung.done()
        hung.cancel()
        await sim.until(aborted=1)
        await sim.set(hang="inference")
        assert (await sim.client.get("/health")).status_code == 200
        request = spawn(_status(sim), "request")
        await sim.until(requests=1)
        assert not request.done()
        request.cancel()
        await sim.until(aborted=2)
        await sim.set(hang=None)
        assert await _status(sim) == 200


@live
async def test_hang_mid_stream_sends_so_many_tokens_and_no_more() -> None:
    async with sim_engine("--hang-mid-stream", "2", model="a") as sim:
        async with sim.client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            seen = 0
            async for line in answer.aiter_lines():
                seen += line.startswith("data: ")
                if seen == 1 + 2:
                    break
            stats = await sim.until(running=1, tokens=2)
            assert stats["aborted"] == 0
        await sim.until(running=0, aborted=1)


@live
@pytest.mark.parametrize("body", [STREAM, CHAT], ids=["stream", "whole"])
async def test_a_client_that_leaves_stops_the_generation(body: dict[str, object]) -> None:
    async with sim_engine("--token-delay", "1h", "--first-token-delay", "1h", model="a") as sim:
        request = spawn(sim.client.post("/v1/chat/completions", json=body), "request")
        await sim.until(running=1)
        request.cancel()
        stats = await sim.until(running=0, aborted=1)
        assert (stats["answered"], stats["tokens"]) == (0, 0)


@live
async def test_a_client_that_leaves_a_sleeper_is_not_served_after_the_wake() -> None:
    async with sim_engine(model="a") as sim:
        await sim.client.post("/sleep")
        request = spawn(_status(sim), "request")
        await sim.until(waiting=1)
        request.cancel()
        await sim.until(waiting=0, aborted=1)


@live
async def test_sigterm_ends_running_streams_and_the_process_with_0() -> None:
    async with sim_engine("--token-delay", "1h", model="a") as sim:
        async with sim.client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            await sim.until(running=1)
            sim.process.terminate()
            lines = [line async for line in answer.aiter_lines() if line]
        assert '"finish_reason": "abort"' in lines[-2]
        assert lines[-1] == "data: [DONE]"
        assert await sim.wait() == 0


@live
async def test_sigterm_while_hanging_still_ends_with_0() -> None:
    async with sim_engine("--hang", "inference", model="a") as sim:
        request = spawn(_status(sim), "request")
        await sim.until(requests=1)
        sim.process.terminate()
        assert await sim.wait() == 0
        with contextlib.suppress(httpx.HTTPError):
            await request


@live
async def test_sigterm_can_be_ignored() -> None:
    async with sim_engine("--ignore-sigterm", model="a") as sim:
        sim.process.terminate()
        assert await _status(sim) == 200
        sim.process.kill()
        assert await sim.wait() == -signal.SIGKILL


@live
async def test_health_fails_after_so_many_checks_while_answers_go_on() -> None:
    async with sim_engine("--fail-health-after", "2", model="a") as sim:
        assert [(await sim.client.get("/health")).status_code for _ in range(4)] == [200, 200, 503, 503]
        assert await _status(sim) == 200


@live
async def test_errors_come_at_their_rate_and_the_same_with_the_same_seed() -> None:
    async def seen(seed: str) -> list[int]:
        async with sim_engine("--error-rate", "0.5", "--seed", seed, model="a") as sim:
            return [await _status(sim) for _ in range(20)]

    first, again, other = await seen("1"), await seen("1"), await seen("2")
    assert set(first) == {200, 500}
    assert first == again != other


@live
async def test_a_wrong_setting_is_400_and_names_the_known_ones() -> None:
    async with sim_engine(model="a") as sim:
        answer = await sim.client.post("/sim/set", json={"tokns": 1})
        assert answer.status_code == 400
        assert "token_delay" in answer.json()["error"]["message"]


@live
async def test_log_lines_go_to_stderr() -> None:
    async with sim_engine("--log-lines", "3", model="a") as sim:
        assert sim.log.read_text().splitlines()[-1] == "simulated engine a: log line 3 of 3"


@live
async def test_idle_connections_are_closed_after_the_time_told() -> None:
    async with sim_engine("--keep-alive-timeout", "50ms", model="a") as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        assert (await sim.stats())["connections"] == 2


@live
async def test_a_taken_port_ends_it_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        engine = sim_engine("--port", str(taken.getsockname()[1]), model="a")
        with pytest.raises(AssertionError, match=r"ended with [13].*address already in use"):
            await engine.__aenter__()


@live
async def test_websocket_frames_come_back_as_they_were() -> None:
    async with sim_engine(model="a") as sim:
        async with websockets.connect(f"ws://127.0.0.1:{sim.port}/v1/realtime?model=a") as socket:
            assert socket.response is not None and socket.response.headers["x-sim-model"] == "a"
            large = os.urandom(70_000)
            for message in ("hello", "", b"\x00\x01", "x" * 200, large):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "three ", "pieces"])
            assert await socket.recv() == "in three pieces"
            await (await socket.ping())
        assert socket.close_code == 1000
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://127.0.0.1:{sim.port}/elsewhere")
