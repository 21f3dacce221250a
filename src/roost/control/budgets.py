"""What roost's engines may hold together on each device now: the config's budgets, less what is kept free, what others
use and what was given back to its owner.

Pure. `Board` joins what is seen of the machine with the holds; `observe` asks it for each view, status for its figures.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from roost.control.holds import Hold, Holds
from roost.core.device import Seen
from roost.core.footprint import HOST
from roost.core.memory_spec import MemorySpec
from roost.core.view import DeviceView

Budgets = Callable[[MemorySpec, float], tuple[DeviceView, ...] | None]
"""(budgets as the schedule has them, now) -> the devices as they are; None: as `memory` says."""


def no_budgets(memory: MemorySpec, now: float) -> tuple[DeviceView, ...] | None:
    """Nobody looks at the machine."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A `Budgets`. `seen`: the devices as the machine shows them now, by name, the discovered ones among them."""

    seen: Callable[[], Mapping[str, Seen]]
    holds: Holds

    def __call__(self, memory: MemorySpec, now: float) -> tuple[DeviceView, ...] | None:
        if not self.seen() and not self.holds.current(now):
            return None
        return self.views(memory, now)

    def views(self, memory: MemorySpec, now: float) -> tuple[DeviceView, ...]:
        """Every device that has a budget, seen or not."""
        seen, holds = self.seen(), self.holds.current(now)
        return tuple(device_view(name, memory, seen.get(name), holds.get(name)) for name in names(memory, seen))

    def names(self, memory: MemorySpec) -> tuple[str, ...]:
        """Every device that has a budget."""
        return names(memory, self.seen())


def names(memory: MemorySpec, seen: Iterable[str]) -> tuple[str, ...]:
    """The devices that have a budget, host memory last."""
    found = dict.fromkeys(name for name in memory.devices if name != HOST)
    if memory.discover:
        found |= dict.fromkeys(name for name in seen if name != HOST)
    host = memory.host is not None or (memory.discover and HOST in seen)
    return (*found, HOST) if host else tuple(found)


def device_view(name: str, memory: MemorySpec, seen: Seen | None, hold: Hold | None) -> DeviceView:
    """A budget that is written leaves the rest of a device to others: they cost roost something only where what is
    really left for it is less."""
    written = memory.host if name == HOST else memory.devices.get(name)
    left = None if seen is None else seen.size - seen.others
    reserve = memory.host_reserve if name == HOST else memory.reserve

    def within(physical: int | None) -> int:
        bounds = [bound for bound in (written, physical) if bound is not None]
        return max(0, min(bounds, default=0) - reserve)

    room = within(left)
    held = 0 if hold is None else room if hold.amount is None else min(hold.amount, room)
    return DeviceView(
        name=name,
        budget=room - held,
        whole=within(None if seen is None else seen.size),
        others=0 if seen is None else seen.others,
        held_back=held,
        held_until=None if hold is None else hold.until,
    )
