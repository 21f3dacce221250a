"""Orders for a model whose memory is held back: who waits on, and who is told at once."""

from dataclasses import replace

import pytest

from roost import clock
from roost.core.memory_spec import MemorySpec
from roost.core.spec import RoostSpec
from roost.core.view import DeviceView, Goal
from tests.support.fleet import Bench, fleet
from tests.support.virtual import run

GIB = 1 << 30


def held_for(bench: Bench, seconds: float | None) -> None:
    """From now on the owner of gpu0 has it."""
    until = None if seconds is None else clock.now() + seconds

    def views(memory: MemorySpec, now: float) -> tuple[DeviceView, ...]:
        over = until is not None and now >= until
        budget = memory.devices["gpu0"]
        return (
            DeviceView(name="gpu0", budget=budget if over else 0, held_back=0 if over else budget, held_until=until),
        )

    bench.control._sources = replace(bench.control._sources, devices=views)


@pytest.mark.parametrize(
    ("held_s", "wait_s", "status", "after_s"),
    [(None, 600.0, 202, 0.0), (7200.0, 600.0, 202, 0.0), (60.0, 600.0, 200, 65.0), (60.0, 0.0, 202, 0.0)],
)
def test_an_order_waits_only_for_memory_that_comes_back_in_time(
    held_s: float | None, wait_s: float, status: int, after_s: float
) -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", footprint=GIB), memory=MemorySpec(devices={"gpu0": 2 * GIB}))
        async with Bench(spec) as bench:
            held_for(bench, held_s)
            asked_at = clock.now()
            result = await bench.control.order("a", Goal.READY, by="cli", wait_s=wait_s)
            assert result.status == status
            assert clock.now() - asked_at == pytest.approx(after_s, abs=0.5)
            if wait_s and status == 202:
                assert "the order stands. Model " in result.message and "held for its owner" in result.message
            assert bench.control.wish("a") is None or status == 202

    run(main())
