"""What a replica writes down about its running engine, and how the next roost takes that engine up.

An engine is taken up only if it is the very process and the one this config would start; else it is stopped before
anything else starts. Called by `host/replica.py` and `host/work.py`.
"""

from typing import TYPE_CHECKING, Any

from roost.config.addresses import is_loopback
from roost.core.errors import StartError
from roost.core.lifecycle import Fact, Order, State
from roost.host import confirming, measure, work
from roost.host.calling import Reach
from roost.host.keepers.base import Start
from roost.host.keepers.identity import listener, start_time
from roost.host.launching import fingerprint, start_of
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

_HALF_WAY = frozenset({State.SUSPENDING, State.WAKING})


def remember(replica: "Replica") -> None:
    """Write down what runs and in which state, for the roost after this one."""
    if not replica.owned:
        _remember_sleep(replica)
        return
    if not replica.keeper.running or replica.started is None:
        return
    record = {
        **replica.keeper.identity(),
        **fingerprint(replica.started),
        "model": replica.model,
        "port": replica.address.port,
        "devices": list(replica.devices),
        "state": str(replica.state),
        "level": replica.level,
        "canary": replica.canary.record(),
    }
    _write(replica, record)


def _write(replica: "Replica", record: dict[str, Any]) -> None:
    try:
        replica.setup.store.write(replica.id, record)
    except OSError as error:
        log.warning("%s: the record for the next roost could not be written: %s", replica.id, error)


def _remember_sleep(replica: "Replica") -> None:
    """Of an engine elsewhere that cannot tell whether it sleeps (SGLang), only we know: a request to what gave its
    memory away, or a wake of what did not, ends it."""
    if replica.setup.adapter.sleep_query(replica.spec) is not None:
        return
    if replica.state is State.READY:
        replica.listening = None
        replica.setup.store.forget(replica.id)
        return
    if replica.state is State.SUSPENDING or replica.listening is None:
        replica.listening = _listener(replica)
    record = {
        "elsewhere": str(replica.address),
        "listener": replica.listening,
        "state": str(replica.state),
        "level": replica.level,
        "canary": replica.canary.record(),
    }
    _write(replica, record)


def _listener(replica: "Replica") -> list[float] | None:
    """None on another machine too, and where the process is another user's or a container's."""
    address = replica.address
    return listener(address.port) if is_loopback(address.host) else None


def ended(replica: "Replica") -> bool:
    """The process that was put to sleep is no more, as far as it can be seen. Cheap enough to be asked every second."""
    known = replica.listening
    return known is not None and start_time(int(known[0])) != known[1]


def replaced(replica: "Replica") -> bool:
    """It is no more, or another listens in its place. False also where that cannot be seen."""
    known = replica.listening
    if known is None or ended(replica):
        return known is not None
    now = _listener(replica)
    return now is not None and now != known


def recall_sleep(replica: "Replica") -> None:
    """An engine elsewhere that an earlier roost put to sleep, sleeps, unless another process has taken its place. One
    that was on its way when that roost ended may be anything, and so may be a fragile one that nobody can tell from
    another process."""
    record = replica.setup.store.read(replica.id)
    if record is None or record.get("elsewhere") != str(replica.address):
        return
    before, level, known = record.get("state"), record.get("level"), record.get("listener")
    replica.listening = known if isinstance(known, list) else None
    if replaced(replica):
        replica.listening = None
        replica.setup.store.forget(replica.id)
        return
    fragile = replica.setup.adapter.signs(replica.spec).fragile
    if before in _HALF_WAY:
        why = f"it was {before} when the earlier roost ended"
        if fragile:
            doubt(replica, why)
        else:
            replica.unsure = why
    elif before == State.ASLEEP and fragile and (replica.listening is None or _listener(replica) is None):
        doubt(replica, "the earlier roost put it to sleep, and it cannot be seen whether it is still that process")
    elif before == State.ASLEEP:
        replica.fell_asleep(level if isinstance(level, int) else None, "put to sleep by the earlier roost")
    replica.canary.recall_form(record.get("canary"))


def doubt(replica: "Replica", why: str) -> None:
    """From now on an engine elsewhere that cannot tell whether its memory is released is not touched, until another
    process has taken its place: a request to released memory ends it, and so does taking back what was not released."""
    replica.doubt = replica.last_error = (
        f"{replica.address} cannot tell whether its memory is released, and roost does not guess: {why}. Restart it."
    )
    log.error("%s: %s", replica.id, replica.doubt)


async def still_doubted(replica: "Replica") -> bool:
    """False as soon as it was seen to be gone, or another process in its place."""
    if not replica.doubt:
        return False
    if not await gone(replica):
        return True
    replica.doubt = replica.last_error = ""
    replica.listening = None
    replica.setup.store.forget(replica.id)
    return False


async def gone(replica: "Replica") -> bool:
    """One refused connection is enough: whatever comes up there later is another process. Silence says nothing."""
    return ended(replica) or await replica.caller.reach() is Reach.REFUSES


async def recover(replica: "Replica") -> None:
    """Adopt the engine of an earlier roost if it is the one this config would start; else stop it."""
    record = replica.setup.store.read(replica.id)
    if record is None:
        return
    replica.devices = _devices(record)
    start = _wanted(replica)
    if not replica.keeper.adopt(record, start):
        replica.setup.store.forget(replica.id)
        return
    if start is None or not _same(replica, start, record):
        await _end(replica, "the config changed; the engine of the earlier roost is stopped")
        return
    replica.started = start
    log.info("%s: adopted the engine of the earlier roost (pid %s)", replica.id, record["pid"])
    await _take_up(replica, record)


def _devices(record: dict[str, Any]) -> tuple[str, ...]:
    """Where the engine runs: its environment says so, and so it is part of what is compared."""
    known = record.get("devices")
    return tuple(str(device) for device in known) if isinstance(known, list) else ()


def _wanted(replica: "Replica") -> Start | None:
    try:
        return start_of(replica)
    except (StartError, ValueError):
        return None


def _same(replica: "Replica", start: Start, record: dict[str, Any]) -> bool:
    now = {**fingerprint(start), "port": replica.address.port}
    named = replica.spec.devices
    if named and not set(replica.devices) <= set(named):
        return False
    return all(record.get(key) == value for key, value in now.items())


async def _end(replica: "Replica", why: str) -> None:
    """Its memory counts until it is gone: a survivor makes the replica STUCK, not COLD."""
    log.info("%s: %s (pid %s)", replica.id, why, replica.keeper.pid)
    if await replica.keeper.stop(replica.spec.stop_grace):
        replica.setup.store.forget(replica.id)
        return
    replica.fact(Order.LOAD, why)
    replica.fact(Order.STOP, why)
    replica.fact(Fact.SURVIVED_KILL, "alive after SIGKILL")
    replica.begin(lambda: work.until_unstuck(replica), "unstick")


async def _take_up(replica: "Replica", record: dict[str, Any]) -> None:
    before, level = record.get("state"), record.get("level")
    replica.canary.recall(record.get("canary"), before)
    asleep = await confirming.says_asleep(replica)
    if asleep or (asleep is None and before == State.ASLEEP):
        known = level if before == State.ASLEEP and isinstance(level, int) else None
        replica.fell_asleep(known, "adopted asleep")
    elif asleep is None and before in _HALF_WAY:
        await _end(replica, f"its engine was {before} when the earlier roost ended, and cannot say what came of it")
    elif before in (State.READY, State.DRAINING) and await work.answers(replica):
        await work.learn(replica)
        await confirming.examine(replica)
        replica.fact(Fact.READY, "adopted ready")
        remember(replica)
        replica.begin(lambda: measure.note_awake(replica), "measure")
    else:
        replica.fact(Order.LOAD, "adopted while it started")
        replica.begin(lambda: work.until_ready(replica), "load")
