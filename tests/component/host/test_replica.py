"""A replica over a real simulated engine: orders in, facts out, whatever the engine does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from roost.core.events import Changed
from roost.core.lifecycle import State
from roost.core.plan import Drain, Load, Sleep, Stop, Wake
from roost.core.reason import Demand, Idle
from roost.core.request import Address
from roost.core.spec import EngineKind, ModelSpec, RestartSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.engines.base import Machine
from roost.engines.registry import adapter_for
from roost.host.keepers.foreign import ForeignKeeper
from roost.host.keepers.process import ProcessKeeper
from roost.host.output import Output
from roost.host.ports import PortPicker
from roost.host.replica import Replica
from roost.host.setup import Setup
from roost.host.store import Store
from tests.support.live import live
from tests.support.sim import sim_engine

WANT = Demand(waiting=1, waited_s=0.0)
IDLE = Idle(idle_s=9.0, after_s=5.0)
FAST = RestartSpec(backoff=0.01, tries=2)
TIMES = TimeoutsSpec(step=3.0, probe_lost=1.0)
PLAIN = ModelSpec(engine=EngineKind.SIMULATED, restart=FAST, timeouts=TIMES, stop_grace=2.0)


class Watched:
    """A replica and all its changes."""

    def __init__(self, setup: Setup) -> None:
        self.replica = Replica(setup)
        self.changes: list[Changed] = []
        self._moved = asyncio.Event()
        self.replica.subscribe(self._hear)

    def _hear(self, change: Changed) -> None:
        self.changes.append(change)
        self._moved.set()

    async def until(self, *states: State, limit_s: float = 20.0) -> None:
        async with asyncio.timeout(limit_s):
            while self.replica.state not in states:
                self._moved.clear()
                await self._moved.wait()

    @property
    def path(self) -> list[str]:
        return [str(change.after) for change in self.changes]


def setup(folder: Path, spec: ModelSpec, port: int | None = None) -> Setup:
    store = Store(folder)
    for name in ("logs", "replicas"):
        (folder / name).mkdir(exist_ok=True)
    output = Output(store.log_path("a/0"))
    foreign = spec.url is not None
    return Setup(
        id="a/0",
        model="a",
        spec=spec,
        adapter=adapter_for(spec),
        keeper=ForeignKeeper() if foreign else ProcessKeeper("a/0", output),
        address=Address("127.0.0.1", port or PortPicker().pick("127.0.0.1")),
        machine=Machine(python=sys.executable),
        store=store,
        output=output,
        cwd=str(folder),
    )


@asynccontextmanager
async def watched(folder: Path, *args: str, spec: ModelSpec = PLAIN) -> AsyncIterator[Watched]:
    one = Watched(setup(folder, replace(spec, args=args)))
    await one.replica.recover()
    try:
        yield one
    finally:
        await one.replica.close(leave=False)


@asynccontextmanager
async def one_after_another(folder: Path) -> AsyncIterator[Callable[..., Awaitable[Watched]]]:
    """Each roost leaves its engine to the next; what the last one left is ended, also where the test failed."""
    port, made = PortPicker().pick("127.0.0.1"), list[Watched]()

    async def another(spec: ModelSpec = PLAIN) -> Watched:
        for before in made:
            await before.replica.close(leave=True)
        made.append(Watched(setup(folder, spec, port)))
        await made[-1].replica.recover()
        return made[-1]

    try:
        yield another
    finally:
        last = await another()
        await last.replica.close(leave=False)


async def put_to_sleep(one: Watched, level: int) -> None:
    one.replica.obey(Drain(replica="a/0", goal=Goal.ASLEEP, reason=IDLE))
    one.replica.obey(Sleep(replica="a/0", level=level, reason=IDLE))
    await one.until(State.ASLEEP, State.COLD, State.BACKOFF)


@live
async def test_load_sleep_wake_stop(tmp_path: Path) -> None:
    async with watched(tmp_path) as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.READY)
        for level in (1, 2):
            await put_to_sleep(one, level)
            assert one.replica.level == level
            one.replica.obey(Wake(replica="a/0", reason=WANT))
            await one.until(State.READY)
        one.replica.obey(Drain(replica="a/0", goal=Goal.STOPPED, reason=IDLE))
        one.replica.obey(Stop(replica="a/0", reason=IDLE))
        await one.until(State.COLD)
        cycle = ["draining", "suspending", "asleep", "waking", "ready"]
        assert one.path == ["starting", "ready", *cycle, *cycle, "draining", "stopping", "cold"]
        staged = [record.name for record in one.replica.steps]
        assert staged[-5:-1] == [
            "POST /wake_up?tags=weights",
            "POST /collective_rpc",
            "POST /wake_up?tags=kv_cache",
            "POST /reset_prefix_cache",
        ]
        assert all(record.status == 200 for record in one.replica.steps)
        assert not list((tmp_path / "replicas").glob("*.json"))


@live
async def test_failed_wake_stops_the_engine_without_back_off(tmp_path: Path) -> None:
    async with watched(tmp_path, "--refuse-wake") as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.READY)
        await put_to_sleep(one, 1)
        one.replica.obey(Wake(replica="a/0", reason=WANT))
        await one.until(State.COLD)
        assert one.path[-2:] == ["stopping", "cold"]
        assert "step 1 of 1: POST /wake_up answered 500" in one.replica.last_error


@live
async def test_failed_sleep_stops_the_engine(tmp_path: Path) -> None:
    async with watched(tmp_path, "--refuse-sleep") as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.READY)
        await put_to_sleep(one, 1)
        assert one.replica.state is State.COLD
        assert "the sleep failed" in one.replica.last_error


@live
async def test_crash_at_start_backs_off_then_fails_with_its_last_lines(tmp_path: Path) -> None:
    async with watched(tmp_path, "--crash-at-start") as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.BACKOFF)
        assert one.replica.retry_at is not None
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.FAILED)
        assert one.replica.failures == 2
        assert "exit status" in one.replica.last_error


@live
async def test_crash_while_ready_is_seen_at_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.READY)
        pid = one.replica.keeper.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await one.until(State.BACKOFF, limit_s=2)
        assert "SIGKILL" in one.replica.last_error


@live
async def test_start_past_its_time_is_stopped_and_backs_off(tmp_path: Path) -> None:
    spec = replace(PLAIN, start_timeout=0.5)
    async with watched(tmp_path, "--start-delay", "60s", spec=spec) as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.BACKOFF)
        assert one.path == ["starting", "stopping", "backoff"]
        assert "start_timeout" in one.replica.last_error


@live
async def test_silent_engine_is_restarted_after_probe_lost(tmp_path: Path) -> None:
    async with watched(tmp_path, "--fail-health-after", "2") as one:
        one.replica.obey(Load(replica="a/0", reason=WANT))
        await one.until(State.READY)
        await one.until(State.BACKOFF)
        assert "probe_lost" in one.replica.last_error


@live
async def test_missing_program_fails_without_tries(tmp_path: Path) -> None:
    spec = ModelSpec(engine=EngineKind.COMMAND, command=("no-such-engine", "${PORT}"))
    one = Watched(setup(tmp_path, spec))
    one.replica.obey(Load(replica="a/0", reason=WANT))
    await one.until(State.FAILED)
    assert "no-such-engine" in one.replica.last_error
    await one.replica.close(leave=False)


@live
async def test_engine_left_by_a_killed_roost_is_adopted_awake_or_asleep(tmp_path: Path) -> None:
    async with one_after_another(tmp_path) as roost:
        first = await roost()
        first.replica.obey(Load(replica="a/0", reason=WANT))
        await first.until(State.READY)
        second = await roost()
        assert second.replica.state is State.READY
        assert second.replica.keeper.pid == first.replica.keeper.pid
        await put_to_sleep(second, 2)
        third = await roost()
        assert (third.replica.state, third.replica.level) == (State.ASLEEP, 2)
        third.replica.obey(Wake(replica="a/0", reason=WANT))
        await third.until(State.READY)
        changed = await roost(replace(PLAIN, env={"X": "1"}))
        assert changed.replica.state is State.COLD
        assert not third.replica.keeper.running


@live
async def test_sleep_and_wake_by_others_are_noticed(tmp_path: Path) -> None:
    async with sim_engine(model="a") as sim:
        spec = replace(PLAIN, url=sim.url)
        one = Watched(setup(tmp_path, spec, sim.port))
        await one.replica.recover()
        assert one.replica.state is State.READY
        await sim.client.post("/sleep", params={"level": "1"})
        await one.until(State.ASLEEP)
        assert one.replica.level is None
        await sim.client.post("/wake_up")
        await one.until(State.READY)
        assert "someone else woke it" in [change.reason for change in one.changes][-2]
        await one.replica.close(leave=False)
        assert (await sim.client.get("/health")).status_code == 200


@live
async def test_foreign_engine_is_awaited(tmp_path: Path) -> None:
    port = PortPicker().pick("127.0.0.1")
    one = Watched(setup(tmp_path, replace(PLAIN, url=f"http://127.0.0.1:{port}"), port))
    await one.replica.recover()
    assert one.replica.state is State.COLD
    async with sim_engine("--port", str(port), model="a"):
        await one.until(State.READY)
    await one.until(State.BACKOFF)
    await one.replica.close(leave=False)
