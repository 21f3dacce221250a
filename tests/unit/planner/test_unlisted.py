"""A model that its server does not list, though it lists what it can load. `now` is 1000."""

from dataclasses import replace
from typing import Any

from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Load
from roost.core.view import ModelView
from tests.unit.planner.test_plan import GPU, ONE, QUIET, READY, kinds, model, planned, sized


def unlisted(state: State = State.COLD, **seen: Any) -> ModelView:
    return model("a", state, host="srv", sleep_levels=(), **{"unlisted": True, "waiting_since": 990.0, **seen})


def test_its_load_is_tried_beside_everybody_and_costs_nobody_his_place() -> None:
    for memory in (ONE, GPU):
        full = model("b", READY, spec=sized(40), devices=("gpu0",))
        made = planned(unlisted(spec=sized(20)), full, memory=memory)
        assert (kinds(made), made.blocked) == ([(Load, "a")], {})
        assert planned(unlisted(State.STARTING, spec=sized(20)), full, memory=memory).actions == ()


def test_it_takes_no_place_before_it_is_listed() -> None:
    trying = unlisted(State.STARTING, waiting_since=None)
    assert kinds(planned(trying, model("b", waiting_since=990.0), memory=ONE)) == [(Load, "b")]


def test_a_server_that_lists_it_goes_first_and_no_second_copy_is_tried() -> None:
    one = unlisted()
    listed = replace(one.replicas[0], id="a/1", host="other", unlisted=False)
    two = replace(one, replicas=(*one.replicas, listed))
    assert [action.replica for action in planned(two).actions] == ["a/1"]
    busy = replace(two, replicas=(one.replicas[0], replace(listed, state=READY, in_flight=3)))
    assert planned(busy, memory=MemorySpec()).actions == ()
    assert QUIET.concurrency is None
