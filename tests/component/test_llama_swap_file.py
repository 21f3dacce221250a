"""A whole roost from files of llama-swap's form, its command lines starting simulated engines."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from roost.core.lifecycle import State
from roost.host.ports import is_free
from tests.support.live import live
from tests.support.models import free_port
from tests.support.roost import RunningRoost, running_roost
from tests.support.sim import sim_engine

SIM = f"{sys.executable} -m roost.sim --port ${{PORT}} --model ${{MODEL_ID}}"
EXAMPLE = Path(__file__).parents[2] / "examples" / "llama-swap.yaml"


def start_port() -> str:
    """The line that begins the ports handed out where some are free in a row."""
    for _ in range(100):
        first = free_port()
        if first < 65000 and all(is_free("127.0.0.1", port) for port in range(first, first + 4)):
            return f"startPort: {first}\n"
    raise AssertionError("no four free ports in a row")


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


async def calls(roost: RunningRoost, model: str) -> list[str]:
    """The orders that reached the engine, in order."""
    address = next(one for one in roost.app.replicas if one.model == model).address
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as engine:
        seen = (await engine.get("/sim/stats")).raise_for_status().json()["calls"]
    return [call for call in seen if call.startswith("POST") and "/v1/" not in call]


@contextlib.asynccontextmanager
async def recorder() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that keeps each request as it came and answers 200; (port, requests)."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        seen.append(head + await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


@live
async def test_a_level_in_the_body_reaches_the_engine_in_the_query_and_the_body_as_it_was(tmp_path: Path) -> None:
    async with recorder() as (port, seen):
        text = f"""{start_port()}
models:
  a:
    engine: vllm
    cmd: {SIM}
    sleepEndpoints:
      - {{endpoint: /sleep, body: '{{"level":  2}}'}}
      - {{endpoint: "http://127.0.0.1:{port}/sleep", body: '{{"level":  2}}'}}
    wakeEndpoints:
      - {{endpoint: /wake_up}}
      - {{endpoint: /collective_rpc, body: '{{"method": "reload_weights"}}'}}
      - {{endpoint: /reset_prefix_cache}}
"""
        async with running_roost(text, tmp_path) as roost:
            before = text_of(await roost.chat("a"))
            slept = await roost.client.post("/api/models/sleep/a")
            assert slept.text == "OK"
            assert await calls(roost, "a") == ["POST /sleep?level=2"]
            head, _, body = seen[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /sleep?level=2 HTTP/1.1") and body == b'{"level":  2}'
            assert text_of(await roost.chat("a")) == before
            assert (await calls(roost, "a"))[1:] == [
                "POST /wake_up",
                "POST /collective_rpc",
                "POST /reset_prefix_cache",
            ]


@live
async def test_without_groups_matrix_or_memory_one_model_runs_at_a_time(tmp_path: Path) -> None:
    text = f"{start_port()}models:\n  a: {{cmd: '{SIM}'}}\n  b: {{cmd: '{SIM}'}}\n"
    async with running_roost(text, tmp_path) as roost:
        most = 0

        def count(_: object) -> None:
            nonlocal most
            most = max(most, sum(one.state is not State.COLD for one in roost.app.replicas))

        for replica in roost.app.replicas:
            replica.subscribe(count)
        said = [text_of(answer) for answer in await asyncio.gather(*(roost.chat(name) for name in "abab"))]
        assert (said[0], said[1]) == (said[2], said[3])
        assert said[0] != said[1]
        assert text_of(await roost.chat("a")) == said[0]
        assert (roost.state("a"), roost.state("b"), most) == (State.READY, State.COLD, 1)


@live
async def test_ttl_stops_a_model_without_lists_and_puts_one_with_them_to_sleep(tmp_path: Path) -> None:
    lists = "sleepEndpoints: [{endpoint: /sleep?level=1}], wakeEndpoints: [{endpoint: /wake_up}]"
    text = (
        f"{start_port()}globalTTL: 1\nmemory: {{max_resident: 2}}\n"
        f"models:\n  a: {{cmd: '{SIM}'}}\n  b: {{cmd: '{SIM}', checkEndpoint: none, {lists}}}\n"
    )
    async with running_roost(text, tmp_path) as roost:
        text_of(await roost.chat("a"))
        text_of(await roost.chat("b"))
        shown = (await roost.client.get("/running")).json()["running"]
        assert {one["ttl"] for one in shown} == {1}
        await roost.until("a", State.COLD)
        await roost.until("b", State.ASLEEP)
        text_of(await roost.chat("a"))
        text_of(await roost.chat("b"))


@pytest.mark.parametrize("rules", ["", "groups: {g: {members: [a]}}", "matrix: {sets: {s: a}}"])
@live
async def test_a_peer_answers_by_both_names_and_gets_its_key(tmp_path: Path, rules: str) -> None:
    async with sim_engine("--api-key", "far-key", model="m") as far:
        text = f"""{start_port()}{rules}
models:
  a: {{cmd: '{SIM}'}}
peers:
  far: {{proxy: "{far.url}", apiKey: far-key, models: [m]}}
  wrong: {{proxy: "{far.url}", apiKey: other-key, models: [n]}}
"""
        async with running_roost(text, tmp_path) as roost:
            local = text_of(await roost.chat("a"))
            assert text_of(await roost.chat("far/m")) == text_of(await roost.chat("m")) != local
            assert (await roost.chat("n")).status_code == 401
            await roost.until("far/m", State.READY)
            assert roost.state("a") is State.READY  # what runs elsewhere takes no place here
            assert [change.after for change in roost.app.replicas[0].history] == [State.STARTING, State.READY]
            listed = [one["id"] for one in (await roost.client.get("/v1/models")).json()["data"]]
            assert {"a", "far/m", "wrong/n"} <= set(listed)


@live
async def test_the_example_runs(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("roost sim-engine", f"{sys.executable} -m roost.sim")
    async with running_roost(text.replace("startPort: 5800", start_port().strip()), tmp_path) as roost:
        await roost.until("embed", State.READY)
        for name in ("code", "gpt-4o-mini", "fast", "embed", "code:careful"):
            text_of(await roost.chat(name))
        assert {one.model for one in roost.app.replicas if one.state is State.READY} == {"code", "fast", "embed"}
        assert roost.state("chat") is State.COLD  # it has no lists, so it was stopped for code
        models = (await roost.client.get("/v1/models")).json()["data"]
        assert next(one for one in models if one["id"] == "chat")["metadata"]["context"] == 4096


@live
async def test_models_on_one_fixed_port_take_turns(tmp_path: Path) -> None:
    port = free_port()
    sim = SIM.replace("${PORT}", str(port))
    text = "models:\n" + "".join(f"  {m}: {{cmd: '{sim}', proxy: 'http://127.0.0.1:{port}'}}\n" for m in "ab")
    async with running_roost(text, tmp_path) as roost:
        for name in "abba":
            answer = await roost.chat(name)
            text_of(answer)
            assert answer.json()["model"] == name
