"""llama-server's router mode: each served name is a model of its own that is loaded and unloaded while others run.

Loading and unloading answer at once and happen later; `/v1/models` tells how far they are. Owns the status of each
model; the engine runs the requests of all. Called by the handlers and the simulation.
"""

import asyncio
from enum import StrEnum
from typing import Any

from roost.sim.engine import Engine
from roost.sim.exchange import Refused
from roost.tasks import spawn

CUT = "proxy error: Failed to read connection"


class Status(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"


class Router:
    """Single writer of its models' statuses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._behaviour = engine.behaviour
        self._status = dict.fromkeys(self._behaviour.names, Status.UNLOADED)
        self._failed: set[str] = set()
        self._moved = asyncio.Condition()

    def statuses(self) -> dict[str, str]:
        return {name: str(status) for name, status in self._status.items()}

    def status(self, name: str) -> dict[str, Any]:
        """As `/v1/models` shows it; a load that failed is unloaded and says so."""
        value = {"value": str(self._status[name])}
        return {**value, "failed": True, "exit_code": 1} if name in self._failed else value

    def load(self, name: str) -> None:
        """Begin to load it. Refused 404 for an unknown one and 400 for one that is not unloaded."""
        if name not in self._status:
            raise Refused(404, "not_found_error", f"model '{name}' not found")
        if self._status[name] is not Status.UNLOADED:
            raise Refused(400, "invalid_request_error", "model is already running")
        self._begin(name)

    def unload(self, name: str) -> None:
        """Begin to unload it; what it still answers ends bare. Refused 400 for one that is not there."""
        if self._status.get(name, Status.UNLOADED) is Status.UNLOADED:
            raise Refused(400, "invalid_request_error", f"model '{name}' is not running")
        spawn(self._unload(name), f"unload {name}")

    async def enter(self, name: str) -> None:
        """Returns once the model is loaded; loads it, unless told not to. Refused 400, or 500 if the load failed."""
        if self._status[name] is Status.UNLOADED:
            if self._behaviour.no_autoload:
                raise Refused(400, "invalid_request_error", "model is not loaded")
            self._begin(name)
        async with self._moved:
            await self._moved.wait_for(lambda: self._status[name] is not Status.LOADING)
        if self._status[name] is not Status.LOADED:
            raise Refused(500, "server_error", "proxy error: Could not establish connection")

    def _begin(self, name: str) -> None:
        self._status[name] = Status.LOADING
        self._failed.discard(name)
        spawn(self._load(name), f"load {name}")

    async def _load(self, name: str) -> None:
        await asyncio.sleep(self._behaviour.wake_delay)
        if self._status[name] is not Status.LOADING:
            return  # unloaded meanwhile
        failed = self._behaviour.fail_load
        if failed:
            self._failed.add(name)
        await self._move(name, Status.UNLOADED if failed else Status.LOADED)

    async def _unload(self, name: str) -> None:
        await asyncio.sleep(self._behaviour.sleep_delay)
        self._engine.scheduler.cut(name, CUT)
        await self._move(name, Status.UNLOADED)

    async def _move(self, name: str, status: Status) -> None:
        """The memory is taken while any of them is loaded."""
        async with self._moved:
            before, self._status[name] = self._status[name], status
            held = Status.LOADED in self._status.values()
            if held and not self._engine.memory.held:
                self._engine.load()
            elif not held:
                self._engine.memory.release()
            self._engine.wakes += status is Status.LOADED
            self._engine.sleeps += before is Status.LOADED
            self._moved.notify_all()
