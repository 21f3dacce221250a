"""What counts as another decision, and what is worth a line in the journal."""

import pytest

from roost.core.plan import Action, Blocked, Drain, Load, Plan, Sleep, Stop
from roost.core.reason import Demand, Idle, Preload
from roost.core.view import Goal
from roost.planner.review import Difference, differences, is_news, is_reworded

LOAD = Load(replica="a/0", reason=Demand(waiting=1, waited_s=2.0))
BLOCKED = Blocked(model="a", sentence="No room.")
FINAL = Blocked(model="a", sentence="No room, ever.", final=True)


def idle(idle_s: float) -> Idle:
    return Idle(idle_s=idle_s, after_s=1.0)


def test_the_same_order_for_another_reason_is_the_same_decision() -> None:
    again = Plan(actions=(Load(replica="a/0", reason=Preload()),))
    assert not differences(Plan(actions=(LOAD,)), again)
    assert is_reworded(Plan(actions=(LOAD,)), again)
    assert not is_reworded(again, again)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LOAD, Load(replica="a/0", reason=LOAD.reason, devices=("gpu1",))),
        (LOAD, Stop(replica="a/0", reason=LOAD.reason)),
        (Stop(replica="a/0", reason=idle(2)), Stop(replica="a/0", reason=idle(2), forced=True)),
        (Sleep(replica="a/0", level=1, reason=idle(2)), Sleep(replica="a/0", level=2, reason=idle(2))),
        (
            Drain(replica="a/0", goal=Goal.ASLEEP, reason=idle(2)),
            Drain(replica="a/0", goal=Goal.STOPPED, reason=idle(2)),
        ),
    ],
)
def test_another_order_or_another_how_is_another_decision(before: Action, after: Action) -> None:
    found = differences(Plan(actions=(before,)), Plan(actions=(after,)))
    assert found == [Difference("a/0", before, after)]


def test_one_more_and_one_less_are_both_seen() -> None:
    other = Load(replica="b/0", reason=Preload())
    assert differences(Plan(actions=(LOAD,)), Plan(actions=(other,))) == [
        Difference("a/0", LOAD, None),
        Difference("b/0", None, other),
    ]


def test_a_refusal_is_a_decision_and_its_words_are_not() -> None:
    waiting = Plan(blocked={"a": BLOCKED})
    other_words = Plan(blocked={"a": Blocked(model="a", sentence="Still no room.")})
    assert not differences(waiting, other_words)
    assert is_reworded(waiting, other_words)
    assert differences(waiting, Plan(blocked={"a": FINAL})) == [Difference("a", BLOCKED, FINAL)]
    assert differences(waiting, Plan(denied={"a": BLOCKED}))
    assert differences(Plan(settled=("a",)), Plan()) == [Difference("a", "the order is settled", None)]


def test_news_is_an_order_a_denial_or_somebody_newly_blocked() -> None:
    blocked = Plan(blocked={"a": BLOCKED})
    assert not is_news(None, Plan(next_check_at=5.0, notes=("Over the budget.",)))
    assert is_news(None, Plan(actions=(LOAD,)))
    assert is_news(Plan(denied={"a": BLOCKED}), Plan(denied={"a": BLOCKED}))
    assert is_news(None, blocked)
    assert not is_news(blocked, blocked)
    assert is_news(blocked, Plan(blocked={"a": FINAL}))
    assert not is_news(blocked, Plan())
