"""One replica and its state: the only place that changes it, and only through the lifecycle table.

Takes orders (`obey`) from the control plane and facts from its own work, keeper and monitor; never decides what a
replica should become. The work itself is in `host/work.py`, the looking in `host/watching.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, assert_never

from roost import clock
from roost.core.events import Changed, Performed
from roost.core.footprint import Footprint
from roost.core.lifecycle import Event, Fact, IllegalMove, Order, State, advance
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.reason import Ordered, Rests
from roost.core.step import StepRecord
from roost.core.view import Goal
from roost.engines.base import Notice
from roost.host import adoption, failures, inside, watching, work
from roost.host.calling import Caller
from roost.host.canary import Canary
from roost.host.keepers.base import Start
from roost.host.measure import Measured
from roost.host.setup import Setup
from roost.host.showing import shower_of
from roost.host.stall import Standstill
from roost.host.steps import Executor
from roost.logs import log
from roost.tasks import end, spawn

HISTORY = 50
SEQUENCES = 20
"""Sleeps, wakes and loads that are remembered with all their steps."""


class Replica:
    """Implements `control.ports.Owner`."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.id, self.model, self.spec = setup.id, setup.model, setup.spec
        self.keeper, self.owned = setup.keeper, setup.keeper.owned
        self.address = setup.address
        self.caller = Caller(setup.address, setup.spec.api_key, setup.transport)
        self.executor = _executor(setup, self.caller)
        self.state = State.COLD
        self.since = clock.now()
        self.level: int | None = None
        self.failures = 0
        self.retry_at: float | None = None
        self.last_error = ""
        self.became_ready_at: float | None = None
        self.last_ready_at: float | None = None
        self.last_sleep_at: float | None = None
        self.last_load_at: float | None = None
        """When it was last ordered to start; an adopted engine never was."""
        self.manual_wake_at: float | None = None
        self.devices: tuple[str, ...] = ()
        """Where it was last started; empty where nobody chose."""
        self.drain_goal: Goal | None = None
        self.drain_idle = False
        self.reason = ""
        self.reason_kind = "fact"
        self.history: deque[Changed] = deque(maxlen=HISTORY)
        self.sequences: deque[Performed] = deque(maxlen=SEQUENCES)
        self.revive = False
        """It is being stopped to be started afresh at once (a step's `on_failure: restart`)."""
        self.canary = Canary()
        self.measured: Measured | None = None
        """What it held when it was last looked at: ready, or asleep."""
        self.notices: tuple[Notice, ...] = ()
        """What is wrong with how the running engine was started."""
        self.unproven = False
        """It was found ready elsewhere, and nobody saw it answer a request."""
        self.doubt = ""
        """Why one that runs elsewhere must not be touched: it may have given its memory away, and cannot tell."""
        self.unsure = ""
        """Why one that runs elsewhere may be half asleep, and cannot tell: only a whole wake makes it fit to serve."""
        self.listening: list[float] | None = None
        """Which process of this machine listened there when it was put to sleep; None where that cannot be seen."""
        self.absent = ""
        """Why the server that it lives in has it not, and cannot load it; empty else."""
        self.unlisted = False
        """It is not up, and the server that it lives in lists what it can load, and not this one."""
        self.awaits_server = False
        """In BACKOFF: only until that server answers."""
        self.context_length: int | None = None
        """Learned from the engine."""
        self.lost_since: float | None = None
        self.standstill = Standstill()
        self.stalled = ""
        """Why it is being taken down for standing still; empty while it is not."""
        self.started: Start | None = None
        """What the running engine was started with."""
        self._hearers: list[Callable[[Changed], None]] = []
        self._step_hearers: list[Callable[[Performed], None]] = []
        self._work: asyncio.Task[None] | None = None
        self._monitor: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._leave: Callable[[], None] = lambda: None
        """Ends what it hears of the server that it lives in."""
        self._closing = False
        setup.keeper.on_gone(self._keeper_gone)

    @property
    def sleep_levels(self) -> tuple[int, ...]:
        """Without those that changed its answers."""
        return () if self.no_sleep else self.canary.usable(self.setup.adapter.sleep_levels(self.spec))

    @property
    def no_sleep(self) -> str:
        """Why it cannot be put to sleep although its kind can; empty if it can."""
        if not self.spec.can_sleep:
            return "its configuration says can_sleep: false."
        return next((notice.text for notice in self.notices if notice.no_sleep), "")

    @property
    def footprint(self) -> Footprint | None:
        return self.setup.memory.footprint(self)

    @property
    def lingering(self) -> int:
        return self.setup.memory.lingering(self.id)

    @property
    def served_name(self) -> str:
        return self.spec.served_name or self.model

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The steps of all sequences remembered, oldest first."""
        return tuple(record for performed in self.sequences for record in performed.steps)

    def subscribe(self, hear: Callable[[Changed], None]) -> None:
        self._hearers.append(hear)

    def subscribe_performed(self, hear: Callable[[Performed], None]) -> None:
        """`hear` is called at the end of each sequence of steps, right before or after the state changes by it."""
        self._step_hearers.append(hear)

    def performed(self, performed: Performed) -> None:
        """A sequence ended, well or not: remember it and tell everybody."""
        self.sequences.append(performed)
        for hear in self._step_hearers:
            hear(performed)

    # orders

    def obey(self, action: Action) -> None:
        """Advance at once, then work in the background. Raises IllegalMove."""
        self._check(action)
        self.reason, self.reason_kind = str(action.reason), action.reason.kind
        match action:
            case Load():
                self._obey_load(action)
            case Wake():
                level = self.level
                self.fact(Order.WAKE)
                if isinstance(action.reason, Ordered):
                    self.manual_wake_at = clock.now()
                self.begin(lambda: work.wake(self, level), "wake")
            case Drain():
                self.drain_goal = action.goal
                self.drain_idle = isinstance(action.reason, Rests)
                self.fact(Order.DRAIN)
            case Undrain():
                self.fact(Order.UNDRAIN)
            case Sleep():
                self.last_sleep_at = clock.now()
                self.fact(Order.SLEEP)
                self.begin(lambda: work.sleep(self, action.level), "sleep")
            case Stop():
                self._obey_stop()
            case _ as never:
                assert_never(never)

    def _check(self, action: Action) -> None:
        """Refuse before anything is touched."""
        advance(self.state, _ORDERS[type(action)])
        if not self.owned and isinstance(action, (Load, Stop)):
            raise IllegalMove(f"{self.id} runs elsewhere ({self.address}): roost can neither start nor stop it")
        if isinstance(action, Sleep) and action.level not in self.sleep_levels:
            levels = ", ".join(map(str, self.sleep_levels)) or "none"
            why = f". {self.no_sleep}" if self.no_sleep else ""
            raise IllegalMove(f"{self.id} cannot be put to sleep at level {action.level}; its levels: {levels}{why}")

    def _obey_load(self, action: Load) -> None:
        if isinstance(action.reason, Ordered):
            self.failures = 0  # whoever asks by hand has mended something: all tries again
            self.canary.pardon()
        self.last_load_at, self.devices = clock.now(), action.devices
        self.fact(Order.LOAD)
        self.begin(lambda: work.load(self), "load")

    def _obey_stop(self) -> None:
        self.revive = False
        stalled = bool(self.stalled)
        self.fact(Order.STOP)
        if self.state is State.STOPPING:
            self.begin(lambda: work.stop(self, after_failure=stalled), "stop")

    def begin(self, job: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Start the work of a transition in place of whatever was under way."""
        if self._work is not None:
            self._work.cancel()
        self._work = spawn(self._guarded(job, name), f"{name} {self.id}")

    async def _guarded(self, job: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """A fault in the work must not leave the replica between two states for ever."""
        try:
            await job()
        except Exception as error:
            log.exception("%s: %s ended with an error", self.id, name)
            why = f"{name} ended with an error of roost's own: {error!r}"
            if self.state is State.STARTING:
                work.stop_failed(self, Fact.TIMED_OUT, why)
            elif self.state in (State.SUSPENDING, State.WAKING):
                work.stop_broken(self, why)
            elif self.state is State.STOPPING:
                self.fact(Fact.SURVIVED_KILL, why)
                self.begin(lambda: work.until_unstuck(self), "unstick")

    def recall_ready(self, since: float) -> None:
        """See `control.ports.Owner`. Every other state than ready ends it."""
        self.became_ready_at = since if self.became_ready_at is None else min(since, self.became_ready_at)

    def suspect(self) -> None:
        """Someone saw its port refuse: look now."""
        if self.setup.server is not None:
            self.setup.server.doubt()
        self._look.set()

    def denies(self, status: int, body: bytes, since: float) -> bool:
        """Whether this answer, to a request sent after `since`, says that the model is not loaded where it lives."""
        server = self.setup.server
        return server is not None and inside.denied(self, server, status, body, since)

    # facts

    def fact(self, event: Event, why: str = "") -> None:
        """Move as the table says and tell everybody. Raises IllegalMove."""
        before, now = self.state, clock.now()
        self.state = advance(before, event)
        if before in (State.READY, State.DRAINING):
            failures.forget_if_stable(self)
        if why:
            self.reason, self.reason_kind = why, "fact"
        took = now - self.since if before not in _RESTING else None
        changed = Changed(
            replica=self.id,
            model=self.model,
            before=before,
            after=self.state,
            event=event,
            at=now,
            reason=self.reason,
            reason_kind=self.reason_kind,
            took_s=took,
        )
        self.since = now
        self._enter_state()
        self.history.append(changed)
        for hear in self._hearers:
            hear(changed)

    def _enter_state(self) -> None:
        if self.state is not State.DRAINING:
            self.drain_goal, self.drain_idle, self.stalled = None, False, ""
        if self.state is State.READY:
            self.last_ready_at = self.became_ready_at = self.became_ready_at or self.since
            self.lost_since = None
            self.retry_at = None
        elif self.state is not State.DRAINING:
            self.became_ready_at = None
        if self.state is State.ASLEEP:
            self.lost_since = None
        elif self.state is not State.WAKING:
            self.level = None
        if self.state is State.COLD:
            self.retry_at = None
        elif self.state in (State.STARTING, State.FAILED):
            self.revive = False
        if self.state in _NOTHING_RUNS:
            self.measured = self.last_ready_at = None
            self.notices = ()

    def remember(self) -> None:
        """Write down what runs, for the roost after this one."""
        adoption.remember(self)

    def doubted(self, why: str) -> None:
        """It runs elsewhere and failed on its way, and cannot tell how far it came."""
        adoption.doubt(self, why)

    def replaced(self) -> bool:
        """It runs elsewhere, and another process than the one that was put to sleep has taken its place."""
        return adoption.replaced(self)

    def fell_asleep(self, level: int | None, why: str = "") -> None:
        """It sleeps now, at this level (None: by itself)."""
        if self.state is not State.SUSPENDING:
            self.last_sleep_at = clock.now()
        advance(self.state, Fact.FELL_ASLEEP)
        self.level = level  # before the change is told, so that whoever hears of it sees the level
        self.fact(Fact.FELL_ASLEEP, why)
        self.remember()

    def deeper(self, why: str) -> None:
        """It sleeps otherwise than believed: its wake must now suppose the deepest sleep."""
        log.warning("%s: %s", self.id, why)
        self.level = None
        self.remember()

    def stands_still(self, why: str) -> None:
        """It answers its probes and no request: no new ones for it; the planner stops it when its leases are back, or
        after `timeouts.drain`."""
        self.stalled = self.last_error = why
        self.drain_goal, self.drain_idle = Goal.RESTARTED, False
        self.fact(Fact.STALLED, why)

    def failed(self, event: Fact, why: str, *, permanent: bool = False) -> None:
        """A failure that ends in BACKOFF, or in FAILED."""
        failures.fail(self, event, why, permanent=permanent)

    def _keeper_gone(self, said: str) -> None:
        """The engine ended; while we are stopping it, that is what was wanted. Its last lines may hold its key."""
        note = self.executor.shower.text(said)
        self.setup.store.forget(self.id)
        if self._closing or self.state is State.STOPPING:
            return
        if self._work is not None:
            self._work.cancel()
        if self.state in (State.ASLEEP, State.STUCK):
            self.last_error = note
            self.fact(Fact.GONE, note)
        elif self.state in _ALIVE:
            self.failed(Fact.GONE, note)

    # life

    async def recover(self) -> None:
        """At start: take up what an earlier roost left running, then watch."""
        if self.setup.server is not None:
            self._leave = inside.hear(self, self.setup.server)
            await inside.join(self, self.setup.server)
            return
        if self.owned:
            await adoption.recover(self)
        else:
            adoption.recall_sleep(self)
            await watching.look_once(self)
        self._monitor = spawn(watching.monitor(self, self._look), f"monitor {self.id}")

    async def close(self, *, leave: bool) -> None:
        """roost ends: leave the engine for the next one, or end it."""
        self._closing = True
        self._leave()
        await end(self._monitor, self._work)
        if not leave and self.owned and self.keeper.running:
            if not await self.keeper.stop(self.spec.stop_grace):
                log.error("%s survived SIGKILL (pid %s); its memory is still taken", self.id, self.keeper.pid)
            else:
                self.setup.store.forget(self.id)
        if not leave:
            await self.keeper.clear()
        await self.caller.close()


def _executor(setup: Setup, caller: Caller) -> Executor:
    spec = setup.spec
    return Executor(
        who=setup.id,
        caller=caller,
        probe=setup.adapter.probe(spec),
        shower=shower_of(spec),
        rng=setup.rng,
        likely_level=spec.sleep_level,
    )


_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_RESTING = frozenset({State.COLD, State.READY, State.ASLEEP, State.BACKOFF, State.FAILED, State.STUCK})
_ALIVE = frozenset({State.STARTING, State.READY, State.DRAINING, State.SUSPENDING, State.WAKING})
_ORDERS: Mapping[type[Action], Order] = {
    Load: Order.LOAD,
    Wake: Order.WAKE,
    Drain: Order.DRAIN,
    Undrain: Order.UNDRAIN,
    Sleep: Order.SLEEP,
    Stop: Order.STOP,
}
