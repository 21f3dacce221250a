"""How much memory an engine holds, and whether a sleep gave it back: on its GPUs where the driver shows its processes,
in the host's memory for an engine that computes there.

Never on the path of a request and never on the event loop: readings are taken in a thread, one at a time, and given up
when the driver hangs. Decides nothing about a sleep that freed nothing: `host/work.py` and `host/watching.py`, which
call this, do.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

import psutil

from roost import clock
from roost.config.addresses import is_loopback
from roost.core.spec import EngineKind
from roost.core.units import format_size
from roost.host.devices_read import held_on, read_gpus
from roost.host.families import families
from roost.host.footprints import Rung
from roost.host.keepers.identity import listener
from roost.host.offloop import OneThread
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

READ_S = 2.0
NOTE_AFTER_S = 0.25
"""From ready to the look at what it holds: the requests that waited for it go first, a reading takes milliseconds."""
FALL_S = 5.0
"""How long memory may take to fall after the engine said that it sleeps."""
POLL_S = 0.05
LEAST_SHARE = 0.1
"""Of what it held above its asleep footprint: sleeps that work free most of it, those that do nothing free nothing."""
STEADY_SHARE = 0.01
_GPU_WORDS = frozenset({"vllm", "sglang", "vllm.entrypoints.openai.api_server", "sglang.launch_server"})


class Kind(StrEnum):
    """Whose memory was measured."""

    DEVICE = "GPU memory"
    RESIDENT = "resident memory"


_FLOORS = {Kind.DEVICE: 1 << 30, Kind.RESIDENT: 256 << 20}
"""Below it nothing is judged: a CUDA context, or an interpreter with a server in it, holds half of that anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Bytes of one engine's processes; None where they cannot be seen, on devices with the reason."""

    device: int | None = None
    """On all of its devices together."""
    most: int | None = None
    """On the one of them where it holds most."""
    resident: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an engine holds; `held` None: not judged by it, and `why`."""

    held: int | None = None
    kind: Kind = Kind.DEVICE
    why: str = ""
    device: int | None = None
    """On the device where it holds most; None where that is not seen, or none of it."""
    host: int | None = None
    """Of host memory, whatever else it is judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """The memory around a sleep. `text` says what was measured, or that and why it was not; `kept` that it ought to
    have fallen and did not."""

    before: int | None = None
    after: int | None = None
    text: str = ""
    kept: bool = False


class Gauge(Protocol):
    """Reads the memory of processes."""

    async def read(self, pid: Callable[[], int | None]) -> Reading:
        """Of the process that `pid` finds, all that it started and its group. Never raises."""
        ...


class MachineGauge:
    """Implements `Gauge` with psutil and the GPUs' drivers. One thread at most: a driver that hangs holds up nothing
    but it."""

    def __init__(self) -> None:
        self._thread: OneThread[Reading] = OneThread("roost gauge")

    async def read(self, pid: Callable[[], int | None]) -> Reading:
        try:
            return await self._thread.run(lambda: _read(pid), READ_S)
        except TimeoutError:
            return Reading(why=f"the driver did not answer within {READ_S:g} s")
        except Exception as error:  # whatever a driver's library may raise
            return Reading(why=f"the reading failed: {error}")


def _read(pid: Callable[[], int | None]) -> Reading:
    """Runs in the thread."""
    leader = pid()
    if leader is None:
        return Reading(why="its process cannot be seen")
    pids = families([leader])[leader]
    gpus, why = read_gpus(pids, {})  # an engine may see more of them than roost does
    resident = _resident(pids)
    if not gpus:
        return Reading(resident=resident, why=why)
    each = [held_on(gpu, pids) or 0 for gpu in gpus]
    return Reading(device=sum(each), most=max(each), resident=resident)


def _resident(pids: Iterable[int]) -> int | None:
    """Proportional set size, so that what processes share counts once; resident size where the system has no such."""
    total, seen = 0, False
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += _resident_of(psutil.Process(pid))
            seen = True
    return total if seen else None


def _resident_of(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(info, "pss", info.rss))


# one engine


async def measure(replica: "Replica", like: Kind | None = None) -> Measured:
    """What it holds now; `like`: only this kind, to compare with."""
    finder = _finder(replica)
    if finder is None:
        return Measured(why="it runs on another machine" if not replica.owned else "nothing runs")
    reading = await replica.setup.gauge.read(finder)
    seen = Measured(device=reading.most or reading.device or None, host=reading.resident)
    if reading.device is not None and (reading.device > 0 or like is Kind.DEVICE):
        return replace(seen, held=reading.device, kind=Kind.DEVICE)
    if like is Kind.DEVICE:
        return replace(seen, why=reading.why)
    why = _beyond_host(replica, reading)
    return replace(seen, why=why) if why else replace(seen, held=reading.resident, kind=Kind.RESIDENT, why=reading.why)


def _finder(replica: "Replica") -> Callable[[], int | None] | None:
    if replica.owned:
        pid = replica.keeper.pid
        return None if pid is None else lambda: pid
    address = replica.address
    if not is_loopback(address.host):
        return None

    def listening() -> int | None:
        found = listener(address.port)
        return int(found[0]) if found else None

    return listening


def _beyond_host(replica: "Replica", reading: Reading) -> str:
    """Why host memory says nothing of this engine; empty where it does."""
    kind = replica.setup.adapter.kind
    if kind in (EngineKind.LLAMACPP, EngineKind.SIMULATED):
        return ""
    if replica.setup.machine.has_gpu:
        return reading.why or "NVML shows none of its processes, as in a container with process numbers of its own"
    if kind in (EngineKind.VLLM, EngineKind.SGLANG) or _runs_gpu_engine(replica):
        return "no GPU: the sleep of such an engine frees nothing on a CPU"
    return ""


def _runs_gpu_engine(replica: "Replica") -> bool:
    """A command line of the user's own may well start vLLM or SGLang."""
    argv = replica.started.argv if replica.started is not None else ()
    return any(PurePath(word).name in _GPU_WORDS for word in argv)


async def note_awake(replica: "Replica") -> None:
    """Remember what it holds awake: an engine that falls asleep by itself does not say so before."""
    await asyncio.sleep(NOTE_AFTER_S)
    replica.measured = await measure(replica)
    replica.setup.memory.learn(replica, Rung.AWAKE, replica.measured.device, replica.measured.host)


async def fall(replica: "Replica", before: Measured, level: int | None = None) -> Fall:
    """Waits until its memory fell, FALL_S at most, and until it falls no more. Not judged is the host's memory of a
    program of the user's own after a sleep at level 1: that level may keep the weights there."""
    if before.held is None:
        seen = await measure(replica)  # what it keeps of the host's memory is worth knowing all the same
        replica.setup.memory.learn(replica, Rung.of(level), None, seen.host)
        return Fall(text=f"not measured: {before.why}")
    keeps = replica.spec.footprint_asleep if before.kind is Kind.DEVICE else 0
    least = round(LEAST_SHARE * max(before.held - keeps, 0))
    may_stay = before.kind is Kind.RESIDENT and level == 1 and replica.setup.adapter.kind is EngineKind.COMMAND
    judged = before.held >= _FLOORS[before.kind] and not may_stay
    after = await _fallen(replica, before, least if judged else None)
    if after.held is None:
        return Fall(before=before.held, text=f"not measured after the sleep: {after.why}")
    replica.measured = after
    kept = judged and before.held - after.held < least
    if not kept:
        replica.setup.memory.learn(replica, Rung.of(level), after.device, after.host)
    text = f"{before.kind} {format_size(before.held)} before, {format_size(after.held)} after"
    return Fall(before=before.held, after=after.held, text=text, kept=kept)


async def _fallen(replica: "Replica", before: Measured, least: int | None) -> Measured:
    """`least` None: nothing is waited for."""
    held, last, deadline = before.held or 0, None, clock.now() + FALL_S
    while True:
        now = await measure(replica, before.kind)
        if now.held is None or least is None or clock.now() >= deadline:
            return now
        freed = held - now.held
        steady = last is not None and abs(now.held - last) <= STEADY_SHARE * held
        if freed >= held / 2 or (freed >= least and steady):
            return now
        last = now.held
        await asyncio.sleep(POLL_S)


async def after_own_sleep(replica: "Replica") -> None:
    """It fell asleep by itself: say what that freed. Only said: what the engine does of its own will is not undone."""
    if replica.measured is None:
        return
    seen = await fall(replica, replica.measured)
    if seen.kept:
        log.warning("%s: asleep by itself, yet its memory did not fall: %s", replica.id, seen.text)
    else:
        log.info("%s: asleep by itself; %s", replica.id, seen.text)


def check_footprint(replica: "Replica", seen: Fall) -> None:
    """Others are placed as if only `footprint_asleep` stayed: say so where more does."""
    spec, measured = replica.spec, replica.measured
    if spec.footprint is None or measured is None or measured.kind is not Kind.DEVICE or seen.after is None:
        return
    if seen.after > spec.footprint_asleep + LEAST_SHARE * spec.footprint:
        log.warning(
            "%s: keeps %s asleep, and footprint_asleep says %s: others are placed as if the rest were free. "
            "Write what it keeps as footprint_asleep.",
            replica.id,
            format_size(seen.after),
            format_size(spec.footprint_asleep),
        )
