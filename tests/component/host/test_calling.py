"""Calls on an engine over real connections: which are kept, and what becomes of a step that meets a dead one."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import Operation, Probe, Step
from roost.host.calling import Caller, Reach
from roost.host.showing import Shower
from roost.host.steps import Executor, Sequence
from tests.support.live import live

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Answers each call with the next of `answers`, with OK when they are used up. One that is not OK is the last on
    its connection, which then ends without a word."""

    answers: list[bytes] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)
    """(connection, path), in order."""
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        number, answer = len(self.serving), OK
        with contextlib.suppress(asyncio.IncompleteReadError):
            while answer is OK:
                head = await reader.readuntil(b"\r\n\r\n")
                self.calls.append((number, head.split(b" ")[1].decode()))
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def against(server: Server) -> AsyncIterator[Caller]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    caller = Caller(Address("127.0.0.1", listening.sockets[0].getsockname()[1]), None)
    try:
        yield caller
    finally:
        await caller.close()
        listening.close()
        await asyncio.gather(*server.serving)


def get(path: str) -> Step:
    return Step(method="GET", path=path)


@live
async def test_steps_that_follow_each_other_share_a_connection() -> None:
    server = Server()
    async with against(server) as caller:
        for path in ("/a", "/b", "/c"):
            assert await caller.call(get(path)) == (200, b"{}")
    assert server.calls == [(1, "/a"), (1, "/b"), (1, "/c")]


@live
async def test_a_kept_connection_that_ends_as_a_step_goes_out_is_replaced() -> None:
    server = Server([OK, b""])
    async with against(server) as caller:
        await caller.call(get("/a"))
        assert await caller.call(get("/b")) == (200, b"{}")
    assert server.calls == [(1, "/a"), (1, "/b"), (2, "/b")]


@live
async def test_a_new_connection_that_ends_without_an_answer_fails_the_step_at_once() -> None:
    server = Server([b""])
    async with against(server) as caller:
        with pytest.raises(StepError, match="GET /a got no answer"):
            await caller.call(get("/a"))
    assert server.calls == [(1, "/a")]


@live
async def test_an_order_that_meets_a_dead_kept_connection_is_a_failed_try_like_any_other() -> None:
    """It may have been obeyed: SGLang takes back its memory, closes without a word, and would end at a second order."""
    server = Server([OK, b""])
    async with against(server) as caller:
        await caller.call(Step(path="/pause"))
        with pytest.raises(StepError, match="POST /release got no answer"):
            await caller.call(Step(path="/release"))
    assert server.calls == [(1, "/pause"), (1, "/release")]


@live
async def test_only_the_retries_of_an_order_send_it_again() -> None:
    server = Server([OK, b""])
    async with against(server) as caller:
        executor = Executor(who="a/0", caller=caller, probe=Probe(), shower=Shower(None), rng=Random(1))
        sequence = Sequence(operation=Operation.SLEEP)
        steps = (Step(path="/pause"), Step(path="/release", retries=1, retry_delay_s=0.01))
        await executor.perform(steps, sequence, 60)
    assert server.calls == [(1, "/pause"), (1, "/release"), (2, "/release")]
    assert [record.attempts for record in sequence.records] == [1, 2]


@live
async def test_a_refused_connection_names_the_place_and_a_silent_one_is_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, and nobody listens
        for host in ("127.0.0.1", "localhost"):
            caller = Caller(Address(host, port), None)
            assert await caller.reach() is Reach.REFUSES
            with pytest.raises(StepError, match=f"^POST /wake_up could not connect to {host}:{port}$"):
                await caller.call(Step(path="/wake_up"))
            await caller.close()
    nowhere = Caller(Address("no-such-host.invalid", port), None)
    assert await nowhere.reach() is Reach.SILENT
    async with against(Server()) as caller:
        assert await caller.reach() is Reach.ACCEPTS


@live
async def test_a_step_whose_answer_broke_off_is_not_sent_again() -> None:
    server = Server([OK, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
    async with against(server) as caller:
        await caller.call(get("/a"))
        with pytest.raises(StepError, match="GET /b got no answer"):
            await caller.call(get("/b"))
    assert server.calls == [(1, "/a"), (1, "/b")]
