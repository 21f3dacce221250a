"""The table of a replica's life: every cell, and that the page in ARCHITECTURE.md shows the same."""

from itertools import product
from pathlib import Path

import pytest

from roost.core.lifecycle import TRANSITIONS, Event, Fact, IllegalMove, Order, State, advance

EVENTS: list[Event] = [*Order, *Fact]


@pytest.mark.parametrize(("state", "event"), list(product(State, EVENTS)))
def test_every_pair_moves_as_the_table_says_or_raises(state: State, event: Event) -> None:
    after = TRANSITIONS[state].get(event)
    if after is not None:
        assert advance(state, event) is after
        return
    with pytest.raises(IllegalMove, match=f"a replica that is {state} cannot take '{event}'"):
        advance(state, event)


def test_every_state_can_be_left_and_reached() -> None:
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(State)
    assert all(TRANSITIONS[state] for state in State)


def test_whatever_runs_can_be_stopped_and_whatever_is_gone_is_noticed() -> None:
    running = {State.STARTING, State.READY, State.DRAINING, State.SUSPENDING, State.WAKING, State.ASLEEP}
    for state in running:
        assert TRANSITIONS[state][Order.STOP] is State.STOPPING
        assert Fact.GONE in TRANSITIONS[state]


def test_the_documented_table_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    for state, row in TRANSITIONS.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {state} |"))
        for event, after in row.items():
            assert f"{event} → {after}" in line, (state, event)
