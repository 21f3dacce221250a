"""What a lease is told of its engine: the ground on which a replica is avoided."""

import asyncio

import pytest

from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from tests.component.proxy.test_relay import Reader, Writer, post, read_answer
from tests.support.plane import FixedFleet, engine, read_request, running_plane


async def outcomes_of(play: object, spec: ModelSpec | None = None) -> list[str]:
    async with engine(play) as one:  # type: ignore[arg-type]
        fleet = FixedFleet({"a": [one.address]}, specs={} if spec is None else {"a": spec})
        async with running_plane(fleet) as plane:
            reader, writer = await plane.open()
            writer.write(post())
            await read_answer(reader)
            writer.close()
        return fleet.outcomes


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, "answered"),
        (400, "answered"),
        (429, "answered"),
        (501, "answered"),
        (500, "its engine answered 500"),
        (503, "its engine answered 503"),
    ],
)
def test_by_the_status_of_the_answer(status: int, told: str) -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n{}" % status)

    assert asyncio.run(outcomes_of(play)) == [told]


def test_an_engine_that_breaks_off_before_it_answers() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.close()

    assert asyncio.run(outcomes_of(play)) == ["it closed the connection before it answered"]


def test_one_that_breaks_off_later_has_answered() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def main() -> list[str]:
        async with engine(play) as one:
            fleet = FixedFleet({"a": [one.address]})
            async with running_plane(fleet) as plane:
                _, writer = await plane.open()
                writer.write(post())
                await plane.watcher.until_settled()
                writer.close()
            return fleet.outcomes

    assert asyncio.run(main()) == ["answered"]


def test_one_that_does_not_speak_http() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"SSH-2.0-x\r\n\r\n")

    (told,) = asyncio.run(outcomes_of(play))
    assert told.startswith("it answered with broken HTTP")


def test_one_that_is_silent() -> None:
    spec = ModelSpec(engine=EngineKind.COMMAND, timeouts=TimeoutsSpec(first_byte=0.05))

    async def play(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        await reader.read()

    (told,) = asyncio.run(outcomes_of(play, spec))
    assert told.endswith("(timeouts.first_byte)")


def test_a_port_that_refuses() -> None:
    async def main() -> list[str]:
        async with engine(lambda reader, writer: None) as one:
            dead = type(one)(1)
            fleet = FixedFleet({"a": [dead.address, dead.address]})
            async with running_plane(fleet) as plane:
                reader, writer = await plane.open()
                writer.write(post())
                await read_answer(reader)
                writer.close()
            return fleet.outcomes

    assert set(asyncio.run(main())) == {"its port did not take the connection"}
