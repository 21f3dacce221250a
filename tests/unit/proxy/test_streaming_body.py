"""A body that streams to an engine, with transports that do as the test says."""

import asyncio
from typing import Any

from roost.core.request import Address
from roost.core.server_spec import ServerSpec
from roost.proxy.plane import Outside, Plane
from roost.proxy.session import Session
from tests.support.plane import AnyPath, FixedFleet, Memory
from tests.support.virtual import run


class FakeTransport(asyncio.Transport):
    """Takes all that is written; asks its writer to stop at the first body byte, as one whose peer reads nothing."""

    def __init__(self, writer: Any = None) -> None:
        super().__init__()
        self.writer = writer
        self.reading = True
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data
        if self.writer is not None and b"x" in data:
            self.writer.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def test_first_piece_that_the_engine_does_not_take_stops_the_client() -> None:
    """Else all of the body would pile up here: a transport asks only once."""

    async def main() -> None:
        fleet = FixedFleet({"a": [Address("127.0.0.1", 9)]}, asleep={"a"})
        plane = Plane(
            Outside(server=ServerSpec(), fleet=fleet, paths=AnyPath(), watcher=Memory(), admin=None, id_prefix="t-")
        )
        upstream = plane.pool._make()
        upstream.connection_made(FakeTransport(upstream))
        upstream.placed(Address("127.0.0.1", 9))
        plane.pool.put(upstream)
        session, client = Session(plane), FakeTransport()
        session.connection_made(client)
        session.data_received(b"PUT /upstream/a/f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nxx")
        assert not client.reading
        fleet.wake("a")
        assert upstream.transport.written.endswith(b"\r\n\r\nxx")  # type: ignore[attr-defined]
        assert not client.reading
        upstream.resume_writing()
        assert client.reading

    run(main())
