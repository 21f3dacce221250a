"""The running roost as its API sees it: implements `admin.ports.Console` over the parts that `app` made.

Reads everything, changes nothing but through the controller's doors (`order`, `pin`) and the plane's `cancel`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roost import __version__, clock
from roost.accesslog import Watch, summary
from roost.admin.events import Hub
from roost.console_facts import change_fact, learned_facts, plan_facts, sequence_fact, step_fact
from roost.console_memory import MemoryFacts, resident_facts
from roost.console_queue import wait_facts, waiting_facts
from roost.console_schedules import schedule_facts
from roost.console_traffic import TrafficFacts, most_useful
from roost.control.controller import Controller
from roost.control.health import avoided
from roost.core.lifecycle import State
from roost.core.server_spec import ServerSpec
from roost.core.spec import RoostSpec, further_names
from roost.core.view import Goal
from roost.host.launching import shown_command
from roost.host.measure import Kind
from roost.host.output import FOLLOW_S
from roost.host.replica import Replica
from roost.keeping import Keeping, totals_facts
from roost.logs import kept
from roost.proxy.plane import Plane
from roost.telemetry.recorder import Recorder

MEMORY_AGE_S = 2.0
"""How old a measured memory figure may be: looking walks the process table."""
RATE_WINDOW_S = 60
BAD = frozenset({State.FAILED, State.STUCK})
ANSWERS = frozenset({State.READY, State.DRAINING, State.SUSPENDING, State.ASLEEP, State.WAKING})
"""States in which the engine's server is up, whether or not it takes requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the console looks at."""

    spec: RoostSpec
    replicas: Sequence[Replica]
    controller: Controller
    plane: Plane
    watch: Watch
    recorder: Recorder
    keeping: Keeping
    hub: Hub
    memory: MemoryFacts
    config_hash: str
    instance: str
    started_at: float


class Console:
    """See `admin.ports.Console`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_model: dict[str, list[Replica]] = {}
        self.add(parts.replicas)
        self._traffic = TrafficFacts(parts.spec, self._by_model, parts.controller, parts.recorder, parts.started_at)
        self._memory: dict[str, tuple[float, int | None]] = {}
        self.address = ""
        self.serving = False
        self.stopping = False

    def add(self, replicas: Sequence[Replica]) -> None:
        """These are shown, too."""
        for replica in replicas:
            self._by_model.setdefault(replica.model, []).append(replica)

    def forget(self, name: str) -> None:
        """The model was removed."""
        for replica in self._by_model.pop(name, ()):
            self._memory.pop(replica.id, None)

    def forget_replica(self, replica: Replica) -> None:
        """Its model has others."""
        self._by_model[replica.model].remove(replica)
        self._memory.pop(replica.id, None)

    # what is

    @property
    def server(self) -> ServerSpec:
        return self._parts.spec.server

    def status(self) -> dict[str, Any]:
        parts = self._parts
        state = "stopping" if self.stopping else "serving" if self.ready() else "starting"
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(clock.now() - parts.started_at, 3),
            "instance": parts.instance,
            "address": self.address,
            "state": state,
            "config_hash": parts.config_hash,
            "models": self.models(),
            "memory": self._memory_facts(),
            "schedules": schedule_facts(parts.controller.standing()),
        }

    def _memory_facts(self) -> dict[str, Any]:
        memory = self._parts.controller.standing().memory
        return {
            "max_resident": memory.max_resident,
            **resident_facts(self._parts.controller.view()),
            "devices": dict(memory.devices),
            "budgets": self._parts.memory.budgets(),
        }

    def health(self) -> tuple[bool, list[str]]:
        reasons = [
            f"{replica.id} is {replica.state}: {replica.last_error}"
            for replica in self._parts.replicas
            if replica.state in BAD
        ]
        return not reasons, reasons

    def ready(self) -> bool:
        return self.serving and self._parts.controller.last_plan is not None and not self.stopping

    def models(self) -> list[dict[str, Any]]:
        return [self._facts(name, replicas) for name, replicas in self._by_model.items()]

    def model(self, name: str) -> dict[str, Any] | None:
        route = self._parts.controller.gate.resolve(name)
        if route is None:
            return None
        replicas = self._by_model[route.name]
        facts = self._facts(route.name, replicas)
        facts["history"] = [change_fact(change) for replica in replicas for change in replica.history]
        facts["steps"] = [step_fact(record) for replica in replicas for record in replica.steps]
        facts["sequences"] = [sequence_fact(each) for replica in replicas for each in replica.sequences]
        return facts

    def _facts(self, name: str, replicas: Sequence[Replica]) -> dict[str, Any]:
        controller, now = self._parts.controller, clock.now()
        lane = controller.gate.lane(name)
        spec = lane.spec
        main = most_useful(replicas)
        seats = [controller.gate.seat(replica.id) for replica in replicas]
        blocked = controller.blocked(name)
        used = max((seat.last_done or 0.0 for seat in seats), default=0.0)
        idle_from = max(used, main.became_ready_at or 0.0)
        busy = any(seat.in_flight for seat in seats)
        return {
            "name": name,
            "aliases": list(further_names(name, spec)),
            "engine": str(main.setup.adapter.kind),
            "task": str(spec.task),
            "state": str(main.state),
            "since_s": round(now - main.since, 3),
            "level": main.level,
            "in_flight": sum(seat.own_in_flight for seat in seats),
            "queue_depth": lane.depth,
            **waiting_facts(controller, name, now),
            "pinned": controller.pinned(name),
            "idle_s": round(now - idle_from, 3) if idle_from and not busy else None,
            "replicas": [replica.id for replica in replicas],
            "command": None if main.started is None else shown_command(main.started.argv, main.spec),
            "drain_goal": None if main.drain_goal is None else str(main.drain_goal),
            "idle_limit_s": self._idle_limit(main),
            "endpoint": _endpoint(main),
            "endpoints": [self._serving(replica, now) for replica in replicas],
            "pid": main.keeper.pid,
            "port": main.address.port,
            "owned": main.owned,
            "parent": None if lane.host is None else lane.host.name,
            "host": None if main.setup.server is None else main.setup.server.facts(),
            "last_error": main.last_error or None,
            "notices": [
                *(notice.text for replica in replicas for notice in replica.notices),
                *(f"{one.sentence}." for seat in seats if (one := avoided(seat, now)) is not None),
            ],
            "reason": self._parts.memory.reason(main),
            "blocked": blocked.sentence if blocked is not None else None,
            "listed": not (spec.unlisted or controller.is_leaving(name)),
            "leaving": controller.is_leaving(name),
            "display_name": spec.display_name or None,
            "description": spec.description or None,
            "metadata": dict(spec.metadata),
            "context_length": spec.context_length or main.context_length,
            "modalities": list(spec.modalities) or None,
            "tools": spec.tools,
            "memory_bytes": self._memory_of(main, now),
            "device_bytes": _device_bytes(main),
            **self._parts.memory.of(main),
            **learned_facts(*controller.learning.known(name, now)),
            "canary": main.canary.said or None,
            "totals": totals_facts(self._parts.keeping.usage(name)),
            "requests_per_s": round(self._parts.recorder.model(name).traffic.rates(now, RATE_WINDOW_S).requests, 3),
        }

    def _idle_limit(self, replica: Replica) -> float | None:
        """Of `sleep_after` and `unload_after` the one that comes first; None: it stays as it is."""
        if not self._parts.spec.policy.auto_sleep or self._parts.controller.pinned(replica.model):
            return None
        limits = (replica.spec.sleep_after if replica.sleep_levels else None, replica.spec.unload_after)
        return min((limit for limit in limits if limit is not None), default=None)

    def _serving(self, replica: Replica, now: float) -> dict[str, Any]:
        seat = self._parts.controller.gate.seat(replica.id)
        ailing = avoided(seat, now)
        return {
            "replica": replica.id,
            "endpoint": _endpoint(replica),
            "state": str(replica.state),
            "level": replica.level,
            "answers": replica.state in ANSWERS and replica.lost_since is None,
            "in_flight": seat.own_in_flight,
            "since_s": round(now - replica.since, 3),
            "reason": self._parts.memory.reason(replica),
            "last_error": replica.last_error or None,
            "devices": list(replica.devices),
            "failures": seat.failures,
            "avoided_s": None if ailing is None else round(ailing.for_s, 3),
            "pid": replica.keeper.pid,
            "session": replica.keeper.session if replica.state is not State.COLD else None,
        }

    def _memory_of(self, replica: Replica, now: float) -> int | None:
        if replica.keeper.pid is None:
            return None
        seen = self._memory.get(replica.id)
        if seen is None or now - seen[0] > MEMORY_AGE_S:
            seen = self._memory[replica.id] = (now, replica.keeper.memory_bytes())
        return seen[1]

    @property
    def idle_threshold_s(self) -> float:
        return self._parts.spec.policy.idle_threshold

    def traffic(self, window_s: float, name: str | None = None) -> list[dict[str, Any]]:
        return self._traffic.stats(window_s, name)

    def traffic_history(self, name: str, span_s: int, bucket_s: int) -> list[dict[str, Any]]:
        return self._traffic.history(name, span_s, bucket_s)

    def sleep_status(self) -> dict[str, Any]:
        return self._traffic.sleep()

    # orders

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None, wait_s: float, force: bool
    ) -> dict[str, Any]:
        controller = self._parts.controller
        result = await controller.order(name, goal, by=by, level=level, wait_s=wait_s, force=force)
        self._parts.hub.publish(
            {"type": "order", "model": name, "goal": str(goal), "by": by, "message": result.message}
        )
        return asdict(result)

    def pin(self, name: str, pinned: bool, *, by: str) -> dict[str, Any]:
        return asdict(self._parts.controller.pin(name, pinned, by=by))

    def budgets(self) -> list[dict[str, Any]]:
        return self._parts.memory.budgets()

    def holds(self) -> list[dict[str, Any]]:
        return self._parts.memory.holds()

    def hold(
        self, device: str, *, amount: int | None, for_s: float | None, reason: str, by: str
    ) -> dict[str, Any] | None:
        return self._parts.memory.hold(device, amount=amount, for_s=for_s, reason=reason, by=by)

    def release(self, device: str, *, by: str) -> dict[str, Any] | None:
        return self._parts.memory.release(device, by=by)

    def plan(self) -> dict[str, Any]:
        controller = self._parts.controller
        return plan_facts(controller.dry_plan(), clock.now()) | {"schedules": schedule_facts(controller.standing())}

    async def journal(self, since_s: float, limit: int) -> list[dict[str, Any]]:
        return await self._parts.keeping.journal(since_s, limit)

    # requests

    def requests(self) -> list[dict[str, Any]]:
        now = clock.now()
        waits = self._parts.plane.waits()
        return [summary(request, now) | wait_facts(told) for request, told in waits if request.route is not None]

    def recent(self) -> list[dict[str, Any]]:
        now = clock.now()
        return [summary(request, now) for request in reversed(self._parts.watch.recent)]

    def cancel(self, request_id: str) -> bool:
        return self._parts.plane.cancel(request_id)

    # streams

    def log_tail(self, name: str, lines: int) -> list[str] | None:
        route = self._parts.controller.gate.resolve(name)
        return None if route is None else self._by_model[route.name][0].setup.output.tail(lines)

    def log_follow(self, name: str) -> AsyncIterator[str]:
        route = self._parts.controller.gate.resolve(name)
        assert route is not None, "log_tail was asked first"
        return self._by_model[route.name][0].setup.output.follow()

    def own_log_tail(self) -> list[str]:
        return kept.since(0)[1]

    async def own_log_follow(self) -> AsyncIterator[str]:
        """Looks as often as an engine's log is looked at; a reader slower than the log misses lines."""
        seen = kept.count
        while not self.stopping:
            seen, lines = kept.since(seen)
            for line in lines:
                yield line
            await asyncio.sleep(FOLLOW_S)

    def events(self) -> AsyncIterator[Mapping[str, Any]]:
        return self._parts.hub.subscribe()

    def metrics(self) -> bytes:
        return self._parts.recorder.text()


def _device_bytes(replica: Replica) -> int | None:
    """Of its last measuring, which follows each change: the driver is not asked for every look."""
    measured = replica.measured
    return measured.held if measured is not None and measured.kind is Kind.DEVICE else None


def _endpoint(replica: Replica) -> str:
    return replica.address.url
