"""Whether a rehearsed fleet thrashes, by which figures, and which budget would end it.

Thrashing: models make way only to come back at once. Whoever is brought back within two minutes of making way was
evicted in vain. Pure; called by the CLI (`roost plan --trace`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from roost.core.memory_spec import MemorySpec
from roost.core.spec import RoostSpec
from roost.planner.rehearse_stage import Record

IN_VAIN_S = 120.0
_SHARE = 0.25
_AT_LEAST = 10
"""Fewer evictions in vain than these are chance."""
_FACTORS = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Budgets that are tried, as multiples of the configured ones."""
_PLACES = 8
"""So many more places (`max_resident`) are tried, one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How much of the moving to and fro was in vain."""

    evictions: int
    in_vain: int
    """Evictions of a replica that was brought back within `IN_VAIN_S`."""
    waited: int
    """Requests that waited or were refused."""
    requests: int

    @property
    def thrashes(self) -> bool:
        """A quarter of all evictions was in vain."""
        return self.in_vain >= max(_AT_LEAST, _SHARE * self.evictions)


def verdict(record: Record) -> Verdict:
    """Of a record with its story."""
    left: dict[str, float] = {}
    evictions = in_vain = 0
    for scene in record.story:
        if scene.evicts:
            evictions += scene.replica not in left
            left.setdefault(scene.replica, scene.at_s)
        elif scene.order in ("load", "wake") and scene.replica in left:
            in_vain += scene.at_s - left.pop(scene.replica) <= IN_VAIN_S
    return Verdict(
        evictions=evictions,
        in_vain=in_vain,
        waited=sum(wait > 0 for wait in record.waits) + sum(record.waits[index] == 0 for index in record.refused),
        requests=len(record.waits),
    )


def enough(spec: RoostSpec, play: Callable[[RoostSpec], Record]) -> tuple[RoostSpec, Verdict] | None:
    """The same with the smallest of some larger budgets with which it no longer thrashes, then of more places in its
    servers; None where none of them ends it."""
    larger_memory = (replace(spec, memory=larger) for larger in larger_budgets(spec.memory))
    for larger in (*larger_memory, *_more_places(spec)):
        found = verdict(play(larger))
        if not found.thrashes:
            return larger, found
    return None


def _more_places(spec: RoostSpec) -> Iterator[RoostSpec]:
    """In every server that has a bound."""
    bounds = {name: host.max_resident for name, host in spec.hosts.items() if host.max_resident is not None}
    for more in range(1, _PLACES + 1) if bounds else ():
        grown = {name: replace(spec.hosts[name], max_resident=bound + more) for name, bound in bounds.items()}
        yield replace(spec, hosts={**spec.hosts, **grown})


def larger_budgets(memory: MemorySpec) -> list[MemorySpec]:
    """What is worth trying, the smallest first; nothing where no amount is bound."""
    if memory.max_resident is not None and not memory.devices:
        return [replace(memory, max_resident=memory.max_resident + more) for more in range(1, _PLACES + 1)]
    places = memory.max_resident
    return [
        replace(
            memory,
            devices={name: int(size * factor) for name, size in memory.devices.items()},
            max_resident=None if places is None else round(places * factor + 0.5),
        )
        for factor in _FACTORS
        if memory.devices
    ]
