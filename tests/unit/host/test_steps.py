"""The step executor against a scripted engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import httpx
import pytest

from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import Probe, Step, StepRecord
from roost.host.steps import MAX_BODY, Caller
from tests.support.virtual import run

Answer = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def caller(answer: Answer, api_key: str | None = None) -> Caller:
    return Caller(Address("127.0.0.1", 9), api_key, httpx.MockTransport(answer))


def test_each_step_is_sent_as_it_is_written_and_recorded() -> None:
    seen: list[tuple[str, str, bytes, str | None]] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        raw = request.url.raw_path.decode()
        seen.append((request.method, raw, request.content, request.headers.get("authorization")))
        return httpx.Response(200)

    records: list[StepRecord] = []
    steps = (
        Step(path="/wake_up", query=(("tags", "weights"), ("tags", "kv_cache"))),
        Step(path="/collective_rpc", json={"method": "reload_weights"}),
        Step(method="GET", path="/is_sleeping"),
    )
    run(caller(answer, "k").perform(steps, records))
    assert seen == [
        ("POST", "/wake_up?tags=weights&tags=kv_cache", b"", "Bearer k"),
        ("POST", "/collective_rpc", b'{"method":"reload_weights"}', "Bearer k"),
        ("GET", "/is_sleeping", b"", "Bearer k"),
    ]
    assert [(record.name, record.status, record.error) for record in records] == [
        (step.name, 200, "") for step in steps
    ]


def test_first_failure_ends_the_sequence_and_says_which_step_it_was() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, text="boom " * 1000) if request.url.path == "/b" else httpx.Response(200)

    records: list[StepRecord] = []
    with pytest.raises(StepError, match=r"step 2 of 3: POST /b answered 500: boom boom") as caught:
        run(caller(answer).perform((Step(path="/a"), Step(path="/b"), Step(path="/c")), records))
    assert len(str(caught.value)) < 400
    assert [record.status for record in records] == [200, 500]


def test_expected_status_alone_is_fine() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(409)

    run(caller(answer).perform((Step(path="/a", expect_status=(200, 409)),), []))
    with pytest.raises(StepError, match="409"):
        run(caller(answer).perform((Step(path="/a", expect_status=(200,)),), []))


def test_answer_that_drips_on_ends_at_the_steps_own_time() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(1)
                yield b"."

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drip())

    records: list[StepRecord] = []
    with pytest.raises(StepError, match=r"no answer within 10 s"):
        run(caller(answer).perform((Step(path="/a", timeout_s=10),), records))
    assert records[0].duration_s == pytest.approx(10)


def test_huge_answer_is_cut() -> None:
    class Flood(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Flood())

    status, body = run(caller(answer).call(Step(path="/a")))
    assert status == 200
    assert len(body) <= MAX_BODY + 65536


def test_refused_connection_is_a_step_error_and_a_no() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection attempts failed")

    async def main() -> None:
        one = caller(answer)
        with pytest.raises(StepError, match=r"step 1 of 1: POST /a got no answer: All connection"):
            await one.perform((Step(path="/a"),), [])
        assert not await one.answers(Probe())
        assert await one.ask(Step(path="/a")) is None

    run(main())


def test_question_answered_by_no_json_has_a_status_only() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, text="<html>")

    assert run(caller(answer).ask(Step(method="GET", path="/x"))) == (404, None)


def test_address_of_version_6_is_bracketed() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=str(request.url))

    async def main() -> None:
        one = Caller(Address("::1", 9), None, httpx.MockTransport(answer))
        assert await one.ask(Step(method="GET", path="/x")) == (200, "http://[::1]:9/x")

    run(main())
