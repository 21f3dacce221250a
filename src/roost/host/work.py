"""The work behind a replica's transitions: start, wake, sleep, stop, watch, adopt.

Each coroutine acts on one replica and ends by telling it a fact. Performs what adapter and keeper say; decides
nothing. Cancelled when another order replaces it.
"""

import asyncio
import contextlib
import os
import shlex
from typing import TYPE_CHECKING, Any

from roost import clock
from roost.core.errors import StartError, StepError
from roost.core.lifecycle import Fact, Order, State
from roost.core.step import Step
from roost.core.units import format_duration
from roost.engines.base import Launch
from roost.host.keepers.base import Start
from roost.host.store import digest
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

WATCH_S = 2.0
AWAIT_FOREIGN_S = 1.0
CONFIRM_S = 5.0
"""How long a sleep may take to show after its steps answered."""
POLL_S = 0.1


# starting


async def load(replica: "Replica") -> None:
    """Start the engine, wait until it answers, verify it."""
    try:
        launch = _launch(replica)
        await replica.keeper.start(_start(replica, launch))
    except (StartError, ValueError) as error:
        replica.failed(Fact.GONE, str(error), permanent=True)
        return
    remember(replica, launch)
    await _until_ready(replica)


async def _until_ready(replica: "Replica") -> None:
    limit = replica.spec.start_timeout
    probe = replica.setup.adapter.probe(replica.spec)
    try:
        async with asyncio.timeout(limit):
            while not await replica.caller.answers(probe):
                await asyncio.sleep(probe.interval_s)
            if await is_asleep(replica):
                replica.fell_asleep(None, "it was found asleep")
                return
            await _verify(replica)
    except TimeoutError:
        why = f"not ready {format_duration(limit)} after its start (start_timeout); it never answered {probe.path}"
        _stop_failed(replica, Fact.TIMED_OUT, why)
        return
    except StepError as error:
        why = f"started, yet the verifying request failed: {error}"
        _stop_failed(replica, Fact.TIMED_OUT, why)
        return
    await _learn(replica)
    replica.fact(Fact.READY)
    remember(replica)


async def _learn(replica: "Replica") -> None:
    """The context length, where the engine's model list tells it (vLLM and llama-server do)."""
    answer = await replica.caller.ask(Step(method="GET", path="/v1/models", timeout_s=2.0))
    listed = answer[1].get("data") if answer is not None and isinstance(answer[1], dict) else None
    for entry in listed if isinstance(listed, list) else ():
        meta = entry.get("meta") or {}
        length = entry.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train")
        if isinstance(length, int):
            replica.context_length = length
            return


async def _verify(replica: "Replica") -> None:
    step = replica.setup.adapter.verify(replica.spec, replica.served_name)
    records = replica.steps
    await replica.caller.perform((step,), records)


def _stop_failed(replica: "Replica", event: Fact, why: str) -> None:
    replica.last_error = why
    replica.fact(event, why)
    replica.begin(stop(replica, after_failure=True), "stop")


def _launch(replica: "Replica") -> Launch:
    setup = replica.setup
    return setup.adapter.launch(replica.model, replica.spec, replica.address.port, setup.machine)


def _start(replica: "Replica", launch: Launch) -> Start:
    spec = replica.spec
    env = {**launch.env, **{name: _fill(replica, value) for name, value in spec.env.items()}}
    if spec.venv is not None:
        env["VIRTUAL_ENV"] = spec.venv
        env["PATH"] = f"{spec.venv}/bin{os.pathsep}{env.get('PATH') or os.environ.get('PATH', '')}"
    header = f"{replica.id} started at {clock.iso(clock.wall())}: {shlex.join(launch.argv)[:2000]}"
    return Start(
        argv=launch.argv,
        env=env,
        cwd=spec.cwd or replica.setup.cwd,
        address=replica.address,
        header=header,
    )


def _fill(replica: "Replica", value: str) -> str:
    return value.replace("${PORT}", str(replica.address.port)).replace("${MODEL}", replica.served_name)


# records and adoption


def remember(replica: "Replica", launch: Launch | None = None) -> None:
    """Write down what runs, for the roost after this one."""
    if not replica.owned or not replica.keeper.running:
        return
    start = _start(replica, launch or _launch(replica))
    replica.setup.store.write(
        replica.id,
        {
            **replica.keeper.identity(),
            "model": replica.model,
            "port": replica.address.port,
            "argv": digest(start.argv),
            "env": digest(dict(start.env)),
            "asleep": replica.state is State.ASLEEP,
            "level": replica.level,
        },
    )


async def recover(replica: "Replica") -> None:
    """Adopt the engine of an earlier roost if it is the one this config would start; else stop it."""
    if not replica.owned:
        await _look_at_foreign(replica)
        return
    record = replica.setup.store.read(replica.id)
    if record is None:
        return
    if not replica.keeper.adopt(record):
        replica.setup.store.forget(replica.id)
        return
    if not _same(replica, record):
        log.info(
            "%s: the config changed; the engine of the earlier roost (pid %s) is stopped", replica.id, record["pid"]
        )
        await replica.keeper.stop(replica.spec.stop_grace)
        replica.setup.store.forget(replica.id)
        return
    log.info("%s: adopted the engine of the earlier roost (pid %s)", replica.id, record["pid"])
    await _take_up(replica, record)


def _same(replica: "Replica", record: dict[str, Any]) -> bool:
    try:
        start = _start(replica, _launch(replica))
    except (StartError, ValueError):
        return False
    same_port = record.get("port") == replica.address.port
    return same_port and record.get("argv") == digest(start.argv) and record.get("env") == digest(dict(start.env))


async def _take_up(replica: "Replica", record: dict[str, Any]) -> None:
    asleep = await is_asleep(replica)
    level = record.get("level") if record.get("asleep") else None
    if asleep or (asleep is None and record.get("asleep")):
        replica.fell_asleep(level if isinstance(level, int) else None, "adopted asleep")
    elif await replica.caller.answers(replica.setup.adapter.probe(replica.spec)):
        await _learn(replica)
        replica.fact(Fact.READY, "adopted ready")
        remember(replica)
    else:
        replica.reason = "adopted while it started"
        replica.fact(Order.LOAD)
        replica.begin(_until_ready(replica), "load")


# sleep and wake


async def is_asleep(replica: "Replica") -> bool | None:
    """What the engine itself says; None where it cannot tell or does not answer."""
    adapter = replica.setup.adapter
    query = adapter.sleep_query(replica.spec)
    answer = await replica.caller.ask(query) if query is not None else None
    return adapter.is_asleep(*answer) if answer is not None else None


async def wake(replica: "Replica", level: int | None) -> None:
    """Steps, then a real request; only a verified engine serves. A failed wake ends in a fresh start."""
    try:
        steps = replica.setup.adapter.wake(replica.spec, level)
        await replica.caller.perform(steps, replica.steps)
        await _verify(replica)
    except StepError as error:
        _stop_broken(replica, f"the wake failed: {error}")
        return
    replica.fact(Fact.READY)
    remember(replica)


async def verify_awake(replica: "Replica") -> None:
    """Someone else woke it: verify before it serves."""
    try:
        await _verify(replica)
    except StepError as error:
        _stop_broken(replica, f"someone woke it, and the verifying request failed: {error}")
        return
    replica.fact(Fact.READY)
    remember(replica)


async def sleep(replica: "Replica", level: int) -> None:
    """Steps, then the engine's own word for it. A failed sleep ends in a stop: its memory must come free."""
    try:
        steps = replica.setup.adapter.sleep(replica.spec, level)
        await replica.caller.perform(steps, replica.steps)
    except StepError as error:
        _stop_broken(replica, f"the sleep failed: {error}")
        return
    deadline = clock.now() + CONFIRM_S
    while await is_asleep(replica) is False:
        if clock.now() > deadline:
            _stop_broken(replica, f"it still says it is awake {CONFIRM_S:g} s after its sleep")
            return
        await asyncio.sleep(POLL_S)
    replica.fell_asleep(level)


def _stop_broken(replica: "Replica", why: str) -> None:
    """A step failed: stop it now, without back-off, so that a fresh start may serve the waiters."""
    replica.last_error = why
    replica.fact(Fact.STEP_FAILED, why)
    replica.begin(stop(replica, after_failure=False), "stop")


# stopping


async def stop(replica: "Replica", *, after_failure: bool) -> None:
    """End the engine and all it started; STUCK if it survives SIGKILL, until it is gone after all."""
    gone = await replica.keeper.stop(replica.spec.stop_grace)
    if not gone:
        log.error("%s: pid %s survived SIGKILL; its memory stays counted", replica.id, replica.keeper.pid)
        replica.fact(Fact.SURVIVED_KILL, "alive after SIGKILL")
        while not await replica.keeper.stop(0):
            await asyncio.sleep(WATCH_S)
        replica.setup.store.forget(replica.id)
        replica.fact(Fact.GONE, "gone after all")
        return
    replica.setup.store.forget(replica.id)
    if after_failure:
        replica.failed(Fact.GONE_AFTER_FAILURE, replica.last_error)
    else:
        replica.fact(Fact.GONE)


# watching


async def monitor(replica: "Replica", look: asyncio.Event) -> None:
    """Look at the engine now and then, or at once when someone saw it refuse; ends with roost."""
    while True:
        period = WATCH_S if replica.owned or replica.state is State.READY else AWAIT_FOREIGN_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period):
                await look.wait()
        look.clear()
        replica.setup.output.bound()
        if replica.state in (State.READY, State.DRAINING):
            await _watch_ready(replica)
        elif replica.state is State.ASLEEP:
            await _watch_asleep(replica)
        elif not replica.owned and replica.state in (State.COLD, State.BACKOFF):
            await _look_at_foreign(replica)


async def _watch_ready(replica: "Replica") -> None:
    since = replica.since
    answers = await replica.caller.answers(replica.setup.adapter.probe(replica.spec))
    asleep = await is_asleep(replica) if answers else None
    if replica.since != since:
        return  # it moved while we looked: what was seen is about the past
    now = clock.now()
    last_byte_at = replica.setup.last_byte_at()
    if answers:
        replica.lost_since = None
        if asleep:
            replica.fell_asleep(None, "it fell asleep by itself or by someone else's order")
        return
    if replica.lost_since is None or (last_byte_at is not None and last_byte_at > replica.lost_since):
        replica.lost_since = now
    silent = now - replica.lost_since
    if silent < replica.spec.timeouts.probe_lost:
        return
    why = f"answered no probe and sent no byte for {format_duration(silent)} (timeouts.probe_lost)"
    if replica.owned:
        _stop_failed(replica, Fact.PROBES_LOST, why)
    else:
        replica.last_error = why
        replica.failed(Fact.GONE, why)


async def _watch_asleep(replica: "Replica") -> None:
    since = replica.since
    asleep = await is_asleep(replica)
    if replica.since != since:
        return
    if asleep is False:
        replica.fact(Fact.FOUND_AWAKE, "found awake: someone else woke it")
        replica.begin(verify_awake(replica), "verify")
    elif asleep is None and not replica.owned:
        probe = replica.setup.adapter.probe(replica.spec)
        if not await replica.caller.answers(probe) and replica.since == since:
            replica.fact(Fact.GONE, f"{replica.address} does not answer any more")


async def _look_at_foreign(replica: "Replica") -> None:
    """An engine that runs elsewhere: ready, asleep, or still awaited."""
    since = replica.since
    answers = await replica.caller.answers(replica.setup.adapter.probe(replica.spec))
    asleep = await is_asleep(replica) if answers else None
    if not answers or replica.since != since:
        return
    replica.failures = 0
    if asleep and replica.state is State.COLD:
        replica.fell_asleep(None, "found asleep")
    else:
        replica.fact(Fact.READY, "found ready")
