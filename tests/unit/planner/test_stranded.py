"""Requests with an engine that someone else put to sleep, or paused: what the planner makes of them. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Stop, Wake
from roost.core.reason import Evict, Stranded
from roost.core.spec import ModelSpec
from roost.core.view import Goal, ModelView, Wish
from tests.unit.planner.test_plan import ASLEEP, GPU, ONE, QUIET, READY, kinds, model, planned, sized


def stranded(name: str = "a", **seen: Any) -> ModelView:
    return model(name, ASLEEP, **{"since": 997.0, "in_flight": 2, "stranded": 2, **seen})


def test_requests_with_a_sleeper_wake_it_and_the_reason_says_so() -> None:
    made = planned(stranded())
    assert made.actions == (Wake(replica="a/0", reason=Stranded(requests=2, asleep_s=3.0)),)
    assert str(made.actions[0].reason) == "2 requests are still with it, though someone put it to sleep 3.0 s ago"


def test_they_wake_it_though_requests_may_not_or_it_is_pinned_or_paused() -> None:
    spec = replace(QUIET, wake_on_request=False)
    assert kinds(planned(stranded(spec=spec, pinned=True, level=0))) == [(Wake, "a")]


def test_leases_that_were_never_let_in_do_not_wake_it() -> None:
    assert planned(stranded(stranded=0)).actions == ()


def test_idleness_does_not_stop_a_sleeper_with_requests() -> None:
    spec = ModelSpec(command="x", unload_after=60.0)
    assert kinds(planned(model("a", ASLEEP, spec=spec, last_used_at=900.0))) == [(Stop, "a")]
    assert kinds(planned(model("a", ASLEEP, spec=spec, last_used_at=900.0, in_flight=1))) == []


def test_a_sleeper_with_requests_does_not_yield_and_comes_up_before_whoever_waits() -> None:
    """An older want for all the room would else wait for the bytes it keeps, and it for the room."""
    made = planned(
        model("b", spec=sized(39), waiting_since=900.0),
        stranded(spec=sized(30, 2)),
        memory=GPU,
    )
    assert kinds(made) == [(Wake, "a")]
    assert set(made.blocked) == {"b"}


def test_a_sleeper_with_any_request_keeps_the_bytes_a_newcomer_needs() -> None:
    made = planned(
        model("b", spec=sized(39), waiting_since=900.0),
        stranded(spec=sized(30, 2), stranded=0),
        memory=GPU,
    )
    assert made.actions == ()
    assert (
        made.blocked["b"].sentence == 'Model "b" waits for 1.0 GiB more on gpu0, held by "a" (asleep with 2 requests).'
    )


def test_others_make_room_for_a_sleeper_with_requests() -> None:
    made = planned(stranded(), model("b", READY), memory=ONE)
    assert kinds(made) == [(Drain, "b")]
    reason = made.actions[0].reason
    assert isinstance(reason, Evict)
    assert reason.for_model == "a"


def test_a_sibling_that_is_ready_does_not_answer_them() -> None:
    """And it yields only where nobody else can."""
    one, two = model("a", READY, last_used_at=1.0), stranded()
    both = replace(one, replicas=(*one.replicas, replace(two.replicas[0], id="a/1")))
    assert [action.replica for action in planned(both).actions] == ["a/1"]
    beside_another = planned(both, model("b", READY), memory=MemorySpec(max_resident=2))
    assert kinds(beside_another) == [(Drain, "b")]
    beside_a_pinned = planned(both, model("b", READY, pinned=True), memory=MemorySpec(max_resident=2))
    assert [(type(action), action.replica) for action in beside_a_pinned.actions] == [(Drain, "a/0")]


@pytest.mark.parametrize(("force_at", "expected"), [(1060.0, Wake), (1000.0, Stop)])
def test_an_unload_lets_requests_with_a_sleeper_end_unless_forced(force_at: float, expected: type[Action]) -> None:
    wish = Wish(goal=Goal.STOPPED, by="cli", asked_at=999.0, force_at=force_at)
    made = planned(stranded(wish=wish))
    assert kinds(made) == [(expected, "a")]
    if isinstance(made.actions[0], Stop):
        assert made.actions[0].forced
    else:
        assert made.next_check_at == force_at
