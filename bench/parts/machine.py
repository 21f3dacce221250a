"""Processes and what they cost, from /proc and the CPU clocks of processes.

Owns starting, pinning and ending children, CPU seconds of a process tree, its memory (PSS: shared pages are counted
once), and the CPU that everybody else took. Knows nothing of HTTP or of peers. Called by fleet.py and cells.py.
"""

# ruff: noqa: TID251  (a benchmark measures and waits for real time)

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user nice system irq softirq steal


@dataclass(frozen=True, slots=True)
class Pinning:
    """Cores of the two sides: `load` for the backend and the load generator, `proxy` for what is measured."""

    load: int | None = 0
    proxy: int | None = 1

    def prefix(self, side: str) -> list[str]:
        """The words to put before a command line."""
        core = self.proxy if side == "proxy" else self.load
        return [] if core is None else ["taskset", "-c", str(core)]


def prepare(priority: int) -> None:
    """Room for thousands of sockets; with `priority` (a nice value, below 0), the right of way on this machine.

    Where the scheduler groups processes by session (autogroup), the group's nice value decides, so both are set.
    Children stay in this session and inherit both. Needs root.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not priority:
        return
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(priority))
    try:
        os.nice(priority)
    except OSError as e:
        raise SystemExit(f"--priority {priority} is not allowed here: {e}") from e


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def spawn(
    command: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts a child in its own process group, its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def end(child: subprocess.Popen[bytes], grace_s: float = 3.0) -> None:
    """Ends a child and all its descendants: SIGTERM, `grace_s`, SIGKILL. Only processes started by this runner."""
    for pid in tree(child.pid) if child.poll() is None else []:
        _signal(pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(pids: list[int]) -> float:
    """User and kernel CPU of these processes with all their threads, ended ones included, to the nanosecond.

    Linux numbers the CPU clock of process P as (~P << 3) | 2.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~pid << 3 | 2)
    return total


def pss_mb(pids: list[int]) -> float:
    """Memory of these processes together, in units of 10^6 bytes."""
    kib = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            kib += int(found[1]) if found else 0
    return kib * 1024 / 1e6


def machine_busy_s() -> float:
    """CPU seconds that all cores together have been busy since boot, what the hypervisor took included."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[i]) for i in BUSY_FIELDS) / TICK


def describe() -> str:
    """One line on this machine."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    return f"{os.cpu_count()} x {model[1] if model else 'unknown CPU'}, Linux {os.uname().release}"


def wait_for(ready: Callable[[], bool], deadline_s: float, every_s: float = 0.05) -> bool:
    """Calls `ready` until it is true or the deadline has passed; says which."""
    until = time.monotonic() + deadline_s
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True
