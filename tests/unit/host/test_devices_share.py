"""Whose memory it is, without a wobble."""

import pytest

from roost.core.lifecycle import State
from roost.host.devices import Gpu, Maker
from roost.host.devices_share import Stake, Steady, others_on
from roost.host.lingering import Linger, Lingering

GIB = 1 << 30
SIZE = 80 * GIB


def others(used_gib: float, *stakes: Stake, **held: int | None) -> int | None:
    gpu = Gpu(maker=Maker.NVIDIA, uuid="U", token="0", size=SIZE, used=round(used_gib * GIB))
    shown = {replica: {"U": amount} for replica, amount in held.items()}
    return others_on("gpu0", gpu, stakes, shown)


def stake(replica: str = "a", state: State = State.READY, claim: int | None = None, *devices: str) -> Stake:
    return Stake(replica=replica, state=state, claim=claim, devices=devices)


def test_what_ours_are_seen_to_hold_is_not_others() -> None:
    assert others(30) == 30 * GIB
    assert others(30, stake(), a=20 * GIB) == 10 * GIB
    assert others(30, stake(), a=40 * GIB) == 0


def test_one_that_is_not_shown_counts_by_its_claim_once_it_stands() -> None:
    assert others(30, stake(claim=20 * GIB)) == 10 * GIB
    assert others(30, stake(claim=20 * GIB), a=None) == 10 * GIB
    assert others(30, stake(claim=None)) is None
    assert others(30, stake(state=State.STARTING, claim=20 * GIB)) is None
    assert others(30, stake(state=State.STARTING, claim=0)) == 30 * GIB


def test_one_that_runs_elsewhere_holds_nothing_here() -> None:
    assert others(30, stake("a", State.READY, 20 * GIB, "gpu1")) == 30 * GIB
    gpu = Gpu(maker=Maker.NVIDIA, uuid="U", token="0", size=SIZE, used=30 * GIB)
    assert others_on("gpu0", gpu, [stake(claim=20 * GIB)], {"a": {"V": 20 * GIB}}) == 30 * GIB


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([2, 2.5, 1.5, 2.7], [2, 2, 2, 2]),  # a wobble
        ([2, 12, 2, 12, 2], [2, 2, 2, 2, 2]),  # never twice in a row
        ([2, 12, 11], [2, 2, 11]),
        ([12, 2], [12, 2]),  # less is good news
    ],
)
def test_only_what_lasts_is_told(seen: list[float], told: list[float]) -> None:
    steady = Steady(round(seen[0] * GIB))
    values = [steady.value]
    for one in seen[1:]:
        before = steady.value
        assert steady.see(round(one * GIB), SIZE) == (steady.value != before)
        values.append(steady.value)
    assert values == [round(one * GIB) for one in told]


def linger(given: int = 20 * GIB, since: float = 100.0) -> Lingering:
    found = Lingering()
    found.begin(Linger(replica="a", since=since, bytes=given, given=given, before={"U": GIB, "V": 0}))
    return found


def test_it_lingers_until_the_fullest_device_shows_it_free() -> None:
    one = linger()
    assert one.see({"U": GIB, "V": 8 * GIB}, 101)
    assert one.of("a") == 8 * GIB
    assert one.touches("U")
    assert one.see({"U": GIB, "V": 0}, 102)
    assert (one.of("a"), bool(one)) == (0, False)


def test_a_reading_from_before_proves_nothing() -> None:
    one = linger()
    assert not one.see({"U": GIB, "V": 0}, 99)
    assert one.of("a") == 20 * GIB
    assert not one.see({"U": None, "V": 0}, 101)


def test_its_time_is_bounded() -> None:
    one = linger()
    assert one.overdue(104.9) == []
    assert [late.replica for late in one.overdue(105)] == ["a"]
    assert not one
    one = linger()
    one.drop(["V"])
    assert not one
