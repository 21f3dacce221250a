"""Keeps an eye on the memory of this machine's devices: how large they are, what others use, what has come free.

Looks every few seconds, and at once after a transition; never on the loop and never on the path of a request. Where
nothing can be read, that is said once and the sizes of the config count. Decides nothing: `control/budgets.py` makes
budgets of it. Made by `host/account.py`; does nothing where no budget is configured.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from roost import clock
from roost.config.addresses import is_loopback
from roost.core.device import Seen
from roost.core.events import Changed
from roost.core.footprint import HOST, Footprint, Source
from roost.core.lifecycle import State
from roost.core.spec import ModelSpec, RoostSpec
from roost.core.units import format_size
from roost.engines.base import Machine
from roost.host import devices
from roost.host.devices import Gpu
from roost.host.devices_read import Leader, MachineReading, read_machine
from roost.host.devices_share import SETTLED, Stake, Steady, others_on
from roost.host.footprints import Figure, Footprints, Rung
from roost.host.lingering import LIMIT_S, Linger, Lingering
from roost.host.offloop import OneThread
from roost.logs import log
from roost.tasks import spawn

if TYPE_CHECKING:
    from roost.host.replica import Replica

READ_S = 5.0
FIRST_READ_S = 15.0
"""A driver that nobody uses begins anew for each caller, which takes seconds."""
IDLE_S = 5.0
AGAIN_S = 1.0
"""Until the second look at what others seem to use more of."""
POLL_S, SLOWER_POLL_S = 0.1, 0.25
_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_WORTH_A_LOOK = _NOTHING_RUNS | {State.READY, State.ASLEEP}
Reader = Callable[[Mapping[str, Leader]], Awaitable[MachineReading]]


def machine_reader() -> Reader:
    """Reads this machine, in one thread."""
    thread: OneThread[MachineReading] = OneThread("roost devices")

    async def read(leaders: Mapping[str, Leader]) -> MachineReading:
        return await thread.run(lambda: read_machine(leaders), FIRST_READ_S)

    return read


class DeviceWatch:
    """What is seen of the devices that have a budget."""

    def __init__(
        self, spec: RoostSpec, machine: Machine, replicas: Callable[[], Iterable["Replica"]], read: Reader
    ) -> None:
        self._memory = spec.memory
        scheduled = [name for schedule in spec.policy.schedules for name in schedule.devices]
        self._written = tuple(name for name in dict.fromkeys((*spec.memory.devices, *scheduled)) if name != HOST)
        self._host = spec.memory.host is not None or spec.memory.discover or HOST in scheduled
        self._has_gpu = machine.has_gpu
        self._replicas = replicas
        self._read = read
        self.footprints: Footprints | None = None
        self.nudge: Callable[[], None] = lambda: None
        self._gpus: dict[str, Gpu] = {}
        self._all: tuple[Gpu, ...] = ()
        self._others: dict[str, Steady] = {}
        self._sizes: dict[str, int] = {}
        self._held: Mapping[str, Mapping[str, int | None]] = {}
        self._sighted = False
        """An engine of ours was shown with what it holds: then those that are not shown hold nothing."""
        self._lingering = Lingering()
        self._said: set[str] = set()
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # to read

    @property
    def wanted(self) -> bool:
        """Whether there is a budget that the machine has a say in."""
        return bool(self._written) or self._host

    def seen(self) -> Mapping[str, Seen]:
        """Name -> what the machine shows, also for the devices that were discovered; without those it does not show."""
        return {name: Seen(size=self._sizes[name], others=steady.value) for name, steady in self._others.items()}

    def lingering(self, replica: str) -> int:
        """Bytes on each of its devices that are not yet seen free."""
        return self._lingering.of(replica)

    def device_size(self, spec: ModelSpec) -> int | None:
        """Of the smallest device that the model may run on: as seen, else as written."""
        names = spec.devices or tuple(self._gpus) or self._written
        sizes = [self._sizes.get(name) or self._memory.devices.get(name) for name in names]
        return min((size for size in sizes if size), default=None)

    def visible(self, names: Iterable[str]) -> dict[str, str]:
        """The variables that give an engine these devices and no others; empty where they are none of this machine."""
        return devices.visible(tuple(names), self._all, os.environ)

    def held(self, replica: str) -> Mapping[str, int]:
        """Device -> bytes that the replica was last seen to hold there."""
        shown = self._held.get(replica)
        if not shown:
            return {}
        return {name: held for name, gpu in self._gpus.items() if (held := shown.get(gpu.uuid)) is not None}

    # life

    async def start(self) -> None:
        """The first look, before anything is planned; then one now and then."""
        if self.wanted:
            await self.look()
            self._task = spawn(self._run(), "devices")

    def stop(self) -> None:
        """No further look."""
        if self._task is not None:
            self._task.cancel()

    def changed(self, change: Changed) -> None:
        """A replica moved: what it gave back is not free before it is seen to be."""
        if not self.wanted or change.after not in _WORTH_A_LOOK:
            return
        if change.after in _NOTHING_RUNS and change.before not in _NOTHING_RUNS:
            self._begin_lingering(change)
        self._due.set()

    def forget(self, replica: str) -> None:
        """The replica is no more."""
        self._held = {name: held for name, held in self._held.items() if name != replica}

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._due.wait()
            self._due.clear()
            try:
                await self.look()
            except Exception:  # a look that went wrong must not end all looking
                log.exception("the memory of the devices could not be looked at")

    def _pause_s(self) -> float:
        if self._lingering:
            return POLL_S if self._lingering.youngest_s(clock.now()) < 1.0 else SLOWER_POLL_S
        return AGAIN_S if any(steady.doubtful for steady in self._others.values()) else IDLE_S

    async def look(self) -> None:
        """One reading, and what follows from it. Never raises for a driver."""
        leaders = {replica.id: leader for replica in self._replicas() if (leader := _leader(replica)) is not None}
        begun_at = clock.now()
        try:
            async with asyncio.timeout(READ_S if self._all else FIRST_READ_S):
                reading = await self._read(leaders)
        except TimeoutError:
            self._say_once("the driver of the devices did not answer in time")
            self._end_overdue({})
            return
        self._take(reading, begun_at)

    # what follows from a reading

    def _take(self, reading: MachineReading, begun_at: float) -> None:
        if reading.why and self._gpus and not reading.gpus:
            self._say_once(f"no GPU can be read now: {reading.why}; what was last seen of them counts on")
            self._end_overdue({})
            return
        self._name(reading)
        self._held = reading.held
        self._sighted = self._sighted or any(
            held is not None for shown in reading.held.values() for held in shown.values()
        )
        self._learn(begun_at)
        stakes = self._stakes()
        raw = {name: others_on(name, gpu, stakes, reading.held) for name, gpu in self._gpus.items()}
        freed = self._lingering.see({self._gpus[name].uuid: others for name, others in raw.items()}, begun_at)
        changed = self._end_overdue(raw) or freed
        for name, others in raw.items():
            if others is not None and not self._lingering.touches(self._gpus[name].uuid):
                changed = self._note(name, others, self._gpus[name].size) or changed
        if self._host and reading.host is not None:
            ours = sum(reading.host_held.values())
            changed = self._note(HOST, max(0, reading.host.used - ours), reading.host.size) or changed
        if changed:
            self.nudge()

    def _name(self, reading: MachineReading) -> None:
        """Which GPU each name means; the config's own names come first."""
        self._all = reading.gpus
        found = {name: gpu for name in self._written if (gpu := devices.find(name, reading.gpus)) is not None}
        if self._memory.discover:
            meant = {gpu.uuid for gpu in found.values()}
            found |= {name: gpu for name, gpu in devices.named(reading.gpus).items() if gpu.uuid not in meant}
        lost = [gpu.uuid for name, gpu in self._gpus.items() if name not in found]
        self._lingering.drop(lost)
        self._gpus = found
        for name in [name for name in self._others if name != HOST and name not in found]:
            del self._others[name], self._sizes[name]
        if reading.why and (lost or self._memory.discover or (self._has_gpu and self._written)):
            self._say_once(f"no GPU can be read: {reading.why}; budgets are as the configuration has them")

    def _note(self, name: str, others: int, size: int) -> bool:
        known, grown = self._others.get(name), self._sizes.get(name) != size
        self._sizes[name] = size
        if known is None:
            self._others[name] = Steady(others)
            return True
        return known.see(others, size) or grown

    def _end_overdue(self, raw: Mapping[str, int | None]) -> bool:
        """What does not come free in time is taken for others' from now on."""
        overdue = self._lingering.overdue(clock.now())
        for linger in overdue:
            names = [name for name, gpu in self._gpus.items() if gpu.uuid in linger.before]
            log.warning(
                "%s has ended, yet %s of %s did not come free within %.0f s; until it does it counts as others'. "
                "Look for processes that it left behind (nvidia-smi).",
                linger.replica,
                format_size(linger.bytes),
                ", ".join(names),
                LIMIT_S,
            )
            for name in names:
                if (others := raw.get(name)) is not None and name in self._others:
                    self._others[name].believe(others)
        return bool(overdue)

    def _begin_lingering(self, change: Changed) -> None:
        replica = next((one for one in self._replicas() if one.id == change.replica), None)
        if replica is None:
            return
        shown = self.held(change.replica)
        if not shown and not self._sighted:
            names = _names(replica, self._gpus)
            claim = _claim(replica.footprint, change.before, None) or 0
            shown = dict.fromkeys((name for name in names if name in self._gpus), claim)
        before = {self._gpus[name].uuid: self._others[name].latest for name in shown if name in self._others}
        given = max((held for name, held in shown.items() if name in self._others), default=0)
        if given > 0:
            linger = Linger(replica=replica.id, since=clock.now(), bytes=given, given=given, before=before)
            self._lingering.begin(linger)

    # roost's own engines

    def _stakes(self) -> list[Stake]:
        found = []
        for replica in self._replicas():
            if replica.state in _NOTHING_RUNS or _leader(replica) is None:
                continue
            claim = _claim(replica.footprint, replica.state, replica.level)
            known = 0 if self._sighted else claim
            names = _names(replica, self._gpus)
            found.append(Stake(replica=replica.id, state=replica.state, devices=names, claim=known))
        return found

    def _learn(self, begun_at: float) -> None:
        """An engine that serves may grow; one that sleeps may shrink on for a while. What moved since the reading began
        was seen in another state."""
        for replica in self._replicas() if self.footprints is not None else ():
            held = self.held(replica.id)
            settled = replica.state in SETTLED and replica.since <= begun_at
            if held and settled and self.footprints is not None:
                rung = Rung.of(replica.level) if replica.state is State.ASLEEP else Rung.AWAKE
                seen = Figure(device=max(held.values()))
                self.footprints.learn(replica, rung, seen, only_more=rung is Rung.AWAKE)

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            level = logging.WARNING if self._has_gpu else logging.INFO
            log.log(level, "memory: %s", what)


def _names(replica: "Replica", gpus: Mapping[str, Gpu]) -> tuple[str, ...]:
    """Where it runs as far as anybody chose; else the first device, which is where engines go by themselves."""
    return replica.devices or replica.spec.devices or tuple(gpus)[:1]


def _claim(footprint: Footprint | None, state: State, level: int | None) -> int | None:
    """What it should hold on a device in that state; None: nobody knows."""
    if footprint is None:
        return None
    if state is not State.ASLEEP:
        held = footprint.awake
        return None if held.source is Source.UNKNOWN and not held.device else held.device
    if level is None:
        return max(footprint.level1.device, footprint.level2.device)
    return int(getattr(footprint, Rung.of(level)).device)


def _leader(replica: "Replica") -> Leader | None:
    """How its process is found; None where nothing runs, or on another machine."""
    if replica.owned:
        pid = replica.keeper.pid
        return None if pid is None else Leader(pid=pid)
    if replica.state in _NOTHING_RUNS or not is_loopback(replica.address.host):
        return None
    return Leader(port=replica.address.port)
