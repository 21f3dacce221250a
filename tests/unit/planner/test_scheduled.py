"""What schedules want, on views made by hand. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.footprint import HOST
from roost.core.lifecycle import State
from roost.core.memory_spec import FootprintsSpec, HeldSpec, MemorySpec
from roost.core.plan import Drain, Load, Plan, Sleep, Undrain, Wake
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.reason import OverBudget, Scheduled
from roost.core.schedule import BudgetWindow, Window
from roost.core.view import DeviceView, FleetView, Goal, ModelView, Policy, Wish
from roost.planner.plan import plan
from tests.unit.planner.test_plan import ASLEEP, COLD, DRAINING, GIB, ONE, QUIET, READY, kinds, model, planned, sized

OPEN = Window(when="fri 08:00-18:00", timezone="UTC", since=500.0, until=4600.0)
PIN = Scheduled(window='"fri 08:00-18:00" (UTC)', setting="pin", ends_in_s=3600.0)
REST = replace(PIN, setting="sleep")


def pinned(name: str, state: State = COLD, **seen: Any) -> ModelView:
    return model(name, state, **{"pinned": True, "called": OPEN, **seen})


def narrowed(gib: int | None, *models: ModelView, usual: int | None = 80, **more: Any) -> Plan:
    """gpu0 has so much by the schedule; without it, as usual."""
    size = (usual or 0) if gib is None else gib
    known = BudgetWindow(window=OPEN, usual=None if usual is None else usual * GIB)
    windows = {} if gib is None else {"gpu0": known}
    memory = MemorySpec(devices={"gpu0": size * GIB})
    return plan(FleetView(now=1000.0, models=models, **{"memory": memory, "windows": windows, **more}), Policy())


@pytest.mark.parametrize(("state", "order"), [(COLD, Load), (ASLEEP, Wake)])
def test_what_it_pins_comes_up(state: State, order: Any) -> None:
    made = planned(pinned("a", state))
    assert made.actions == (order(replica="a/0", reason=PIN),)


@pytest.mark.parametrize("state", [READY, State.STARTING, State.WAKING, State.FAILED, State.SUSPENDING])
def test_nothing_to_do_for_what_is_up_on_its_way_or_given_up(state: State) -> None:
    made = planned(pinned("a", state))
    assert (made.actions, dict(made.blocked), made.notes) == ((), {}, ())


def test_a_crash_is_tried_again_at_its_time() -> None:
    assert planned(pinned("a", State.BACKOFF, retry_at=1005.0, failures=1)).next_check_at == 1005.0
    assert kinds(planned(pinned("a", State.BACKOFF, retry_at=999.0, failures=1))) == [(Load, "a")]


def test_a_way_down_is_taken_back() -> None:
    made = planned(pinned("a", DRAINING, drain_goal=Goal.ASLEEP, in_flight=1))
    assert kinds(made) == [(Undrain, "a")]


def test_an_operators_order_goes_before() -> None:
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0)
    assert kinds(planned(pinned("a", READY, wish=wish))) == [(Drain, "a")]
    assert planned(pinned("a", ASLEEP, wish=wish)).actions == ()


@pytest.mark.parametrize(
    ("holder", "goes"),
    [
        (model("b", READY), True),
        (model("b", READY, in_flight=1, became_ready_at=100.0), True),  # its turn is long over
        (model("b", READY, in_flight=1, became_ready_at=990.0), False),
        (model("b", READY, in_flight=1, became_ready_at=100.0, waiting_since=999.0), False),
        (model("b", READY, pinned=True), False),
    ],
)
def test_idle_models_and_those_whose_turn_is_over_make_way(holder: ModelView, goes: bool) -> None:
    made = planned(pinned("a"), holder, memory=ONE)
    assert kinds(made) == ([(Drain, "b")] if goes else [])


def test_who_waits_goes_first_whatever_its_class_and_however_late() -> None:
    low = model("b", waiting_since=999.9, spec=replace(QUIET, priority=Priority.LOW))
    assert kinds(planned(pinned("a"), low, memory=ONE)) == [(Load, "b")]


def test_it_never_breaks_a_pin_though_requests_may() -> None:
    policy = PolicySpec(last_resort=("pin",))
    other = model("b", READY, pinned=True)
    made = planned(pinned("a"), other, memory=ONE, policy=policy)
    assert made.actions == () and "held by" in made.notes[0]
    assert kinds(planned(pinned("a", waiting_since=900.0), other, memory=ONE, policy=policy)) == [(Drain, "b")]


def test_a_drain_for_it_goes_on_until_it_is_up() -> None:
    evicted = planned(pinned("a"), model("b", READY), memory=ONE).actions[0]
    assert isinstance(evicted, Drain)
    leaving = model("b", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP, drain_reason=evicted.reason)
    assert planned(pinned("a"), leaving, memory=ONE).actions == ()
    assert kinds(planned(pinned("a", READY), leaving)) == [(Undrain, "b")]


def test_requests_that_it_keeps_out_are_told_of_the_schedule() -> None:
    made = planned(pinned("a", READY), model("b", waiting_since=990.0), memory=ONE)
    assert 'held by "a" (pinned by the schedule "fri 08:00-18:00" (UTC))' in made.blocked["b"].sentence


def test_the_next_look_is_when_a_window_opens_or_closes() -> None:
    assert plan(FleetView(now=1000.0, models=(), schedule_changes_at=1234.0), Policy()).next_check_at == 1234.0


# sleep


def test_idle_models_rest() -> None:
    made = planned(model("a", READY, rests=OPEN, idle_since=999.0))
    assert made.actions == (Drain(replica="a/0", goal=Goal.ASLEEP, reason=REST),)
    made = planned(model("a", READY, rests=OPEN, idle_since=999.0, sleep_levels=()))
    assert made.actions == (Drain(replica="a/0", goal=Goal.STOPPED, reason=REST),)
    made = planned(model("a", DRAINING, rests=OPEN, drain_goal=Goal.ASLEEP, drain_reason=REST))
    assert kinds(made) == [(Sleep, "a")]


@pytest.mark.parametrize(
    "seen",
    [
        {"in_flight": 1},
        {"idle_since": 999.0, "wish": Wish(goal=Goal.READY, by="cli", asked_at=999.0)},
        {"idle_since": 999.0, "owned": False, "sleep_levels": ()},
        {"idle_since": 999.0, "last_sleep_at": 990.0},
    ],
)
def test_others_do_not(seen: dict[str, Any]) -> None:
    spec = replace(QUIET, min_sleep_duration=60.0)
    assert planned(model("a", READY, spec=spec, rests=OPEN, **seen)).actions == ()


def test_what_should_rest_is_not_preloaded_nor_kept() -> None:
    spec = replace(QUIET, preload=True)
    assert kinds(planned(model("a", spec=spec))) == [(Load, "a")]
    assert planned(model("a", spec=spec, rests=OPEN)).actions == ()
    assert planned(model("a", State.BACKOFF, spec=spec, rests=OPEN, retry_at=900.0)).actions == ()


# budgets


def test_a_budget_that_a_schedule_makes_smaller_is_kept() -> None:
    made = narrowed(24, model("a", READY, spec=sized(40)), model("b", READY, spec=sized(20), last_used_at=950.0))
    assert kinds(made) == [(Drain, "a")]
    reason = made.actions[0].reason
    assert isinstance(reason, OverBudget)
    assert str(reason).startswith(
        '60.0 GiB held on gpu0, its budget is 24.0 GiB by the schedule "fri 08:00-18:00" (UTC); least recently used'
    )


def test_what_cannot_go_is_told_with_the_window() -> None:
    made = narrowed(24, model("a", READY, spec=sized(40), pinned=True))
    assert made.notes == (
        'The budget of gpu0 is 24.0 GiB by the schedule "fri 08:00-18:00" (UTC), but 40.0 GiB are held on it, and '
        'none of them can yield now: "a" (pinned). Unpin or unload one, or raise memory.devices.gpu0.',
    )


def test_a_request_that_fits_at_other_hours_only_waits_and_is_told_until_when() -> None:
    made = narrowed(24, model("a", spec=sized(40), waiting_since=990.0))
    assert made.actions == ()
    told = made.blocked["a"]
    assert (told.final, told.code, told.not_before) == (False, "held_back", OPEN.until)
    assert told.sentence == (
        'Model "a" needs 40.0 GiB, but the budget of gpu0 is 24.0 GiB by the schedule "fri 08:00-18:00" (UTC), '
        "for 60m 00s more."
    )
    assert made.next_check_at == OPEN.until


def test_one_that_never_fits_is_refused_all_the_same() -> None:
    assert narrowed(24, model("a", spec=sized(90), waiting_since=990.0)).blocked["a"].code == "never_fits"
    assert narrowed(None, model("a", spec=sized(90), waiting_since=990.0)).blocked["a"].final
    # A window that allows more than usual closes again: until then it is what counts.
    assert kinds(narrowed(100, model("a", spec=sized(90), waiting_since=990.0))) == [(Load, "a")]


def test_of_a_device_without_a_budget_of_its_own_it_comes_back_whole() -> None:
    made = narrowed(24, model("a", spec=sized(40), waiting_since=990.0), usual=None)
    assert not made.blocked["a"].final and made.blocked["a"].not_before == OPEN.until


def test_a_hold_and_a_window_both_have_to_end() -> None:
    held = DeviceView(name="gpu0", budget=14 * GIB, held_back=10 * GIB, held_until=9000.0)
    waits = model("a", spec=sized(75), waiting_since=990.0)
    both = narrowed(24, waits, devices=(held,))
    assert both.blocked["a"].not_before == 9000.0
    assert "by the schedule" in both.blocked["a"].sentence and "held for its owner" in both.blocked["a"].sentence
    least = narrowed(24, model("a", spec=sized(60), waiting_since=990.0), devices=(held,))
    assert least.blocked["a"].not_before == OPEN.until
    forever = narrowed(24, waits, devices=(replace(held, held_until=None),))
    assert forever.blocked["a"].not_before is None


def test_a_device_given_back_whole_leaves_nothing_below_zero() -> None:
    memory = MemorySpec(devices={"gpu0": 0}, reserve=2 * GIB, host=0, host_reserve=GIB)
    window = BudgetWindow(window=OPEN, usual=80 * GIB)
    made = narrowed(
        0, model("a", DRAINING, spec=sized(40), drain_goal=Goal.STOPPED), memory=memory, windows={"gpu0": window}
    )
    assert made.notes == ()
    told = narrowed(0, model("a", spec=sized(40), waiting_since=990.0), memory=memory, windows={"gpu0": window})
    assert "the budget of gpu0 is 0 B by the schedule" in told.blocked["a"].sentence


def test_host_memory_has_windows_as_well() -> None:
    spec = replace(QUIET, footprint=None, footprints=host_of(40))
    memory, window = MemorySpec(host=10 * GIB), BudgetWindow(window=OPEN, usual=99 * GIB)
    made = narrowed(0, model("a", spec=spec, waiting_since=990.0), memory=memory, windows={HOST: window})
    assert "the budget of host is 10.0 GiB by the schedule" in made.blocked["a"].sentence
    assert not made.blocked["a"].final


def host_of(gib: int) -> Any:
    return FootprintsSpec(awake=HeldSpec(device=0, host=gib * GIB))
