"""An answer "no such model" for one that was believed loaded: whole, in pieces, chunked, or the client's after all."""

import asyncio
from collections.abc import Sequence

import pytest

from roost.core.spec import EngineKind, ModelSpec
from roost.proxy.missing import HELD_MAX
from tests.component.proxy.test_relay import OK, Reader, Writer, post, read_answer
from tests.support.plane import FixedFleet, engine, read_request, running_plane

INSIDE = ModelSpec(engine=EngineKind.COMMAND, inside="box")
GONE = b'{"error": {"message": "model is not loaded"}}'
FIXED = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(GONE), GONE)
CHUNKED = b"HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GONE), GONE)


async def ask(
    first: Sequence[bytes], *, spec: ModelSpec = INSIDE, denies: bool = True, request: bytes | None = None
) -> tuple[bytes, FixedFleet, list[bytes]]:
    """The client's answer where the engine answers `first`, then well; the fleet; the bodies judged."""
    asked: list[bytes] = []
    judged: list[bytes] = []

    async def play(reader: Reader, writer: Writer) -> None:
        while True:
            _, body = await read_request(reader)
            asked.append(body)
            for piece in first if len(asked) == 1 else [OK]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    async with engine(play) as one:
        fleet = FixedFleet({"a": [one.address]}, specs={"a": spec})

        def judge(status: int, body: bytes) -> bool:
            judged.append(body)
            return denies and status == 400

        fleet.denies = judge
        async with running_plane(fleet) as plane:
            reader, writer = await plane.open()
            writer.write(request or post())
            head, body = await read_answer(reader)
            await plane.watcher.until_settled()
        assert fleet.in_flight == 0
        assert all(lease.released == 1 for lease in fleet.leases)
        return head.partition(b"\r\n")[0] + b" " + body, fleet, judged


@pytest.mark.parametrize(
    "first",
    [[FIXED], [FIXED[:30], FIXED[30:70], FIXED[70:]], [CHUNKED], [CHUNKED[:90], CHUNKED[90:]]],
    ids=["whole", "in pieces", "chunked", "chunks in pieces"],
)
def test_the_request_is_sent_once_more_and_its_answer_is_all_that_the_client_sees(first: list[bytes]) -> None:
    said, fleet, judged = asyncio.run(ask(first))
    assert said == b"HTTP/1.1 200 OK {}"
    assert judged == [GONE]
    assert len(fleet.leases) == 2


def test_what_says_something_else_is_the_clients_unchanged() -> None:
    said, fleet, judged = asyncio.run(ask([FIXED[:50], FIXED[50:]], denies=False))
    assert said == b"HTTP/1.1 400 Bad Request " + GONE
    assert judged == [GONE]
    assert len(fleet.leases) == 1


def test_an_engine_of_its_own_is_never_asked_twice() -> None:
    said, _, judged = asyncio.run(ask([FIXED], spec=ModelSpec(engine=EngineKind.COMMAND)))
    assert said == b"HTTP/1.1 400 Bad Request " + GONE
    assert judged == []


def test_a_long_answer_is_passed_on_as_it_comes() -> None:
    body = b"x" * (HELD_MAX + 1)
    said, _, judged = asyncio.run(ask([b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)]))
    assert said == b"HTTP/1.1 400 Bad " + body
    assert judged == []


def test_a_second_refusal_is_the_clients() -> None:
    async def main() -> None:
        async def play(reader: Reader, writer: Writer) -> None:
            while True:
                await read_request(reader)
                writer.write(FIXED)

        async with engine(play) as one:
            fleet = FixedFleet({"a": [one.address]}, specs={"a": INSIDE}, denies=lambda status, body: True)
            async with running_plane(fleet) as plane:
                reader, writer = await plane.open()
                writer.write(post())
                assert (await read_answer(reader))[1] == GONE
            assert len(fleet.leases) == 2

    asyncio.run(main())
