"""Looks at engines that nobody is working on: is it still there, does it sleep, did it come up elsewhere.

Never wakes an engine and never touches one whose memory is released, beyond asking whether its port accepts.
One `monitor` per replica, from `recover` to `close`.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from roost import clock
from roost.core.errors import StepError
from roost.core.lifecycle import Fact, Order, State
from roost.core.units import format_duration
from roost.host import canary, measure, work
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

WATCH_S = 2.0
AWAIT_FOREIGN_S = 1.0


async def monitor(replica: "Replica", look: asyncio.Event) -> None:
    """Look now and then, or at once when someone saw its port refuse; ends with roost."""
    while True:
        period = WATCH_S if replica.owned or replica.state is State.READY else AWAIT_FOREIGN_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period):
                await look.wait()
        look.clear()
        try:
            await look_once(replica)
        except Exception:  # a look that went wrong must not end all looking
            log.exception("%s: could not be looked at", replica.id)


async def look_once(replica: "Replica") -> None:
    """One round."""
    output = replica.setup.output
    if output.full():
        try:
            await asyncio.to_thread(output.bound)
        except OSError as error:  # no reason not to look at the engine itself
            log.warning("%s: its log could not be kept within its size: %s", replica.id, error)
    if replica.state in (State.READY, State.DRAINING):
        await _watch_ready(replica)
    elif replica.state is State.ASLEEP:
        await _watch_asleep(replica)
    elif not replica.owned and replica.state in (State.COLD, State.BACKOFF):
        await look_at_foreign(replica)


async def _watch_ready(replica: "Replica") -> None:
    since = replica.since
    answers = await work.answers(replica)
    asleep = await work.is_asleep(replica) if answers else None
    if replica.since != since:
        return  # it moved while we looked: what was seen is about the past
    if answers:
        replica.lost_since = None
        replica.forget_failures_if_stable()
        if asleep:
            replica.fell_asleep(None, "it fell asleep by itself or by someone else's order")
            await measure.after_own_sleep(replica)
        return
    silent = _silence(replica)
    if silent < replica.spec.timeouts.probe_lost:
        return
    why = f"answered no probe and sent no byte for {format_duration(silent)} (timeouts.probe_lost)"
    if replica.owned:
        work.stop_failed(replica, Fact.PROBES_LOST, why)
    else:
        replica.failed(Fact.GONE, why)


def _silence(replica: "Replica") -> float:
    """Seconds since the first lost probe or the last byte of an answer, whichever is later."""
    now, last_byte_at = clock.now(), replica.setup.last_byte_at()
    if replica.lost_since is None:
        replica.lost_since = now
    if last_byte_at is not None:
        replica.lost_since = max(replica.lost_since, last_byte_at)
    return now - replica.lost_since


async def _watch_asleep(replica: "Replica") -> None:
    since = replica.since
    asleep = await work.is_asleep(replica)
    there = asleep is not None or replica.owned or await replica.caller.connects()
    if replica.since != since:
        return
    if asleep is False:
        replica.fact(Fact.FOUND_AWAKE, "found awake: someone else woke it")
        replica.begin(lambda: work.verify_awake(replica), "verify")
    elif there:
        replica.lost_since = None
    elif _silence(replica) >= replica.spec.timeouts.probe_lost:
        replica.canary.begin()
        replica.fact(Fact.GONE, f"{replica.address} does not answer any more (timeouts.probe_lost)")


async def look_at_foreign(replica: "Replica") -> None:
    """An engine that runs elsewhere: ready, asleep, or still awaited."""
    since = replica.since
    if replica.state is State.BACKOFF and replica.retry_at is not None and clock.now() < replica.retry_at:
        return
    if not await work.answers(replica):
        if replica.canary.known and not await replica.caller.connects():
            replica.canary.begin()  # that process is gone: the next one may well hold other weights
        return
    asleep = await work.is_asleep(replica)
    if not asleep and replica.state is State.BACKOFF and not await _verified(replica):
        return
    if not asleep and canary.wanted(replica.spec, replica.spec.sleep_level):
        await canary.take(replica, replica.steps)
    if replica.since != since:
        return
    if not asleep:
        replica.fact(Fact.READY, "found ready")
        await measure.note_awake(replica)
        return
    if replica.state is State.BACKOFF:
        replica.fact(Order.STOP, "found again, asleep")
    replica.fell_asleep(None, "found asleep")


async def _verified(replica: "Replica") -> bool:
    """After a failure its word is not enough."""
    try:
        await work.verify(replica)
    except StepError as error:
        replica.last_error = f"answers its probe again, yet {error}"
        return False
    return True
