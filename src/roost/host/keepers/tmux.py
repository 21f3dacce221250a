"""Keeps an engine in a tmux session of its own: the same as a process, with a terminal that people can attach to.

The engine leads the group of its pane, so watching, signals, memory and adoption are those of `process`. The pane
stays after the engine's end, with its exit status, until the next start or the end of roost.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roost import clock
from roost.core.errors import StartError
from roost.host import tmux
from roost.host.keepers.base import Start
from roost.host.keepers.exits import how_it_ended
from roost.host.keepers.identity import has_variable, start_time
from roost.host.keepers.process import POLL_S, ProcessKeeper
from roost.host.output import Output
from roost.host.store import digest
from roost.tasks import spawn

LOOK_LIMIT_S = 2.0
"""How long tmux may take to tell a pane's exit status after its end."""
BECOME_LIMIT_S = 10.0
"""How long the pane may take to become the engine."""
OLD_GRACE_S = 15.0
_one_at_a_time: "dict[asyncio.AbstractEventLoop, asyncio.Lock]" = {}


class TmuxKeeper(ProcessKeeper):
    """Implements `Keeper`."""

    _spawns_children = False

    def __init__(
        self, replica: str, output: Output, stop_command: tuple[str, ...] | None = None, *, session: str
    ) -> None:
        super().__init__(replica, output, stop_command)
        self.session: str = session
        self._starting: asyncio.Task[Exception | None] | None = None

    @property
    def running(self) -> bool:
        return self._starting is not None or super().running

    @property
    def _owner(self) -> str:
        """Which engine of which instance: the first word of a session's mark."""
        return digest([str(self._output.path), self._replica])

    # starting

    async def start(self, start: Start) -> None:
        """As for a process; an engine of ours that runs in the session is taken up if it is the one that is wanted,
        else ended first. Somebody else's session is left alone: StartError.

        A start that is given up goes on to its end: what tmux has begun comes up anyhow, and `stop` must know it."""
        self._starting = spawn(self._start_to_the_end(start), f"start {self._replica}")
        error = await asyncio.shield(self._starting)
        if error is not None:
            raise error

    async def _start_to_the_end(self, start: Start) -> Exception | None:
        try:
            await self._start_or_take_up(start)
        except Exception as error:  # told by `start`, if anybody still waits for it
            return error
        finally:
            self._starting = None
        return None

    async def _start_or_take_up(self, start: Start) -> None:
        there = await asyncio.to_thread(tmux.find, self.session) if tmux.tmux_available() else None
        if there is not None and not there.dead:
            if not there.mark.startswith(self._owner) or not has_variable(there.pid, "ROOST_REPLICA", self._replica):
                raise tmux.taken(there)
            self._start = start
            self._keep(there.pid, is_child=False)
            if there.mark == self._mark(start):
                return
            await super().stop(OLD_GRACE_S)
        await super().start(start)

    async def _spawn(self, start: Start, argv: tuple[str, ...], env: Mapping[str, str]) -> int:
        os.close(self._output.open(start.header))
        path = self._output.path
        job = tmux.Job(
            session=self.session,
            mark=self._mark(start),
            argv=argv,
            env=env,
            cwd=start.cwd,
            folder=path.parent.parent / "run",
            log=path,
        )
        async with _one_at_a_time.setdefault(asyncio.get_running_loop(), asyncio.Lock()):  # one makes the server
            pane = await asyncio.to_thread(tmux.run, job)
        await self._become(pane.pid)
        return pane.pid

    async def _become(self, pid: int) -> None:
        """Until the pane is the engine, or has ended: before that its environment proves nothing."""
        deadline = clock.now() + BECOME_LIMIT_S
        while start_time(pid) is not None and not has_variable(pid, "ROOST_REPLICA", self._replica):
            if clock.now() > deadline:
                raise StartError(f"The pane of session {self.session!r} did not start its engine; attach to it to see.")
            await asyncio.sleep(POLL_S)

    def _mark(self, start: Start) -> str:
        env = {name: value for name, value in start.env.items() if name != "PATH"}
        return f"{self._owner} {digest([start.argv, env, start.cwd])}"

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "session": self.session}

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        """In the session where it is, whatever its name would be today; one without a session is kept all the same."""
        adopted = super().adopt(identity, start)
        if adopted and isinstance(identity.get("session"), str):
            self.session = identity["session"]
        return adopted

    # ending

    async def stop(self, grace_s: float) -> bool:
        if self._starting is not None:
            await asyncio.shield(self._starting)
        return await super().stop(grace_s)

    def _report(self, pgid: int, left: Sequence[int], how: str) -> None:
        """The engine was tmux's child: tmux knows how it ended."""
        spawn(self._ask_and_report(pgid, left, how), f"end of {self._replica}")

    async def _ask_and_report(self, pgid: int, left: Sequence[int], how: str) -> None:
        super()._report(pgid, left, await self._how(pgid) or how)

    async def _how(self, pid: int) -> str:
        deadline = clock.now() + LOOK_LIMIT_S
        while clock.now() < deadline:
            pane = await asyncio.to_thread(tmux.find, self.session) if tmux.tmux_available() else None
            if pane is None or pane.pid != pid:
                return "ended, and its tmux session with it"
            if pane.exit_signal is not None:
                return how_it_ended(-pane.exit_signal)
            if pane.exit_status is not None:
                return how_it_ended(pane.exit_status)
            await asyncio.to_thread(tmux.nudge)
            await asyncio.sleep(POLL_S)
        return ""

    async def clear(self) -> None:
        """The session goes once its engine has gone."""
        if not tmux.tmux_available():
            return
        pane = await asyncio.to_thread(tmux.find, self.session)
        if pane is not None and pane.dead and pane.mark.startswith(self._owner):
            await asyncio.to_thread(tmux.remove, self.session, pane.mark)


def run_in_session(session: str, argv: Sequence[str], env: Mapping[str, str], *, state_dir: Path) -> int:
    """Run roost itself in a session; gives its pid. Blocking. Raises StartError."""
    job = tmux.Job(
        session=session,
        mark=frontend_mark(state_dir),
        argv=argv,
        env=env,
        cwd=str(Path.cwd()),
        folder=state_dir / "run",
    )
    return tmux.run(job).pid


def frontend_mark(state_dir: Path) -> str:
    """The mark of the session of the roost of this state directory."""
    return f"{digest(str(state_dir.resolve()))} roost"
