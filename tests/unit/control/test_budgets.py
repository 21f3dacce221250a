"""What may be held on each device: written, seen, reserved, used by others, given back."""

import pytest

from roost.control.budgets import Board, device_view, names
from roost.control.holds import Hold, Holds
from roost.control.observe import Sources, observe
from roost.core.device import Seen
from roost.core.footprint import HOST, Footprint, Held
from roost.core.memory_spec import MemorySpec
from roost.core.spec import RoostSpec
from roost.core.view import DeviceView
from tests.support.fleet import Bench, fleet
from tests.support.virtual import run

GIB = 1 << 30
WRITTEN = MemorySpec(devices={"gpu0": 60 * GIB}, reserve=2 * GIB)
FOUND = MemorySpec(discover=True, reserve=2 * GIB, host_reserve=4 * GIB)


def seen(others_gib: int, size_gib: int = 80) -> Seen:
    return Seen(size=size_gib * GIB, others=others_gib * GIB)


@pytest.mark.parametrize(
    ("memory", "here", "budget"),
    [
        (WRITTEN, None, 58),
        (WRITTEN, seen(0), 58),
        (WRITTEN, seen(20), 58),  # the written budget has left them their part
        (WRITTEN, seen(30), 48),
        (WRITTEN, seen(80), 0),
        (FOUND, seen(0), 78),
        (FOUND, seen(30), 48),
    ],
)
def test_budget_is_what_is_written_and_really_left(memory: MemorySpec, here: Seen | None, budget: int) -> None:
    view = device_view("gpu0", memory, here, None)
    assert (view.budget, view.others) == (budget * GIB, 0 if here is None else here.others)
    assert view.whole == (78 if memory is FOUND else 58) * GIB  # also where others leave less of it for now


@pytest.mark.parametrize(("amount", "held"), [(None, 58), (20, 20), (500, 58)])
def test_what_is_held_for_its_owner_is_taken_off(amount: int | None, held: int) -> None:
    hold = Hold(device="gpu0", since=0, amount=None if amount is None else amount * GIB, until=99.0)
    view = device_view("gpu0", WRITTEN, seen(0), hold)
    assert view == DeviceView(
        name="gpu0", budget=(58 - held) * GIB, whole=58 * GIB, held_back=held * GIB, held_until=99.0
    )


def test_the_host_has_a_budget_and_a_reserve_of_its_own() -> None:
    assert device_view(HOST, FOUND, seen(10, 64), None).budget == 50 * GIB
    assert device_view(HOST, MemorySpec(host=40 * GIB), None, None).budget == 40 * GIB


def test_devices_with_a_budget_in_order_the_host_last() -> None:
    here = {HOST: seen(0), "gpu0": seen(0), "gpu1": seen(0)}
    assert names(WRITTEN, here) == ("gpu0",)
    assert names(FOUND, here) == ("gpu0", "gpu1", HOST)
    assert names(MemorySpec(devices={"left": 1}, discover=True, host=1), here) == ("left", "gpu0", "gpu1", HOST)
    assert names(MemorySpec(max_resident=1), here) == ()


def test_the_view_has_the_devices_as_they_are_and_each_replica_s_memory() -> None:
    async def main() -> None:
        shown: dict[str, Seen] = {}
        async with Bench(RoostSpec(models=fleet("a"), memory=WRITTEN)) as bench:
            holds = Holds()
            sources = bench.control._sources
            looking = Sources(
                spec=sources.spec,
                owners=sources.owners,
                gate=sources.gate,
                wishes=sources.wishes,
                executor=sources.executor,
                learning=sources.learning,
                timetable=sources.timetable,
                devices=Board(seen=lambda: shown, holds=holds),
            )
            assert observe(looking, 5, 0).devices is None  # as `memory` says
            holds.place(Hold(device="gpu0", since=0, amount=GIB, until=50000.0))
            (view,) = observe(looking, 5, 0).devices or ()
            assert (view.budget, view.held_back) == (57 * GIB, GIB)
            shown["gpu0"] = seen(70)
            (view,) = observe(looking, 50001, 0).devices or ()
            assert (view.budget, view.held_back, view.others) == (8 * GIB, 0, 70 * GIB)
            owner = bench.owners["a"]
            owner.devices, owner.lingering, owner.footprint = ("gpu0",), 7, Footprint(awake=Held(3))
            (model,) = observe(looking, 5, 0).models
            replica = model.replicas[0]
            assert (replica.last_devices, replica.lingering, replica.footprint) == (("gpu0",), 7, owner.footprint)
            holds.close()

    run(main())
