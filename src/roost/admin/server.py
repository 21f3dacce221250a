"""Serves the API by uvicorn on a Unix socket that the caller has bound (0600, in a 0700 directory).

Handles no signals: shutdown is `app`'s, which stops this last. Started and stopped by `app`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from roost import tasks

GRACE_S = 1
"""Open answers (events, followed logs) get this long at the end."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, saying when it listens or has failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class AdminServer:
    """The API on its socket, as a task of the running loop."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        self._app = app
        self._sock = sock
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens. Raises what uvicorn raised if it cannot."""
        config = uvicorn.Config(
            self._app,
            access_log=False,
            log_config=None,
            log_level="critical",
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
        self._server = server = _Server(config)
        self._task = tasks.spawn(server.serve(sockets=[self._sock]), "admin server")
        listening = tasks.spawn(server.listening.wait(), "admin server listens")
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            listening.cancel()
            self._task.result()

    async def stop(self) -> None:
        """End open answers after a second and close the socket. Idempotent."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await asyncio.wait({self._task})
        self._server = self._task = None
