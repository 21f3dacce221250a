"""What one replica counts for: the bytes it holds in a state, the level it would sleep at, the devices it may take.

Of single replicas only; the sums are `room`'s. Claimed and measured figures come resolved in the view; without them
the spec's are used. Pure; called by `room`, `rungs` and `lower`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from roost.core.lifecycle import ASLEEP, RESIDENT, State
from roost.core.spec import ModelSpec
from roost.core.view import ModelView, ReplicaView

Amounts = Mapping[str, int]
"""By key of the ledger: bytes or places."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
_ON_THE_WAY = frozenset({State.SUSPENDING, State.WAKING, State.STOPPING, State.STUCK})
"""Resident, and perhaps still or already with what a sleeper keeps in host memory."""


def takes_place(replica: ReplicaView, state: State) -> bool:
    """Whether it counts as awake in that state. An engine that runs elsewhere and cannot be put to sleep takes no
    place: roost could never free it, and it may well be on another machine. An adapter is part of its base."""
    return keeps_memory(replica, state) and not replica.base and (replica.owned or bool(replica.sleep_levels))


def keeps_memory(replica: ReplicaView, state: State) -> bool:
    """Whether its whole awake footprint counts in that state: also where somebody merely paused it (level 0), which
    gives nothing back. What its server will most likely refuse to load takes nothing of it."""
    if replica.unlisted:
        return False
    return state in RESIDENT or (state is ASLEEP and replica.state is ASLEEP and replica.level == 0)


def sleep_level(spec: ModelSpec, levels: tuple[int, ...], asked: int | None = None) -> int:
    """The level to sleep at: the one asked for, else the configured one, else the nearest the engine has."""
    wanted = spec.sleep_level if asked is None else asked
    return max((level for level in levels if level <= wanted), default=min(levels))


def bytes_in(model: ModelView, replica: ReplicaView, state: State, level: int | None = None) -> tuple[int, int]:
    """Bytes on each of its devices, and of host memory. `level` is that of the sleep, where it is not the present
    one's."""
    if keeps_memory(replica, state):
        device, host = held(model, replica, 0)
        asleep_device, asleep_host = held(model, replica, 1)
        if state in _ON_THE_WAY:
            asleep_host = held(model, replica, _level(model, replica, level))[1]
            host = max(host, asleep_host)
        return max(device, asleep_device), host
    if state is ASLEEP:
        return held(model, replica, _level(model, replica, level))
    return 0, 0


def held(model: ModelView, replica: ReplicaView, level: int) -> tuple[int, int]:
    """Bytes on each device and of the host at a level of sleep, 0 for awake."""
    known = replica.footprint
    if known is not None:
        seen = known.awake if level == 0 else known.level2 if level == 2 else known.level1
        return seen.device, seen.host
    spec = model.spec
    said = spec.footprints.awake if level == 0 else spec.footprints.level2 if level == 2 else spec.footprints.level1
    device = said.device
    if device is None:
        device = (spec.footprint or 0) if level == 0 else spec.footprint_asleep
    return device, said.host or 0


def _level(model: ModelView, replica: ReplicaView, asked: int | None) -> int:
    """Of its sleep: the one given, that of the sleep it is in or on its way to, else the one it would be put to. An
    engine's own counts as 1."""
    if asked is not None:
        return asked
    if replica.state is ASLEEP or replica.level is not None:
        return 1 if replica.level is None else replica.level
    return sleep_level(model.spec, replica.sleep_levels) if replica.sleep_levels else 1


@dataclass(frozen=True, slots=True)
class Choice:
    """On which devices a replica may come up, and how many it takes."""

    allowed: tuple[str, ...]
    count: int
    each: int
    """Bytes on each."""
    told: bool
    """Its engine is told which; else the figures only count there."""

    @property
    def fixed(self) -> bool:
        """There is nothing to choose."""
        return not self.told or len(self.allowed) <= self.count


def written_devices(spec: ModelSpec, replica: str) -> tuple[str, ...]:
    """The devices that the config gives to this very replica by `CUDA_VISIBLE_DEVICES`, as `gpu0`, `gpu1`; empty where
    it does not, or names them otherwise than by number."""
    value = spec.env.get(VISIBLE)
    if spec.replicas:
        own = spec.replicas[min(_index(replica), len(spec.replicas) - 1)]
        value = own.env.get(VISIBLE, value)
    if value is None:
        return ()
    words = [word.strip() for word in value.split(",")]
    return tuple(f"gpu{word}" for word in words) if all(word.isdigit() for word in words) else ()


def _index(replica: str) -> int:
    number = replica.rpartition("/")[2]
    return int(number) if number.isdigit() else 0
