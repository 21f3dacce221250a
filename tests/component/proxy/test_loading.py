"""`loading_state`: what a streamed chat completion hears while its model is not ready, over real sockets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from roost.core.request import Fault, Outcome, Outlook, Refusal
from roost.core.spec import EngineKind, ModelSpec
from roost.proxy import listener, loading
from tests.support.plane import FixedFleet, Running, engine, read_request, running_plane

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
TELLS = ModelSpec(engine=EngineKind.COMMAND, loading_state=True)
ASKED = b'{"model":"a","stream":true,"messages":[]}'
EVENTS = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-engine: yes\r\n"
CHUNKED = SSE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EVENTS), EVENTS)
LONG = SSE + b"content-length: %d\r\n\r\n%b" % (len(EVENTS), EVENTS)
ENDLESS = SSE + b"connection: close\r\n\r\n" + EVENTS


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No delays, and no sweep but the tests' own."""
    monkeypatch.setattr(listener, "SWEEP_S", 3600.0)
    monkeypatch.setattr(loading, "DELAY_S", 0.0)
    monkeypatch.setattr(loading, "TICK_S", 0.0)


def post(body: bytes = ASKED, version: bytes = b"1.1", extra: bytes = b"") -> bytes:
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: localhost\r\ncontent-type: application/json\r\n%b" % (
        version,
        extra,
    )
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def play(answer: bytes, seen: list[bytes] | None = None) -> Callable[[Reader, Writer], Any]:
    async def one(reader: Reader, writer: Writer) -> None:
        while True:
            head, _ = await read_request(reader)
            if seen is not None:
                seen.append(head)
            writer.write(answer)
            if answer is ENDLESS:
                writer.close()
                return

    return one


async def read_chunked(reader: Reader) -> bytes:
    """A body up to its last chunk: fails on wrong framing."""
    body = b""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return body


def parts(body: bytes) -> tuple[str, bytes]:
    """(what was told, the rest): the chunks of roost come first."""
    told, rest = "", body
    while rest.startswith(b'data: {"id":"chatcmpl-t-'):
        line, _, rest = rest.partition(b"\n\n")
        chunk = json.loads(line[6:])
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["model"] == "a"
        assert "content" not in chunk["choices"][0]["delta"]
        told += chunk["choices"][0]["delta"]["reasoning_content"]
    return told, rest


def error_in(rest: bytes) -> dict[str, Any]:
    first, done, empty = rest.split(b"\n\n")
    assert (done, empty) == (b"data: [DONE]", b"")
    error: dict[str, Any] = json.loads(first[6:])["error"]
    return error


async def waiting(plane: Running, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(plane.fleet.queue) < count:
            await asyncio.sleep(0)


def fleet_of(address: Any, spec: ModelSpec = TELLS) -> FixedFleet:
    return FixedFleet({"a": [address]}, specs={"a": spec}, asleep={"a"})


@pytest.mark.parametrize("answer", [CHUNKED, LONG, ENDLESS], ids=["chunked", "with a length", "to the end"])
def test_the_wait_is_told_and_the_engines_events_follow_unchanged(answer: bytes) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with engine(play(answer, seen)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post(extra=b"Accept-Encoding: gzip\r\n"))
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.outlook = Outlook(is_ready=False, sentence="it is being loaded.")
            plane.plane.sweep()
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await read_chunked(reader)
            assert head.startswith(b"http/1.1 200 ok\r\ncontent-type: text/event-stream\r\n")
            assert b"x-engine" not in head
            told, rest = parts(body)
            assert told == 'Model "a": it is waking up.\n0 s: it is being loaded..\nReady after 0.0 s.\n'
            assert rest == EVENTS
            assert b"accept-encoding" not in seen[0].lower()
            request = await plane.watcher.until_settled()
            assert (request.status, request.outcome, request.error) == (200, Outcome.OK, "")
            assert request.first_token_at is not None
            assert request.leased_at is not None
            assert request.first_token_at >= request.leased_at
            assert plane.plane.loading == {}

    asyncio.run(main())


def test_the_connection_lives_on_after_it() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post() + post())  # the second waits in the buffer
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                assert parts(await read_chunked(reader))[1] == EVENTS
                assert b"x-engine: yes" in await reader.readuntil(b"\r\n\r\n")  # ready: the engine's own head
                assert await read_chunked(reader) == EVENTS

    asyncio.run(main())


@pytest.mark.parametrize("answer", [CHUNKED, LONG, ENDLESS], ids=["chunked", "with a length", "to the end"])
def test_a_client_of_http_1_0_gets_the_bare_events_and_the_close(answer: bytes) -> None:
    async def main() -> None:
        async with engine(play(answer)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post(version=b"1.0", extra=b"connection: keep-alive\r\n"))
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read()
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head
            assert parts(body)[1] == EVENTS

    asyncio.run(main())


PLAIN_ANSWERS = {
    "ready before a word was due": (ASKED, b"1.1", TELLS),
    "not streamed": (ASKED.replace(b"true", b"false"), b"1.1", TELLS),
    "not asked for by the config": (ASKED, b"1.1", ModelSpec(engine=EngineKind.COMMAND)),
    "the config forbids streams": (
        ASKED,
        b"1.1",
        ModelSpec(engine=EngineKind.COMMAND, loading_state=True, set_params={"stream": False}),
    ),
}


@pytest.mark.parametrize(("body", "version", "spec"), PLAIN_ANSWERS.values(), ids=PLAIN_ANSWERS.keys())
def test_otherwise_nothing_is_told(
    body: bytes, version: bytes, spec: ModelSpec, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "ready before" in request.node.name:
        monkeypatch.setattr(loading, "DELAY_S", 60.0)

    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address, spec)) as plane:
            reader, writer = await plane.open()
            writer.write(post(body, version))
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"x-engine: yes" in head
                assert await read_chunked(reader) == EVENTS

    asyncio.run(main())


def test_a_model_that_is_ready_and_busy_tells_nothing() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            plane.fleet.outlook = Outlook(is_ready=True, sentence="it is ready and serves others first.")
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                assert b"x-engine: yes" in await reader.readuntil(b"\r\n\r\n")

    asyncio.run(main())


def test_a_refusal_after_the_first_word_is_an_error_event() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            refusal = Refusal(status=503, code="waited_too_long", message="No replica.", fault=Fault.GATEWAY)
            plane.fleet.queue.pop().waiter.refused(refusal)
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                told, rest = parts(await read_chunked(reader))
            assert told
            assert error_in(rest)["code"] == "waited_too_long"
            request = await plane.watcher.until_settled()
            assert (request.status, request.outcome, request.error) == (200, Outcome.REFUSED, "No replica.")
            assert plane.plane.loading == {}
            plane.fleet.asleep.clear()
            writer.write(post())  # the connection lives on
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")

    asyncio.run(main())


def test_a_refusal_before_the_first_word_keeps_its_status() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.fleet.queue.pop().waiter.refused(Refusal(status=503, code="waited_too_long", message="No replica."))
            async with asyncio.timeout(5):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")

    asyncio.run(main())


ERRORS = {
    "its error object": (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"
        b'{"error":\n{"message":"too long","c":1}} ',
        400,
        "too long",
    ),
    "text": (b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n5\r\nworse\r\n0\r\n\r\n", 500, "worse"),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "answered 204"),
    "a whole answer": (
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"choices":[]}',
        200,
        "without a stream of events",
    ),
    "a coding nobody asked for": (
        SSE + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx",
        200,
        "without a stream of events",
    ),
}


@pytest.mark.parametrize(("answer", "status", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_an_engine_that_answers_otherwise_becomes_an_error_event(answer: bytes, status: int, text: str) -> None:
    async def main() -> None:
        async with engine(play(answer)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                told, rest = parts(await read_chunked(reader))
            assert told == 'Model "a": it is waking up.'
            assert text in error_in(rest)["message"]
            request = await plane.watcher.until_settled()
            assert request.status == status
            assert text in request.error

    asyncio.run(main())


BROKEN = {
    "before its head": (b"", "engine_gone"),
    "within an error": (b"HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nsome", "engine_gone"),
    "garbage": (b"NOT HTTP\r\n\r\n", "engine_garbled"),
}


@pytest.mark.parametrize(("answer", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_an_engine_that_breaks_off_before_its_events_becomes_an_error_event(answer: bytes, code: str) -> None:
    async def die(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(answer)
        writer.close()

    async def main() -> None:
        async with engine(die) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                _, rest = parts(await read_chunked(reader))
            assert error_in(rest)["code"] == code
            request = await plane.watcher.until_settled()
            assert request.outcome is Outcome.ENGINE_FAILED

    asyncio.run(main())


def test_an_engine_that_breaks_off_within_its_events_cuts_the_answer() -> None:
    async def die(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED[:-10])
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with engine(die) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                body = await reader.read()
            assert not body.endswith(b"0\r\n\r\n")

    asyncio.run(main())


def test_a_client_that_leaves_while_it_is_told_leaves_the_queue() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
            writer.close()
            request = await plane.watcher.until_settled()
            assert request.outcome is Outcome.CLIENT_GONE
            assert plane.fleet.queue == []
            assert plane.plane.loading == {}
            assert one.connections == 0

    asyncio.run(main())


def test_an_operator_who_cancels_it_is_told_to_the_client() -> None:
    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            plane.plane.sweep()
            (request,) = plane.plane.requests()
            assert plane.plane.cancel(request.id)
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                assert error_in(parts(await read_chunked(reader))[1])["code"] == "cancelled"
                assert await reader.read() == b""

    asyncio.run(main())


def test_signs_of_life_come_once_a_second_and_the_sentence_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = [1000.0]
    monkeypatch.setattr("roost.clock.now", lambda: moment[0])
    monkeypatch.setattr(loading, "DELAY_S", 0.5)
    monkeypatch.setattr(loading, "TICK_S", 0.75)

    async def main() -> None:
        async with engine(play(CHUNKED)) as one, running_plane(fleet_of(one.address)) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await waiting(plane)
            for step in range(26):  # 13 s of sweeps; figures in the sentence make no new one
                plane.fleet.outlook = Outlook(is_ready=False, sentence=f"it has loaded {step} GiB.")
                plane.plane.sweep()
                moment[0] += 0.5
                await asyncio.sleep(0)
            plane.fleet.wake("a")
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                told, _ = parts(await read_chunked(reader))
            first, again, ready, end = told.split("\n")
            assert first == 'Model "a": it has loaded 1 GiB.' + "." * 9
            assert again == "10 s: it has loaded 21 GiB." + "." * 2
            assert ready == "Ready after 13.0 s."
            assert end == ""

    asyncio.run(main())
