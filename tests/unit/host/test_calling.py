"""Calls on an engine that answers by a script."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import Probe, Step
from roost.host import calling
from roost.host.calling import MAX_BODY, Caller
from tests.support.virtual import run

Answer = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def caller(answer: Answer, api_key: str | None = None) -> Caller:
    return Caller(Address("127.0.0.1", 9), api_key, httpx.MockTransport(answer))


def sent(*steps: Step, api_key: str | None = None) -> list[httpx.Request]:
    """What arrives at whatever address."""
    seen: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async def main() -> None:
        one = caller(answer, api_key)
        for step in steps:
            await one.call(step)
        await one.close()

    run(main())
    return seen


def failing(fault: Exception, step: Step) -> str:
    """The sentence of a call that meets a fault."""

    async def answer(request: httpx.Request) -> httpx.Response:
        raise fault

    with pytest.raises(StepError) as caught:
        run(caller(answer).call(step))
    return str(caught.value)


def test_each_step_is_sent_as_it_is_written() -> None:
    steps = (
        Step(path="/wake_up", query=(("tags", "weights"), ("tags", "kv_cache"))),
        Step(path="/collective_rpc", json={"method": "reload_weights"}),
        Step(method="GET", path="/is_sleeping"),
    )
    seen = sent(*steps, api_key="k")
    assert [(one.method, one.url.raw_path.decode(), one.content, one.headers["authorization"]) for one in seen] == [
        ("POST", "/wake_up?tags=weights&tags=kv_cache", b"", "Bearer k"),
        ("POST", "/collective_rpc", b'{"method":"reload_weights"}', "Bearer k"),
        ("GET", "/is_sleeping", b"", "Bearer k"),
    ]


@pytest.mark.parametrize(
    "path",
    ["/sleep?level=2", "/a%2Fb/c?x=%2f+&y&y=1&z=", "/x?a=1&a=2&b=%E4", "//two?q=a/b:c@d", "/p?tags=weights&tags=kv"],
)
def test_e1_the_endpoint_arrives_on_the_engines_address_with_its_query_as_written(path: str) -> None:
    (request,) = sent(Step(path=path))
    assert (request.url.host, request.url.port, request.url.raw_path.decode()) == ("127.0.0.1", 9, path)


def test_pairs_come_after_a_query_in_the_path() -> None:
    (request,) = sent(Step(path="/a?b=%2f", query=(("c", "d e"),)))
    assert request.url.raw_path == b"/a?b=%2f&c=d+e"


@pytest.mark.parametrize(("step", "kind"), [
    (Step(path="/a"), None),
    (Step(path="/a", text="{}"), "application/json"),
    (Step(path="/a", json={}), "application/json"),
    (Step(path="/a", method="PUT", text="x", headers=(("Content-Type", "text/plain"),)), "text/plain"),
    (Step(path="/a", method="GET"), None),
])  # fmt: skip
def test_e4_json_content_type_goes_with_a_body_only(step: Step, kind: str | None) -> None:
    (request,) = sent(step)
    assert request.headers.get_list("content-type") == ([] if kind is None else [kind])


def test_text_body_is_sent_verbatim_with_the_steps_headers() -> None:
    (request,) = sent(Step(path="/a", text='{"a": 1,\n "b":"ä"}', headers=(("X-One", "1"), ("X-Two", "2"))))
    assert request.content == '{"a": 1,\n "b":"ä"}'.encode()
    assert (request.headers["x-one"], request.headers["x-two"]) == ("1", "2")


def test_e5_connecting_has_a_limit_of_its_own() -> None:
    (long, short) = sent(Step(path="/a", timeout_s=90), Step(path="/a", timeout_s=0.5))
    assert long.extensions["timeout"]["connect"] == 2.0
    assert long.extensions["timeout"]["read"] == 90
    assert short.extensions["timeout"]["connect"] == 0.5
    said = failing(httpx.ConnectTimeout("too slow"), Step(path="/a", timeout_s=90))
    assert said == "POST /a could not connect to 127.0.0.1:9 within 2 s"


def test_the_key_goes_to_the_engine_alone() -> None:
    own, elsewhere, secure = sent(
        Step(path="/a"),
        Step(path="/b?c=1", base="http://10.0.0.7:9000"),
        Step(path="/d", base="https://example.org"),
        api_key="k",
    )
    assert own.headers["authorization"] == "Bearer k"
    assert (str(elsewhere.url), str(secure.url)) == ("http://10.0.0.7:9000/b?c=1", "https://example.org/d")
    assert "authorization" not in elsewhere.headers
    assert "authorization" not in secure.headers


def test_encrypted_addresses_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Recorded(httpx.AsyncHTTPTransport):
        def __init__(self, **options: Any) -> None:
            made.append(options)
            super().__init__(**options)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Recorded)
    one = calling.Caller(Address("127.0.0.1", 1), None)

    async def main() -> None:
        await one.call(Step(path="/a"))
        await one.call(Step(path="/a", base="https://example.org"))
        await one.close()

    asyncio.run(main())  # certificates are read in a thread
    assert made[0]["verify"] is False
    assert made[1]["verify"].verify_mode.name == "CERT_REQUIRED"
    assert all(options["trust_env"] is False for options in made)


def test_redirects_are_not_followed() -> None:
    seen: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(307, headers={"location": "/other"})

    assert run(caller(answer).call(Step(path="/a")))[0] == 307
    assert seen == ["/a"]


def test_answer_that_drips_on_ends_at_the_steps_own_time() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(1)
                yield b"."

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drip())

    with pytest.raises(StepError, match=r"no answer within 10 s"):
        run(caller(answer).call(Step(path="/a", timeout_s=10)), limit_s=10.5)


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
        with pytest.raises(StepError, match=r"POST /a could not connect to 127\.0\.0\.1:\d+$"):
            await one.call(Step(path="/a"))
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
