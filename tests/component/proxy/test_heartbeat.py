"""`heartbeat`: what a streamed request hears while it waits, over real sockets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import openai
import pytest

from roost.core.request import Fault, Outcome, Outlook, Refusal
from roost.core.spec import EngineKind, ModelSpec
from roost.proxy import listener
from roost.tasks import spawn
from tests.support.live import live
from tests.support.plane import FixedFleet, Running, engine, read_request, running_plane

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
BEATS = ModelSpec(engine=EngineKind.COMMAND, heartbeat=0.001)
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ANSWER = SSE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EVENTS), EVENTS)
LONG = SSE + b"content-length: %d\r\n\r\n%b" % (len(EVENTS), EVENTS)
ERROR = b'{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":"context"}}'
REFUSED = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ERROR),
    ERROR,
)
TOLD = Outlook(is_ready=True, sentence="it is ready and serves others first.", position=3, expected_s=12.4)


@pytest.fixture(autouse=True)
def own_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SWEEP_S", 3600.0)


def play(answer: bytes) -> Callable[[Reader, Writer], Any]:
    async def one(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)

    return one


def post(path: bytes = b"/v1/chat/completions", version: bytes = b"1.1", body: bytes = b'{"model":"a","stream":true}',
         extra: bytes = b"") -> bytes:  # fmt: skip
    head = b"POST %b HTTP/%b\r\nHost: localhost\r\ncontent-type: application/json\r\n%b" % (path, version, extra)
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def body_of(reader: Reader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return body


async def waits(running: Running, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(running.fleet.queue) < count:
            await asyncio.sleep(0)


async def beat(running: Running) -> None:
    """A period later."""
    since = running.plane.loading
    async with asyncio.timeout(5):
        before = [x.request.bytes_out for x in since]
        while [x.request.bytes_out for x in since] == before:
            running.plane.sweep()
            await asyncio.sleep(0)


@pytest.mark.parametrize("answer", [ANSWER, LONG])
@live
async def test_comments_first_and_the_engines_stream_in_the_same_answer(answer: bytes) -> None:
    async with engine(play(answer)) as made:
        fleet = FixedFleet({"a": [made.address]}, specs={"a": BEATS}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post())
            await waits(running)
            await beat(running)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
            fleet.outlook = Outlook(is_ready=False, sentence="", position=1)
            await beat(running)
            fleet.wake("a")
            body = await body_of(reader)
            assert body == b": roost position=3 expected_s=12\n\n: roost position=1\n\n" + EVENTS
            request = await running.watcher.until_settled()
            assert (request.status, request.outcome) == (200, Outcome.OK)
            writer.write(post())  # the connection serves on
            assert b"x-request-id" in (await reader.readuntil(b"\r\n\r\n")).lower()


@pytest.mark.parametrize(
    ("path", "body", "spec"),
    [
        (b"/v1/chat/completions", b'{"model":"a"}', BEATS),
        (b"/v1/chat/completions", b'{"model":"a","stream":true}', ModelSpec(engine=EngineKind.COMMAND)),
        (b"/v1/completions", b'{"model":"a","stream":true}',
         ModelSpec(engine=EngineKind.COMMAND, heartbeat=0.001, set_params={"stream": False})),
        (b"/upstream/a/v1/completions", b'{"model":"a","stream":true}', BEATS),
    ],
)  # fmt: skip
@live
async def test_who_hears_nothing(path: bytes, body: bytes, spec: ModelSpec) -> None:
    async with engine(play(ANSWER)) as made:
        fleet = FixedFleet({"a": [made.address]}, specs={"a": spec}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post(path, body=body))
            await waits(running)
            running.plane.sweep()
            running.plane.sweep()
            fleet.wake("a")
            await reader.readuntil(b"\r\n\r\n")
            assert await body_of(reader) == EVENTS


@live
async def test_a_short_wait_shows_nothing() -> None:
    async with engine(play(REFUSED)) as made:
        spec = ModelSpec(engine=EngineKind.COMMAND, heartbeat=60.0)
        fleet = FixedFleet({"a": [made.address]}, specs={"a": spec}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post())
            await waits(running)
            running.plane.sweep()
            fleet.wake("a")
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 400 Bad Request\r\n"


@live
async def test_http_1_0_gets_the_bare_events_and_the_end_by_closing() -> None:
    async with engine(play(ANSWER)) as made:
        fleet = FixedFleet({"a": [made.address]}, specs={"a": BEATS}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post(version=b"1.0"))
            await waits(running)
            await beat(running)
            fleet.wake("a")
            async with asyncio.timeout(5):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert body == b": roost position=3 expected_s=12\n\n" + EVENTS


@pytest.mark.parametrize("how", ["engine", "refusal"])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/messages"])
@live
async def test_what_fails_after_a_comment_is_an_error_event(how: str, path: bytes) -> None:
    refusal = Refusal(status=503, code="waited_too_long", message="No replica was free.", fault=Fault.GATEWAY)
    async with engine(play(REFUSED)) as made:
        fleet = FixedFleet({"a": [made.address]}, specs={"a": BEATS}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post(path))
            await waits(running)
            await beat(running)
            if how == "engine":
                fleet.wake("a")
            else:
                fleet.queue.pop().waiter.refused(refusal)
            await reader.readuntil(b"\r\n\r\n")
            comment, event, *rest = (await body_of(reader)).split(b"\n\n")
            assert comment.startswith(b": roost ")
            expected = "too long" if how == "engine" else "No replica was free."
            if path == b"/v1/messages":
                assert event.startswith(b"event: error\ndata: ")
                told = json.loads(event.partition(b"data: ")[2])
                assert (told["type"], told["error"]["message"], rest) == ("error", expected, [b""])
            else:
                assert json.loads(event[6:])["error"]["message"] == expected
                assert rest == [b"data: [DONE]", b""]
            request = await running.watcher.until_settled()
            assert request.error.endswith(expected)


@live
async def test_the_official_client_reads_over_the_comments_and_sees_the_error() -> None:
    answers = [ANSWER, REFUSED]

    async def one(reader: Reader, writer: Writer) -> None:
        while answers:
            await read_request(reader)
            writer.write(answers.pop(0))

    async with engine(one) as made:
        fleet = FixedFleet({"a": [made.address]}, specs={"a": BEATS}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            url = f"http://127.0.0.1:{running.port}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=5.0) as client:

                async def text() -> str:
                    stream = await client.chat.completions.create(
                        model="a", messages=[{"role": "user", "content": "Hello"}], stream=True
                    )
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

                for expected in ("Hi", None):
                    fleet.asleep.add("a")
                    asked = spawn(text(), "ask")
                    await waits(running)
                    await beat(running)
                    await beat(running)
                    fleet.wake("a")
                    if expected is None:
                        with pytest.raises(openai.APIError, match="too long"):
                            await asked
                    else:
                        assert await asked == expected


@pytest.mark.parametrize(("period", "given"), [(2.0, None), (8.0, 10.0), (None, 10.0)])
@live
async def test_a_client_that_hears_something_in_time_has_no_deadline_of_its_own(
    period: float | None, given: float | None
) -> None:
    async with engine(play(ANSWER)) as made:
        spec = ModelSpec(engine=EngineKind.COMMAND, heartbeat=period)
        fleet = FixedFleet({"a": [made.address]}, specs={"a": spec}, asleep={"a"}, outlook=TOLD)
        async with running_plane(fleet) as running:
            reader, writer = await running.open()
            writer.write(post(extra=b"x-stainless-read-timeout: 10\r\n"))
            await waits(running)
            request = running.plane.requests()[0]
            left = None if request.deadline_at is None else request.deadline_at - request.received_at
            assert left == given
            fleet.wake("a")
            await reader.readuntil(b"\r\n\r\n")
