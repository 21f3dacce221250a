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
from roost.core.step import Operation
from roost.core.units import format_duration
from roost.host import adoption, canary, confirming, failures, measure, stall, work
from roost.host.confirming import Seen
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

WATCH_S = 2.0
AWAIT_FOREIGN_S = 1.0
PAUSED = "someone else paused it: its memory is all there, yet it takes no step; a wake lifts that"


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
    seen = await confirming.look(replica) if answers else Seen.UNKNOWN
    if replica.since != since:
        return  # it moved while we looked: what was seen is about the past
    if answers:
        replica.lost_since = None
        failures.forget_if_stable(replica)
        if seen is Seen.PAUSED:
            replica.fell_asleep(0, PAUSED)
        elif seen is Seen.ASLEEP:
            replica.fell_asleep(None, "it fell asleep by itself or by someone else's order")
            await measure.after_own_sleep(replica)
        else:
            await stall.look(replica)
        return
    silent = silence(replica)
    if silent < replica.spec.timeouts.probe_lost:
        return
    why = f"answered no probe and sent no byte for {format_duration(silent)} (timeouts.probe_lost)"
    if replica.owned:
        work.stop_failed(replica, Fact.PROBES_LOST, why)
    else:
        replica.failed(Fact.GONE, why)


def silence(replica: "Replica") -> float:
    """Seconds since the first lost probe or the last byte of an answer, whichever is later."""
    now, last_byte_at = clock.now(), replica.setup.last_byte_at()
    if replica.lost_since is None:
        replica.lost_since = now
    if last_byte_at is not None:
        replica.lost_since = max(replica.lost_since, last_byte_at)
    return now - replica.lost_since


async def _watch_asleep(replica: "Replica") -> None:
    since = replica.since
    seen = await _look_asleep(replica)
    believed = seen is not Seen.ASLEEP or replica.level is None or await _sleeps_as_believed(replica)
    gone = there = False
    if seen is Seen.UNKNOWN and not replica.owned:
        # Whatever comes up where a fragile one was must never be woken.
        gone = replica.setup.adapter.signs(replica.spec).fragile and await adoption.gone(replica)
        there = not gone and await replica.caller.connects()
    if replica.since != since:
        return  # our own wake overlaps: what was seen is about the past
    if not believed:
        replica.deeper("someone else put it to sleep anew")
    if seen is Seen.AWAKE:
        replica.fact(Fact.FOUND_AWAKE, "found awake: someone else woke it")
        replica.begin(lambda: work.verify_awake(replica), "verify")
    elif there or seen is not Seen.UNKNOWN or replica.owned:
        replica.lost_since = None
    elif gone:
        _forget_sleep(replica, f"the process that slept at {replica.address} is gone")
    elif silence(replica) >= replica.spec.timeouts.probe_lost:
        _forget_sleep(replica, f"{replica.address} does not answer any more (timeouts.probe_lost)")


def _forget_sleep(replica: "Replica", why: str) -> None:
    replica.canary.begin()
    replica.listening = None
    replica.setup.store.forget(replica.id)
    replica.fact(Fact.GONE, why)


async def _look_asleep(replica: "Replica") -> Seen:
    """Only of one that was paused is it of interest whether it still is."""
    if replica.level == 0:
        return await confirming.look(replica)
    match await confirming.says_asleep(replica):
        case None:
            return Seen.UNKNOWN
        case asleep:
            return Seen.ASLEEP if asleep else Seen.AWAKE


async def _sleeps_as_believed(replica: "Replica") -> bool:
    shown = await confirming.levels(replica)
    return replica.level in shown if shown else replica.level != 0


async def look_at_foreign(replica: "Replica") -> None:
    """An engine that runs elsewhere: ready, asleep, or still awaited."""
    since = replica.since
    if replica.unsure and await adoption.gone(replica):
        replica.unsure = ""
        replica.canary.begin()
    if replica.retry_at is not None and clock.now() < replica.retry_at:
        return
    if await adoption.still_doubted(replica):
        return
    # One that is half asleep may say that it is not ready for as long as it is not woken.
    if not await work.answers(replica) and not (replica.unsure and await replica.caller.connects()):
        if replica.canary.known and not await replica.caller.connects():
            replica.canary.begin()  # that process is gone: the next one may well hold other weights
        await _say_what_is_missing(replica)
        return
    seen = await confirming.look(replica)
    asleep = seen in (Seen.ASLEEP, Seen.PAUSED)
    if not asleep and not await _fit_to_serve(replica):
        return
    if not asleep and canary.wanted(replica.spec, replica.spec.sleep_level):
        with work.sequence_of(replica, Operation.LOAD) as sequence:
            await canary.take(replica, sequence.records)
    if replica.since != since:
        return
    if not asleep:
        await _take_in(replica)
        replica.begin(lambda: measure.note_awake(replica), "measure")
        return
    if replica.state is State.BACKOFF:
        replica.fact(Order.STOP, "found again, asleep")
    if seen is Seen.PAUSED and not replica.unsure:
        replica.fell_asleep(0, PAUSED)
    else:
        replica.unsure = ""  # the wake of an unknown level does all that there is to do
        replica.fell_asleep(None, "found asleep")


async def _take_in(replica: "Replica") -> None:
    since = replica.since
    await confirming.examine(replica)
    if replica.since == since:
        replica.unproven = replica.state is State.COLD and not replica.canary.asks
        replica.fact(Fact.READY, "found ready")
        replica.remember()


async def _say_what_is_missing(replica: "Replica") -> None:
    """An engine that cannot say whether it sleeps, and accepts connections without being ready."""
    adapter, spec = replica.setup.adapter, replica.spec
    if not adapter.signs(spec).fragile or replica.last_error or not await replica.caller.connects():
        return
    replica.last_error = (
        f"{replica.address} is there, yet {adapter.probe(spec).path} does not say it is ready: it loads, or someone "
        "paused it. roost takes back no memory that it did not release: wait, or restart that engine."
    )


async def _fit_to_serve(replica: "Replica") -> bool:
    """Before anything failed its word is enough, after a failure it is not. After a sleep or wake that failed on its
    way nobody knows what it is: it is woken as a whole first."""
    if replica.unsure:
        return await _woken(replica)
    return (replica.state is State.COLD and not canary.untried(replica)) or await _verified(replica)


async def _woken(replica: "Replica") -> bool:
    replica.canary.slept = True
    try:
        with work.sequence_of(replica, Operation.WAKE) as sequence:
            await work.wake_whole(replica, None, sequence)
    except StepError as error:
        failures.back_off(replica, f"{replica.unsure}; it may be half asleep, and could not be woken: {error}")
        return False
    replica.unsure = ""
    return True


async def _verified(replica: "Replica") -> bool:
    try:
        with work.sequence_of(replica, Operation.LOAD) as sequence:
            await work.verify(replica, sequence)
    except StepError as error:
        replica.last_error = f"answers its probe again, yet {error}"
        return False
    return True
