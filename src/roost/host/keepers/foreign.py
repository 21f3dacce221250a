"""Keeps an engine that runs already, somewhere: only looked at, never started or stopped."""

from collections.abc import Callable, Mapping
from typing import Any

from roost.core.errors import StartError
from roost.host.keepers.base import Start


class ForeignKeeper:
    """Implements `Keeper`."""

    owned = False
    pid: int | None = None
    running = True
    session: str | None = None

    def on_gone(self, hear: Callable[[str], None]) -> None:
        """Nobody tells us; the replica's probes find out."""

    async def start(self, start: Start) -> None:
        raise StartError("This engine runs elsewhere; roost waits for it and cannot start it.")

    def identity(self) -> dict[str, Any]:
        return {}

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        return False

    async def stop(self, grace_s: float) -> bool:
        """Let go: not ours to end."""
        return True

    def kill(self) -> None:
        """Not ours to end."""

    async def clear(self) -> None:
        """Nothing of it is ours."""

    def memory_bytes(self) -> int | None:
        return None
