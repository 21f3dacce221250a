"""What a keeper is: the hand that holds one engine, and says what load, stop and gone mean for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from roost.core.errors import StartError
from roost.core.request import Address


class PortTaken(StartError):
    """Somebody else listens on the engine's port: the one failed start that may mend itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """All that a keeper needs to start an engine. `env` are the variables added to ours."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    address: Address
    header: str = ""
    """First line in the log; never holds values of variables."""


class Keeper(Protocol):
    """One engine's keeper. All calls come from the replica that owns it."""

    @property
    def owned(self) -> bool:
        """False: runs elsewhere, start and stop are not ours."""
        ...

    @property
    def pid(self) -> int | None: ...

    @property
    def running(self) -> bool: ...

    @property
    def session(self) -> str | None:
        """The tmux session that it runs in."""
        ...

    def on_gone(self, hear: Callable[[str], None]) -> None:
        """`hear` gets a sentence (how it ended, its last lines) once the engine and all it started are gone,
        wanted or not."""
        ...

    async def start(self, start: Start) -> None:
        """Begin; returns before it is ready. Raises StartError."""
        ...

    def identity(self) -> dict[str, Any]:
        """What proves later that a process is this one."""
        ...

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        """Take up an engine that an earlier roost started, as `start` says if it is known; False if it is not
        there any more."""
        ...

    async def stop(self, grace_s: float) -> bool:
        """End it and all it started; True once it is gone, False if it survives SIGKILL."""
        ...

    def kill(self) -> None:
        """SIGKILL to all of it, now; nothing where it is not ours."""
        ...

    async def clear(self) -> None:
        """roost ends, and the engine with it: take away what was kept for people to look at."""
        ...

    def memory_bytes(self) -> int | None:
        """Resident memory of the engine and what it started; None where it cannot be seen."""
        ...
