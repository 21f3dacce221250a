"""Who a process is: pids are reused, so a pid alone proves nothing. Linux, by /proc.

Pure reading; nothing here signals anybody.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def boot_id() -> str:
    """Changes with each boot; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> float | None:
    """When the process started, in ticks since boot on Linux; None if there is no such (living) process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _start_time_elsewhere(pid)
    return None if fields[0] in "ZX" else float(fields[19])


def _start_time_elsewhere(pid: int) -> float | None:
    if Path("/proc/self").exists():
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def has_variable(pid: int, name: str, value: str) -> bool:
    """True if the process was started with this variable."""
    try:
        return psutil.Process(pid).environ().get(name) == value
    except (psutil.Error, OSError):
        return False


def matches(identity: Mapping[str, Any], replica: str) -> bool:
    """True if the process of this record is alive and is the one that was started for `replica`."""
    pid = identity.get("pid")
    if not isinstance(pid, int) or identity.get("boot_id") != boot_id():
        return False
    return start_time(pid) == identity.get("start_time") and has_variable(pid, "ROOST_REPLICA", replica)


def group_members(pgid: int) -> list[int]:
    """Living processes (zombies do not count) of a process group."""
    try:
        os.killpg(pgid, 0)  # spares the walk over all processes where nobody is left, zombies included
    except ProcessLookupError:
        return []
    except PermissionError:
        pass
    members = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and _group_of(process.pid) == pgid:
                members.append(process.pid)
        except psutil.Error:
            continue
    return members


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def port_holder(port: int) -> str:
    """`pid 123 (nginx)` of whoever listens on a port, or an empty string."""
    pid = _listening(port)
    try:
        return "" if pid is None else f"pid {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return ""


def listener(port: int) -> list[float] | None:
    """Which very process listens on a port of this machine: pid and start time; None where it cannot be seen."""
    pid = _listening(port)
    started = None if pid is None else start_time(pid)
    return None if pid is None or started is None else [float(pid), started]


def _listening(port: int) -> int | None:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                return connection.pid
    except (psutil.Error, OSError):
        return None
    return None
