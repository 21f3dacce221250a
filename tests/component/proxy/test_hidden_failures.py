"""Failures under status 200, over real sockets: the bytes pass unchanged, and the request is recorded as failed."""

import asyncio

import pytest

from roost.core.request import HiddenFailure, Outcome, Request
from roost.core.spec import EngineKind, ModelSpec
from tests.component.proxy.test_relay import OK, Reader, Writer, post, read_answer
from tests.support.live import live
from tests.support.plane import FixedFleet, FixedLease, engine, read_request, running_plane

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
FIRST = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
ABORT = b'data: {"choices":[{"delta":{},"finish_reason":"abort"}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
ERROR = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
VLLM, COMMAND = ModelSpec(engine=EngineKind.VLLM), ModelSpec(engine=EngineKind.COMMAND)


def chunked(*events: bytes) -> list[bytes]:
    marked = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [HEAD + b"transfer-encoding: chunked\r\n\r\n", *marked, b"0\r\n\r\n"]


def closed(*events: bytes) -> list[bytes]:
    return [HEAD + b"connection: close\r\n\r\n", *events]


async def settled(pieces: list[bytes], spec: ModelSpec = VLLM, path: bytes = b"/v1/chat/completions") -> Request:
    """The record of a request whose engine answers so and closes, each piece sent by itself."""

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    fleet = FixedFleet(specs={"a": spec})
    async with engine(play) as one, running_plane(fleet) as plane:
        fleet.addresses["a"] = [one.address]
        answer = await plane.raw(post(extra=b"connection: close\r\n", path=path))
        body = answer.partition(b"\r\n\r\n")[2]
        assert body == b"".join(pieces).partition(b"\r\n\r\n")[2]  # unchanged
        assert answer.startswith(b"HTTP/1.1 200")
        request = await plane.watcher.until_settled()
        assert fleet.in_flight == 0
        return request


@live
@pytest.mark.parametrize(
    ("pieces", "spec", "how"),
    [
        (chunked(FIRST, ABORT, USAGE, DONE), VLLM, HiddenFailure.ABORT),
        (chunked(FIRST, ERROR, DONE), VLLM, HiddenFailure.ERROR_CHUNK),
        (chunked(FIRST, b"proxy error: Failed to read connection"), VLLM, HiddenFailure.BARE_END),
        (chunked(FIRST, STOP), VLLM, HiddenFailure.BARE_END),
        (chunked(FIRST, FIRST), COMMAND, HiddenFailure.BARE_END),
        (closed(FIRST, FIRST[:30]), COMMAND, HiddenFailure.BARE_END),
        (closed(FIRST), VLLM, HiddenFailure.BARE_END),
        (
            [b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n", b'{"choices":[{}'],
            COMMAND,
            HiddenFailure.BARE_END,
        ),
        (chunked(FIRST, STOP, USAGE, DONE), VLLM, None),
        (chunked(FIRST, STOP), COMMAND, None),
        (closed(FIRST, STOP, DONE), VLLM, None),
        ([HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n", b"\x1f\x8b\x08\x00rest"], VLLM, None),
    ],
)
async def test_the_end_of_an_answer_decides_its_outcome(
    pieces: list[bytes], spec: ModelSpec, how: HiddenFailure | None
) -> None:
    request = await settled(pieces, spec)
    assert (request.status, request.hidden) == (200, how)
    assert request.outcome is (Outcome.OK if how is None else Outcome.ENGINE_FAILED)
    assert request.error.startswith("The engine of model 'a' ") is (how is not None)
    if USAGE in b"".join(pieces):
        assert (request.prompt_tokens, request.completion_tokens) == (3, 2)


@live
async def test_an_abort_that_roost_itself_caused_is_not_the_engines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedLease, "taken_down", True)
    request = await settled(chunked(FIRST, ABORT, DONE))
    assert (request.outcome, request.hidden) == (Outcome.REFUSED, None)
    assert "to sleep or stopped" in request.error


@live
@pytest.mark.parametrize(("by_roost", "outcome"), [(True, Outcome.REFUSED), (False, Outcome.ENGINE_FAILED)])
async def test_an_answer_that_breaks_off_is_the_engines_fault_unless_roost_ended_it(
    monkeypatch: pytest.MonkeyPatch, by_roost: bool, outcome: Outcome
) -> None:
    """A stop that ends in SIGKILL lets no engine say a last word."""
    monkeypatch.setattr(FixedLease, "taken_down", by_roost)
    request = await settled(chunked(FIRST)[:-1])
    assert (request.outcome, request.hidden) == (outcome, None)
    assert ("to sleep or stopped it while it answered" in request.error) is by_roost
    assert ("broke off in the middle" in request.error) is not by_roost


@live
async def test_failed_answer_of_known_length_keeps_both_connections() -> None:
    """Its framing is whole: nothing is wrong with the connection."""
    body = b'{"error":{"message":"boom"}}'
    raw = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def play(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(raw)

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        for number in (1, 2):
            writer.write(post())
            assert (await read_answer(reader))[1] == body
            request = await plane.watcher.until_settled(number)
            assert request.hidden is HiddenFailure.ERROR_CHUNK
        assert one.connections == 1


@live
async def test_interim_heads_are_passed_over_up_to_a_bound() -> None:
    count = 20

    async def play(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * count + OK)

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        for _ in range(2):  # counted for each answer by itself
            writer.write(post())
            assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200")
        count = 5000
        writer.write(post())
        head, body = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 502")
        assert b"interim" in body


@live
async def test_answering_tells_how_far_each_running_answer_is() -> None:
    """What the watchdog lives on: nothing before the first token, and pings are no progress."""
    go = asyncio.Queue[bytes]()

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(HEAD + b"connection: close\r\n\r\n")
        while piece := await go.get():
            writer.write(piece)

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        assert plane.plane.answering("a/0") == {}
        far = []
        for piece in (b": ping\n\n", FIRST, b": ping\n\n", FIRST):
            go.put_nowait(piece)
            await reader.readexactly(len(piece))
            far.append(list(plane.plane.answering("a/0").values()))
        assert far == [[], [1], [1], [2]]
        assert plane.plane.answering("b/0") == {}


@live
@pytest.mark.parametrize(
    ("method", "path", "counts"),
    [
        (b"POST", b"/v1/chat/completions", True),
        (b"GET", b"/upstream/a/events", False),
        (b"POST", b"/upstream/a/events", False),
        (b"GET", b"/v1/models/a/events?model=a", False),
    ],
)
async def test_only_inference_counts_as_answering(method: bytes, path: bytes, counts: bool) -> None:
    """A stream of events may be silent for hours, and the engine be well."""

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(HEAD + b"connection: close\r\n\r\n" + FIRST)
        await reader.read()

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        writer.write(post(path=path).replace(b"POST ", method + b" ", 1))
        await reader.readuntil(FIRST)
        assert [request.replica for request in plane.plane.requests()] == ["a/0"]
        assert bool(plane.plane.answering("a/0")) is counts
        writer.close()
