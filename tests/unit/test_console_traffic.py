"""Who could sleep and whose sleep was ordered, from views and changes alone."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from roost.console_traffic import USEFUL, could_sleep_for, most_useful, slept_by_order
from roost.core.events import Changed
from roost.core.lifecycle import Event, Fact, Order, State
from roost.core.spec import EngineKind, ModelSpec
from roost.core.view import ModelView, ReplicaView
from roost.host.replica import Replica

READY = ReplicaView(id="a/0", model="a", state=State.READY, since=0.0, sleep_levels=(1,), idle_since=60.0)
OTHER = replace(READY, id="a/1", idle_since=90.0)


def model(*replicas: ReplicaView, waiting: int = 0, pinned: bool = False) -> ModelView:
    return ModelView(
        name="a", spec=ModelSpec(engine=EngineKind.VLLM), replicas=replicas, waiting=waiting, pinned=pinned
    )


def test_a_model_is_idle_since_its_last_used_ready_replica() -> None:
    assert could_sleep_for(model(READY), 100.0) == 40.0
    assert could_sleep_for(model(READY, OTHER), 100.0) == 10.0
    assert could_sleep_for(model(READY, replace(OTHER, state=State.ASLEEP, idle_since=None)), 100.0) == 40.0


@pytest.mark.parametrize(
    "view",
    [
        model(READY, waiting=1),
        model(READY, pinned=True),
        model(replace(READY, state=State.ASLEEP)),
        model(replace(READY, sleep_levels=())),
        model(replace(READY, in_flight=1)),
        model(replace(READY, idle_since=None)),
        model(READY, replace(OTHER, idle_since=None, in_flight=1)),
        model(),
    ],
)
def test_who_is_used_wanted_pinned_or_unable_could_not_sleep(view: ModelView) -> None:
    assert could_sleep_for(view, 100.0) is None


def change(before: State, after: State, event: Event, kind: str) -> Changed:
    return Changed(
        replica="a/0", model="a", before=before, after=after, event=event, at=0.0, reason="", reason_kind=kind
    )


def sleep(kind: str) -> list[Changed]:
    return [
        change(State.READY, State.DRAINING, Order.DRAIN, kind),
        change(State.DRAINING, State.SUSPENDING, Order.SLEEP, kind),
        change(State.SUSPENDING, State.ASLEEP, Fact.FELL_ASLEEP, "fact"),
    ]


BY_ITSELF = [change(State.READY, State.ASLEEP, Fact.FELL_ASLEEP, "fact")]


def test_only_the_last_sleep_decides_whether_it_was_ordered() -> None:
    assert slept_by_order(sleep("operator"))
    assert not slept_by_order(sleep("idle"))
    assert not slept_by_order(sleep("operator") + sleep("evict"))
    assert slept_by_order(sleep("idle") + sleep("operator"))
    assert not slept_by_order(sleep("operator") + BY_ITSELF)
    assert not slept_by_order([])


@pytest.mark.parametrize(
    ("states", "stands"),
    [
        ([State.FAILED, State.READY], State.READY),
        ([State.ASLEEP, State.WAKING], State.WAKING),
        ([State.COLD, State.ASLEEP], State.ASLEEP),
        ([State.FAILED, State.COLD], State.COLD),
    ],
)
def test_the_most_useful_replica_stands_for_its_model(states: list[State], stands: State) -> None:
    replicas = [cast("Replica", SimpleNamespace(state=state)) for state in states]
    assert most_useful(replicas).state is stands


def test_every_state_has_its_place_among_the_useful_ones() -> None:
    assert set(USEFUL) == set(State)
    assert USEFUL[0] is State.READY
