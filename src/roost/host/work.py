"""The work behind a replica's transitions: start, wake, sleep, stop.

Each coroutine acts on one replica and ends by telling it a fact. Performs what adapter and keeper say; decides
nothing. Cancelled when another order replaces it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from roost.core.errors import StartError, StepError
from roost.core.events import Performed
from roost.core.lifecycle import Fact, State
from roost.core.step import Operation, Step
from roost.core.units import format_duration, format_size
from roost.engines.own import default_timeout_s
from roost.host import canary, confirming, inside, measure
from roost.host.keepers.base import PortTaken
from roost.host.launching import check_files, start_of
from roost.host.steps import Sequence
from roost.logs import log
from roost.tasks import spawn

if TYPE_CHECKING:
    from roost.host.replica import Replica

STUCK_S = 2.0
SETTLE_S = 0.02


# asking


async def answers(replica: "Replica") -> bool:
    """True if its probe says yes."""
    return await replica.caller.answers(replica.setup.adapter.probe(replica.spec))


async def verify(replica: "Replica", sequence: Sequence) -> None:
    """A real request that fits the task, and its answer. Raises StepError."""
    await canary.verify(replica, sequence.records)


async def prove_awake(replica: "Replica", sequence: Sequence) -> None:
    """The verifying request, and what its metrics show: both at once, as their page takes engines milliseconds to
    write. Raises StepError for the first that fails; the other is broken off."""
    if replica.setup.adapter.signs(replica.spec).gauge is None:
        await verify(replica, sequence)
        return
    jobs = (verify(replica, sequence), confirming.confirm_gauge(replica))
    proofs = [spawn(_failure(job), f"prove {replica.id}") for job in jobs]
    try:
        for proof in asyncio.as_completed(proofs):
            if (error := await proof) is not None:
                raise error
    finally:
        for proof in proofs:
            proof.cancel()


async def _failure(job: Coroutine[Any, Any, None]) -> StepError | None:
    try:
        await job
    except StepError as error:
        return error
    return None


async def learn(replica: "Replica") -> None:
    """The context length, where the engine's model list tells it (vLLM and llama-server do)."""
    answer = await replica.caller.ask(Step(method="GET", path="/v1/models", timeout_s=2.0))
    body = answer[1] if answer is not None else None
    listed = body.get("data") if isinstance(body, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        length = _context_length(entry)
        if length is not None:
            replica.context_length = length
            return


def _context_length(entry: Any) -> int | None:
    if not isinstance(entry, dict):
        return None
    meta = entry.get("meta")
    known = meta if isinstance(meta, dict) else {}
    length = entry.get("max_model_len") or known.get("n_ctx") or known.get("n_ctx_train")
    return length if isinstance(length, int) else None


# sequences of steps


@contextlib.contextmanager
def sequence_of(replica: "Replica", operation: Operation, level: int | None = None) -> Iterator[Sequence]:
    """What is done inside is one sequence: at its end, good or bad, it is logged, remembered and told."""
    sequence, error = Sequence(operation=operation, level=level), ""
    try:
        yield sequence
    except asyncio.CancelledError:
        error = "broken off before its end"
        raise
    except Exception as problem:
        error = str(problem) or type(problem).__name__
        raise
    finally:
        performed = sequence.ended(replica.id, replica.model, error)
        if not error:
            loudness = logging.DEBUG if operation is Operation.LOAD else logging.INFO
            log.log(loudness, "%s: %s", replica.id, summary(performed))
        replica.performed(performed)


def summary(performed: Performed) -> str:
    """`wake took 1.24 s; slowest: POST /collective_rpc, 0.80 s`, and what a sleep freed."""
    parts = [f"{performed.operation} took {performed.duration_s:.2f} s"]
    slowest = performed.slowest
    if slowest is not None and len(performed.steps) > 1:
        parts.append(f"slowest: {slowest.name}, {slowest.duration_s:.2f} s")
    if performed.freed_bytes is not None:
        freed = max(performed.freed_bytes, 0)
        parts.append(f"freed {format_size(freed)}" if freed else "freed nothing")
    if performed.memory:
        parts.append(performed.memory)
    return "; ".join(parts)


async def perform(replica: "Replica", made: Callable[[], tuple[Step, ...]], sequence: Sequence) -> tuple[Step, ...]:
    """The steps that `made` gives, performed. Raises StepError, also for a step that cannot be made."""
    try:
        steps = made()
    except ValueError as error:
        raise StepError(str(error)) from None
    await replica.executor.perform(steps, sequence, default_timeout_s(replica.spec, sequence.operation))
    return steps


# starting


async def load(replica: "Replica") -> None:
    """Start the engine, wait until it answers, verify it."""
    if replica.setup.server is not None:
        await inside.load(replica, replica.setup.server)
        return
    replica.canary.begin()
    try:
        check_files(replica)
        start = start_of(replica)
        await replica.keeper.start(start)
    except (StartError, ValueError, OSError) as error:
        # What a retry cannot mend is not retried: the waiters hear of it now.
        transient = isinstance(error, (PortTaken, OSError))
        replica.failed(Fact.GONE, str(error), permanent=not transient)
        return
    replica.started = start
    replica.remember()
    await until_ready(replica)


async def until_ready(replica: "Replica") -> None:
    """Probe, see whether it sleeps, verify: all within `start_timeout`."""
    limit = replica.spec.start_timeout
    probe = replica.setup.adapter.probe(replica.spec)
    doing = f"it never answered {probe.shown}"
    try:
        async with asyncio.timeout(limit):
            while not await replica.caller.answers(probe):
                await asyncio.sleep(probe.interval_s)
            if await confirming.says_asleep(replica):
                replica.fell_asleep(None, "it was found asleep")
                return
            doing = "its verifying request got no answer"
            with sequence_of(replica, Operation.LOAD) as sequence:
                await verify(replica, sequence)
            await confirming.examine(replica)
    except TimeoutError:
        why = f"not ready {format_duration(limit)} after its start (start_timeout); {doing}"
        stop_failed(replica, Fact.TIMED_OUT, why)
        return
    except StepError as error:
        stop_failed(replica, Fact.TIMED_OUT, f"started, yet {error}")
        return
    await learn(replica)
    replica.fact(Fact.READY)
    replica.remember()
    await measure.note_awake(replica)


# sleep and wake


async def wake(replica: "Replica", level: int | None) -> None:
    """Steps, then a real request; only a verified engine serves. A failed wake ends in a fresh start."""
    adapter = replica.setup.adapter
    if adapter.signs(replica.spec).fragile and replica.replaced():
        replica.canary.begin()
        replica.failed(Fact.GONE, f"another process runs at {replica.address} than the one that was put to sleep")
        return
    if adapter.sleep_query(replica.spec) is None:  # else it can say itself how far a killed roost came
        replica.remember()
    try:
        with sequence_of(replica, Operation.WAKE, level) as sequence:
            await wake_whole(replica, level, sequence)
            replica.fact(Fact.READY)  # those who wait come before those who listen to sequences
    except StepError as error:
        stop_broken(replica, f"the wake failed: {error}", restart=error.restart)
        return
    await settle(replica)


async def wake_whole(replica: "Replica", level: int | None, sequence: Sequence) -> None:
    """All steps of a wake from this level, and all that proves it. Raises StepError."""
    adapter = replica.setup.adapter
    steps = await perform(replica, lambda: adapter.wake(replica.spec, level), sequence)
    if steps:  # else the verifying request is what wakes it
        await confirming.confirm_awake(replica)
    await prove_awake(replica, sequence)


async def settle(replica: "Replica") -> None:
    """After a wake, what may wait until those who waited for it have been served. The next roost of one that is killed
    before it verifies the engine once more."""
    await asyncio.sleep(SETTLE_S)
    replica.remember()
    await measure.note_awake(replica)


async def verify_awake(replica: "Replica") -> None:
    """Someone else woke it: verify before it serves."""
    replica.remember()
    try:
        with sequence_of(replica, Operation.WAKE) as sequence:
            await prove_awake(replica, sequence)
    except StepError as error:
        stop_broken(replica, f"someone woke it, and {error}")
        return
    replica.fact(Fact.READY)
    await settle(replica)


async def sleep(replica: "Replica", level: int) -> None:
    """Steps, then the engine's own word for it, then its memory. A failed sleep ends in a stop: its memory must come
    free."""
    adapter = replica.setup.adapter
    try:
        await warm_up(replica)
        if await confirming.look(replica) is confirming.Seen.ASLEEP:
            replica.fell_asleep(None, "someone else had put it to sleep before")
            return
        with sequence_of(replica, Operation.SLEEP, level) as sequence:
            await canary.before_sleep(replica, level, sequence.records)
            replica.remember()
            before = await measure.measure(replica)
            await perform(replica, lambda: adapter.sleep(replica.spec, level), sequence)
            await confirming.confirm_asleep(replica, level)
            freed = await measure.fall(replica, before, level)
            sequence.before_bytes, sequence.after_bytes, sequence.memory = freed.before, freed.after, freed.text
            if freed.kept and replica.owned:
                raise StepError(f"its memory did not fall ({freed.text})")
    except StepError as error:
        stop_broken(replica, f"the sleep failed: {error}", restart=error.restart)
        return
    measure.check_footprint(replica, freed)
    replica.fell_asleep(level, f"asleep, yet its memory did not fall: {freed.text}" if freed.kept else "")


async def warm_up(replica: "Replica") -> None:
    """Before its first sleep an engine must have served once: every wake is slow otherwise. One that runs elsewhere and
    was found ready may never have. It may sleep all the same if that goes wrong: its wake will be verified."""
    if replica.unproven and replica.setup.last_byte_at() is None:
        try:
            with sequence_of(replica, Operation.LOAD) as sequence:
                await verify(replica, sequence)
        except StepError as error:
            log.warning("%s: the warm-up request before its first sleep failed: %s", replica.id, error)
    replica.unproven = False


# stopping


def stop_failed(replica: "Replica", event: Fact, why: str) -> None:
    """It never became ready, or fell silent: stop it; the next start backs off."""
    replica.last_error = why
    replica.fact(event, why)
    replica.begin(lambda: stop(replica, after_failure=True), "stop")


def stop_broken(replica: "Replica", why: str, *, restart: bool = False) -> None:
    """A step failed: stop it now, without back-off, so that a fresh start may serve the waiters; with `restart` it is
    started afresh whether or not anybody waits, and a sleep that ends so counts as a failure: it must not go on and on.
    What runs elsewhere cannot be started afresh: it backs off, and is woken as a whole before it serves."""
    replica.last_error = why
    replica.revive = restart and replica.owned
    counts = not replica.owned or (restart and replica.state is State.SUSPENDING)
    if not replica.owned and not replica.setup.adapter.signs(replica.spec).fragile:
        replica.unsure = why
    log.error("%s: %s; %s", replica.id, why, _what_follows(replica))
    if not replica.owned and not replica.unsure:
        replica.doubted(why)
    replica.fact(Fact.STEP_FAILED, why)
    replica.begin(lambda: stop(replica, after_failure=counts), "stop")


def _what_follows(replica: "Replica") -> str:
    if replica.unsure:
        return "it runs elsewhere: before it serves again it is woken as a whole"
    if not replica.owned:
        return "it runs elsewhere and is left alone until another process has taken its place"
    if replica.revive:
        return "full restart: the engine is stopped and started afresh at once"
    if replica.state is State.WAKING:
        return "full restart: the engine is stopped, and started afresh for whoever waits"
    return "the engine is stopped, so that its memory comes free"


async def stop(replica: "Replica", *, after_failure: bool) -> None:
    """End the engine and all it started; STUCK if it survives SIGKILL, until it is gone after all."""
    if replica.setup.server is not None:
        await inside.stop(replica, replica.setup.server, after_failure=after_failure)
        return
    gone = await replica.keeper.stop(replica.spec.stop_grace)
    if not gone:
        log.error("%s: pid %s survived SIGKILL; its memory stays counted", replica.id, replica.keeper.pid)
        replica.fact(Fact.SURVIVED_KILL, "alive after SIGKILL")
        await until_unstuck(replica)
        return
    if not (replica.doubt or replica.unsure):
        replica.setup.store.forget(replica.id)
    if after_failure:
        replica.failed(Fact.GONE_AFTER_FAILURE, replica.last_error)
    else:
        replica.fact(Fact.GONE)


async def until_unstuck(replica: "Replica") -> None:
    """Try again now and then; whoever sees the end first tells it, the keeper or this."""
    while not await replica.keeper.stop(0):
        await asyncio.sleep(STUCK_S)
    if replica.state is State.STUCK:
        replica.setup.store.forget(replica.id)
        replica.fact(Fact.GONE, "gone after all")
