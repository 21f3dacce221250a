"""A replica's owner with manners, on the virtual loop: transitions take time and may be told to fail.

It keeps the lifecycle table as `host/replica.py` does, and knows what memory its engine really holds. Also here:
a waiter that answers requests like the data plane, and a bench that joins owners, controller and sweep.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from roost import clock
from roost.control.controller import Controller
from roost.control.ports import LeaseLike
from roost.core.events import Changed
from roost.core.footprint import Footprint
from roost.core.ids import replica_id
from roost.core.lifecycle import Event, Fact, Order, State, advance
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.reason import Evict, Ordered, Rests
from roost.core.request import Address, Refusal, Request
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, RoostSpec, servings
from roost.core.view import Goal, Policy
from roost.tasks import spawn

_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_CUTS = frozenset({State.SUSPENDING, State.STOPPING, State.BACKOFF, State.COLD})


@dataclass(slots=True)
class Times:
    """How long an engine's moves take, in seconds."""

    start: float = 5.0
    wake: float = 1.0
    sleep: float = 0.5
    stop: float = 0.5


class FakeOwner:
    """Obeys like a replica. `fail_next` names moves ("start", "wake", "sleep", "stop") that fail once each."""

    def __init__(
        self, model: str, spec: ModelSpec, *, owned: bool = True, sleep_levels: tuple[int, ...] = (1, 2), index: int = 0
    ) -> None:
        self.id = replica_id(model, index)
        self.model = model
        self.spec = spec
        self.owned = owned
        self.levels = sleep_levels
        self.no_sleep = ""
        self.state = State.COLD
        self.since = clock.now()
        self.level: int | None = None
        self.failures = 0
        self.retry_at: float | None = None
        self.last_error = ""
        self.revive = False
        self.became_ready_at: float | None = None
        self.last_ready_at: float | None = None
        self.last_sleep_at: float | None = None
        self.last_load_at: float | None = None
        self.manual_wake_at: float | None = None
        self.absent = ""
        self.unlisted = False
        self.revive = False
        self.devices: tuple[str, ...] = ()
        self.drain_goal: Goal | None = None
        self.stalled = ""
        self.drain_idle = False
        self.footprint: Footprint | None = None
        self.lingering = 0
        self.times = Times()
        self.fail_next: list[str] = []
        self.deaf = False
        """Orders have no effect at all."""
        self.suspected = 0
        self.orders: list[Action] = []
        self.watch: Callable[[FakeOwner, Action], None] = lambda owner, action: None
        self._hearers: list[Callable[[Changed], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._from_sleep = False

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", 9000)

    @property
    def sleep_levels(self) -> tuple[int, ...]:
        return self.levels

    @property
    def awake(self) -> bool:
        """The engine holds its whole footprint, whatever its state is called."""
        busy = self.state in (State.STARTING, State.READY, State.DRAINING, State.SUSPENDING, State.WAKING, State.STUCK)
        return busy or (self.state is State.STOPPING and not self._from_sleep)

    def recall_ready(self, since: float) -> None:
        self.became_ready_at = since if self.became_ready_at is None else min(since, self.became_ready_at)

    def suspect(self) -> None:
        self.suspected += 1

    def denies(self, status: int, body: bytes, since: float) -> bool:
        return False

    def subscribe(self, hear: Callable[[Changed], None]) -> None:
        self._hearers.append(hear)

    def obey(self, action: Action) -> None:
        self.orders.append(action)
        self.watch(self, action)
        if self.deaf:
            return
        reason, kind = str(action.reason), action.reason.kind
        match action:
            case Load():
                self.last_load_at, self.revive, self.devices = clock.now(), False, action.devices
                self._move(Order.LOAD, reason, kind)
                self._later(self.times.start, self._started)
            case Wake():
                self._move(Order.WAKE, reason, kind)
                self._later(self.times.wake, self._woken)
            case Drain(goal=goal):
                self.drain_goal, self.drain_idle = goal, isinstance(action.reason, Rests)
                self._move(Order.DRAIN, reason, kind)
            case Undrain():
                self._move(Order.UNDRAIN, reason, kind)
            case Sleep(level=level):
                self.last_sleep_at = clock.now()
                self._move(Order.SLEEP, reason, kind)
                self._later(self.times.sleep, lambda: self._slept(level))
            case Stop():
                self._from_sleep = self.state is State.ASLEEP
                self.revive = self.revive and not isinstance(action.reason, Ordered)
                self._move(Order.STOP, reason, kind)
                if self.state is State.STOPPING:
                    self._later(self.times.stop, self._stopped)

    def see(self, fact: Fact, why: str = "seen") -> None:
        """A fact that comes from outside: a crash, an engine that sleeps by itself."""
        self._cancel()
        if fact is Fact.GONE and self.state not in (State.ASLEEP, State.STOPPING):
            self._count_failure(why)
        self._move(fact, why, "fact")
        self._maybe_give_up()

    def found(self) -> None:
        """It is seen to run though nobody here started it."""
        self._cancel()
        self._ready()

    def woken_by_others(self) -> None:
        """It is seen to be awake, and looked at before it serves."""
        self._move(Fact.FOUND_AWAKE, "someone else woke it", "fact")
        self._later(0.1, self._woken)

    def _started(self) -> None:
        if self._fails("start"):
            self._count_failure("exited with status 1")
            self._move(Fact.GONE, "exited with status 1", "fact")
            self._maybe_give_up()
        else:
            self._ready()

    def _woken(self) -> None:
        if self._fails("wake"):
            self._stop_after_failure("wake failed")
        else:
            self._ready()

    def _slept(self, level: int) -> None:
        if self._fails("sleep"):
            self._stop_after_failure("sleep failed")
            return
        self.level = level
        self._move(Fact.FELL_ASLEEP, "asleep", "fact")

    def _ready(self) -> None:
        self.failures, self.level, self.retry_at = 0, None, None
        self._move(Fact.READY, "ready", "fact")

    def _stop_after_failure(self, why: str) -> None:
        self.last_error, self._from_sleep = why, False
        self._move(Fact.STEP_FAILED, why, "fact")
        self._later(self.times.stop, self._stopped)

    def _stopped(self) -> None:
        self.level = None
        fact = Fact.SURVIVED_KILL if self._fails("stop") else Fact.GONE
        self._move(fact, str(fact), "fact")

    def _count_failure(self, why: str) -> None:
        self.failures += 1
        self.last_error = why
        restart = self.spec.restart
        self.retry_at = clock.now() + min(restart.backoff * 2 ** (self.failures - 1), restart.backoff_max)

    def _maybe_give_up(self) -> None:
        if self.state is State.BACKOFF and self.failures >= self.spec.restart.tries:
            after = self.spec.restart.retry_failed_after
            self.retry_at = None if after is None else clock.now() + after
            self._move(Fact.TRIES_USED_UP, self.last_error, "fact")

    def _fails(self, move: str) -> bool:
        if move not in self.fail_next:
            return False
        self.fail_next.remove(move)
        return True

    def _move(self, event: Event, reason: str, kind: str) -> None:
        before, now = self.state, clock.now()
        self.state = advance(before, event)
        took = now - self.since
        self.since = now
        if self.state is not State.DRAINING:
            self.drain_goal, self.drain_idle = None, False
        if self.state is State.READY:
            self.last_ready_at = self.became_ready_at = self.became_ready_at or now
        elif self.state is not State.DRAINING:
            self.became_ready_at = None
        if self.state in _NOTHING_RUNS:
            self.last_ready_at = None
        change = Changed(
            replica=self.id,
            model=self.model,
            before=before,
            after=self.state,
            event=event,
            at=now,
            reason=reason,
            reason_kind=kind,
            took_s=took,
        )
        for hear in self._hearers:
            hear(change)

    def _later(self, delay: float, then: Callable[[], None]) -> None:
        self._cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, then)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(slots=True)
class Client:
    """One request's life as the data plane would live it: waits, holds its lease for a while, gives it back."""

    number: int
    model: str
    hold_s: float
    came_at: float
    counts: bool = True
    may_wake: bool = True
    lease: LeaseLike | None = None
    ticket: object = None
    refusal: Refusal | None = None
    gone: bool = False
    granted_at: float | None = None
    refused_at: float | None = None
    done_at: float | None = None
    calls: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def granted(self, lease: LeaseLike) -> bool:
        self.calls += 1
        if self.gone:
            return False
        self.use(lease)
        return True

    def refused(self, refusal: Refusal) -> None:
        self.calls += 1
        self.refusal, self.refused_at = refusal, clock.now()
        self.settled.set()

    def use(self, lease: LeaseLike) -> None:
        """Hold it for `hold_s`, then give it back."""
        self.lease, self.granted_at = lease, clock.now()
        asyncio.get_running_loop().call_later(self.hold_s, self.finish)

    def finish(self) -> None:
        """The last byte went out, or the engine broke off; once."""
        assert self.lease is not None
        if self.done_at is not None:
            return
        self.done_at = clock.now()
        self.settled.set()
        self.lease.release(clock.now())

    @property
    def outcome(self) -> str:
        """served, refused, gone or open."""
        if self.done_at is not None:
            return "served"
        if self.refusal is not None:
            return "refused"
        return "gone" if self.gone else "open"


class Bench:
    """Owners, a controller and a sweep together; `ask` sends a request. Use as `async with`."""

    def __init__(self, spec: RoostSpec, policy: Policy | None = None, **kinds: Mapping[str, object]) -> None:
        self.spec = spec
        self.owners = {
            key_of(name, index): FakeOwner(name, serving, index=index, **kinds.get(name, {}))  # type: ignore[arg-type]
            for name, model in spec.models.items()
            for index, serving in enumerate(servings(model))
        }
        """`a` for a model's first replica, `a/1` for its second."""
        self.control = Controller(spec, list(self.owners.values()), policy)
        self.clients: list[Client] = []
        self.sweep_every_s = 0.25
        for owner in self.owners.values():
            owner.subscribe(self._cut)

    async def __aenter__(self) -> "Bench":
        self.control.start()
        self._sweeper = spawn(self._sweep(), "sweep")
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sweeper.cancel()
        self.control.gate.close()
        self.control.stop()

    def _cut(self, change: Changed) -> None:
        """What is not answered when its engine is taken down, or dies, ends there."""
        if change.after not in _CUTS:
            return
        for client in self.clients:
            lease = client.lease
            if lease is not None and lease.replica == change.replica and client.done_at is None:
                client.finish()

    async def _sweep(self) -> None:
        while True:
            await pause(self.sweep_every_s)
            self.control.gate.sweep(clock.now())

    def ask(
        self,
        model: str,
        hold_s: float = 1.0,
        *,
        method: str = "POST",
        key: KeySpec | None = None,
        patience_s: float | None = None,
        stream: bool = False,
        has_fallback: bool = False,
    ) -> Client:
        """One request now; it is answered in its time. `patience_s`: its client's own deadline."""
        route = self.control.gate.resolve(model)
        assert route is not None
        now = clock.now()
        request = Request(id=f"r{len(self.clients)}", received_at=now, method=method, key=key, route=route)
        request.stream, request.has_fallback = stream, has_fallback
        request.deadline_at = None if patience_s is None else now + patience_s
        may_wake = request.may_wake and route.spec.wake_on_request
        client = Client(len(self.clients), model, hold_s, now, request.counts, may_wake)
        self.clients.append(client)
        answer = self.control.gate.enter(request, route, client, now)
        if isinstance(answer, Refusal):
            client.refused(answer)
        elif hasattr(answer, "leave"):
            client.ticket = answer
        else:
            client.use(answer)
        return client

    def leave(self, client: Client) -> None:
        """The client goes away while it waits."""
        if client.outcome == "open" and client.lease is None and client.ticket is not None:
            client.gone = True
            client.ticket.leave()  # type: ignore[attr-defined]

    async def rest(self, limit_s: float, step_s: float = 20.0) -> None:
        """Until every client has its answer, for at most `limit_s`."""
        until = clock.now() + limit_s
        while clock.now() < until and any(client.outcome == "open" for client in self.clients):
            await pause(step_s)

    def states(self) -> dict[str, str]:
        """Replica (`a`, `a/1`) -> state."""
        return {name: str(owner.state) for name, owner in self.owners.items()}


def key_of(model: str, index: int) -> str:
    """How `Bench` names a replica."""
    return model if index == 0 else replica_id(model, index)


async def pause(seconds: float) -> None:
    """Virtual time passes."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await done.wait()


async def settle() -> None:
    """Whatever is due now has happened."""
    await pause(0.0)
    await pause(0.0)


def fleet(*names: str, base: ModelSpec | None = None, **changes: object) -> dict[str, ModelSpec]:
    """Models of one make."""
    spec = replace(base or ModelSpec(command="engine"), **changes)  # type: ignore[arg-type]
    return dict.fromkeys(names, spec)


def evictions(owner: FakeOwner) -> int:
    """How often it was told to make room."""
    return sum(isinstance(order, Drain) and isinstance(order.reason, Evict) for order in owner.orders)
