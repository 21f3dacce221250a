"""The machine's own memory: how much there is for programs and how much of it is taken; a container's limit counts.

Reads small files of /proc and /sys; what can be given back at once (file cache) does not count as taken. Called by
`devices_read`, in a thread.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_FIELD = re.compile(r"^(\w+):?\s+(\d+)(\s+kB)?$", re.MULTILINE)
_OWN = ("RssAnon", "RssShmem")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Bytes of the tightest bound, the machine's or a control group's."""

    size: int
    used: int


def read(root: Path = Path("/")) -> HostMemory | None:
    """None where the system does not tell."""
    machine = _machine(root)
    bounds = [bound for bound in (machine, *_groups(root)) if bound is not None]
    if not bounds:
        return None
    size = min(bound.size for bound in bounds)
    free = min(bound.size - bound.used for bound in bounds)
    return HostMemory(size=size, used=max(0, size - free))


def _machine(root: Path) -> HostMemory | None:
    facts = fields(root / "proc/meminfo")
    total, free = facts.get("MemTotal"), facts.get("MemAvailable", facts.get("MemFree"))
    if total is None or free is None:
        if root != Path("/"):
            return None
        seen = psutil.virtual_memory()
        total, free = int(seen.total), int(seen.available)
    return HostMemory(size=total, used=total - free)


def _groups(root: Path) -> Iterator[HostMemory | None]:
    """The bounds of our own control group and of all above it; in a container its group is the top of what we see."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, kinds, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            for top in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                yield from (_group(folder) for folder in _upwards(top, path))
        elif "memory" in kinds.split(","):
            yield from (_old_group(folder) for folder in _upwards(root / "sys/fs/cgroup/memory", path))


def _upwards(top: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:count])


def _group(folder: Path) -> HostMemory | None:
    limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or used is None:
        return None
    stat = fields(folder / "memory.stat")
    return HostMemory(size=limit, used=max(0, used - _cache(stat.get("file", 0), stat.get("shmem", 0))))


def _old_group(folder: Path) -> HostMemory | None:
    limit, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
    if limit is None or used is None or limit >= 1 << 60:  # a number that large means no limit
        return None
    stat = fields(folder / "memory.stat")
    return HostMemory(size=limit, used=max(0, used - _cache(stat.get("total_cache", 0), stat.get("total_shmem", 0))))


def _cache(file: int, shared: int) -> int:
    return max(0, file - shared)


def kept_by(pids: Iterable[int], root: Path = Path("/")) -> int:
    """Bytes of these processes that are no file cache. Cheap, so that it can be asked often: what several of them
    share counts for each."""
    total = 0
    for pid in pids:
        facts = fields(root / "proc" / str(pid) / "status")
        if "RssAnon" in facts:
            total += sum(facts.get(name, 0) for name in _OWN)
        elif root == Path("/"):
            with contextlib.suppress(psutil.Error):
                total += int(psutil.Process(pid).memory_info().rss)
    return total


def fields(file: Path) -> Mapping[str, int]:
    """`Name: 12 kB` and `name 12` lines, in bytes where they say kB."""
    return {name: int(number) * (1024 if kilo else 1) for name, number, kilo in _FIELD.findall(_text(file))}


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
