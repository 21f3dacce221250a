"""Keeps a model that lives inside a server which someone else runs: unloads it there by that server's own calls.

There is no process of ours: nothing is adopted and nothing is killed, and what is loaded when roost ends stays so.
"""

from collections.abc import Callable, Mapping
from typing import Any

from roost.core.errors import StartError
from roost.core.spec import ModelSpec
from roost.host.hosted import HostedServer, new_sequence
from roost.host.keepers.base import Start


class HostedKeeper:
    """Implements `Keeper`."""

    owned = True
    pid: int | None = None
    running = False
    """In the sense of a keeper: nothing of ours runs, so nothing of ours is to be ended with roost."""
    session: str | None = None

    def __init__(self, server: HostedServer, model: ModelSpec, name: str) -> None:
        self._server = server
        self._model = model
        self._name = name

    def on_gone(self, hear: Callable[[str], None]) -> None:
        """Nobody tells us; the server's list does."""

    async def start(self, start: Start) -> None:
        raise StartError("This model lives inside another server; it is loaded there, not started.")

    def identity(self) -> dict[str, Any]:
        return {}

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        return False

    async def stop(self, grace_s: float) -> bool:
        """Unload it; False while the server still lists it."""
        return await self._server.unload(self._model, self._name, new_sequence(), grace_s)

    def kill(self) -> None:
        """There is no process of ours."""

    async def clear(self) -> None:
        """Nothing was kept."""

    def memory_bytes(self) -> int | None:
        return None
