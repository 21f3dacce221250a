"""Keeps an engine as a child process in a group of its own, or an orphan of an earlier roost.

Gone means: the whole group is empty. Engines outlive a killed roost (no parent-death signal) and are adopted by
the next one.
"""

import asyncio
import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from roost import clock
from roost.core.errors import StartError
from roost.core.request import Address
from roost.host.keepers.base import PortTaken, Start
from roost.host.keepers.exits import ExitWatch
from roost.host.keepers.identity import boot_id, group_members, matches, port_holder, start_time
from roost.host.keepers.stopping import run_stop_command
from roost.host.output import Output
from roost.host.ports import is_free
from roost.logs import log
from roost.tasks import spawn

KILL_WAIT_S = 10.0
POLL_S = 0.05
SLOW_POLL_S = 1.0
LAST_LINES = 20
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Colours and the like: engines use them where they see a terminal, and a note ends up in JSON and logs."""
_PASSING = (errno.EAGAIN, errno.ENOMEM)
"""The machine was short of processes or memory at this moment: worth another try, unlike a program that cannot run."""


class ProcessKeeper:
    """Implements `Keeper`."""

    owned = True
    session: str | None = None
    """The tmux session it runs in."""
    _spawns_children = True

    def __init__(self, replica: str, output: Output, stop_command: tuple[str, ...] | None = None) -> None:
        self._replica = replica
        self._output = output
        self._stop_command = stop_command
        self._pid: int | None = None
        self._start_time: float | None = None
        self._start: Start | None = None
        self._watch: ExitWatch | None = None
        self._stopping = False
        self._gone = asyncio.Event()
        self._gone.set()
        self._hear: Callable[[str], None] = lambda note: None

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def running(self) -> bool:
        return not self._gone.is_set()

    def on_gone(self, hear: Callable[[str], None]) -> None:
        self._hear = hear

    # starting

    async def start(self, start: Start) -> None:
        env = {**os.environ, **start.env, "ROOST_REPLICA": self._replica}
        program = self._program(start, env)
        self._check_port(start.address)
        pid = await self._spawn(start, (program, *start.argv[1:]), env)
        self._start = start
        self._keep(pid, is_child=self._spawns_children)

    async def _spawn(self, start: Start, argv: tuple[str, ...], env: Mapping[str, str]) -> int:
        """Run it; gives the pid, which is that of its group, too. Raises StartError."""
        descriptor = self._output.open(start.header)
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec take a millisecond
                argv,
                env=env,
                cwd=start.cwd,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise StartError(f"{argv[0]} could not be started: {error.strerror or error}.") from None
        finally:
            os.close(descriptor)
        child.returncode = 0  # `ExitWatch` reaps it: Popen must neither wait for it nor warn that it outlives us
        return child.pid

    def _program(self, start: Start, env: Mapping[str, str]) -> str:
        if start.cwd is not None and not Path(start.cwd).is_dir():
            raise StartError(f"The working directory {start.cwd} of {self._replica!r} does not exist.")
        name = start.argv[0]
        found = shutil.which(name, path=env.get("PATH"))
        if found is None:
            is_path = "/" in name
            place = "does not exist or may not be executed" if is_path else "is not on the engine's PATH"
            raise StartError(f"The program {name!r} of {self._replica!r} {place}. Install it or correct the config.")
        return found

    def _check_port(self, address: Address) -> None:
        try:
            if is_free(address.host, address.port):
                return
        except OSError as error:
            raise StartError(
                f"Engine {self._replica!r} cannot listen on host {address.host!r}: {error.strerror or error}. "
                "Write an address of this machine, such as 127.0.0.1."
            ) from None
        holder = port_holder(address.port)
        raise PortTaken(
            f"Port {address.port} is taken{f' by {holder}' if holder else ''}; engine {self._replica!r} cannot "
            "listen there. Stop that program or give the model another port (or none, for a free one)."
        )

    def _keep(self, pid: int, *, is_child: bool) -> None:
        self._pid = pid
        self._start_time = start_time(pid)
        self._stopping = False
        self._gone.clear()
        self._watch = ExitWatch(pid, is_child, self._leader_ended)

    def identity(self) -> dict[str, Any]:
        return {"pid": self._pid, "start_time": self._start_time, "boot_id": boot_id()}

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        if not matches(identity, self._replica):
            return False
        self._start = start
        self._keep(int(identity["pid"]), is_child=False)
        return True

    # ending

    def _leader_ended(self) -> None:
        """The group's leader ended: say so once nothing that it started is left."""
        pgid, watch = self._pid, self._watch
        assert pgid is not None and watch is not None
        left = group_members(pgid)
        self._report(pgid, left, watch.reap())

    def _report(self, pgid: int, left: Sequence[int], how: str) -> None:
        note = self._note(how)
        self._watch = None
        if left:
            spawn(self._sweep(pgid, note), f"sweep {self._replica}")
        else:
            self._all_gone(note)

    async def _sweep(self, pgid: int, note: str) -> None:
        """Leftovers have their grace while we stop the engine, else none: they hold its memory and serve nobody."""
        began = clock.now()
        while group_members(pgid):
            if not self._stopping:
                self._signal(signal.SIGKILL)
            late = clock.now() - began > KILL_WAIT_S
            await asyncio.sleep(SLOW_POLL_S if late else POLL_S)
        self._all_gone(note)

    def _all_gone(self, note: str) -> None:
        self._pid = None  # from here on the number may be anybody's
        self._gone.set()
        self._hear(note)

    def _note(self, how: str) -> str:
        lines = self._output.tail(LAST_LINES)
        begin = max((at for at, line in enumerate(lines) if line.startswith("--- ")), default=-1)
        text = "\n  ".join(_ESCAPES.sub("", line)[:400] for line in lines[begin + 1 :])
        return f"The engine {how}. Its last lines:\n  {text}" if text else f"The engine {how} and printed nothing."

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    async def stop(self, grace_s: float) -> bool:
        if self.running:
            self._stopping = True
            until = clock.now() + grace_s
            await self._ask_to_stop(grace_s)
            await self._wait_gone(until - clock.now())
            self._stopping = False
            self._signal(signal.SIGKILL)
            await self._wait_gone(KILL_WAIT_S)
        if self.running:
            return False
        await self._port_free()
        return True

    async def clear(self) -> None:
        """Nothing is left to be cleared away once the group is gone."""

    def kill(self) -> None:
        """SIGKILL to the group, now: for an operator who will not wait."""
        self._signal(signal.SIGKILL)

    async def _ask_to_stop(self, grace_s: float) -> None:
        if self._stop_command is None or self._pid is None or grace_s <= 0:
            self._signal(signal.SIGTERM)
            return
        port = str(self._start.address.port) if self._start is not None else ""
        argv = [part.replace("${PID}", str(self._pid)).replace("${PORT}", port) for part in self._stop_command]
        error = await run_stop_command(argv, self._start, self._output, grace_s)
        if error:
            log.warning("%s: the stop command failed (%s); SIGTERM instead", self._replica, error)
            self._signal(signal.SIGTERM)

    async def _wait_gone(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()

    async def _port_free(self) -> None:
        if self._start is None:
            return
        address, deadline = self._start.address, clock.now() + KILL_WAIT_S
        while not is_free(address.host, address.port):
            if clock.now() > deadline:
                log.warning("%s is gone, yet port %d is still taken", self._replica, address.port)
                return
            await asyncio.sleep(POLL_S)

    def memory_bytes(self) -> int | None:
        if self._pid is None or not self.running:
            return None
        try:
            leader = psutil.Process(self._pid)
            tree = [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return None
        total = 0
        for process in tree:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total
