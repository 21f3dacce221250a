"""Admission as a function: served, queued or refused."""

from dataclasses import dataclass, field

import pytest

from roost.core.lifecycle import State
from roost.core.request import Refusal
from roost.core.spec import ModelSpec, QueueSpec
from roost.planner.admission import ENQUEUE, admit, bounded_retry


@dataclass
class Seat:
    state: State = State.READY
    in_flight: int = 0
    handicap: int = 0

    @property
    def load(self) -> int:
        return self.in_flight


@dataclass
class Lane:
    seats: list[Seat]
    depth: int = 0
    wakers: int = 0
    name: str = "m"
    expected_wait_s: float = 7.2
    spec: ModelSpec = field(default_factory=lambda: ModelSpec(concurrency=2, queue=QueueSpec(size=3)))


@dataclass
class Asking:
    may_wake: bool = True


def test_the_ready_replica_with_the_fewest_requests() -> None:
    seats = [Seat(in_flight=1), Seat(State.ASLEEP), Seat(in_flight=0), Seat(in_flight=0)]
    assert admit(Lane(seats), Asking()) is seats[2]


def test_at_the_limit_it_waits_and_behind_others_too() -> None:
    assert admit(Lane([Seat(in_flight=2)]), Asking()) is ENQUEUE
    assert admit(Lane([Seat(in_flight=0)], depth=1), Asking()) is ENQUEUE


def test_a_full_queue_is_429_with_a_computed_time() -> None:
    refusal = admit(Lane([Seat(in_flight=2)], depth=3), Asking())
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (429, "queue_full", 8.0)
    assert "3 requests wait (queue.size 3)" in refusal.message


@pytest.mark.parametrize("state", [State.COLD, State.ASLEEP, State.STOPPING, State.BACKOFF, State.FAILED, State.STUCK])
def test_who_may_not_wake_is_refused_where_nothing_comes(state: State) -> None:
    refusal = admit(Lane([Seat(state)]), Asking(may_wake=False))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "model_asleep", None)
    assert "/api/v1/models/m/wake" in refusal.message
    assert admit(Lane([Seat(state)]), Asking()) is ENQUEUE


@pytest.mark.parametrize("state", [State.STARTING, State.WAKING, State.DRAINING, State.SUSPENDING])
def test_who_may_not_wake_waits_where_it_comes(state: State) -> None:
    assert admit(Lane([Seat(state)]), Asking(may_wake=False)) is ENQUEUE


@pytest.mark.parametrize(
    ("states", "plight"),
    [
        ([State.ASLEEP], "is asleep"),
        ([State.COLD], "is cold"),
        ([State.COLD, State.ASLEEP], "is asleep"),
        ([State.FAILED], "has failed"),
        ([State.BACKOFF], "has crashed"),
    ],
)
def test_a_model_that_requests_do_not_wake_names_the_call_that_does(states: list[State], plight: str) -> None:
    lane = Lane([Seat(state) for state in states], name="org/m", spec=ModelSpec(wake_on_request=False))
    refusal = admit(lane, Asking())
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "model_asleep", None)
    assert refusal.message == (
        f'Model "org/m" {plight}, and requests do not wake it (wake_on_request: false). '
        "POST /action/wakeup/org%2Fm or POST /api/v1/models/org%2Fm/wake does."
    )


@pytest.mark.parametrize("state", [State.STARTING, State.WAKING, State.DRAINING, State.SUSPENDING])
def test_such_a_model_serves_and_is_waited_for_as_usual(state: State) -> None:
    spec = ModelSpec(wake_on_request=False, concurrency=1)
    ready = Seat()
    assert admit(Lane([Seat(State.ASLEEP), ready], spec=spec), Asking()) is ready
    assert admit(Lane([Seat(state)], spec=spec), Asking()) is ENQUEUE
    assert admit(Lane([Seat(in_flight=1)], spec=spec), Asking()) is ENQUEUE


def test_who_may_not_wake_waits_with_one_who_may() -> None:
    assert admit(Lane([Seat(State.COLD)], depth=1, wakers=1), Asking(may_wake=False)) is ENQUEUE


@pytest.mark.parametrize(("seconds", "given"), [(0.0, 1.0), (0.2, 1.0), (7.2, 8.0), (120.0, 120.0), (9e9, 120.0)])
def test_retry_after_is_whole_and_bounded(seconds: float, given: float) -> None:
    assert bounded_retry(seconds) == given
