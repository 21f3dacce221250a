import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from roost import tasks
from roost.admin import api, streams
from roost.admin.events import Hub
from roost.admin.server import AdminServer
from roost.core.request import Address
from roost.core.server_spec import KeySpec, Scope, ServerSpec
from tests.support.console import FakeConsole
from tests.support.plane import FixedFleet, running_plane

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def over(path: Path) -> dict[str, Any]:
    return {"transport": httpx.AsyncHTTPTransport(uds=os.fspath(path)), "base_url": "http://roost", "timeout": 5}


@contextlib.asynccontextmanager
async def serving(path: Path, console: FakeConsole) -> AsyncIterator[httpx.AsyncClient]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(os.fspath(path))
    sock.listen()
    server = AdminServer(api.build(console), sock)
    await server.start()
    try:
        async with httpx.AsyncClient(**over(path)) as client:
            yield client
    finally:
        await server.stop()


Play = Callable[[httpx.AsyncClient], Awaitable[None]]


def run(path: Path, console: FakeConsole, play: Play, loop: LoopFactory | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), serving(path, console) as client:
            await play(client)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def until_read(hub: Hub, readers: int) -> None:
    """The server runs in this loop: give it turns until it has that many readers."""
    async with asyncio.timeout(5):
        while hub.readers != readers:
            await asyncio.sleep(0)


@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop], ids=["stdlib", "uvloop"])
def test_it_answers_on_a_unix_socket_and_leaves_signals_alone(tmp_path: Path, loop: LoopFactory | None) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def play(client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/models/team%2Fb")).json()["id"] == "team/b"
        head = await client.head("/v1/models")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.post("/api/v1/models/team/b/sleep", json={"level": 1})).json()["success"]
        assert signal.getsignal(signal.SIGTERM) is before

    run(tmp_path / "api.sock", FakeConsole(), play, loop)


def test_events_come_as_they_happen_with_heartbeats_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.02)
    console = FakeConsole()

    async def play(client: httpx.AsyncClient) -> None:
        headers = {"X-Roost-Scopes": "read", "X-Roost-Models": "team/*"}
        async with client.stream("GET", "/api/v1/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == ": roost events"
            await until_read(console.hub, 1)
            assert await first(lines, ": heartbeat")
            console.hub.publish({"type": "changed", "model": "a"})
            console.hub.publish({"type": "changed", "model": "team/b"})
            assert await first(lines, "event: changed")
            assert await anext(lines) == 'data: {"type":"changed","model":"team/b"}'
            console.hub.close()
            assert await first(lines, ": the end: roost stops, or this reader was too slow")

    run(tmp_path / "api.sock", console, play)


async def first(lines: AsyncIterator[str], wanted: str) -> bool:
    """Skip to the wanted line."""
    async for line in lines:
        if line == wanted:
            return True
    return False


def test_a_client_that_leaves_frees_its_reader(tmp_path: Path) -> None:
    console = FakeConsole()

    async def play(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/api/v1/events") as answer:
            await anext(answer.aiter_lines())
            await until_read(console.hub, 1)
        await until_read(console.hub, 0)

    run(tmp_path / "api.sock", console, play)


def test_logs_are_followed_after_the_tail(tmp_path: Path) -> None:
    console = FakeConsole()

    async def play(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/api/v1/models/a/logs?lines=1&follow=1") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "line 199"
            await until_read(console.lines, 1)
            console.lines.publish({"line": "new"})
            assert await anext(lines) == "new"

    run(tmp_path / "api.sock", console, play)


@pytest.mark.slow
def test_stop_cuts_a_stream_that_is_still_read(tmp_path: Path) -> None:
    console = FakeConsole()

    async def read(client: httpx.AsyncClient, started: asyncio.Event) -> str:
        async with client.stream("GET", "/api/v1/events") as answer:
            started.set()
            with contextlib.suppress(httpx.RemoteProtocolError):
                await first(answer.aiter_lines(), "never sent")
            return "cut"

    async def main() -> None:
        async with asyncio.timeout(10), httpx.AsyncClient(**over(tmp_path / "api.sock")) as client:
            async with serving(tmp_path / "api.sock", console):
                started = asyncio.Event()
                reading = tasks.spawn(read(client, started), "reading")
                await started.wait()
                await until_read(console.hub, 1)
                assert not reading.done()
            assert await reading == "cut"
            await until_read(console.hub, 0)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def one_port(path: Path, key: KeySpec) -> AsyncIterator[httpx.AsyncClient]:
    """The data plane before the API, as clients meet it."""
    async with serving(path, FakeConsole()):
        server, admin = ServerSpec(keys=(key,)), Address("", 0, os.fspath(path))
        async with (
            running_plane(FixedFleet(), server, admin) as plane,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.port}") as client,
        ):
            yield client


def test_through_the_one_port_a_key_sees_its_models_and_makes_up_no_scopes(tmp_path: Path) -> None:
    key = KeySpec(name="team", key="s3cret", scopes=(Scope.READ,), models=("team/*",))
    headers = {"Authorization": "Bearer s3cret", "X-Roost-Scopes": "admin"}

    async def main() -> None:
        async with asyncio.timeout(10), one_port(tmp_path / "api.sock", key) as client:
            listed = await client.get("/v1/models", headers=headers)
            assert [one["id"] for one in listed.json()["data"]] == ["team/b"]
            assert (await client.get("/api/v1/models/a", headers=headers)).status_code == 404
            assert (await client.get("/api/v1/models/team%2Fb", headers=headers)).status_code == 200
            refused = await client.post("/api/v1/models/team/b/load", headers=headers)
            assert refused.status_code == 403
            assert "admin" in refused.json()["error"]["message"]
            assert (await client.get("/health")).json() == {"status": "healthy"}
            assert (await client.head("/v1/models", headers=headers)).status_code == 200

    asyncio.run(main())


def test_a_socket_that_cannot_be_served_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.close()
        server = AdminServer(api.build(FakeConsole()), sock)
        with pytest.raises(OSError, match="Bad file descriptor"):
            await server.start()
        await server.stop()

    asyncio.run(main())


def test_a_line_written_while_the_tail_is_read_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = FakeConsole()

    def tail(name: str, lines: int) -> list[str]:
        console.lines.publish({"line": "written meanwhile"})
        return ["the tail"]

    monkeypatch.setattr(console, "log_tail", tail)

    async def play(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/api/v1/models/a/logs?follow=1") as answer:
            lines = answer.aiter_lines()
            assert [await anext(lines), await anext(lines)] == ["the tail", "written meanwhile"]

    run(tmp_path / "api.sock", console, play)
