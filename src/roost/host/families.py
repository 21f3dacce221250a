"""Which processes belong to an engine: the one that was started, its descendants, and its process group.

Reads the process table, signals nobody. Called by `measure` and `devices_read`, in a thread of theirs.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil


def families(leaders: Iterable[int]) -> dict[int, frozenset[int]]:
    """Leader -> its pids, itself among them. Workers may have a session of their own, so descendants count; their
    parent may be gone, so the group counts."""
    found = {leader: {leader} for leader in leaders}
    if not found:
        return {}
    table = dict(_table())
    for pid, (_, group) in table.items():
        if group in found:
            found[group].add(pid)
        for above in _above(pid, table):
            if above in found:
                found[above].add(pid)
    return {leader: frozenset(pids) for leader, pids in found.items()}


def _table() -> Iterator[tuple[int, tuple[int, int]]]:
    """Pid -> parent and group, of all processes that can be seen."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error, ValueError, IndexError):
            yield pid, _place(pid)


def _place(pid: int) -> tuple[int, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return psutil.Process(pid).ppid(), os.getpgid(pid)  # no /proc on this system, or the process is gone
    return int(fields[1]), int(fields[2])


def _above(pid: int, table: Mapping[int, tuple[int, int]]) -> Iterator[int]:
    seen = {pid}
    while (place := table.get(pid)) is not None and place[0] not in seen:
        pid = place[0]
        seen.add(pid)
        yield pid
