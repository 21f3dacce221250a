"""`fallback`: another model answers where the one that was asked for cannot in time, over real sockets."""

import asyncio
import json
from typing import Any, TypeAlias

import pytest

from roost.accesslog import line, summary
from roost.core.request import Fault, Outcome, Outlook, Refusal
from roost.core.server_spec import KeySpec, ServerSpec
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.proxy import listener
from roost.tasks import spawn
from tests.support.live import live
from tests.support.plane import Engine, FixedFleet, engine, read_request, running_plane

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
LATE = Refusal(status=503, code="would_wait_too_long", message="a needs 60 s.", fault=Fault.GATEWAY, retry_after_s=60.0)
FULL = Refusal(status=429, code="queue_full", message="b is full.", fault=Fault.GATEWAY, retry_after_s=1.0)


def model(*fallback: str, **more: Any) -> ModelSpec:
    return ModelSpec(engine=EngineKind.COMMAND, fallback=fallback, **more)


async def echo(reader: Reader, writer: Writer) -> None:
    """Answers with what it got."""
    while True:
        head, body = await read_request(reader)
        told = json.dumps({"line": head.split(b"\r\n")[0].decode(), "body": body.decode("latin-1")}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(told))
        writer.write(told)


def post(
    body: bytes = b'{"model":"a","x":1}', target: bytes = b"/v1/chat/completions", extra: bytes = b"",
    kind: bytes = b"application/json",
) -> bytes:  # fmt: skip
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\ncontent-type: %b\r\nconnection: close\r\n%b" % (target, kind, extra)
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def fleet_of(made: Engine, specs: dict[str, ModelSpec], **refusals: Refusal) -> FixedFleet:
    return FixedFleet({name: [made.address] for name in specs}, specs=specs, refusals=refusals)


def split(answer: bytes) -> tuple[bytes, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), json.loads(body)


@live
async def test_the_first_that_can_answers_and_the_answer_says_so() -> None:
    specs = {"a": model("b", "c"), "b": model(), "c": model(set_params={"top_k": 1})}
    async with engine(echo) as made:
        fleet = fleet_of(made, specs, a=LATE, b=FULL)
        async with running_plane(fleet) as running:
            head, told = split(await running.raw(post()))
            assert head.startswith(b"http/1.1 200")
            assert b"\r\nx-roost-fallback: c\r\n" in head
            assert json.loads(told["body"]) == {"model": "c", "x": 1, "top_k": 1}
            request = await running.watcher.until_settled()
            assert (request.outcome, request.fallback_for) == (Outcome.OK, "a")
            assert request.has_fallback
            assert request.route is not None
            assert request.route.name == "c"
            assert " c " in line(request)
            assert " fallback-for=a" in line(request)
            assert summary(request, 0.0)["fallback_for"] == "a"
            assert fleet.in_flight == 0


@live
async def test_who_can_answer_in_time_does_so_itself() -> None:
    specs = {"a": model("b"), "b": model()}
    async with engine(echo) as made, running_plane(fleet_of(made, specs)) as running:
        head, told = split(await running.raw(post()))
        assert b"x-roost-fallback" not in head
        assert json.loads(told["body"])["model"] == "a"


@live
async def test_the_body_is_the_clients_whatever_the_first_model_would_have_changed() -> None:
    specs = {"a": model("b", set_params={"top_k": 5}, strip_params=("x",)), "b": model()}
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=LATE)) as running:
        _, told = split(await running.raw(post()))
        assert json.loads(told["body"]) == {"model": "b", "x": 1}


@live
async def test_by_query_and_by_form() -> None:
    specs = {"a": model("b"), "b": model()}
    form = b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--X--\r\n'
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=LATE)) as running:
        _, told = split(await running.raw(post(b"{}", b"/v1/audio/speech?model=a&n=1")))
        assert told["line"] == "POST /v1/audio/speech?model=b&n=1 HTTP/1.1"
        _, told = split(
            await running.raw(post(form, b"/v1/audio/transcriptions", kind=b"multipart/form-data; boundary=X"))
        )
        assert told["body"] == form.decode().replace("\r\na\r\n", "\r\nb\r\n")


@pytest.mark.parametrize(
    "specs",
    [
        {"a": model(), "b": model()},
        {"a": model("b"), "b": model(task=Task.EMBED)},
        {"a": model("zz"), "b": model()},
        {"a": model("a"), "b": model()},
    ],
)
@live
async def test_who_does_not_stand_in(specs: dict[str, ModelSpec]) -> None:
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=LATE)) as running:
        head, told = split(await running.raw(post()))
        assert head.startswith(b"http/1.1 503")
        assert b"retry-after: 60" in head
        assert told["error"]["message"] == "a needs 60 s."
        request = await running.watcher.until_settled()
        assert request.route is not None
        assert (request.route.name, request.fallback_for) == ("a", "")


@live
async def test_a_key_gets_no_model_by_fallback_that_it_may_not_use() -> None:
    specs = {"a": model("b", "c"), "b": model(), "c": model()}
    server = ServerSpec(keys=(KeySpec(name="k", key="secret", models=("a", "c")),))
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=LATE), server) as running:
        head, _ = split(await running.raw(post(extra=b"authorization: Bearer secret\r\n")))
        assert b"x-roost-fallback: c" in head


@live
async def test_other_refusals_are_no_matter_of_it() -> None:
    asleep = Refusal(status=503, code="model_asleep", message="It may not wake it.", fault=Fault.GATEWAY)
    specs = {"a": model("b"), "b": model()}
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=asleep)) as running:
        head, _ = split(await running.raw(post()))
        assert head.startswith(b"http/1.1 503")


@live
async def test_when_nobody_can_the_first_reason_is_told_and_lists_of_others_do_not_count() -> None:
    specs = {"a": model("b"), "b": model("c", "a"), "c": model()}
    async with engine(echo) as made, running_plane(fleet_of(made, specs, a=LATE, b=FULL)) as running:
        head, told = split(await running.raw(post()))
        assert head.startswith(b"http/1.1 503")
        assert b"x-roost-fallback" not in head
        assert told["error"]["message"] == "a needs 60 s."


@live
async def test_who_waited_already_goes_on_to_another_and_the_bytes_held_are_given_back() -> None:
    specs = {"a": model("b"), "b": model()}
    async with engine(echo) as made:
        fleet = fleet_of(made, specs)
        fleet.asleep.add("a")
        async with running_plane(fleet) as running:
            answer = spawn(running.raw(post()), "ask")
            async with asyncio.timeout(5):
                while not fleet.queue:
                    await asyncio.sleep(0)
            assert running.plane.held_bytes > 0
            fleet.queue.pop().waiter.refused(LATE)
            assert running.plane.held_bytes == 0
            head, _ = split(await answer)
            assert b"x-roost-fallback: b" in head


@live
async def test_after_a_heartbeat_a_comment_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SWEEP_S", 3600.0)
    specs = {"a": model("b", heartbeat=0.001), "b": model()}
    events = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'

    async def stream(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(events))
        writer.write(events)

    async with engine(stream) as made:
        fleet = fleet_of(made, specs)
        fleet.asleep.add("a")
        fleet.outlook = Outlook(is_ready=False, sentence="")
        async with running_plane(fleet) as running:
            answer = spawn(running.raw(post(b'{"model":"a","stream":true}')), "ask")
            async with asyncio.timeout(5):
                while not fleet.queue or not running.plane.requests()[0].bytes_out:
                    running.plane.sweep()
                    await asyncio.sleep(0)
            fleet.queue.pop().waiter.refused(LATE)
            assert b": roost fallback=b\n\n" in await answer
