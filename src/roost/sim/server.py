"""The process around the application: uvicorn, signals, the first line on stdout.

Owns start and end. SIGTERM ends running requests with finish_reason abort and the process with status 0, as vLLM
does. Called by `__main__`.
"""

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, cast

import uvicorn

from roost.sim.application import Application
from roost.sim.crash import die
from roost.sim.flags import Behaviour
from roost.sim.simulation import Simulation, Stats
from roost.sim.websocket import EchoProtocol
from roost.tasks import spawn

_GRACE_S = 1


class _Server(uvicorn.Server):
    """uvicorn's server, with signals that follow the behaviour and a line that tells the address."""

    def __init__(self, config: uvicorn.Config, sim: Simulation, application: Application) -> None:
        super().__init__(config)
        self._sim, self._application = sim, application

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """uvicorn would end the process by the signal itself; vLLM ends with status 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        yield

    def _signalled(self, number: int) -> None:
        if number == signal.SIGTERM and self._sim.behaviour.ignore_sigterm:
            return
        self._application.stopping = True
        self._sim.engine.scheduler.abort()
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._sim.port = self.servers[0].sockets[0].getsockname()[1]
        spawn(self._sim.load(), "load")
        host = self._sim.behaviour.host
        sys.stdout.write(f"listening http://{f'[{host}]' if ':' in host else host}:{self._sim.port}\n")
        sys.stdout.flush()


def _protocol(stats: Stats) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, counting connections."""
    if find_spec("httptools"):
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
    else:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Base  # type: ignore[assignment]

    class Counting(Base):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            stats.connections += 1
            super().connection_made(transport)

    return Counting


def run(behaviour: Behaviour) -> None:
    """Serve until a signal; returns for status 0."""
    for index in range(behaviour.log_lines):
        sys.stderr.write(f"simulated engine {behaviour.model}: log line {index + 1} of {behaviour.log_lines}\n")
    sys.stderr.flush()
    sim = Simulation(behaviour)
    application = Application(sim)
    config = uvicorn.Config(
        cast("Any", application),
        host=behaviour.host,
        port=behaviour.port,
        loop="uvloop" if find_spec("uvloop") else "asyncio",
        http=cast("Any", _protocol(sim.stats)),
        ws=cast("Any", type("Echo", (EchoProtocol,), {"model": behaviour.model})),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=cast("int", behaviour.keep_alive_timeout),
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config, sim, application)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, behaviour))


async def _serve(server: _Server, behaviour: Behaviour) -> None:
    if behaviour.crash_at_start:
        await asyncio.sleep(behaviour.start_delay)
        die(1, "told to crash at start")
    await server.serve()
