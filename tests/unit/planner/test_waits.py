"""How long a newcomer is told that it waits, and until when it certainly does. `now` is 1000."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import GroupSpec, MemorySpec
from roost.core.plan import Blocked, Plan
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Evict, Idle
from roost.core.schedule import BudgetWindow, Window
from roost.core.view import DeviceView, Goal, ModelView, Wish
from tests.unit.planner.test_plan import ASLEEP, DRAINING, GIB, GPU, ONE, QUIET, READY, model, planned, sized

STAYS = PolicySpec(residency=600.0)
PAIR = MemorySpec(devices=dict.fromkeys(("gpu0", "gpu1"), 40 * GIB))


def waited(newcomer: ModelView | None = None, *others: ModelView, **given: Any) -> Blocked:
    made: Plan = planned(newcomer or model("a", waiting_since=990.0), *others, **given)
    return made.blocked["a"]


@pytest.mark.parametrize(
    ("seen", "room_s"),
    [
        ({"state": DRAINING, "in_flight": 2, "drain_goal": Goal.ASLEEP, "hold_s": 8.0}, 8.0),
        ({"state": DRAINING, "in_flight": 2, "drain_goal": Goal.ASLEEP}, None),
        ({"state": State.SUSPENDING}, 0.0),
        ({"state": READY, "in_flight": 2, "hold_s": 8.0, "became_ready_at": 980.0}, 8.0),
        ({"state": READY, "in_flight": 2, "hold_s": 300.0, "became_ready_at": 980.0}, 300.0),
        ({"state": State.STARTING}, None),
        ({"state": READY, "in_flight": 2, "wish": Wish(goal=Goal.READY, by="cli", asked_at=1.0)}, None),
    ],
)
def test_how_long_others_need_to_make_room(seen: dict[str, Any], room_s: float | None) -> None:
    blocked = waited(None, model("b", seen.pop("state"), spec=QUIET, **seen), memory=ONE)
    assert (blocked.room_s, blocked.room_is_guess, blocked.not_before) == (room_s, False, None)


def test_the_end_of_a_turn_is_told_and_is_a_guess_where_nothing_is_known_of_its_requests() -> None:
    blocked = waited(None, model("b", READY, in_flight=2, became_ready_at=980.0), memory=ONE)
    assert (blocked.room_s, blocked.room_is_guess) == (20.0, True)


def test_all_who_must_go_count_and_nobody_else() -> None:
    """Two on gpu0 must go; the one on gpu1, who would soon be gone, is of no help."""
    goes: dict[str, Any] = {"drain_goal": Goal.STOPPED, "in_flight": 1}
    quick = model("b", DRAINING, spec=sized(20), devices=("gpu0",), hold_s=5.0, **goes)
    slow = model("c", DRAINING, spec=sized(20), devices=("gpu0",), hold_s=50.0, **goes)
    beside = model("d", DRAINING, spec=sized(5), devices=("gpu1",), hold_s=1.0, **goes)
    pinned = model("e", READY, spec=sized(35), devices=("gpu1",), pinned=True)
    assert (
        waited(model("a", spec=sized(40), waiting_since=990.0), quick, slow, beside, pinned, memory=PAIR).room_s == 50
    )
    assert waited(model("a", spec=sized(20), waiting_since=990.0), quick, slow, beside, pinned, memory=PAIR).room_s == 5


def test_behind_an_older_want_nobody_knows() -> None:
    older = model("o", waiting_since=900.0)
    blocked = waited(None, older, memory=ONE)
    assert (blocked.room_s, blocked.not_before) == (None, None)


def test_a_try_that_is_to_come_is_no_sooner_than_its_time() -> None:
    fails: dict[str, Any] = {"failures": 2, "waiting_since": 990.0}
    blocked = waited(model("a", State.BACKOFF, retry_at=1060.0, **fails))
    assert (blocked.room_s, blocked.not_before, blocked.indefinite) == (0.0, 1060.0, False)
    full = waited(model("a", State.BACKOFF, retry_at=1060.0, **fails), model("b", READY), memory=ONE)
    assert (full.room_s, full.not_before) == (None, 1060.0)
    awaits = waited(model("a", State.BACKOFF, retry_at=None, **fails))
    assert (awaits.not_before, awaits.indefinite) == (None, True)


def resident(name: str, since: float = 900.0, gib: int = 30, **seen: Any) -> ModelView:
    return model(name, READY, **{"spec": sized(gib), "became_ready_at": since, "devices": ("gpu0",), **seen})


def newcomer(gib: int = 30) -> ModelView:
    return model("a", spec=sized(gib), waiting_since=990.0)


def test_a_minimum_stay_is_certain_where_nothing_else_is_in_the_way() -> None:
    blocked = waited(newcomer(), resident("b"), memory=GPU, policy=STAYS)
    assert (blocked.room_s, blocked.not_before) == (500.0, 1500.0)
    busy = waited(newcomer(), resident("b", in_flight=1, hold_s=8.0), memory=GPU, policy=STAYS)
    assert (busy.room_s, busy.not_before) == (508.0, 1500.0)
    unknown = waited(newcomer(), resident("b", in_flight=1), memory=GPU, policy=STAYS)
    assert (unknown.room_s, unknown.not_before) == (None, 1500.0)


def test_of_several_the_one_that_makes_it_enough() -> None:
    stays = resident("b", 700.0, 10), resident("c", 800.0, 10), resident("d", 990.0, 10)
    assert waited(newcomer(20), *stays, memory=GPU, policy=STAYS).not_before == 1300.0
    assert waited(newcomer(30), *stays, memory=GPU, policy=STAYS).not_before == 1400.0


def test_it_is_not_certain_where_it_may_end_before() -> None:
    def until(holder: ModelView, policy: PolicySpec = STAYS, memory: MemorySpec = GPU) -> float | None:
        return waited(newcomer(), holder, memory=memory, policy=policy).not_before

    ordered = resident("b", wish=Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0), in_flight=1)
    assert until(ordered) is None
    clock = replace(sized(30), sleep_after=120.0)
    assert until(resident("b", spec=clock, idle_since=950.0, last_used_at=950.0)) == 1070.0
    assert until(resident("b", spec=clock, idle_since=950.0), replace(STAYS, auto_sleep=False)) == 1500.0
    assert until(resident("b"), replace(STAYS, idle="histogram")) is None


def test_a_minimum_stay_on_one_device_says_nothing_where_another_may_come_free() -> None:
    turn = resident("c", 380.0, devices=("gpu1",), in_flight=1, hold_s=9.0)
    assert waited(newcomer(), resident("b"), turn, memory=PAIR, policy=STAYS).not_before is None
    later = resident("c", 950.0, devices=("gpu1",))
    assert waited(newcomer(), resident("b"), later, memory=PAIR, policy=STAYS).not_before == 1500.0


def test_whom_a_group_wants_gone_counts_though_there_is_room() -> None:
    memory = MemorySpec(groups={"g": GroupSpec(members=("a", "b", "c"), swap=True)})
    two = resident("b"), resident("c", 950.0)
    blocked = waited(newcomer(), *two, memory=memory, policy=STAYS)
    assert (blocked.room_s, blocked.not_before) == (550.0, 1550.0)


def test_a_sleeper_lacks_only_what_it_has_not_got() -> None:
    sleeper = model("a", ASLEEP, spec=sized(30, 20), devices=("gpu0",), waiting_since=990.0)
    blocked = waited(sleeper, resident("b", gib=5), resident("c", 950.0, 15), memory=GPU, policy=STAYS)
    assert blocked.not_before == 1550.0
    assert (
        waited(sleeper, resident("b", gib=15), resident("c", 950.0, 5), memory=GPU, policy=STAYS).not_before == 1500.0
    )


def test_what_an_owner_gives_back_in_time_ends_the_wait() -> None:
    """Half of the device is held until 1100; then there is room beside whoever stays until 1500."""

    def told(until: float | None, need: int = 30) -> Blocked:
        half = DeviceView(name="gpu0", budget=40 * GIB, held_back=40 * GIB, held_until=until)
        return waited(newcomer(need), resident("b"), memory=GPU, policy=STAYS, devices=(half,))

    assert (told(1100.0).room_s, told(1100.0).not_before) == (100.0, 1100.0)
    assert (told(None).room_s, told(None).not_before) == (500.0, 1500.0)
    assert (told(1900.0).room_s, told(1900.0).not_before) == (500.0, 1500.0)


def test_what_others_use_may_come_free_at_any_time() -> None:
    used = DeviceView(name="gpu0", budget=40 * GIB, others=40 * GIB)
    blocked = waited(newcomer(), resident("b"), memory=GPU, policy=STAYS, devices=(used,))
    assert (blocked.room_s, blocked.not_before) == (500.0, None)


def test_nothing_is_certain_beyond_the_next_change_of_a_schedule() -> None:
    blocked = waited(newcomer(), resident("b"), memory=GPU, policy=STAYS, schedule_changes_at=1200.0)
    assert blocked.not_before == 1200.0


def test_a_budget_that_a_schedule_has_made_smaller_ends_with_its_window() -> None:
    open_until = Window(when="mon-fri", timezone="local", since=0.0, until=1100.0)
    for usual, not_before in ((2, 1100.0), (1, 1500.0), (None, 1100.0)):
        windows = {"": BudgetWindow(window=open_until, usual=usual)}
        assert waited(newcomer(), resident("b"), memory=ONE, policy=STAYS, windows=windows).not_before == not_before


@pytest.mark.parametrize(
    ("seen", "room_s"),
    [
        # It drains since 970, and a drain may take 60 s.
        ({"state": DRAINING, "drain_reason": Evict(for_model="a", idle_s=0.0)}, 30.0),
        ({"state": DRAINING, "drain_reason": Idle(idle_s=9.0, after_s=9.0)}, 300.0),
        ({"state": DRAINING, "wish": Wish(goal=Goal.STOPPED, by="cli", asked_at=970.0, force_at=1005.0)}, 5.0),
        ({"state": DRAINING, "wish": Wish(goal=Goal.ASLEEP, by="cli", asked_at=970.0, force_at=1005.0)}, 300.0),
        # Its turn ends in 20 s.
        ({"state": READY, "became_ready_at": 980.0}, 80.0),
    ],
)
def test_nobody_waits_for_requests_beyond_the_moment_when_they_are_cut(seen: dict[str, Any], room_s: float) -> None:
    cut = PolicySpec(on_drain_deadline="cut")
    facts: dict[str, Any] = {"in_flight": 1, "hold_s": 300.0, "since": 970.0, "drain_goal": Goal.STOPPED}
    other = model("b", seen.pop("state"), **(facts | seen))
    assert waited(None, other, memory=ONE, policy=cut).room_s == room_s
