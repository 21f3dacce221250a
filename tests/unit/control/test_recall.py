"""Last use and times of loads and wakes, over a restart."""

from typing import Any

import pytest

from roost import clock
from roost.control.recall import LastStates, Rises
from roost.core.memory_spec import MemorySpec
from roost.core.spec import RoostSpec
from tests.support.fleet import Bench, evictions, fleet, pause
from tests.support.virtual import run

NAMES = ("a", "b")


def spec(*names: str, **memory: Any) -> RoostSpec:
    return RoostSpec(models=fleet(*names), memory=MemorySpec(**memory))


def wall(monkeypatch: pytest.MonkeyPatch, began: float) -> None:
    """Unix time on the virtual clock: this many seconds more than it shows."""
    monkeypatch.setattr(clock, "wall", lambda: clock.now() + began)


async def used(*order: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is kept of a roost whose models were used in this order."""
    async with Bench(spec(*NAMES)) as bench:
        gate = bench.control.gate
        states, rises = LastStates(gate, lambda: NAMES), Rises(gate, lambda: NAMES)
        for name in order:
            await bench.ask(name).settled.wait()
            await pause(5.0)
        return dict(states.state()), dict(rises.state())


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_least_recently_used_before_the_restart_yields_first(
    order: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wall(monkeypatch, 1.7e9)
    kept, _ = run(used(*order))
    wall(monkeypatch, 1.7e9 + 500)

    async def main() -> None:
        async with Bench(spec(*NAMES, "c", max_resident=2)) as bench:
            LastStates(bench.control.gate, lambda: (*NAMES, "c")).restore(kept)
            for name in reversed(NAMES):
                bench.owners[name].found()
            await bench.ask("c").settled.wait()
            assert [evictions(bench.owners[name]) for name in order] == [1, 0]

    run(main())


def test_moments_are_those_of_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    wall(monkeypatch, 1.7e9)
    kept, rises = run(used("a"))
    assert kept["a/0"] == {
        "model": "a",
        "state": "ready",
        "level": None,
        "last_used": 1.7e9 + 1006,
        "ready_at": 1.7e9 + 1005,
    }
    assert kept["b/0"]["last_used"] is None
    assert rises == {"a": {"load_s": 5.0, "wake_s": None}}
    wall(monkeypatch, 1.7e9 + 500)  # the machine was started anew: its own clock says less than before

    async def main() -> None:
        async with Bench(spec(*NAMES)) as bench:
            gate = bench.control.gate
            LastStates(gate, lambda: NAMES).restore(kept)
            Rises(gate, lambda: NAMES).restore(rises)
            assert gate.seat("a/0").last_done == pytest.approx(506.0)
            assert gate.seat("b/0").last_done is None
            assert (gate.lane("a").last_load_s, gate.lane("a").last_wake_s) == (5.0, None)

    run(main())


def test_a_use_that_is_still_to_come_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back."""
    wall(monkeypatch, 1.7e9)

    async def main() -> None:
        async with Bench(spec("a")) as bench:
            LastStates(bench.control.gate, lambda: ["a"]).restore({"a/0": {"last_used": 1.8e9}})
            assert bench.control.gate.seat("a/0").last_done == clock.now()

    run(main())


@pytest.mark.parametrize("value", [None, [], "x", {}, {"last_used": "soon", "load_s": [1]}])
def test_what_nobody_of_today_wrote_is_left_alone(value: Any) -> None:
    async def main() -> None:
        async with Bench(spec("a")) as bench:
            gate = bench.control.gate
            LastStates(gate, lambda: ["a"]).restore({"a/0": value, "gone/0": {"last_used": 1.0}})
            Rises(gate, lambda: ["a"]).restore({"a": value, "gone": {"load_s": 1.0}})
            assert gate.seat("a/0").last_done is None
            assert gate.lane("a").last_load_s is None

    run(main())


def test_only_what_has_changed_is_told_again() -> None:
    async def main() -> None:
        async with Bench(spec(*NAMES)) as bench:
            gate = bench.control.gate
            states, rises = LastStates(gate, lambda: NAMES), Rises(gate, lambda: NAMES)
            assert set(states.state()) == {"a/0", "b/0"}
            assert (dict(states.state()), dict(rises.state())) == ({}, {})
            await bench.ask("b").settled.wait()
            assert set(states.state()) == {"b/0"}
            assert set(rises.state()) == {"b"}
            assert (dict(states.state()), dict(rises.state())) == ({}, {})

    run(main())


def test_a_model_that_comes_later_is_recalled_then() -> None:
    async def main() -> None:
        async with Bench(spec(*NAMES)) as bench:
            names, gate = ["a"], bench.control.gate
            states = LastStates(gate, lambda: names)
            states.restore({"b/0": {"last_used": clock.wall() - 60.0}})
            assert gate.seat("b/0").last_done is None
            names.append("b")
            states.state()
            assert gate.seat("b/0").last_done == pytest.approx(clock.now() - 60.0, abs=5.0)

    run(main())
