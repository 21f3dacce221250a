"""Models that come to a running controller and leave it: nobody is lost, nothing of them stays."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from roost import clock
from roost.core.errors import RoostError
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.request import Refusal, Request
from roost.core.spec import ModelSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.tasks import spawn
from tests.support.fleet import Bench, Client, FakeOwner, fleet, pause, settle
from tests.support.virtual import run


def add(bench: Bench, name: str, spec: ModelSpec | None = None, **kind: bool) -> FakeOwner:
    """A model that comes later, with one replica."""
    spec = spec or ModelSpec(command="engine")
    owner = bench.owners[name] = FakeOwner(name, spec, **kind)  # type: ignore[arg-type]
    owner.subscribe(bench._cut)
    bench.control.add({name: spec}, [owner])
    return owner


async def remove(bench: Bench, name: str) -> bool:
    done = await bench.control.retire(name)
    bench.control.forget(name)
    return done


def names(bench: Bench) -> list[str]:
    return [model.name for model in bench.control.view().models]


def test_a_model_that_comes_is_served_last_in_view() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", "b"))) as bench:
            assert bench.control.gate.resolve("c") is None
            add(bench, "c", ModelSpec(command="x", aliases=("see",)))
            client = bench.ask("see")
            await bench.rest(60)
            assert client.outcome == "served"
            assert names(bench) == ["a", "b", "c"]
            assert await remove(bench, "a")
            add(bench, "a")
            assert names(bench) == ["b", "c", "a"]

    run(main())


def test_names_that_are_taken() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", aliases=("x",)))) as bench:
            for name, aliases in (("a", ()), ("x", ()), ("c", ("x",)), ("c", ("a",))):
                with pytest.raises(RoostError, match='already names the model "a"'):
                    add(bench, name, ModelSpec(command="y", aliases=aliases))
            twice = {"c": ModelSpec(command="y", aliases=("z",)), "d": ModelSpec(command="y", aliases=("z",))}
            with pytest.raises(RoostError, match='"z" already names the model "c"'):
                bench.control.check_names(twice)
            assert names(bench) == ["a"]
            with pytest.raises(RoostError, match='no model "nobody"'):
                await bench.control.retire("nobody")

    run(main())


def test_preload_of_a_model_that_comes_later() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            await pause(100)
            owner = add(bench, "b", ModelSpec(command="x", preload=True))
            await pause(20)
            assert owner.state is State.READY

    run(main())


def test_running_ones_end_waiters_are_told_and_then_it_is_gone() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", concurrency=1))
        async with Bench(spec) as bench:
            running, waiting = bench.ask("a", hold_s=30.0), bench.ask("a")
            await pause(10)
            assert running.lease is not None and waiting.outcome == "open"
            route = bench.control.gate.resolve("a")
            leaving = spawn(remove(bench, "a"), "remove a")
            await settle()
            assert bench.control.gate.resolve("a") is None and bench.control.is_leaving("a")
            assert waiting.refusal is not None and waiting.refusal.code == "model_removed"
            assert 'Model "a" was removed' in waiting.refusal.message
            assert route is not None
            again = bench.control.gate.enter(Request("r", clock.now(), method="POST"), route, running, clock.now())
            assert isinstance(again, Refusal) and again.status == 404
            assert names(bench) == ["a", "b"]  # it still holds its memory
            assert await leaving
            assert running.outcome == "served"
            assert bench.owners["a"].state is State.COLD
            assert names(bench) == ["b"] and [lane.name for lane in bench.control.gate.lanes()] == ["b"]
            again = bench.control.gate.enter(Request("r", clock.now(), method="POST"), route, running, clock.now())
            assert isinstance(again, Refusal) and again.status == 404
            bench.owners["a"].found()  # what an engine does that is nobody's any more concerns nobody
            client = bench.ask("b")
            await bench.rest(60)
            assert client.outcome == "served"

    run(main())


def test_what_does_not_end_is_stopped_at_the_drain_deadline() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", timeouts=TimeoutsSpec(drain=5.0)))
        async with Bench(spec) as bench:
            running = bench.ask("a", hold_s=10_000.0)
            await pause(10)
            begun = clock.now()
            assert await remove(bench, "a")
            assert 5.0 <= clock.now() - begun < 7.0
            assert running.outcome == "served" and running.lease is not None  # cut with its engine, counted once

    run(main())


def test_an_engine_that_cannot_be_killed_does_not_hold_it_for_ever() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            bench.ask("a")
            await pause(10)
            bench.owners["a"].deaf = True
            begun = clock.now()
            assert not await remove(bench, "a")
            assert clock.now() - begun < 300

    run(main())


def test_a_pinned_and_preloaded_one_goes_and_stays_down() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", preload=True, pin=True))
        async with Bench(spec) as bench:
            await pause(20)
            owner = bench.owners["a"]
            assert owner.state is State.READY
            held = bench.control.gate.passed("a/0", clock.now())
            leaving = spawn(remove(bench, "a"), "remove")
            await pause(30)
            assert str(owner.state) == "draining"
            held.release(clock.now())
            assert await leaving
            await pause(100)
            assert str(owner.state) == "cold" and bench.owners["b"].state is State.READY

    run(main())


def test_one_that_runs_elsewhere_is_let_go() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            owner = add(bench, "far", ModelSpec(url="http://h:1"), owned=False)
            owner.found()
            client = bench.ask("far", hold_s=3.0)
            begun = clock.now()
            assert await remove(bench, "far")
            assert client.outcome == "served" and clock.now() - begun < 4.0
            assert owner.orders == [] and owner.state is State.READY

    run(main())


def test_an_order_that_stands_is_answered_and_none_is_taken_any_more() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            order = spawn(bench.control.order("a", Goal.READY, by="cli", wait_s=60.0), "order")
            await settle()
            leaving = spawn(remove(bench, "a"), "remove")
            assert (await order).status == 409
            with pytest.raises(RoostError, match="being removed already"):
                await bench.control.retire("a")
            with pytest.raises(RoostError, match="still being removed"):
                add(bench, "a")
            assert (await bench.control.order("a", Goal.READY, by="cli")).status == 404
            assert await leaving

    run(main())


def test_its_place_is_taken_only_when_it_is_free() -> None:
    async def main() -> None:
        spec = RoostSpec(models=fleet("a", "b", can_sleep=False), memory=MemorySpec(max_resident=1))
        async with Bench(spec) as bench:
            first = bench.ask("a", hold_s=20.0)
            await pause(10)
            leaving = spawn(remove(bench, "a"), "remove")
            other = bench.ask("b")
            most = 0
            while other.outcome == "open":
                most = max(most, sum(owner.awake for owner in bench.owners.values()))
                await pause(0.1)
            assert first.outcome == other.outcome == "served" and most == 1
            assert await leaving

    run(main())


def test_after_closing_nobody_enters_a_model_that_comes() -> None:
    async def main() -> None:
        bench = Bench(RoostSpec(models=fleet("a")))
        bench.control.gate.close()
        add(bench, "b")
        route = bench.control.gate.resolve("b")
        assert route is not None
        client = Client(0, "b", 1.0, clock.now())
        answer = bench.control.gate.enter(Request("r", clock.now(), method="POST"), route, client, clock.now())
        assert isinstance(answer, Refusal) and answer.code == "shutting_down"

    run(main())


def test_a_replica_that_comes_later_takes_its_share_and_goes_again() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", concurrency=1))) as bench:
            later = FakeOwner("a", ModelSpec(command="engine"), index=1)
            later.subscribe(bench._cut)
            bench.control.add_replicas("a", [later])
            clients = [bench.ask("a", hold_s=20.0) for _ in range(6)]
            await bench.rest(300)
            assert {client.outcome for client in clients} == {"served"}
            assert later.last_load_at is not None
            (view,) = bench.control.view().models
            assert [replica.id for replica in view.replicas] == ["a/0", "a/1"]
            bench.control.drop_replica(later)
            (view,) = bench.control.view().models
            assert [replica.id for replica in view.replicas] == ["a/0"]
            assert bench.ask("a").outcome != "refused"
            await bench.rest(60)

    run(main())


def test_a_model_that_nobody_knows_yet_is_entered_by_its_route_alone() -> None:
    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a"))) as bench:
            gate, spec = bench.control.gate, ModelSpec(command="engine", aliases=("bee",))
            owner = bench.owners["b"] = FakeOwner("b", spec)
            bench.control.add({"b": spec}, [owner], known=False)
            assert gate.resolve("b") is None is gate.resolve("bee")
            assert list(gate.names()) == ["a"]
            assert gate.owner_of("b") == "b"
            assert gate.route_of("b").name == "b"
            gate.make_known("b")
            assert (route := gate.resolve("bee")) is not None and route.name == "b"
            assert list(gate.names()) == ["a", "b"]

    run(main())


def traces(of: object, names: frozenset[str], path: str = "", seen: set[int] | None = None) -> Iterator[str]:
    """Where roost's objects still know something by one of these names."""
    seen = set() if seen is None else seen
    if id(of) in seen:
        return
    seen.add(id(of))
    if isinstance(of, Mapping):
        parts = [(f"{path}[{key!r}]", part) for key, part in of.items()]
        yield from (f"{path}[{key!r}]" for key in of if key in names)
    elif isinstance(of, list | tuple | set | frozenset | deque):
        parts = [(f"{path}[]", part) for part in of]
        yield from (path for part in of if isinstance(part, str) and part in names)
    elif type(of).__module__.startswith("roost.control") or type(of).__module__.startswith("roost.planner"):
        slots = [slot for kind in type(of).__mro__ for slot in getattr(kind, "__slots__", ())]
        own: dict[str, Any] = getattr(of, "__dict__", {}) | {n: getattr(of, n) for n in slots if hasattr(of, n)}
        parts = [(f"{path}.{name}", part) for name, part in own.items()]
    else:
        return
    for where, part in parts:
        yield from traces(part, names, where, seen)


def test_nothing_is_kept_of_a_replica_that_went_or_of_a_model_that_was_removed() -> None:
    """Also where its engine died on its way to sleep, or was being revived."""

    async def main() -> None:
        async with Bench(RoostSpec(models=fleet("a", sleep_after=5.0))) as bench:
            control, spec = bench.control, ModelSpec(command="engine", sleep_after=5.0)
            later = FakeOwner("a", spec, index=1)
            control.add_replicas("a", [later])
            await control.order("a", Goal.READY, by="cli", wait_s=30.0)
            await pause(60.0)
            assert later.state is State.ASLEEP
            owner = add(bench, "b", spec)
            bench.ask("b")
            bench.ask("a")
            control.gate.hint(control.gate.route_of("b"), clock.now())
            while owner.state is not State.SUSPENDING:
                await pause(0.1)
            for gone in (later, owner):
                gone.revive = True
                gone._cancel()
            owner.state = later.state = State.COLD
            await control.order("b", Goal.STOPPED, by="cli")
            await control.order("a", Goal.STOPPED, by="cli")
            known = set(traces(control, frozenset({"a/1", "b/0", "b"})))
            assert {".learning._levels['a/1']", "._executor._levels['b/0']", "._wishes._laid_down"} <= known
            control.drop_replica(later)
            await remove(bench, "b")
            control.view()
            assert list(traces(control, frozenset({"a/1", "b/0", "b"}))) == []

    run(main())
