"""When an idle model goes down: break-even and histogram. The fixed clocks are in `test_plan`."""

from dataclasses import replace
from typing import Any

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Drain
from roost.core.policy_spec import PolicySpec
from roost.core.reason import BreakEven, Idle, Unlikely
from roost.core.view import Goal, ModelView
from tests.unit.planner.test_plan import COLD, GIB, GPU, NOW, QUIET, READY, kinds, model, planned, sized

BREAK_EVEN = PolicySpec(idle="break-even")
HISTOGRAM = PolicySpec(idle="histogram")
FIVE_MINUTES = replace(QUIET, sleep_after=300.0)


def awake(name: str, idle_s: float, back_s: float = 20.0, **seen: Any) -> ModelView:
    since = NOW - idle_s
    view = model(name, READY, idle_since=since, last_used_at=since, became_ready_at=100.0, since=100.0, **seen)
    return replace(view, return_s=ReturnCosts(load_s=back_s, level1_s=back_s))


def saying(view: ModelView, soon: float, samples: float = 20.0) -> ModelView:
    return replace(view, forecast=Forecast(hazard_per_s=0.001, samples=samples, soon=soon, soon_s=400.0))


def test_break_even_frees_room_once_waiting_has_cost_as_much_as_waking() -> None:
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    made = planned(awake("a", 25.0, spec=sized(20)), other, memory=GPU, policy=BREAK_EVEN)
    reason = BreakEven(idle_s=25.0, back_s=20.0, for_model="b")
    assert made.actions == (Drain(replica="a/0", goal=Goal.ASLEEP, reason=reason),)
    assert str(reason) == "idle for 25 s, back in 20 s, and 'b' would find no room"


def test_break_even_waits_until_then_and_looks_again() -> None:
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    made = planned(awake("a", 5.0, spec=sized(20)), other, memory=GPU, policy=BREAK_EVEN)
    assert made.actions == ()
    assert made.next_check_at == NOW + 15.0


def test_break_even_looks_again_at_one_that_answers_still_as_nothing_says_when_it_ends() -> None:
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    busy = model("a", READY, in_flight=1, last_used_at=NOW, spec=sized(20))
    made = planned(busy, other, memory=GPU, policy=BREAK_EVEN)
    assert made.actions == ()
    assert made.next_check_at is not None and NOW + 5.0 <= made.next_check_at <= NOW + 60.0


def test_break_even_spares_whom_foresight_would_bring_up_again() -> None:
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    idle = awake("a", 25.0, spec=sized(20))
    foresight = replace(BREAK_EVEN, wake_ahead=True)
    for soon, policy, goes in ((0.6, foresight, False), (0.4, foresight, True), (0.6, BREAK_EVEN, True)):
        made = planned(saying(idle, soon), other, memory=GPU, policy=policy)
        assert bool(made.actions) is goes


def test_break_even_keeps_everybody_whom_nobody_wants_gone() -> None:
    for other in (
        model("b", COLD, spec=sized(10), last_used_at=500.0),  # finds room
        model("b", COLD, spec=sized(30), last_used_at=None),  # nobody ever asked for it
    ):
        assert planned(awake("a", 25.0, spec=sized(20)), other, memory=GPU, policy=BREAK_EVEN).actions == ()
    unbounded = planned(awake("a", 25.0), model("b", COLD), memory=MemorySpec(), policy=BREAK_EVEN)
    assert unbounded.actions == ()


def test_break_even_lets_nobody_go_for_whom_another_device_has_room() -> None:
    holder = awake("a", 25.0, spec=sized(30, devices=("gpu0",)), devices=("gpu0",))
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    one, two = (dict.fromkeys(names, 40 * GIB) for names in (("gpu0",), ("gpu0", "gpu1")))
    assert kinds(planned(holder, other, memory=MemorySpec(devices=one), policy=BREAK_EVEN)) == [(Drain, "a")]
    assert planned(holder, other, memory=MemorySpec(devices=two), policy=BREAK_EVEN).actions == ()


def test_break_even_takes_no_more_than_is_needed() -> None:
    other = model("c", COLD, spec=sized(10), last_used_at=500.0)
    models = awake("a", 25.0, spec=sized(20)), awake("b", 90.0, spec=sized(20)), other
    assert kinds(planned(*models, memory=GPU, policy=BREAK_EVEN)) == [(Drain, "b")]


def test_break_even_lets_nobody_go_in_vain() -> None:
    """Both of them together would not make the room."""
    other = model("c", COLD, spec=sized(35), last_used_at=500.0)
    pinned = replace(awake("p", 25.0, spec=sized(10)), pinned=True)
    spent = awake("a", 25.0, spec=sized(10)), awake("b", 90.0, spec=sized(10))
    assert planned(*spent, pinned, other, memory=GPU, policy=BREAK_EVEN).actions == ()
    assert len(planned(*spent, other, memory=GPU, policy=BREAK_EVEN).actions) == 2


def test_break_even_lets_one_go_for_two_whom_that_helps() -> None:
    others = [model(name, COLD, spec=sized(20), last_used_at=500.0) for name in "cd"]
    spent = awake("a", 25.0, spec=sized(20)), awake("b", 90.0, spec=sized(20))
    assert kinds(planned(*spent, *others, memory=GPU, policy=BREAK_EVEN)) == [(Drain, "b")]


def test_break_even_takes_the_device_where_they_make_the_room() -> None:
    """On gpu0 less is lacking, and nobody there may go."""
    stays = replace(awake("p", 25.0, spec=sized(20), devices=("gpu0",)), pinned=True)
    spent = awake("a", 25.0, spec=sized(30), devices=("gpu1",))
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    memory = MemorySpec(devices=dict.fromkeys(("gpu0", "gpu1"), 40 * GIB))
    assert kinds(planned(stays, spent, other, memory=memory, policy=BREAK_EVEN)) == [(Drain, "a")]


def test_histogram_lets_down_what_is_unlikely_to_be_wanted_soon() -> None:
    made = planned(saying(awake("a", 25.0, spec=FIVE_MINUTES), 0.04), policy=HISTOGRAM)
    reason = Unlikely(idle_s=25.0, soon=0.04, soon_s=400.0)
    assert made.actions == (Drain(replica="a/0", goal=Goal.ASLEEP, reason=reason),)
    assert str(reason) == "idle for 25 s, and wanted within 6m 40s with a chance of 4% only"


def test_histogram_keeps_what_is_likely_past_the_fixed_clock() -> None:
    made = planned(saying(awake("a", 400.0, spec=FIVE_MINUTES), 0.4), policy=HISTOGRAM)
    assert made.actions == ()
    assert made.next_check_at == NOW + 40.0


def test_histogram_falls_back_to_the_clock_where_it_says_nothing() -> None:
    few = saying(awake("a", 400.0, spec=FIVE_MINUTES), 0.4, samples=1.0)
    made = planned(few, policy=HISTOGRAM)
    assert [type(action.reason) for action in made.actions] == [Idle]
    assert planned(saying(awake("a", 25.0, spec=FIVE_MINUTES), 0.0, samples=1.0), policy=HISTOGRAM).actions == ()


def test_histogram_never_sleeps_what_the_config_keeps_awake() -> None:
    assert planned(saying(awake("a", 5000.0), 0.0), policy=HISTOGRAM).actions == ()


def test_nothing_is_gained_by_going_down_for_less_than_the_way_back() -> None:
    made = planned(saying(awake("a", 5.0, spec=FIVE_MINUTES), 0.0), policy=HISTOGRAM)
    assert made.actions == ()
    assert made.next_check_at == NOW + 15.0


def test_however_short_the_way_back_gaps_are_asked_again_every_five_seconds_at_most() -> None:
    busy = saying(awake("a", 5.0, back_s=0.5, spec=FIVE_MINUTES, in_flight=1), 0.0)
    replica = replace(busy.replicas[0], idle_since=None)
    made = planned(replace(busy, replicas=(replica,)), policy=HISTOGRAM)
    assert made.next_check_at == NOW + 5.0


def test_a_pinned_model_and_one_that_is_waited_for_stay() -> None:
    pinned = replace(saying(awake("a", 25.0, spec=FIVE_MINUTES), 0.0), pinned=True)
    assert planned(pinned, policy=HISTOGRAM).actions == ()
    other = model("b", COLD, spec=sized(30), last_used_at=500.0)
    held = replace(awake("a", 25.0, spec=sized(20)), pinned=True)
    assert planned(held, other, memory=GPU, policy=BREAK_EVEN).actions == ()
