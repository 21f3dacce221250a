"""What a router without a config writes of its models: the first router's four lines, each with why."""

import logging

import pytest

from roost.cli.environment import narrate
from roost.core.events import Changed
from roost.core.lifecycle import Event, Fact, Order, State
from roost.core.spec import ModelSpec, RoostSpec

SPEC = RoostSpec(models={"m": ModelSpec(served_name="org/m")})


def told(caplog: pytest.LogCaptureFixture, before: State, after: State, event: Event, model: str = "m") -> list[str]:
    change = Changed(
        replica=f"{model}/0",
        model=model,
        before=before,
        after=after,
        event=event,
        at=0.0,
        reason="why",
        reason_kind="x",
    )
    with caplog.at_level(logging.INFO, "roost"):
        narrate(SPEC, change)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("before", "after", "event", "line"),
    [
        (State.COLD, State.STARTING, Order.LOAD, "Loading model m as served name org/m: why"),
        (State.READY, State.STOPPING, Order.STOP, "Unloading model org/m: why"),
        (State.STARTING, State.BACKOFF, Fact.GONE, "Failed to load model m: why"),
        (State.STARTING, State.STOPPING, Fact.TIMED_OUT, "Timed out waiting for model to load: m: why"),
    ],
)
def test_each_has_its_line(
    caplog: pytest.LogCaptureFixture, before: State, after: State, event: Event, line: str
) -> None:
    assert told(caplog, before, after, event) == [line]


def test_a_model_that_was_found_has_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, State.COLD, State.STARTING, Order.LOAD, "x") == ["Loading model x as served name x: why"]


def test_what_is_none_of_the_four_is_left_to_the_log_of_states(caplog: pytest.LogCaptureFixture) -> None:
    assert not told(caplog, State.STARTING, State.READY, Fact.READY)
