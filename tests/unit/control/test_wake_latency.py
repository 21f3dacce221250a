"""What roost itself adds to a wake: a real replica, gate, planner and loop before an engine whose calls take the
time they are told to, on virtual time. What real engines take, `bench/wake.py` measures."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from roost import clock
from roost.control.controller import Controller
from roost.core.lifecycle import State
from roost.core.spec import RoostSpec
from roost.core.view import Goal
from tests.support.stage import VLLM, Stage
from tests.support.virtual import run
from tests.unit.control.test_replicas import enter

ADDED_S = 0.05
"""A planning round and what follows it come at once: nothing here may wait for a timer."""


@pytest.mark.parametrize(("level", "shortest_s", "longest_s"), [(1, 0.1, 6.0), (2, 0.8, 2.6)])
def test_t5_a_wake_takes_what_its_engine_takes(
    tmp_path: Path, level: Literal[1, 2], shortest_s: float, longest_s: float
) -> None:
    """The stated times, 0.1-6 s at level 1 and 0.8-2.6 s at level 2, are the engine's: an engine at either end of
    them keeps a request waiting no longer than that, also with other requests beside it."""

    async def waited(stage: Stage, control: Controller, seconds: float) -> float:
        done = await control.order("a", Goal.ASLEEP, by="cli", wait_s=300.0)
        assert (done.status, stage.replica.level) == (200, level)
        stage.engine.takes = {"/wake_up": seconds / 2 if level == 2 else seconds}  # at level 2 it is called twice
        asked, began = [enter(control, 0.0) for _ in range(4)], clock.now()
        for client in asked:
            await client.settled.wait()
        assert {client.outcome for client in asked} == {"served"}
        return clock.now() - began

    async def main() -> None:
        spec = replace(VLLM, sleep_level=level, sleep_after=None)
        stage = Stage(tmp_path, spec)
        control = Controller(RoostSpec(models={"a": spec}), [stage.replica])
        await stage.replica.recover()
        control.start()
        enter(control, 0.0)
        await stage.until(State.READY)
        for seconds in (shortest_s, longest_s):
            added = await waited(stage, control, seconds) - seconds
            assert -1e-6 < added < ADDED_S
        control.stop()
        await stage.replica.close(leave=False)

    run(main())
