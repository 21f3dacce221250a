"""One model whose engine runs elsewhere, without a proxy before it: an ordinary replica under an ordinary controller.

Owns no rules: what sleeps and wakes when is the planner's, how is the replica's. Touches no disk. All but the
properties belongs to one event loop. Made and called by `sleep_manager` alone.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from roost import clock
from roost.config.addresses import address_of
from roost.control.controller import Controller
from roost.control.lane import Lease
from roost.control.ports import LeaseLike
from roost.control.wishes import OrderResult
from roost.core.events import Changed
from roost.core.ids import replica_id
from roost.core.lifecycle import State
from roost.core.request import Fault, Refusal, Request
from roost.core.spec import ModelSpec, RoostSpec
from roost.core.view import Goal, Policy
from roost.engines.base import Machine
from roost.engines.own import fitting_request
from roost.engines.registry import adapter_for
from roost.host import confirming, watching
from roost.host.keepers.foreign import ForeignKeeper
from roost.host.output import Output
from roost.host.replica import Replica
from roost.host.setup import Setup
from roost.host.store import NoRecords
from roost.logs import log
from roost.sleep_config import Rules
from roost.tasks import spawn

BACKOFF_WAIT_S = 10.0
"""How long an order waits for an engine that has just failed: most have only been slow, and are found again."""
_AWAY = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_RESTING = frozenset({State.READY, State.ASLEEP, State.COLD, State.BACKOFF})
NOT_AWAKE = frozenset({State.SUSPENDING, State.ASLEEP, State.WAKING})
"""On its way to sleep, asleep, or not yet seen to be awake again."""


class Tended:
    """One model, its replica and its controller."""

    def __init__(self, model: str, rules: Rules) -> None:
        self.model = model
        self.replica = _replica(model, rules.spec)
        roost_spec = RoostSpec(policy=rules.policy, models={model: rules.spec})
        self._controller = Controller(roost_spec, [self.replica], Policy(spec=rules.policy))
        self._rules = rules
        self._leases: list[Lease] = []
        self._moved = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[Any]] = {}
        self._last_order: tuple[Goal, asyncio.Task[OrderResult]] | None = None
        self.closed = False
        self.replica.subscribe(self._changed)

    # to read, from any thread

    @property
    def not_awake(self) -> bool:
        return self.replica.state in NOT_AWAKE

    @property
    def asleep_since(self) -> float:
        """Monotonic seconds: when it was put to sleep, or was seen to sleep."""
        return self.replica.last_sleep_at or self.replica.since

    def idle_since(self) -> float | None:
        """By the planner's measure; None where it is not ready or has something to do."""
        return self._controller.idle_since(self.model)

    def is_at(self, rules: Rules) -> bool:
        """Whether these rules mean the engine that it tends."""
        own = self.replica.spec
        return (own.url, own.engine, own.api_key) == (rules.spec.url, rules.spec.engine, rules.spec.api_key)

    # life

    async def opened(self) -> None:
        """Until it has been looked at, which the first caller begins."""
        if self.closed:
            return
        if "open" not in self._under_way:
            self._under_way["open"] = spawn(self._open(), f"look at {self.model}")
        if not self._under_way["open"].done():
            await asyncio.wait([self._under_way["open"]])

    async def _open(self) -> None:
        await self.replica.recover()
        self._controller.start()

    def take_over(self, earlier: "Tended") -> None:
        """What the earlier one knew of the same engine and the engine itself cannot tell: that we put it to sleep."""
        was, tells = earlier.replica, self.replica.setup.adapter.sleep_query(self.replica.spec) is not None
        if was.state is State.ASLEEP and not tells:
            self.replica.fell_asleep(was.level, "put to sleep before")
            self.replica.last_sleep_at = was.last_sleep_at

    def adjust(self, rules: Rules) -> None:
        """Other rules from now on."""
        if rules != self._rules:
            self._rules = rules
            self.replica.spec = rules.spec
            self._controller.adjust(rules.policy, self.model, rules.spec)

    async def close(self) -> None:
        """Let go of the engine, as it is. Whoever waits is told no."""
        self.closed = True
        self._controller.gate.close()
        self._controller.stop()
        for name in ("open", "look"):
            if (task := self._under_way.get(name)) is not None:
                task.cancel()
        self._moved.set()
        await self.replica.close(leave=True)

    # what is asked of it

    def heed(self, running: int, *, active: bool) -> None:
        """So many requests run at the engine now; `active`: one has begun or ended."""
        now, gate, before = clock.now(), self._controller.gate, len(self._leases)
        while len(self._leases) < running:
            self._leases.append(gate.passed(self.replica.id, now))
        while len(self._leases) > running:
            self._leases.pop().release(now)
        if active and not before and not running:
            gate.passed(self.replica.id, now).release(now)

    async def bring(self, goal: Goal) -> bool:
        """To sleep, or awake and verified, as an operator's order; True once it is there. What is under way already is
        joined. It ends in time: each of its calls has a time limit, and so has the drain."""
        if not await self._answering():
            return False
        last = self._last_order
        if last is None or last[0] is not goal or last[1].done():
            ordered = self._controller.order(self.model, goal, by="python", wait_s=_patience_s(self.replica))
            last = self._last_order = goal, spawn(ordered, f"{goal} {self.model}")
        await asyncio.wait([last[1]])
        result = None if last[1].cancelled() or last[1].exception() is not None else last[1].result()
        done = result is not None and result.success and result.status == 200
        if result is not None and not done:
            log.warning("%s", result.message)
        return done

    async def serve(self) -> bool:
        """As a request would have it: True when it is ready, at once if it is. Idleness starts anew then."""
        if self.replica.state is State.READY:
            return await self._enter()
        if not await self._answering():
            return False
        return bool(await self._shared("request", self._enter))

    async def says_it_sleeps(self) -> bool | None:
        """What the engine itself says now; None where it cannot tell or does not answer."""
        await self.opened()
        await self._shared("look", self._look)
        return None if self.closed else await confirming.says_asleep(self.replica)

    async def _answering(self) -> bool:
        """Look at it now, so that what others did to it is known. False if there is no engine to give orders to."""
        await self.opened()
        await self._shared("look", self._look)
        if self.replica.state is State.BACKOFF:
            await self._until_found_again()
        state = self.replica.state
        if self.closed or state in _AWAY:
            why = f": {self.replica.last_error}" if self.replica.last_error else ""
            log.warning("%s does not answer at %s and is %s%s", self.model, self.replica.address, state, why)
        return not self.closed and state not in _AWAY

    async def _look(self) -> None:
        if self.replica.state in _RESTING:
            await watching.look_once(self.replica)

    async def _until_found_again(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BACKOFF_WAIT_S):
                while self.replica.state in _AWAY and not self.closed:
                    self._moved.clear()
                    await self._moved.wait()

    async def _enter(self) -> bool:
        gate, now = self._controller.gate, clock.now()
        route = gate.resolve(self.model)
        assert route is not None
        waiter = _Waiter()
        answer = gate.enter(Request("python", now, method="POST"), route, waiter, now)
        if isinstance(answer, Lease):
            answer.release(now)
            return True
        if isinstance(answer, Refusal):
            waiter.refused(answer)
            return False
        try:
            async with asyncio.timeout(_patience_s(self.replica)):
                return await waiter.done
        except TimeoutError:
            log.warning("%s was not ready in time", self.model)
            return False
        finally:
            answer.leave()

    async def _shared(self, name: str, job: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The job's result, or that of the same job if it is under way; None if it was broken off or went wrong,
        which is logged where it happened."""
        task = self._under_way.get(name)
        if task is None or task.done():
            task = self._under_way[name] = spawn(job(), f"{name} {self.model}")
        await asyncio.wait([task])
        return None if task.cancelled() or task.exception() is not None else task.result()

    def _changed(self, change: Changed) -> None:
        self._moved.set()
        log.info("%s: %s -> %s (%s)", change.model, change.before, change.after, change.reason)
        if change.after in _AWAY:  # who waits hears of it at once instead of at the end of his time
            message = f'Model "{self.model}" is {change.after}: {self.replica.last_error or change.reason}'
            refusal = Refusal(status=503, code="model_failed", message=message, fault=Fault.ENGINE)
            self._controller.gate.refuse_all(self.model, refusal)


class _Waiter:
    """Implements `control.ports.Waiter` for a caller who only asks that the model be ready."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def granted(self, lease: LeaseLike) -> bool:
        if self.done.done():
            return False
        self.done.set_result(True)
        lease.release(clock.now())
        return True

    def refused(self, refusal: Refusal) -> None:
        log.warning("%s", refusal.message)
        if not self.done.done():
            self.done.set_result(False)


def _replica(model: str, spec: ModelSpec) -> Replica:
    return Replica(
        Setup(
            id=replica_id(model),
            model=model,
            spec=spec,
            adapter=adapter_for(spec),
            keeper=ForeignKeeper(),
            address=address_of(spec.url or ""),
            machine=Machine(python=sys.executable),
            store=NoRecords(),
            output=Output(Path(os.devnull)),
            cwd=os.sep,
        )
    )


def _patience_s(replica: Replica) -> float:
    """All that may stand before an order's end: the drain, a sleep, and a wake with its verifying request."""
    spec, adapter = replica.spec, replica.setup.adapter
    steps = (
        *adapter.sleep(spec, spec.sleep_level),
        *adapter.wake(spec, None),
        fitting_request(spec, replica.served_name) or adapter.verify(spec, replica.served_name),
    )
    return spec.timeouts.drain + 2 * confirming.CONFIRM_S + BACKOFF_WAIT_S + sum(step.longest_s for step in steps)
