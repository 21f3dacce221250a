"""Keeps an engine as a child process in a group of its own, or an orphan of an earlier roost.

Gone means: the whole group is empty. Engines outlive a killed roost (no parent-death signal) and are adopted by
the next one. Exits are seen by pidfd, for children and adopted alike.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from roost import clock
from roost.core.errors import StartError
from roost.core.request import Address
from roost.host.keepers.base import Start
from roost.host.keepers.identity import boot_id, group_members, matches, port_holder, start_time
from roost.host.output import Output
from roost.host.ports import is_free
from roost.logs import log

KILL_WAIT_S = 10.0
POLL_S = 0.05
LAST_LINES = 20


class ProcessKeeper:
    """Implements `Keeper`."""

    owned = True

    def __init__(self, replica: str, output: Output, stop_command: tuple[str, ...] | None = None) -> None:
        self._replica = replica
        self._output = output
        self._stop_command = stop_command
        self._popen: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._group: int | None = None
        """Process group, which outlives its leader until `stop` has seen it empty."""
        self._pidfd: int | None = None
        self._start_time: float | None = None
        self._address: Address | None = None
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
        address = start.address
        if not is_free(address.host, address.port):
            holder = port_holder(address.port)
            raise StartError(
                f"Port {address.port} is taken{f' by {holder}' if holder else ''}; engine {self._replica!r} cannot "
                "listen there. Stop that program or give the model another port (or none, for a free one)."
            )
        descriptor = self._output.open(start.header)
        try:
            self._popen = subprocess.Popen(  # noqa: ASYNC220 - fork and exec take a millisecond
                (program, *start.argv[1:]),
                env=env,
                cwd=start.cwd,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{program} could not be started: {error.strerror or error}.") from None
        finally:
            os.close(descriptor)
        self._address = address
        self._watch(self._popen.pid)

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

    def _watch(self, pid: int) -> None:
        self._pid = self._group = pid
        self._start_time = start_time(pid)
        self._gone.clear()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._leader_ended)

    def identity(self) -> dict[str, Any]:
        return {"pid": self._pid, "start_time": self._start_time, "boot_id": boot_id()}

    def adopt(self, identity: Mapping[str, Any]) -> bool:
        if not matches(identity, self._replica):
            return False
        try:
            self._watch(int(identity["pid"]))
        except ProcessLookupError:
            self._gone.set()
            return False
        return True

    # ending

    def _leader_ended(self) -> None:
        """The group's leader ended: take what it left behind with it, then say so."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._signal(signal.SIGKILL)  # before it is reaped: until then nobody else can get its number
        how = self._how_it_ended()
        self._pid = None
        self._gone.set()
        self._hear(self._note(how))

    def _how_it_ended(self) -> str:
        if self._popen is None:
            return "ended (it was not our child: its exit status is not known)"
        code = self._popen.wait()
        self._popen = None
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"

    def _note(self, how: str) -> str:
        lines = self._output.tail(LAST_LINES)
        begin = max((at for at, line in enumerate(lines) if line.startswith("--- ")), default=-1)
        text = "\n  ".join(line[:400] for line in lines[begin + 1 :])
        return f"The engine {how}. Its last lines:\n  {text}" if text else f"The engine {how} and printed nothing."

    def _signal(self, number: signal.Signals) -> None:
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)

    async def stop(self, grace_s: float) -> bool:
        group = self._group
        if group is None:
            return True
        if self.running:
            await self._ask_to_stop(group, grace_s)
            await self._wait_gone(grace_s)
        if self.running:
            self._signal(signal.SIGKILL)
            await self._wait_gone(KILL_WAIT_S)
        if self.running or not await self._group_empty(group):
            return False
        self._group = None
        await self._port_free()
        return True

    def kill(self) -> None:
        """SIGKILL to the group, now: for an operator who will not wait."""
        self._signal(signal.SIGKILL)

    async def _ask_to_stop(self, pid: int, grace_s: float) -> None:
        if self._stop_command is None:
            self._signal(signal.SIGTERM)
            return
        port = str(self._address.port) if self._address is not None else ""
        argv = [part.replace("${PID}", str(pid)).replace("${PORT}", port) for part in self._stop_command]
        try:
            child = await asyncio.create_subprocess_exec(
                *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            async with asyncio.timeout(grace_s):
                await child.wait()
        except (OSError, TimeoutError) as error:
            log.warning("%s: the stop command %s failed (%s); SIGTERM instead", self._replica, shlex.join(argv), error)
            self._signal(signal.SIGTERM)

    async def _wait_gone(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()

    async def _group_empty(self, pgid: int) -> bool:
        deadline = clock.now() + KILL_WAIT_S
        while group_members(pgid):
            if clock.now() > deadline:
                return False
            self._signal(signal.SIGKILL)
            await asyncio.sleep(POLL_S)
        return True

    async def _port_free(self) -> None:
        address, deadline = self._address, clock.now() + KILL_WAIT_S
        while address is not None and not is_free(address.host, address.port):
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
