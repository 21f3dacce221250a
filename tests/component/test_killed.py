"""kill -9 of roost itself: its engines live on and the next roost takes them up."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost.host.ports import PortPicker
from tests.support.live import live
from tests.support.roost import roost_process, until_ready
from tests.support.sim import sim_engine
from tests.support.tmux import needs_tmux, own_tmux


@pytest.fixture(params=["process", pytest.param("tmux", marks=needs_tmux)])
def launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "process":
        yield "process"
        return
    monkeypatch.delenv("TMUX", raising=False)
    with own_tmux() as variables:
        monkeypatch.setenv("TMUX_TMPDIR", variables["TMUX_TMPDIR"])
        yield "tmux"


class Place:
    """A config, a state directory and a port."""

    def __init__(self, folder: Path, models: str, launcher: str = "process") -> None:
        self.launcher = launcher
        self.port = PortPicker().pick("127.0.0.1")
        self.config = folder / "roost.yaml"
        self.state = folder / "state"
        self.write(models)

    def write(self, models: str) -> None:
        self.config.write_text(
            f"server: {{name: k, port: {self.port}}}\ndefaults: {{launcher: {self.launcher}}}\nmodels:\n{models}"
        )

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
        url = f"http://127.0.0.1:{self.port}"
        async with (
            roost_process(self.config, self.state) as process,
            httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
        ):
            await until_ready(client)
            yield process, client


async def chat(client: httpx.AsyncClient, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 6, "temperature": 0}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def models(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    listed = (await client.get("/api/v1/models")).json()["models"]
    return {model["name"]: model for model in listed}


@live
async def test_engines_outlive_a_killed_roost_and_are_adopted(tmp_path: Path, launcher: str) -> None:
    place = Place(tmp_path, "  a: {engine: simulated}\n  b: {engine: simulated}\n  c: {engine: simulated}\n", launcher)
    async with place.up() as (process, client):
        texts = [await chat(client, name) for name in "abc"]
        ordered = await client.post("/api/v1/models/b/sleep", json={"level": 2})
        assert ordered.json()["state"] == "asleep"
        before = await models(client)
        process.kill()
        await process.wait()
    place.write("  a: {engine: simulated}\n  b: {engine: simulated}\n")
    async with place.up() as (process, client):
        after = await models(client)
        assert [after[name]["pid"] for name in "ab"] == [before[name]["pid"] for name in "ab"]
        assert [after[name]["state"] for name in "ab"] == ["ready", "asleep"]
        assert gone(before["c"]["pid"])  # no longer in the config
        assert [await chat(client, name) for name in "ab"] == texts[:2]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert all(gone(before[name]["pid"]) for name in "ab")
    assert list((tmp_path / "state" / "replicas").iterdir()) == []


@live
async def test_changed_config_stops_the_old_engine(tmp_path: Path, launcher: str) -> None:
    place = Place(tmp_path, "  a: {engine: simulated}\n", launcher)
    async with place.up() as (process, client):
        await chat(client, "a")
        before = await models(client)
        process.kill()
        await process.wait()
    place.write("  a: {engine: simulated, env: {X: '1'}}\n")
    async with place.up() as (_, client):
        assert gone(before["a"]["pid"])
        assert (await models(client))["a"]["state"] == "cold"
        await chat(client, "a")


@live
async def test_kill_in_the_middle_of_a_start_leaves_an_engine_that_is_taken_up(tmp_path: Path, launcher: str) -> None:
    place = Place(tmp_path, "  a: {engine: simulated, args: ['--start-delay 2s']}\n", launcher)
    async with place.up() as (process, client):
        task = asyncio.get_running_loop().create_task(client.get("/v1/models"))
        await task
        waiting = asyncio.get_running_loop().create_task(chat(client, "a"))
        records = tmp_path / "state" / "replicas"
        async with asyncio.timeout(10):
            while not (found := list(records.glob("*.json"))):
                await asyncio.sleep(0)
        pid = json.loads(found[0].read_text())["pid"]
        process.kill()
        await process.wait()
        with contextlib.suppress(httpx.HTTPError):
            await waiting
    async with place.up() as (_, client):
        assert (await models(client))["a"]["pid"] == pid
        await chat(client, "a")


@live
async def test_second_roost_on_the_same_state_names_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path, "  a: {engine: simulated}\n")
    async with place.up() as (process, _):
        async with roost_process(place.config, place.state) as second:
            assert await second.wait() == 2
        assert f"pid {process.pid}" in (tmp_path / "roost.out").read_text()


@live
async def test_an_engine_elsewhere_that_cannot_say_so_is_known_to_sleep(tmp_path: Path) -> None:
    """SGLang: a request to what gave its memory away would kill it, and so would the wake of a fresh one."""
    kind = ("--kind", "sglang", "--enable-weights-cpu-backup")
    async with sim_engine(*kind, model="a") as sim:
        place = Place(tmp_path, f"  a: {{engine: sglang, url: '{sim.url}'}}\n")
        async with place.up() as (process, client):
            await until_state(client, "a", "ready")
            before = await chat(client, "a")
            assert (await client.post("/api/v1/models/a/sleep")).json()["state"] == "asleep"
            process.kill()
            await process.wait()
        async with place.up() as (_, client):
            assert (await models(client))["a"]["state"] == "asleep"
            assert await chat(client, "a") == before
            assert (await sim.stats())["sleeps"] == 1
            assert (await client.post("/api/v1/models/a/sleep")).json()["state"] == "asleep"
        port = sim.port
    # Another process in its place is awake.
    async with sim_engine(*kind, "--port", str(port), model="a"), place.up() as (_, client):
        await until_state(client, "a", "ready")
        assert await chat(client, "a") == before


async def until_state(client: httpx.AsyncClient, model: str, state: str) -> None:
    async with asyncio.timeout(20):
        while (await models(client))[model]["state"] != state:
            await asyncio.sleep(0)


def gone(pid: int) -> bool:
    """No such process, or a zombie that nobody reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return not Path(f"/proc/{pid}").exists() or os.getpid() == pid
