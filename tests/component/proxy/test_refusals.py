"""What clients may not send, and what they are told. Real sockets; no engine is ever reached."""

import asyncio
import json

import pytest

from roost.core.request import Address
from roost.core.server_spec import KeySpec, LimitsSpec, Scope, ServerSpec
from roost.core.spec import EngineKind, ModelSpec
from tests.support.plane import FixedFleet, running_plane

H = b"Host: localhost\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\n"
NOWHERE = {"a": [Address("127.0.0.1", 1)]}

SMUGGLING = {
    "both lengths": POST + H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length twice": POST + H + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length list": POST + H + b"Content-Length: 5, 5\r\n\r\nhello",
    "length signed": POST + H + b"Content-Length: +5\r\n\r\nhello",
    "length hex": POST + H + b"Content-Length: 0x5\r\n\r\nhello",
    "coding unknown": POST + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": POST + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"POST /v1/completions HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding vertical tab": POST + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "no host": POST + b"Content-Length: 0\r\n\r\n",
    "two hosts": POST + H + H + b"Content-Length: 0\r\n\r\n",
    "folded line": POST + H + b"X: a\r\n b\r\n\r\n",
    "bare lf": b"POST /v1/completions HTTP/1.1\n" + H + b"\r\n",
    "bare lf in head": POST + b"X: a\nTransfer-Encoding: chunked\r\n" + H + b"\r\n",
    "nul": POST + H + b"X: a\x00b\r\n\r\n",
    "bare cr": POST + H + b"X: a\rb\r\n\r\n",
    "blank before colon": POST + H + b"Content-Length : 5\r\n\r\nhello",
    "empty name": POST + H + b": x\r\n\r\n",
    "two blanks": b"POST  /v1/completions HTTP/1.1\r\n" + H + b"\r\n",
    "chunk size sign": POST + H + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "chunk size 0x": POST + H + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk too long": POST + H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "chunk lf": POST + H + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "expectation": POST + H + b"Expect: something\r\nContent-Length: 0\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "target": b"POST v1/completions HTTP/1.1\r\n" + H + b"\r\n",
}


@pytest.mark.parametrize("form", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_forms_that_two_readers_could_read_differently_end_the_connection(form: bytes) -> None:
    async def main() -> None:
        async with running_plane(FixedFleet(dict(NOWHERE))) as plane:
            answer = await plane.raw(form + b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert int(answer[9:12]) in (400, 417, 501, 505)
            assert answer.count(b"content-length:") == 1
            assert b"connection: close" in answer
            assert not plane.fleet.leases

    asyncio.run(main())


def request(body: bytes, path: bytes = b"/v1/completions", extra: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        path,
        H,
        extra,
        len(body),
        body,
    )


BAD = {
    "no json": (request(b"{nope"), 400, "bad_body"),
    "no model": (request(b"{}"), 400, "model_missing"),
    "model a number": (request(b'{"model": 3}'), 400, "bad_body"),
    "model twice": (request(b'{"model":"a","model":"b"}'), 400, "bad_body"),
    "model twice, one escaped": (request(b'{"model":"a","mod\\u0065l":"b"}'), 400, "bad_body"),
    "too deep": (request(b'{"model":"a","x":' + b"[" * 100000 + b"]" * 100000 + b"}"), 400, "bad_body"),
    "unknown model": (request(b'{"model":"zzz"}'), 404, "model_not_found"),
    "unknown path": (request(b'{"model":"a"}', b"/nope"), 404, "not_found"),
    "engine lacks path": (request(b'{"model":"a"}', b"/rerank"), 404, "not_found"),
    "control path": (request(b'{"model":"a"}', b"/v1/load_lora_adapter"), 403, "control_path"),
    "control path, encoded": (request(b'{"model":"a"}', b"/v1/%6coad_lora_adapter"), 403, "control_path"),
    "control path, doubled slash": (request(b'{"model":"a"}', b"/v1//load_lora_adapter"), 403, "control_path"),
    "form without boundary": (request(b"x", extra=b"Content-Type: multipart/form-data\r\n"), 400, "bad_body"),
    "foreign origin": (request(b'{"model":"a"}', extra=b"Origin: https://evil.example\r\n"), 403, "foreign_origin"),
    "null origin": (request(b'{"model":"a"}', extra=b"Origin: null\r\n"), 403, "foreign_origin"),
    "foreign host": (request(b'{"model":"a"}').replace(b"localhost", b"evil.example"), 403, "unknown_host"),
}


@pytest.mark.parametrize(("form", "status", "code"), BAD.values(), ids=BAD.keys())
def test_each_bad_request_is_told_why(form: bytes, status: int, code: str) -> None:
    async def main() -> None:
        async with running_plane(FixedFleet(dict(NOWHERE))) as plane:
            head, _, body = (await plane.raw(form)).partition(b"\r\n\r\n")
            assert int(head[9:12]) == status
            error = json.loads(body)["error"]
            assert error["code"] == code
            assert error["message"].endswith(".")
            settled = await plane.watcher.until_settled()
            assert settled.status == status
            assert plane.plane.exchanges == {}

    asyncio.run(main())


def test_nested_model_keys_are_no_second_model() -> None:
    async def main() -> None:
        async with running_plane(FixedFleet({})) as plane:
            answer = await plane.raw(request(b'{"model":"q","tools":[{"model":"x"}],"s":"\\u00e9 \\"model\\""}'))
            assert answer.startswith(b"HTTP/1.1 404")

    asyncio.run(main())


def test_limits_on_head_and_body() -> None:
    async def main() -> None:
        limits = LimitsSpec(head_size=500, head_fields=5, body_size=100, head_timeout=0.0, body_idle_timeout=0.0)
        async with running_plane(FixedFleet(dict(NOWHERE)), ServerSpec(limits=limits)) as plane:
            for form, status in (
                (POST + H + b"X: " + b"y" * 600 + b"\r\n\r\n", 431),
                (POST + H + b"X: y" * 400, 431),
                (POST + H + b"X: y\r\n" * 9 + b"\r\n", 431),
                (request(b"x" * 101), 413),
                (POST + H + b"Transfer-Encoding: chunked\r\n\r\n" + (b"32\r\n" + b"x" * 50 + b"\r\n") * 3, 413),
                (POST + H, 408),
                (POST + H + b"Content-Length: 50\r\n\r\nxx", 408),
            ):
                answer = await plane.raw(form)
                assert int(answer[9:12]) == status, form[:80]
                assert b"connection: close" in answer

    asyncio.run(main())


KEYS = (
    KeySpec(name="all", key="k-all", scopes=(Scope.ADMIN,)),
    KeySpec(name="team", key="k-team", models=("team-*",)),
    KeySpec(name="slow", key="k-slow", requests_per_minute=1),
    KeySpec(name="reader", key="k-read", scopes=(Scope.READ,)),
)


async def status_with(
    port_raw: object, key: bytes, model: bytes, path: bytes = b"/v1/completions"
) -> tuple[int, bytes]:
    answer: bytes = await port_raw(request(b'{"model":"%b"}' % model, path, key))  # type: ignore[operator]
    return int(answer[9:12]), answer


def test_keys_scopes_allowlists_and_rates() -> None:
    async def main() -> None:
        fleet = FixedFleet({"a": [Address("127.0.0.1", 1)], "team-x": [Address("127.0.0.1", 1)]})
        async with running_plane(fleet, ServerSpec(keys=KEYS)) as plane:
            expected = [
                (b"", b"a", 401),
                (b"Authorization: Bearer nope\r\n", b"a", 401),
                (b"Authorization: Bearer k-all\r\n", b"a", 502),  # reached the (dead) engine
                (b"x-api-key: k-all\r\n", b"a", 502),
                (b"api-key: k-all\r\n", b"a", 502),
                (b"Authorization: Basic dXNlcjprLWFsbA==\r\n", b"a", 502),
                (b"x-api-key: k-team\r\n", b"team-x", 502),
                (b"x-api-key: k-team\r\n", b"a", 404),
                (b"x-api-key: k-team\r\n", b"none", 404),
                (b"x-api-key: k-read\r\n", b"a", 403),
                (b"x-api-key: k-slow\r\n", b"a", 502),
                (b"x-api-key: k-slow\r\n", b"a", 429),
            ]
            for key, model, status in expected:
                got, answer = await status_with(plane.raw, key, model)
                assert got == status, (key, model, answer)
            same = [(await status_with(plane.raw, b"x-api-key: k-team\r\n", m))[1] for m in (b"a", b"none")]
            stripped = [answer.split(b'"message":')[1].split(b'"request_id"')[0] for answer in same]
            assert stripped[0].replace(b"'a'", b"'none'") == stripped[1]
            options = await plane.raw(request(b'{"model":"a"}').replace(b"POST", b"OPTIONS"))
            assert options.startswith(b"HTTP/1.1 401")  # only a browser's preflight goes without a key
            got, _ = await status_with(plane.raw, b"x-api-key: k-team\r\n", b"", b"/upstream/team-x/sleep")
            assert got == 403
            got, _ = await status_with(plane.raw, b"x-api-key: k-team\r\n", b"", b"/upstream/team-x/%73leep")
            assert got == 403
            got, _ = await status_with(plane.raw, b"x-api-key: k-team\r\n", b"", b"/upstream/team-x//a/../sleep")
            assert got == 403
            got, _ = await status_with(plane.raw, b"x-api-key: k-all\r\n", b"", b"/upstream/team-x/sleep")
            assert got == 502

    asyncio.run(main())


def test_configured_origin_gets_cors_and_preflight() -> None:
    async def main() -> None:
        server = ServerSpec(cors_origins=("https://app.example",))
        async with running_plane(FixedFleet(dict(NOWHERE)), server) as plane:
            preflight = b"OPTIONS /v1/completions HTTP/1.1\r\n" + H + b"Origin: https://app.example\r\n"
            answer = await plane.raw(preflight + b"Connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 204")
            assert b"access-control-allow-origin: https://app.example" in answer
            answer = await plane.raw(request(b'{"model":"zz"}', extra=b"Origin: https://app.example\r\n"))
            assert answer.startswith(b"HTTP/1.1 404")
            assert b"access-control-allow-origin: https://app.example" in answer

    asyncio.run(main())


def test_own_host_as_origin_is_no_foreigner() -> None:
    async def main() -> None:
        async with running_plane(FixedFleet({}, specs={"x": ModelSpec(engine=EngineKind.COMMAND)})) as plane:
            answer = await plane.raw(request(b'{"model":"zz"}', extra=b"Origin: http://localhost\r\n"))
            assert answer.startswith(b"HTTP/1.1 404")

    asyncio.run(main())
