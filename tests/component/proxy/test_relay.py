"""Bytes between client and engine over real sockets, with a scripted engine."""

import asyncio
import json
from typing import Any, TypeAlias

import pytest

from roost.core.request import Address, Outcome, Refusal
from roost.core.server_spec import LimitsSpec, ServerSpec
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.protocol.head import ResponseHead, parse_response_head
from roost.proxy import answering
from tests.support.plane import FixedFleet, engine, read_request, running_plane

BODY = b'{"model":"a","messages":[]}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nX-Engine: Yes\r\n\r\n{}"
Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


def post(body: bytes = BODY, path: bytes = b"/v1/chat/completions", extra: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n" % path
    return head + b"content-length: %d\r\n%b\r\n%b" % (len(body), extra, body)


async def answer_ok(reader: Reader, writer: Writer) -> None:
    while True:
        await read_request(reader)
        writer.write(OK)


async def read_answer(reader: Reader) -> tuple[bytes, bytes]:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return head, await reader.readexactly(length)


def test_request_and_answer_pass_unchanged_but_for_hop_by_hop_fields() -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def play(reader: Reader, writer: Writer) -> None:
            seen.append(await read_request(reader))
            writer.write(OK)

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            extra = b"X-Odd: \xe9 value\r\ntraceparent: 00-ab-cd-01\r\nAuthorization: Bearer s\r\nTE: trailers\r\n"
            writer.write(post(extra=extra + b"X-Secret-Hop: 1\r\nConnection: X-Secret-Hop\r\nx-request-id: mine\r\n"))
            head, body = await read_answer(reader)
            assert body == b"{}"
            assert b"X-Engine: Yes" in head
            assert b"x-request-id: mine" in head
            sent, sent_body = seen[0]
            assert sent_body == BODY
            assert b"X-Odd: \xe9 value\r\ntraceparent: 00-ab-cd-01\r\n" in sent
            assert b"x-request-id: mine\r\n" in sent
            for gone in (b"Bearer", b"TE:", b"X-Secret-Hop", b"Connection"):
                assert gone not in sent
            request = await plane.watcher.until_settled()
            assert (request.outcome, request.status, request.bytes_in) == (Outcome.OK, 200, len(BODY))
            assert [lease.released for lease in plane.fleet.leases] == [1]
            writer.close()

    asyncio.run(main())


def test_both_sides_keep_their_connection() -> None:
    async def main() -> None:
        async with engine(answer_ok) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            for _ in range(5):
                writer.write(post())
                await read_answer(reader)
            assert one.connections == 1
            writer.close()

    asyncio.run(main())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            while True:
                _, body = await read_request(reader)
                text = str(json.loads(body)["n"]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            writer.write(b"".join(post(json.dumps({"model": "a", "n": n}).encode()) for n in range(40)))
            bodies = [(await read_answer(reader))[1] for _ in range(40)]
            assert bodies == [str(n).encode() for n in range(40)]
            writer.close()

    asyncio.run(main())


def test_chunked_request_body_arrives_with_its_length() -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def play(reader: Reader, writer: Writer) -> None:
            seen.append(await read_request(reader))
            writer.write(OK)

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            for piece in (head, b"5\r", b"\n" + BODY[:5], b"\r\n", b"%x;ext=1\r\n" % (len(BODY) - 5), BODY[5:]):
                writer.write(piece)
                await writer.drain()
            writer.write(b"\r\n0\r\nX-Sum: x\r\n\r\n")
            await read_answer(reader)
            assert seen[0][1] == BODY
            assert b"content-length: %d" % len(BODY) in seen[0][0]
            writer.close()

    asyncio.run(main())


def test_expect_100_continue_is_answered_only_after_the_head_is_accepted() -> None:
    async def main() -> None:
        async with engine(answer_ok) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(BODY))
            async with asyncio.timeout(5):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert (await read_answer(reader))[1] == b"{}"
            refused = await plane.raw(head.replace(b"/v1/chat", b"/none") + b"Content-Length: 9\r\n\r\n")
            assert refused.startswith(b"HTTP/1.1 404 ")
            assert b"100 Continue" not in refused
            writer.close()

    asyncio.run(main())


def stream(*pieces: bytes) -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


EVENTS = (
    b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"y"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)


def test_stream_passes_as_it_comes_and_its_usage_is_read() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            pieces = stream(*EVENTS)
            writer.write(b"".join(pieces[:2]))
            await go.wait()  # the client must have the first event before the second is sent
            for piece in pieces[2:]:
                writer.write(piece)
                await writer.drain()

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            async with asyncio.timeout(5):
                await reader.readuntil(EVENTS[0])
                go.set()
                rest = await reader.readuntil(b"0\r\n\r\n")
            assert rest.count(b"data:") == 3
            request = await plane.watcher.until_settled()
            assert (request.prompt_tokens, request.completion_tokens) == (7, 2)
            assert request.first_token_at is not None
            assert plane.watcher.gaps
            writer.close()

    asyncio.run(main())


def test_http_1_0_client_gets_the_bare_body_and_the_close() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            writer.write(b"".join(stream(*EVENTS)))

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            request = post().replace(b"HTTP/1.1", b"HTTP/1.0")
            answer = await plane.raw(request)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert body == b"".join(EVENTS)
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head

    asyncio.run(main())


def test_answer_that_ends_with_the_connection_ends_the_clients_too() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it")
            writer.close()

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            answer = await plane.raw(post())
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert answer.endswith(b"all of it")

    asyncio.run(main())


def test_client_that_leaves_cancels_the_engine_before_and_after_the_first_byte() -> None:
    async def main() -> None:
        for first in (b"", stream(EVENTS[0])[0]):
            ended = asyncio.Event()
            got = asyncio.Event()

            async def play(
                reader: Reader,
                writer: Writer,
                first: bytes = first,
                got: asyncio.Event = got,
                ended: asyncio.Event = ended,
            ) -> None:
                await read_request(reader)
                writer.write(first)
                got.set()
                await reader.read()
                ended.set()

            async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
                _, writer = await plane.open()
                writer.write(post())
                async with asyncio.timeout(5):
                    await got.wait()
                    writer.close()
                    await ended.wait()
                request = await plane.watcher.until_settled()
                assert (request.outcome, request.status) == (Outcome.CLIENT_GONE, 499)
                assert plane.fleet.in_flight == 0

    asyncio.run(main())


def test_engine_gone_mid_stream_breaks_the_stream_without_a_second_head() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            writer.write(b"".join(stream(*EVENTS)[:2]))
            await writer.drain()
            writer.close()

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            answer = await plane.raw(post())
            assert answer.count(b"HTTP/1.1") == 1
            assert not answer.endswith(b"0\r\n\r\n")
            request = await plane.watcher.until_settled()
            assert request.outcome is Outcome.ENGINE_FAILED
            assert "broke off" in request.error

    asyncio.run(main())


def test_reused_connection_that_closes_is_retried_once_on_a_fresh_one() -> None:
    async def main() -> None:
        requests: list[int] = []

        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            requests.append(1)
            writer.write(OK)
            await read_request(reader)  # the second on this connection: close unanswered, as a keep-alive race
            requests.append(2)
            writer.close()

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await read_answer(reader)
            writer.write(post())
            assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200")
            assert requests == [1, 2, 1]
            request = await plane.watcher.until_settled(2)
            assert request.retried
            writer.close()

    asyncio.run(main())


def test_fresh_connection_that_closes_is_not_retried() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            writer.close()

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            head, body = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 502")
            assert json.loads(body)["error"]["code"] == "engine_gone"
            assert one.connections == 1
            writer.close()

    asyncio.run(main())


def test_refused_connect_goes_to_another_replica_else_502() -> None:
    async def main() -> None:
        async with engine(answer_ok) as one:
            dead = type(one)(1)
            fleet = FixedFleet({"a": [dead.address, one.address], "b": [dead.address]})
            async with running_plane(fleet) as plane:
                reader, writer = await plane.open()
                writer.write(post())
                assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200")
                writer.write(post(b'{"model":"b"}'))
                head, body = await read_answer(reader)
                assert head.startswith(b"HTTP/1.1 502")
                assert b"engine_unreachable" in body
                assert fleet.refused == 5  # once for a, four tries for b
                assert fleet.in_flight == 0
                writer.close()

    asyncio.run(main())


def test_waiting_request_is_served_after_the_wake_and_one_that_left_is_forgotten() -> None:
    async def main() -> None:
        async with engine(answer_ok) as one:
            fleet = FixedFleet({"a": [one.address]}, asleep={"a"})
            async with running_plane(fleet) as plane:
                reader, writer = await plane.open()
                _, leaver = await plane.open()
                writer.write(post())
                leaver.write(post())
                await plane.watcher.until_began(2)
                assert len(fleet.queue) == 2
                assert plane.plane.held_bytes == 2 * len(BODY)
                leaver.close()
                gone = await plane.watcher.until_settled()
                assert gone.outcome is Outcome.CLIENT_GONE
                assert len(fleet.queue) == 1
                fleet.wake("a")
                assert (await read_answer(reader))[1] == b"{}"
                assert plane.plane.held_bytes == 0
                writer.close()

    asyncio.run(main())


def test_bodies_of_waiters_are_bounded_together() -> None:
    async def main() -> None:
        async with engine(answer_ok) as one:
            server = ServerSpec(limits=LimitsSpec(held_bodies=len(BODY) + 5))
            fleet = FixedFleet({"a": [one.address]}, asleep={"a"})
            async with running_plane(fleet, server) as plane:
                _, writer = await plane.open()
                writer.write(post())
                await plane.watcher.until_began()
                reader, second = await plane.open()
                second.write(post())
                head, body = await read_answer(reader)
                assert head.startswith(b"HTTP/1.1 503")
                assert b"retry-after:" in head
                assert b"held_bodies" in body
                writer.close()
                second.close()

    asyncio.run(main())


def test_refusal_of_the_gate_reaches_the_client_in_the_forms_of_both_apis() -> None:
    async def main() -> None:
        refusal = Refusal(status=429, code="queue_full", message="Full.", retry_after_s=3.2)
        fleet = FixedFleet({"a": []}, refusals={"a": refusal})
        async with running_plane(fleet) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            head, body = await read_answer(reader)
            assert b"retry-after: 4\r\n" in head
            assert json.loads(body)["error"]["type"] == "rate_limit_error"
            writer.write(post(path=b"/v1/messages"))
            _, body = await read_answer(reader)
            parsed: dict[str, Any] = json.loads(body)
            assert parsed["type"] == "error"
            assert parsed["error"]["message"] == "Full."
            writer.close()

    asyncio.run(main())


def test_engine_silent_past_its_limit_is_504_or_a_cut() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            _, body = await read_request(reader)
            if b"late" in body:
                writer.write(b"".join(stream(*EVENTS)[:2]))
            await reader.read()

        spec = ModelSpec(engine=EngineKind.COMMAND, timeouts=TimeoutsSpec(first_byte=0.0, between_bytes=0.0))
        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]}, {"a": spec})) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            head, _ = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 504")
            cut = await plane.raw(post(b'{"model":"a","late":1}'))
            assert not cut.endswith(b"0\r\n\r\n")
            writer.close()

    asyncio.run(main())


def test_backpressure_stops_reading_from_the_engine() -> None:
    async def main() -> None:
        block = b"x" * 65536
        sent = 0
        full = asyncio.Event()

        async def play(reader: Reader, writer: Writer) -> None:
            nonlocal sent
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(block) * 2000))
            for _ in range(2000):
                writer.write(block)
                try:
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                except TimeoutError:
                    full.set()
                    await writer.drain()
                sent += 1

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open(limit=1024)
            writer.write(post())
            async with asyncio.timeout(10):
                await full.wait()
            assert sent < 1000  # 125 MB offered: most of it stays with the engine, not in roost
            async with asyncio.timeout(20):
                total = 0
                while total < len(block) * 2000:
                    piece = await reader.read(1 << 20)
                    assert piece
                    total += len(piece)
            writer.close()

    asyncio.run(main())


def test_websocket_is_tunnelled_both_ways() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            head, _ = await read_request(reader)
            assert b"upgrade: websocket" in head.lower()
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
            while piece := await reader.read(100):
                writer.write(piece.upper())

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            head = b"GET /v1/realtime?model=a HTTP/1.1\r\nHost: localhost\r\n"
            writer.write(head + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            async with asyncio.timeout(5):
                answer = await reader.readuntil(b"\r\n\r\nhi")
                assert answer.startswith(b"HTTP/1.1 101")
                writer.write(b"abc")
                assert await reader.readexactly(3) == b"ABC"
            writer.close()
            request = await plane.watcher.until_settled()
            assert request.outcome is Outcome.OK
            assert plane.fleet.in_flight == 0

    asyncio.run(main())


def test_upstream_path_streams_the_body_and_keeps_control_paths_for_admins() -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def play(reader: Reader, writer: Writer) -> None:
            while True:
                seen.append(await read_request(reader))
                writer.write(OK)

        async with engine(play) as one, running_plane(FixedFleet({"org/a": [one.address]})) as plane:
            reader, writer = await plane.open()
            writer.write(post(b"not json", b"/upstream/org%2Fa/any/path?x=1"))
            await read_answer(reader)
            assert seen[0][0].startswith(b"POST /any/path?x=1 HTTP/1.1\r\n")
            assert seen[0][1] == b"not json"
            chunked = b"POST /upstream/org/a/p HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(chunked + b"3\r\nabc\r\n")
            await writer.drain()
            writer.write(b"2\r\nde\r\n0\r\n\r\n")
            await read_answer(reader)
            assert seen[1][0].startswith(b"POST /p HTTP/1.1\r\n")
            decoded = seen[1][1].replace(b"\r\n", b" ").split(b" ")
            assert b"".join(decoded[1:-3:2]) == b"abcde"
            writer.close()

    asyncio.run(main())


def test_alias_is_rewritten_and_every_other_byte_kept() -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def play(reader: Reader, writer: Writer) -> None:
            while True:
                seen.append(await read_request(reader))
                writer.write(OK)

        async with engine(play) as one:
            spec = ModelSpec(engine=EngineKind.COMMAND, set_params={"top_k": 5}, strip_params=("user",))
            fleet = FixedFleet({"a": [one.address]}, {"a": spec}, aliases={"nick": "a"})
            async with running_plane(fleet) as plane:
                reader, writer = await plane.open()
                writer.write(post(b'{"x": 1.50,  "model":"nick", "user":"u", "deep":{"model": "b" }}'))
                await read_answer(reader)
                assert seen[0][1] == b'{"x":1.50,"model":"a","deep":{"model": "b" },"top_k":5}'
                form = b'--B\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n\x00\xff\r\n'
                form += b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nnick\r\n--B--\r\n'
                head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
                head += b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n\r\n" % len(form)
                writer.write(head + form)
                await read_answer(reader)
                assert seen[1][1] == form.replace(b"\r\nnick\r\n", b"\r\na\r\n")
                writer.close()

    asyncio.run(main())


def test_shutdown_lets_the_answer_end_and_then_the_connection() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def play(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            await go.wait()
            writer.write(OK)

        async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
            reader, writer = await plane.open()
            idle_reader, idle_writer = await plane.open()
            writer.write(post())
            await plane.watcher.until_began()
            plane.plane.stop_reuse()
            async with asyncio.timeout(5):
                assert await idle_reader.read() == b""
            waiting = asyncio.get_running_loop().create_task(plane.plane.drain(5))
            go.set()
            head, _ = await read_answer(reader)
            assert b"connection: close" in head
            assert await waiting == 0
            writer.close()
            idle_writer.close()

    asyncio.run(main())


def test_answer_heads_that_differ_only_in_their_length_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0

    def count(data: bytes) -> ResponseHead:
        nonlocal parsed
        parsed += 1
        return parse_response_head(data)

    monkeypatch.setattr(answering, "parse_response_head", count)
    sizes = iter(range(1, 6))

    async def play(reader: Reader, writer: Writer) -> None:
        for size in sizes:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    async def main() -> None:
        async with engine(play) as made, running_plane(FixedFleet({"a": [made.address]})) as plane:
            reader, writer = await plane.open()
            for size in range(1, 6):
                writer.write(post())
                assert (await read_answer(reader))[1] == b"x" * size

    asyncio.run(main())
    assert parsed == 1


@pytest.mark.parametrize(("method", "status"), [(b"GET", 301), (b"HEAD", 301), (b"POST", 308), (b"PUT", 308)])
def test_an_engines_first_page_gets_its_slash(method: bytes, status: int) -> None:
    async def main() -> None:
        fleet = FixedFleet({"org/a": [Address("127.0.0.1", 1)]}, asleep={"org/a"})
        async with running_plane(fleet) as plane:
            for path in (b"/upstream/org/a", b"/upstream/org%2Fa"):
                line = b"%b %b?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % (method, path)
                head, _, body = (await plane.raw(line)).partition(b"\r\n\r\n")
                assert int(head[9:12]) == status
                assert b"location: %b/?x=1\r\n" % path in head
                assert body == b""
            assert (await plane.watcher.until_settled()).outcome is Outcome.OK

    asyncio.run(main())


OPENS = {
    "typed in": (b"GET /upstream/a/ HTTP/1.1\r\nSec-Fetch-Site: none\r\n", True),
    "by a program": (b"GET /upstream/a/?x=1 HTTP/1.1\r\n", True),
    "by another site's page": (b"GET /upstream/a/ HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n", False),
    "by a neighbour": (b"GET /upstream/a/ HTTP/1.1\r\nsec-fetch-site: same-site\r\n", False),
    "further in": (b"GET /upstream/a/metrics HTTP/1.1\r\n", False),
    "only the head": (b"HEAD /upstream/a/ HTTP/1.1\r\n", False),
    "inference": (b"GET /v1/models/x?model=a HTTP/1.1\r\n", False),
}


@pytest.mark.parametrize(("head", "opens"), OPENS.values(), ids=OPENS.keys())
def test_only_a_get_of_an_engines_first_page_may_wake_it(head: bytes, opens: bool) -> None:
    async def main() -> None:
        async with running_plane(FixedFleet({"a": [Address("127.0.0.1", 1)]}, asleep={"a"})) as plane:
            _, writer = await plane.open()
            writer.write(head + b"Host: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                while not plane.fleet.queue:
                    await asyncio.sleep(0)
            (request,) = plane.plane.requests()
            assert request.may_wake is opens

    asyncio.run(main())
