"""Sees one process end, child or not: by pidfd, and by looking now and then where the system has none (macOS).

Tells once, on the loop; never signals anybody. Called by the process keeper.
"""

import asyncio
import os
import signal
from collections.abc import Callable

from roost.host.keepers.identity import start_time

LOOK_S = 0.25


class ExitWatch:
    """Calls `ended` when the process has ended. A child is reaped by `reap` only: until then nobody else can get
    its number, so its group can be looked at and signalled safely."""

    def __init__(self, pid: int, is_child: bool, ended: Callable[[], None]) -> None:
        self._pid = pid
        self._is_child = is_child
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._descriptor = _pidfd(pid)
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._over)
        else:
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        if start_time(self._pid) is None:
            self._over()
        else:
            self._loop.call_later(LOOK_S, self._look)

    def _over(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        self._ended()

    def reap(self) -> str:
        """How it ended, as a phrase: `ended with exit status 1`."""
        return how_it_ended(_reap(self._pid) if self._is_child else None)


def _reap(pid: int) -> int | None:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def how_it_ended(code: int | None) -> str:
    """The phrase for a return code as subprocess gives it (negative: a signal); None for a process not ours."""
    if code is None:
        return "ended (it was not our child: its exit status is not known)"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # real-time signals have no name
        name = f"signal {-code}"
    return f"was ended by {name}"


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # no such call here, no descriptor left, or gone already: looking finds out
        return None
