"""One reading of the machine: its GPUs, its memory, and what each of roost's engines holds of them.

Blocks as long as a driver does: called in a thread, by `devices_watch` and `measure`. Decides nothing.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from roost.host import devices_amd, devices_nvml, host_memory
from roost.host.devices import Gpu
from roost.host.devices_nvml import NoReading
from roost.host.families import families
from roost.host.host_memory import HostMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """By which process an engine is found: its own pid, or whoever listens on its port."""

    pid: int | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """The machine at one moment."""

    gpus: tuple[Gpu, ...] = ()
    host: HostMemory | None = None
    held: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    """Replica -> UUID -> bytes; None where the driver shows its processes and not what they hold."""
    host_held: Mapping[str, int] = field(default_factory=dict)
    """Replica -> bytes of host memory, file cache left out."""
    why: str = ""
    """Why there are no GPUs; empty if there are some."""


def read_gpus(pids: Iterable[int], env: Mapping[str, str]) -> tuple[list[Gpu], str]:
    """All that the variables of `env` let a program see, and the reason where that is none. Of AMD's GPUs only what
    `pids` hold is told."""
    why, nvidia = "", []
    try:
        nvidia = devices_nvml.read(env)
    except NoReading as error:
        why = str(error)
    found = [*nvidia, *devices_amd.read(env, pids)]
    return found, "" if found else why or "there is none, or CUDA_VISIBLE_DEVICES hides it"


def read_machine(leaders: Mapping[str, Leader]) -> MachineReading:
    """`leaders`: replica -> how its process is found."""
    pids = _pids(leaders)
    trees = families(pids.values())
    own = {replica: trees[pid] for replica, pid in pids.items()}
    gpus, why = read_gpus({pid for tree in own.values() for pid in tree}, os.environ)
    return MachineReading(
        gpus=tuple(gpus),
        host=host_memory.read(),
        held={replica: held for replica, tree in own.items() if (held := _held(gpus, tree))},
        host_held={replica: host_memory.kept_by(tree) for replica, tree in own.items()},
        why=why,
    )


def _held(gpus: Iterable[Gpu], tree: Iterable[int]) -> dict[str, int | None]:
    return {gpu.uuid: held_on(gpu, shown) for gpu in gpus if (shown := gpu.by_pid.keys() & set(tree))}


def held_on(gpu: Gpu, pids: Iterable[int]) -> int | None:
    """What these processes hold there together; None if it is told of none of them."""
    told = [held for pid in pids if (held := gpu.by_pid.get(pid)) is not None]
    return sum(told) if told else None


def _pids(leaders: Mapping[str, Leader]) -> dict[str, int]:
    found = {replica: leader.pid for replica, leader in leaders.items() if leader.pid is not None}
    asked = {leader.port: replica for replica, leader in leaders.items() if leader.pid is None and leader.port}
    if not asked:
        return found
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return found
    for one in connections:
        if one.status == psutil.CONN_LISTEN and one.laddr and one.pid is not None and one.laddr.port in asked:
            found[asked[one.laddr.port]] = one.pid
    return found
