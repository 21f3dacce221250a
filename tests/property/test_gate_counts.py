"""The gate under waiters of every manner: in-flight is the leases out, the queue is first come first served.

Waiters may refuse a lease, give it back within the call, enter again or leave from inside a callback, or raise.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.control.gate import Gate
from roost.control.lane import Entry, Lease
from roost.control.ports import LeaseLike
from roost.core.lifecycle import Fact, State
from roost.core.request import Refusal, Request
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec
from tests.support.fleet import FakeOwner, pause
from tests.support.virtual import run

QUEUE = 6
MANNERS = ("takes", "takes", "takes", "declines", "hands back", "raises", "enters again")


@dataclass(slots=True)
class World:
    gate: Gate
    owners: list[FakeOwner]
    now: float = 1000.0
    leases: list[LeaseLike] = field(default_factory=list)
    waiting: dict[int, "Guest"] = field(default_factory=dict)
    tickets: dict[int, Entry] = field(default_factory=dict)
    served: list[int] = field(default_factory=list)
    calls: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """What went wrong inside a call of the gate, which would catch an assertion."""
    number: int = 0
    limit: int = 10_000
    """`max_requests`."""
    handing_out: int = 0
    """Leases that are out and not yet in a list: their waiter is being called."""

    def enter(self, manner: str) -> None:
        self.number += 1
        guest = Guest(self, self.number, manner)
        route = self.gate.resolve("m")
        assert route is not None
        request = Request(id=str(self.number), received_at=self.now, method="POST", route=route)
        there = len(self.leases) + len(self.waiting) + self.handing_out
        answer = self.gate.enter(request, route, guest, self.now)
        if isinstance(answer, Refusal) is not (there >= self.limit or len(self.waiting) >= QUEUE):
            self.broken.append(f"{there} run and wait, {len(self.waiting)} wait, and the answer is {answer}")
        if isinstance(answer, Lease):
            if self.waiting:
                self.broken.append("a newcomer passed those who wait")
            self.leases.append(answer)
        elif isinstance(answer, Entry):
            self.waiting[guest.number] = guest
            self.tickets[guest.number] = answer


@dataclass(slots=True)
class Guest:
    world: World
    number: int
    manner: str

    def _called(self) -> None:
        self.world.calls[self.number] += 1
        del self.world.waiting[self.number]

    def granted(self, lease: LeaseLike) -> bool:
        if any(other < self.number for other in self.world.waiting):
            self.world.broken.append("not first come first served")
        self._called()
        self.world.served.append(self.number)
        if self.manner == "raises":
            raise RuntimeError("a bad waiter")
        if self.manner == "declines":
            return False
        if self.manner == "enters again":
            self.world.handing_out += 1
            self.world.enter("takes")
            self.world.handing_out -= 1
        if self.manner == "hands back":
            lease.release(self.world.now)
        else:
            self.world.leases.append(lease)
        return True

    def refused(self, refusal: Refusal) -> None:
        self._called()
        if self.manner == "enters again":
            self.world.enter("takes")


steps = st.lists(
    st.tuples(
        st.sampled_from(["enter"] * 5 + ["release"] * 4 + ["leave", "again", "another", "drain", "undrain", "sweep"]),
        st.integers(0, 30),
        st.sampled_from(MANNERS),
    ),
    min_size=8,
    max_size=60,
)


def step(world: World, what: str, which: int, manner: str) -> None:
    world.now += 1.0
    owner = world.owners[which % len(world.owners)]
    match what:
        case "enter":
            world.enter(manner)
        case "release" if world.leases:
            world.leases.pop(which % len(world.leases)).release(world.now)
        case "again" if world.leases:
            lease = world.leases.pop()
            lease.release(world.now)
            lease.release(world.now)
        case "another" if world.leases:
            lease = world.leases.pop()
            second = world.gate.another(lease, world.now)
            assert second is None or second.replica != lease.replica
            world.leases.append(second or lease)
        case "leave" if world.waiting:
            number = sorted(world.waiting)[which % len(world.waiting)]
            del world.waiting[number]
            world.tickets[number].leave()
            world.tickets[number].leave()
        case "drain" if owner.state is State.READY:
            owner.state = State.DRAINING
        case "undrain" if owner.state is State.DRAINING:
            owner.state = State.ASLEEP
            owner.see(Fact.FOUND_AWAKE)
            owner.see(Fact.READY)
        case "sweep":
            world.gate.sweep(world.now)


def agrees(world: World) -> None:
    assert world.broken == []
    out = Counter(lease.replica for lease in world.leases)
    for owner in world.owners:
        seat = world.gate.seat(owner.id)
        assert seat.in_flight == out[owner.id]
        assert seat.counting == out[owner.id]
        assert seat.in_flight <= 2
    lane = world.gate.lane("m")
    assert lane.depth == lane.wakers == len(world.waiting)
    assert lane.depth <= QUEUE
    assert set(world.calls.values()) <= {1}
    free = any(owner.state is State.READY and world.gate.seat(owner.id).in_flight < 2 for owner in world.owners)
    assert not (free and lane.depth), "a replica is free and somebody waits"


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(script=steps, replicas=st.integers(1, 3), limit=st.sampled_from([None, 1, 3, 4]))
def test_counts_order_and_single_answers(script: list[tuple[str, int, str]], replicas: int, limit: int | None) -> None:
    async def main() -> None:
        model = ModelSpec(
            command="engine", concurrency=2, queue=QueueSpec(size=QUEUE, max_wait=20.0), max_requests=limit
        )
        owners = [FakeOwner("m", model, index=number) for number in range(replicas)]
        gate: Any = Gate(RoostSpec(models={"m": model}), owners, lambda: None)
        world = World(gate, owners, limit=limit or 10_000)
        for owner in owners:
            owner.subscribe(gate.replica_changed)
            owner.see(Fact.READY)
        for what, which, manner in script:
            step(world, what, which, manner)
            agrees(world)
        for lease in world.leases:
            gate.close()
            lease.release(world.now)
        gate.close()
        assert gate.in_flight == gate.queue_depth == 0
        await pause(0.0)

    run(main())
