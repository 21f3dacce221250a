"""Binds a plane to a port and keeps its sweep going. Called by `app`."""

import asyncio
import socket

from roost.proxy.plane import SWEEP_S, Plane
from roost.proxy.session import Session

BACKLOG = 4096  # the default of 100 refuses a burst of clients


class Listener:
    """The one port."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()
        plane = self._plane
        self._server = await loop.create_server(lambda: Session(plane), sock=sock, backlog=BACKLOG)
        self._timer = loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._plane.sweep()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def stop_accepting(self) -> None:
        """No new connections; those that are idle end."""
        if self._server is not None:
            self._server.close()
        self._plane.stop_reuse()

    async def drain(self, timeout_s: float) -> int:
        """Wait until every request is settled, then cut the rest; returns how many were cut."""
        left = await self._plane.drain(timeout_s)
        self._plane.cut()
        if self._timer is not None:
            self._timer.cancel()
        return left


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises OSError."""
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
