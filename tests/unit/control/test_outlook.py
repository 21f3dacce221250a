"""What a waiting client may be told of its wait."""

from dataclasses import replace

import pytest

from roost.control.lane import Entry, Lane
from roost.control.seat import Seat
from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.request import Request
from roost.core.spec import EngineKind, ModelSpec
from tests.support.fleet import Client, FakeOwner

SPEC = ModelSpec(engine=EngineKind.COMMAND)


def waiting(*states: State, spec: ModelSpec = SPEC, count: int = 1) -> tuple[Lane, list[Entry]]:
    lane = Lane("a", spec)
    for index, state in enumerate(states):
        owner = FakeOwner("a", spec, index=index)
        owner.state = state
        lane.seats.append(Seat(lane, owner))
    entries = [Entry(lane, Request(str(n), 0.0, method="POST"), Client(n, "a", 1.0, 0.0), 0.0) for n in range(count)]
    for entry in entries:
        lane.add(entry)
    return lane, entries


SENTENCES = {
    State.WAKING: "it is waking up.",
    State.STARTING: "it is being loaded.",
    State.ASLEEP: "it sleeps and will be woken.",
    State.COLD: "it is not loaded and will be.",
    State.BACKOFF: "its engine failed and will be started again.",
    State.FAILED: "its engine failed and will be started again.",
    State.DRAINING: "it was on its way down and comes back after that.",
    State.SUSPENDING: "it was on its way down and comes back after that.",
    State.STOPPING: "it was on its way down and comes back after that.",
    State.STUCK: "it was on its way down and comes back after that.",
    State.READY: "it is ready and serves others first.",
}


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_its_sentence(state: State) -> None:
    _, (entry,) = waiting(state)
    outlook = entry.outlook()
    assert outlook.sentence == SENTENCES[state]
    assert outlook.is_ready is (state is State.READY)


def test_the_replica_that_has_come_furthest_speaks() -> None:
    _, (entry,) = waiting(State.COLD, State.ASLEEP, State.WAKING)
    assert entry.outlook().sentence == "it is waking up."


def test_the_last_time_it_took_is_told() -> None:
    lane, (entry,) = waiting(State.WAKING)
    lane.last_wake_s = 3.14159
    lane.last_load_s = 64.0
    assert entry.outlook().sentence == "it is waking up (last time that took 3.1 s)."
    lane.seats[0].owner.state = State.STARTING
    assert entry.outlook().sentence == "it is being loaded (last time that took 64 s)."


def test_what_is_in_the_way_is_told_in_the_planners_words() -> None:
    lane, (entry,) = waiting(State.ASLEEP)
    lane.blocked = Blocked(model="a", sentence='Model "b" is pinned.')
    assert entry.outlook().sentence == 'it cannot start yet: Model "b" is pinned.'
    lane.seats[0].owner.state = State.WAKING
    assert entry.outlook().sentence == "it is waking up."


def test_who_is_ahead_is_told_where_they_are_served_one_after_the_other() -> None:
    _, entries = waiting(State.READY, spec=replace(SPEC, concurrency=1), count=3)
    assert [entry.outlook().sentence for entry in entries] == [
        "it is ready and serves others first.",
        "it is ready and serves others first, with 1 request ahead of this one.",
        "it is ready and serves others first, with 2 requests ahead of this one.",
    ]
    _, together = waiting(State.WAKING, count=3)
    assert together[2].outlook().sentence == "it is waking up."
