"""What clients and engines do that a friendly one never would: over real sockets, with a scripted engine."""

import asyncio
import http.client
import logging
import socket
from unittest import mock

import pytest

from roost import clock
from roost.core.request import Address, Outcome, Refusal, Request, Route
from roost.core.server_spec import KeySpec, LimitsSpec, Scope, ServerSpec
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.proxy.ports import Lease, Ticket, Waiter
from tests.component.proxy.test_relay import BODY, OK, Reader, Writer, answer_ok, post, read_answer
from tests.support.live import live
from tests.support.plane import FixedFleet, Running, engine, read_request, running_plane

GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


SHORT = 40_000


def spec(**timeouts: float) -> ModelSpec:
    return ModelSpec(engine=EngineKind.COMMAND, timeouts=TimeoutsSpec(**timeouts))


def sweep_later(plane: Running, seconds: float) -> None:
    """What the sweep finds after so long."""
    with mock.patch.object(clock, "now", lambda now=clock.now: now() + seconds):
        plane.plane.sweep()


async def slow_client(plane: Running) -> tuple[Reader, Writer]:
    """One whose side, and roost's towards it, holds little: what it does not read stays with roost."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", plane.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    plane.writers.append(writer)
    async with asyncio.timeout(5):
        while not plane.plane.sessions:
            await asyncio.sleep(0)
    transport = next(iter(plane.plane.sessions)).transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    transport.set_write_buffer_limits(high=1024)
    return reader, writer


async def drained(reader: Reader, size: int, stop_at: int | None = None) -> int:
    """Bytes read until the end, or until `stop_at`."""
    got, want = 0, size if stop_at is None else stop_at
    async with asyncio.timeout(20):
        while got < want and (data := await reader.read(min(1 << 16, want - got))):
            got += len(data)
    return got


@live
async def test_request_behind_a_refused_one_is_answered_too() -> None:
    async with engine(answer_ok) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        writer.write(GET % b"/nowhere" + post())
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 404")
        head, body = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 200")
        assert body == b"{}"


@live
async def test_fragment_hides_no_control_path() -> None:
    """Engines drop what follows a `#`: with it `/sleep#x` would be `/sleep` there and nothing known here."""
    seen: list[bytes] = []

    async def play(reader: Reader, writer: Writer) -> None:
        seen.append((await read_request(reader))[0])
        writer.write(OK)

    key = KeySpec(name="k", key="k-secret", scopes=(Scope.INFER,))
    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]}), ServerSpec(keys=(key,))) as plane:
        line = b"POST /upstream/a/slee%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k-secret\r\n"
        for target, status in ((b"p", b"403"), (b"p#x", b"400"), (b"%u0070", b"403")):
            reader, writer = await plane.open()
            writer.write(line % target + b"Content-Length: 0\r\n\r\n")
            head, _ = await read_answer(reader)
            assert head.split()[1] == status, (target, seen)
        assert seen == []


@live
async def test_endless_query_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async with running_plane(FixedFleet({"a": []})) as plane:
        with caplog.at_level(logging.ERROR):
            reader, writer = await plane.open()
            writer.write(GET % (b"/v1/realtime?" + b"x=1&" * 200))
            head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 400")
        assert not caplog.records


@live
async def test_only_websockets_are_upgraded() -> None:
    """A tunnel of another protocol (h2c) would carry requests that nobody here has looked at."""
    seen: list[bytes] = []

    async def play(reader: Reader, writer: Writer) -> None:
        seen.append((await read_request(reader))[0].lower())
        writer.write(OK)

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        hop = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        writer.write(post(extra=hop))
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 200")
        assert b"upgrade" not in seen[0]


@live
async def test_websocket_outlives_the_limit_for_the_first_byte() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    fleet = FixedFleet(specs={"a": spec(first_byte=60.0)})
    async with engine(play) as one, running_plane(fleet) as plane:
        fleet.addresses["a"] = [one.address]
        reader, writer = await plane.open()
        line = b"GET /v1/realtime?model=a HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(line + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            sweep_later(plane, 100.0)
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"


@live
async def test_limit_for_the_first_byte_ends_with_the_engine_it_was_set_for() -> None:
    """A request whose engine died waits for the next one; the old deadline says nothing about that."""

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        if one.connections == 1:
            fleet.asleep.add("a")
            fleet.leases[0].up = False
            writer.close()
        else:
            writer.write(OK)

    fleet = FixedFleet(specs={"a": spec(first_byte=60.0)})
    async with engine(play) as one, running_plane(fleet) as plane:
        fleet.addresses["a"] = [one.address]
        reader, writer = await plane.open()
        writer.write(post())
        async with asyncio.timeout(5):
            while not fleet.queue:
                await asyncio.sleep(0)
        sweep_later(plane, 100.0)
        fleet.wake("a")
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 200"), head


@live
async def test_client_that_stops_reading_is_no_silent_engine() -> None:
    size = 32 << 20

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    fleet = FixedFleet(specs={"a": spec(between_bytes=60.0)})
    async with engine(play) as one, running_plane(fleet) as plane:
        fleet.addresses["a"] = [one.address]
        reader, writer = await slow_client(plane)
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        session = next(iter(plane.plane.sessions))
        async with asyncio.timeout(10):
            while not session._write_paused:
                await asyncio.sleep(0)
        sweep_later(plane, 100.0)
        assert session.exchange is not None
        assert session.exchange.deadline_at > clock.now() + 100
        assert await drained(reader, size, stop_at=size // 2) == size // 2
        assert session.exchange.deadline_at < clock.now() + 61  # it reads again: the engine's time runs


async def play_short(reader: Reader, writer: Writer) -> None:
    """An answer that fits into one read, then whatever comes."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SHORT + b"x" * SHORT)
    await answer_ok(reader, writer)


@live
async def test_pipelined_body_is_read_though_reading_had_stopped_before_it() -> None:
    """The client sends its next request, body and all, before it reads the answer to its last one."""
    async with engine(play_short) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await slow_client(plane)
        session = next(iter(plane.plane.sessions))
        writer.write(post())
        async with asyncio.timeout(10):
            await plane.watcher.until_settled()
            writer.write(post(b'{"model":"a","pad":"%b"}' % (b"x" * (16 << 20))))
            while not session._paused:
                await asyncio.sleep(0)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(SHORT)
        head, body = await read_answer(reader)
        assert (head[:12], body) == (b"HTTP/1.1 200", b"{}")


@live
async def test_last_bytes_may_take_their_time_while_the_client_takes_them() -> None:
    async with engine(play_short) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await slow_client(plane)
        session = next(iter(plane.plane.sessions))
        writer.write(post(extra=b"Connection: close\r\n"))
        await plane.watcher.until_settled()
        await reader.readuntil(b"\r\n\r\n")
        first = session.transport.get_write_buffer_size()
        assert await drained(reader, SHORT, stop_at=SHORT // 2) == SHORT // 2
        assert 0 < session.transport.get_write_buffer_size() < first
        sweep_later(plane, 6.0)
        assert await drained(reader, SHORT - SHORT // 2) == SHORT - SHORT // 2


@live
async def test_client_that_takes_none_of_its_last_bytes_is_cut() -> None:
    async with engine(play_short) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        _, writer = await slow_client(plane)
        writer.write(post(extra=b"Connection: close\r\n"))
        await plane.watcher.until_settled()
        async with asyncio.timeout(5):
            sweep_later(plane, 6.0)
            while plane.plane.sessions:
                await asyncio.sleep(0)


@live
async def test_request_ids_cannot_write_log_fields_or_take_numbers_of_ours() -> None:
    async with engine(answer_ok) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        for given in (b"x error='none' id=y", b"t-000003"):
            reader, writer = await plane.open()
            writer.write(post(extra=b"x-request-id: %b\r\n" % given))
            head, _ = await read_answer(reader)
            assert given not in head


@live
async def test_refused_upload_says_that_its_connection_ends() -> None:
    refusal = Refusal(status=503, code="busy", message="Busy.")
    async with running_plane(FixedFleet({"a": []}, refusals={"a": refusal})) as plane:
        reader, writer = await plane.open()
        writer.write(post(b"x" * 100, b"/upstream/a/files")[:-50])
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in head


@live
async def test_name_that_no_resolver_takes_is_a_refusal() -> None:
    fleet = FixedFleet({"a": [Address("x" * 70 + ".example", 80)]})
    async with running_plane(fleet) as plane:
        reader, writer = await plane.open()
        writer.write(post())
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 502")
        assert [lease.released for lease in fleet.leases] == [1] * len(fleet.leases)


@live
async def test_refusal_reaches_a_client_that_sends_to_the_end_before_it_reads() -> None:
    """Closing with unread bytes resets the connection: the client would fail as it sends, and never read why."""

    def ask(port: int) -> list[int]:
        statuses = []
        for _ in range(5):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            client.request("POST", "/v1/chat/completions", body=b"x" * (16 << 20))
            statuses.append(client.getresponse().status)
            client.close()
        return statuses

    async with running_plane(FixedFleet({"a": []}), ServerSpec(limits=LimitsSpec(body_size=1000))) as plane:
        assert await asyncio.to_thread(ask, plane.port) == [413] * 5


@live
async def test_time_that_a_body_takes_is_no_wait_and_no_debt_of_the_key() -> None:
    entered: list[float] = []

    class Fleet(FixedFleet):
        def enter(self, request: Request, route: Route, waiter: Waiter, now: float) -> Lease | Ticket | Refusal:
            entered.append(now - request.received_at)
            return super().enter(request, route, waiter, now)

    key = KeySpec(name="k", key="k-secret", scopes=(Scope.INFER,), requests_per_minute=60)
    async with engine(answer_ok) as one, running_plane(Fleet({"a": [one.address]}), ServerSpec(keys=(key,))) as plane:
        slow, slow_writer = await plane.open()
        request = post(extra=b"Authorization: Bearer k-secret\r\n")
        slow_writer.write(request[:-5])
        await plane.watcher.until_began()
        with mock.patch.object(clock, "now", lambda now=clock.now: now() + 1000):
            reader, writer = await plane.open()
            writer.write(request)
            assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200")
            slow_writer.write(request[-5:])
            assert (await read_answer(slow))[0].startswith(b"HTTP/1.1 200")
        assert entered[0] < 1
        assert entered[1] >= 1000


@live
async def test_connection_with_unsent_bytes_is_not_used_again() -> None:
    """An engine that answers before it has read the body may never read it."""

    async def play(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(OK)
        await asyncio.Event().wait()

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        for body in (b'{"model":"a","pad":"%b"}' % (b"x" * (32 << 20)), BODY):
            writer.write(post(body))
            head, _ = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 200")
        assert one.connections == 2


@live
async def test_connection_rests_no_longer_than_configured() -> None:
    fleet = FixedFleet(specs={"a": spec(upstream_idle=0.0)})
    async with engine(answer_ok) as one, running_plane(fleet) as plane:
        fleet.addresses["a"] = [one.address]
        reader, writer = await plane.open()
        for _ in range(2):
            writer.write(post())
            await read_answer(reader)
        assert one.connections == 2


@live
async def test_answer_with_two_lengths_is_refused_on_a_connection_that_had_them_equal_before() -> None:
    lengths = iter((b"2", b"1"))

    async def play(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\ncontent-length: 2\r\n\r\n{}" % next(lengths))

    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]})) as plane:
        reader, writer = await plane.open()
        for status in (b"200", b"502"):
            writer.write(post())
            head, _ = await read_answer(reader)
            assert head.split()[1] == status


@live
async def test_deadline_of_the_client_may_be_a_fraction() -> None:
    fleet = FixedFleet({"a": []}, asleep={"a"})
    async with running_plane(fleet) as plane:
        _, writer = await plane.open()
        writer.write(post(extra=b"x-stainless-read-timeout: 20.5\r\n"))
        await plane.watcher.until_began()
        (request,) = plane.plane.requests()
        assert request.deadline_at == request.received_at + 20.5


@live
async def test_client_that_takes_nothing_gives_its_lease_back() -> None:
    size = 32 << 20

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    server = ServerSpec(limits=LimitsSpec(send_timeout=60.0))
    async with engine(play) as one, running_plane(FixedFleet({"a": [one.address]}), server) as plane:
        reader, writer = await slow_client(plane)
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        session = next(iter(plane.plane.sessions))
        async with asyncio.timeout(10):
            while not session._write_paused:
                await asyncio.sleep(0)
        session._unsent += 1  # it has taken something since
        sweep_later(plane, 61.0)
        assert plane.fleet.in_flight == 1
        assert session.deadline_at > clock.now() + 100  # a whole time again
        sweep_later(plane, 122.0)
        request = await plane.watcher.until_settled()
        assert (request.outcome, request.status) == (Outcome.CLIENT_GONE, 499)
        assert "send_timeout" in request.error
        assert plane.fleet.in_flight == 0


@live
async def test_bodies_that_still_come_in_are_bounded_together() -> None:
    whole = b'{"model":"a","pad":"%b"}' % (b"x" * 5000)
    server = ServerSpec(limits=LimitsSpec(held_bodies=6000))
    async with engine(answer_ok) as one, running_plane(FixedFleet({"a": [one.address]}), server) as plane:
        reader, writer = await plane.open()
        writer.write(post(whole)[:-1000])
        await plane.watcher.until_began(1)
        async with asyncio.timeout(10):
            while not plane.plane.held_bytes:
                await asyncio.sleep(0)
        other, second = await plane.open()
        second.write(post(whole)[:-1000])
        head, body = await read_answer(other)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"server.limits.held_bodies" in body
        writer.write(whole[-1000:])
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200")
        assert plane.plane.held_bytes == 0
