#!/usr/bin/env python3
"""How long a round of the control plane takes in a large fleet: observe, then plan.

python bench/plan_speed.py [--models 1000] [--devices 64] [--awake 128] [--asleep 64] [--wanted 1] [--rounds 300]

The real gate, wishes, executor and planner; only the owners stand still. Before each round a few things happen, as
they would: requests come and go on models that are awake, and a model that is cold is waited for (or `--wanted`
of them), so that somebody must yield. Times are CPU time of this process, so that a busy machine does not count.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from random import Random

from roost import clock
from roost.control.execute import Executor
from roost.control.gate import Gate
from roost.control.lane import Entry
from roost.control.learning import Learning
from roost.control.observe import Sources, observe
from roost.control.schedule import Timetable
from roost.control.wishes import Wishes
from roost.core.ids import replica_id
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec
from roost.core.request import Address, Refusal, Request
from roost.core.spec import ModelSpec, RoostSpec
from roost.core.view import Policy
from roost.planner.plan import Planner

GIB = 1024**3
TARGET_MS = 5.0


class Still:
    """An owner to whom nothing happens."""

    def __init__(self, model: str, spec: ModelSpec, state: State, since: float) -> None:
        self.id, self.model, self.spec = replica_id(model), model, spec
        self.owned, self.state, self.since = True, state, since
        self.level = 1 if state is State.ASLEEP else None
        self.became_ready_at = since if state is State.READY else None
        self.failures, self.last_error, self.stalled = 0, "", ""
        self.retry_at = self.manual_wake_at = self.drain_goal = None
        self.last_sleep_at = self.last_load_at = self.last_ready_at = None
        self.revive = self.drain_idle = False
        self.sleep_levels, self.no_sleep = (1, 2), ""
        self.devices, self.lingering, self.footprint, self.absent = spec.devices, 0, None, ""
        self.unlisted = False
        self.address = Address("127.0.0.1", 9)

    def subscribe(self, hear: object) -> None:
        """Nothing is ever told."""


@dataclass
class Patient:
    """A waiter who never leaves."""

    def granted(self, lease: object) -> bool:
        return True

    def refused(self, refusal: Refusal) -> None:
        pass


@dataclass
class Fleet:
    sources: Sources
    policy: Policy
    awake: list[str]
    cold: list[str]


def fleet(asked: argparse.Namespace) -> Fleet:
    """Models over devices, as many awake as were asked for; each device has room for two."""
    now, luck = clock.now(), Random(7)
    devices = {f"gpu{index}": 80 * GIB for index in range(asked.devices)}
    specs, states = {}, {}
    for index in range(asked.models):
        device = f"gpu{index % asked.devices}"
        name = f"model-{index}"
        specs[name] = ModelSpec(footprint=int(luck.uniform(25, 40) * GIB), devices=(device,))
        up, down = asked.awake, asked.awake + asked.asleep
        states[name] = State.READY if index < up else State.ASLEEP if index < down else State.COLD
    spec = RoostSpec(models=specs, memory=MemorySpec(devices=devices), policy=PolicySpec())
    owners = [Still(name, model, states[name], now - luck.uniform(1, 200)) for name, model in specs.items()]
    wishes = Wishes({owner.model: [owner] for owner in owners}, {})
    learning = Learning(lambda: spec.policy, lambda: None)
    gate = Gate(spec, owners, lambda: None)
    gate.hear_arrival = learning.arrived
    sources = Sources(
        spec=spec,
        owners={owner.model: [owner] for owner in owners},
        gate=gate,
        wishes=wishes,
        executor=Executor(owners),
        learning=learning,
        timetable=Timetable(spec.memory, spec.policy.schedules),
    )
    awake = [name for name, state in states.items() if state is State.READY]
    return Fleet(sources, Policy(spec=spec.policy), awake, [n for n, s in states.items() if s is State.COLD])


def happen(made: Fleet, luck: Random, wanted: int) -> list[Entry]:
    """Requests on models that are awake, and one for each of so many models that are cold."""
    gate, now = made.sources.gate, clock.now()
    for name in luck.sample(made.awake, min(10, len(made.awake))):
        lease = gate.enter(Request("r", now), gate.resolve(name), Patient(), now)
        lease.release(now)
    names = luck.sample(made.cold, min(wanted, len(made.cold)))
    return [gate.enter(Request("r", now), gate.resolve(name), Patient(), now) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=64)
    parser.add_argument("--awake", type=int, default=128)
    parser.add_argument("--asleep", type=int, default=64)
    parser.add_argument("--wanted", type=int, default=1, help="models that are waited for in each round")
    parser.add_argument("--rounds", type=int, default=300)
    asked = parser.parse_args()
    made, luck, plan = fleet(asked), Random(1), Planner()
    parts: list[tuple[float, float]] = []
    for _ in range(asked.rounds):
        entries = happen(made, luck, asked.wanted)
        began = time.process_time()
        view = observe(made.sources, clock.now(), 0.0)
        seen = time.process_time()
        plan(view, made.policy)
        parts.append((seen - began, time.process_time() - seen))
        for entry in entries:
            entry.leave()
    sums = sorted((one + other) * 1e3 for one, other in parts)
    observed = statistics.median(one for one, _ in parts) * 1e3
    planned = statistics.median(other for _, other in parts) * 1e3
    median, p99 = statistics.median(sums), sums[int(0.99 * len(sums))]
    print(f"{asked.models} models, {asked.awake} awake, {asked.asleep} asleep, {asked.devices} devices")
    print(f"observe {observed:.2f} ms, plan {planned:.2f} ms; together median {median:.2f} ms, p99 {p99:.2f} ms")
    print(f"target: at most {TARGET_MS} ms median: {'met' if median <= TARGET_MS else 'NOT met'}")
    return 0 if median <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
