"""Classes, shares and places in one model's queue."""

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.control.queue import Queue
from roost.core.policy_spec import Priority


@dataclass(frozen=True, slots=True, eq=False)
class Waits:
    share: str = ""
    weight: float = 1.0
    priority: Priority = Priority.NORMAL


WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}


def taken(queue: Queue[Waits], count: int) -> list[Waits]:
    return [queue.take() for _ in range(count)]


def test_a_key_is_served_in_its_own_order_and_classes_one_after_the_other() -> None:
    queue: Queue[Waits] = Queue()
    low, first, second, high = Waits(priority=Priority.LOW), Waits(), Waits(), Waits(priority=Priority.HIGH)
    for item in (low, first, second, high):
        queue.add(item)
    assert [queue.highest] == [Priority.HIGH]
    assert queue.sizes() == {Priority.HIGH: 1, Priority.NORMAL: 2, Priority.LOW: 1}
    assert taken(queue, 4) == [high, first, second, low]
    assert [queue.highest] == [None]
    with pytest.raises(IndexError):
        queue.take()


def test_shares_come_out_as_weights_whatever_the_crowd_of_each() -> None:
    queue: Queue[Waits] = Queue()
    for name, crowd in (("a", 700), ("b", 300), ("c", 100)):
        for _ in range(crowd):
            queue.add(Waits(name, WEIGHTS[name]))
    served = Counter(item.share for item in taken(queue, 140))
    assert all(abs(served[name] - 40 * weight) <= 1 for name, weight in WEIGHTS.items()), served


def test_a_key_that_comes_late_owes_nothing_and_is_owed_nothing() -> None:
    queue: Queue[Waits] = Queue()
    for _ in range(50):
        queue.add(Waits("a"))
    taken(queue, 30)
    for _ in range(50):
        queue.add(Waits("b"))
    served = Counter(item.share for item in taken(queue, 20))
    assert abs(served["a"] - served["b"]) <= 1


def test_who_leaves_is_not_charged() -> None:
    queue: Queue[Waits] = Queue()
    leavers = [Waits("a") for _ in range(20)]
    for item in (*leavers, Waits("b"), Waits("b")):
        queue.add(item)
    stays = Waits("a")
    queue.add(stays)
    assert all(queue.drop(item) for item in leavers)
    assert not queue.drop(leavers[0])
    assert stays in taken(queue, 2)


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "take", "drop", "again"]),
        st.sampled_from("abc"),
        st.sampled_from([*Priority, Priority.NORMAL]),
        st.integers(0, 50),
    ),
    max_size=60,
)


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(steps)
def test_the_place_that_is_told_is_the_place_that_is_had(script: list[tuple[str, str, Priority, int]]) -> None:
    """And a newcomer is told how many will be before it."""
    queue: Queue[Waits] = Queue()
    inside: list[Waits] = []
    for what, name, priority, which in script:
        if what == "add":
            item = Waits(name, WEIGHTS[name], priority)
            ahead = queue.ahead_of(item)
            queue.add(item)
            inside.append(item)
            assert queue.place(item) == ahead + 1
        elif inside and what == "take":
            inside.remove(queue.take())
        elif inside:
            gone = inside.pop(which % len(inside))
            assert queue.drop(gone)
            if what == "again":
                queue.add(gone)
                inside.append(gone)
        assert len(queue) == len(inside)
        assert set(queue) == set(inside)
        heaps = [each.heap for each in queue._classes.values()]
        assert all(len(heap) <= len(WEIGHTS) for heap in heaps), "the heap grows with those who leave"
    told = {item: queue.place(item) for item in inside}
    had = {item: place for place, item in zip(itertools.count(1), taken(queue, len(inside)), strict=False)}
    assert told == had
