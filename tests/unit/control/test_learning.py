"""What the control plane learns by itself, on virtual time."""

import json

import pytest

from roost import clock
from roost.control.learning import Learning
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Ahead
from roost.core.request import Route
from roost.core.server_spec import KeySpec
from roost.core.spec import RoostSpec
from roost.core.view import ModelView
from roost.planner.demand import Demand
from tests.support.fleet import Bench, Times, fleet, pause
from tests.support.virtual import run


def knows(demand: Demand, model: str) -> bool:
    """It has something to say of the model."""
    return demand.forecast(model, clock.now()) is not None


def seen(bench: Bench, name: str) -> ModelView:
    return next(model for model in bench.control.view().models if model.name == name)


def test_loads_wakes_and_ways_down_are_measured() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=10.0))) as bench:
            bench.owners["a"].times = Times(start=7.0, wake=2.0, sleep=0.5)
            await bench.ask("a").settled.wait()
            costs = seen(bench, "a").return_s
            assert costs is not None
            assert costs.load_s == pytest.approx(7.0)
            assert (costs.level1_s, costs.down_s) == (None, None)
            await pause(12.0)
            await bench.ask("a").settled.wait()
            costs = seen(bench, "a").return_s
            assert costs is not None
            assert costs.level1_s == pytest.approx(2.0)
            assert costs.down_s == pytest.approx(0.5)
            assert costs.level2_s is None

    run(main())


def test_a_wake_from_level_two_is_measured_as_one() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=10.0, sleep_level=2))) as bench:
            bench.owners["a"].times.wake = 4.0
            for _ in range(2):
                await bench.ask("a").settled.wait()
                await pause(12.0)
            costs = seen(bench, "a").return_s
            assert costs is not None
            assert costs.level2_s == pytest.approx(4.0)
            assert costs.level1_s is None

    run(main())


def test_requests_are_heard_where_they_are_traffic_and_may_wake() -> None:
    quiet, asleep = KeySpec(name="q", key="q", counts=False), KeySpec(name="p", key="p", may_wake=False)

    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            bench.ask("a", key=quiet)
            bench.ask("a", key=asleep)
            bench.ask("a", method="GET")
            assert not knows(bench.control.learning.demand, "a")
            bench.ask("a")
            assert knows(bench.control.learning.demand, "a")

    run(main())


@pytest.mark.parametrize(
    ("policy", "foreseen"),
    [
        (PolicySpec(), True),
        (PolicySpec(eviction="lru"), False),
        (PolicySpec(eviction="lru", idle="break-even"), True),
        (PolicySpec(wake_ahead=True), True),
        (PolicySpec(eviction="lru", idle="histogram"), True),
    ],
)
def test_forecasts_are_made_where_a_choice_depends_on_them(policy: PolicySpec, foreseen: bool) -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"), policy=policy)) as bench:
            await bench.ask("a").settled.wait()
            outlooks = bench.control.view().outlooks
            assert (outlooks is not None) is foreseen
            assert outlooks is None or outlooks.of("a") is not None
            assert outlooks is None or outlooks.of("b") is None

    run(main())


def test_a_hint_wakes_the_model_before_it_is_asked_for() -> None:
    async def main() -> None:
        spec = RoostSpec(
            models=fleet("a", sleep_after=60.0), memory=MemorySpec(max_resident=2), policy=PolicySpec(wake_ahead=True)
        )
        async with Bench(spec) as bench:
            for rest_s in (90.0, 7000.0, 400.0, 1500.0):  # from which nothing follows
                await bench.ask("a").settled.wait()
                await pause(rest_s)
            assert bench.states()["a"] == "asleep"
            bench.control.gate.hint(_route(bench), clock.now())
            await pause(5.0)
            assert bench.states()["a"] == "ready"
            woken = [order for order in bench.owners["a"].orders if isinstance(order, Wake)][-1]
            assert isinstance(woken.reason, Ahead)
            assert woken.reason.sign == "a client said it is next"

    run(main())


def _route(bench: Bench) -> Route:
    route = bench.control.gate.resolve("a")
    assert route is not None
    return route


def test_what_was_learned_is_told_once_and_survives() -> None:
    async def main() -> None:
        learning = Learning(PolicySpec, lambda: None)
        for _ in range(10):
            learning.arrived("a", clock.now())
            await pause(60.0)
        kept = json.loads(json.dumps(dict(learning.state())))
        assert list(kept) == ["a"]
        assert learning.state() == {}
        again = Learning(PolicySpec, lambda: None)
        again.restore(kept | {"b": {"kept_at": clock.wall() + 9e9, "idle_s": 1.0, "gaps": []}, "c": 5})
        assert knows(again.demand, "a") and knows(again.demand, "b")
        assert not knows(again.demand, "c")
        one = learning.demand.forecast("a", clock.now())
        other = again.demand.forecast("a", clock.now())
        assert one is not None and other is not None
        assert other.samples == pytest.approx(one.samples, rel=0.01)

    run(main())


def test_a_model_that_is_gone_is_forgotten() -> None:
    async def main() -> None:
        learning = Learning(PolicySpec, lambda: None)
        learning.arrived("a", clock.now())
        learning.forget("a")
        assert not knows(learning.demand, "a")
        assert learning.state() == {}

    run(main())
