"""A fleet in simulated time: what a request waits for, who yields, what is counted; by hand-reckoned seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.hosted_spec import HostSpec
from roost.core.lifecycle import IllegalMove, State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Load, Plan, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Preload
from roost.core.schedule import BudgetWindow, Window
from roost.core.spec import ModelSpec, QueueSpec, ReplicaSpec, RoostSpec
from roost.core.view import FleetView, Policy
from roost.planner.plan import plan
from roost.planner.rehearse import rehearse
from roost.planner.rehearse_stage import Arrival, Mechanics, Moved, Record, Stage

GIB = 1024**3
MOVES = Mechanics(load_s=20.0, stop_s=1.0, levels=(1, 2), sleep_s=(2.0, 1.0), wake_s=(3.0, 8.0))
ENGINE = ModelSpec(command="engine", footprint=10 * GIB, sleep_after=None)


def stage(models: dict[str, ModelSpec], *arrivals: tuple[float, int, float], **memory: object) -> Stage:
    """Those models, the one budget that holds one of them unless another is given."""
    budget = MemorySpec(**(memory or {"devices": {"gpu0": 15 * GIB}}))  # type: ignore[arg-type]
    spec = RoostSpec(models=models, memory=budget)
    return Stage(spec=spec, mechanics=[MOVES] * len(models), arrivals=[Arrival(*a) for a in arrivals], told=True)


def waits(record: Record) -> list[float]:
    return [round(wait, 6) for wait in record.waits]


def test_the_first_waits_for_the_load_and_a_ready_model_answers_at_once() -> None:
    asked: list[float] = []

    def chooser(view: FleetView, policy: Policy) -> Plan:
        asked.append(view.now)
        return plan(view, policy)

    record = rehearse(stage({"a": ENGINE}, (5.0, 0, 2.0), (10.0, 0, 2.0), (40.0, 0, 2.0)), chooser)
    assert waits(record) == [20.0, 15.0, 0.0]
    assert (record.loads, record.wakes, record.evictions) == (1, 0, 0)
    assert max(asked) == 25.0, "a request that meets a ready model asks nobody"
    assert record.rounds == len(asked)


def test_a_model_makes_room_by_sleep_and_comes_back_by_a_wake() -> None:
    record = rehearse(stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0), (100.0, 1, 1.0), (200.0, 0, 1.0)))
    # b waits for a's sleep (2 s) and its own load; a for b's sleep and its wake.
    assert waits(record) == [20.0, 22.0, 5.0]
    assert (record.loads, record.wakes, record.evictions) == (2, 1, 2)
    assert [(round(w.room_s, 6), round(w.rise_s, 6)) for w in record.waited] == [(0.0, 20.0), (2.0, 20.0), (2.0, 3.0)]
    assert [(s.replica, s.order) for s in record.story] == [
        ("a/0", "load"),
        ("a/0", "drain"),
        ("a/0", "sleep"),
        ("b/0", "load"),
        ("b/0", "drain"),
        ("b/0", "sleep"),
        ("a/0", "wake"),
    ]
    assert "'b'" in record.story[1].reason
    assert record.story[1].evicts


def test_a_turn_ends_with_its_last_request() -> None:
    record = rehearse(stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0), (100.0, 0, 5.0), (101.0, 1, 1.0)))
    # b waits for a's answer (4 s), its sleep (2 s) and its own load, not for the 30 s of a's turn.
    assert waits(record) == [20.0, 0.0, 26.0]


def test_a_busy_model_is_drained_first() -> None:
    record = rehearse(stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 50.0), (30.0, 1, 1.0)))
    assert waits(record) == [20.0, 62.0]  # a runs from 20 to 70, sleeps until 72, b is up at 92


def test_an_engine_that_cannot_sleep_is_stopped() -> None:
    given = stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0), (100.0, 1, 1.0), (200.0, 0, 1.0))
    record = rehearse(replace(given, mechanics=[replace(MOVES, levels=()), MOVES]))
    assert waits(record) == [20.0, 21.0, 22.0]
    assert (record.loads, record.wakes, record.evictions) == (3, 0, 2)


def test_requests_above_the_limit_stand_in_the_queue() -> None:
    given = stage({"a": replace(ENGINE, concurrency=1)}, (0.0, 0, 4.0), (0.0, 0, 4.0), (30.0, 0, 4.0))
    record = rehearse(given)
    assert waits(record) == [20.0, 24.0, 0.0]
    assert record.queue_s == pytest.approx(4.0)
    assert record.rise_s == pytest.approx(40.0)


def test_whoever_waits_too_long_is_refused_and_told_why() -> None:
    models = {"a": ENGINE, "b": replace(ENGINE, queue=QueueSpec(max_wait=30.0))}
    record = rehearse(stage(models, (0.0, 0, 500.0), (60.0, 1, 1.0)))
    assert record.refused == [1]
    assert waits(record) == [20.0, 30.0]
    assert not record.waited[-1].served
    assert '"a"' in record.waited[-1].why


def test_a_model_that_never_fits_is_refused_at_once() -> None:
    record = rehearse(stage({"a": replace(ENGINE, footprint=40 * GIB)}, (3.0, 0, 1.0)))
    assert (record.refused, waits(record), record.loads) == ([0], [0.0], 0)


def test_a_full_queue_refuses() -> None:
    given = stage({"a": replace(ENGINE, queue=QueueSpec(size=1))}, (0.0, 0, 1.0), (1.0, 0, 1.0))
    assert rehearse(given).refused == [1]


def test_requests_that_may_not_wake_are_refused_while_it_is_cold() -> None:
    record = rehearse(stage({"a": replace(ENGINE, wake_on_request=False)}, (1.0, 0, 1.0)))
    assert (record.refused, record.loads) == ([0], 0)


def test_idle_models_sleep_and_then_stop_when_their_time_has_come() -> None:
    model = replace(ENGINE, sleep_after=60.0, unload_after=200.0)
    record = rehearse(replace(stage({"a": model}, (0.0, 0, 5.0)), until_s=1000.0))
    assert [(s.order, round(s.at_s, 6)) for s in record.story if s.order != "load"] == [
        ("drain", 85.0),
        ("sleep", 85.0),
        ("stop", 225.0),  # 200 s after its last use
    ]
    assert record.idled == 2
    # 20 s of load, 5 s of the request, 60 s idle, 2 s on the way to sleep, 1 s stopping
    assert record.awake_s == pytest.approx(88.0)
    assert record.awake_byte_s == pytest.approx(88.0 * 10 * GIB)
    assert record.ended_s == 1000.0


def test_preloads_come_up_without_a_request_and_what_runs_elsewhere_is_there() -> None:
    models = {"a": replace(ENGINE, preload=True), "b": replace(ENGINE, footprint=None)}
    given = replace(stage(models, (1.0, 1, 1.0)), mechanics=[MOVES, replace(MOVES, owned=False)], until_s=100.0)
    record = rehearse(given)
    assert (record.loads, waits(record)) == (1, [0.0])
    assert record.story[0].reason == str(Preload())


def test_two_replicas_share_what_waits() -> None:
    model = replace(ENGINE, replicas=(ReplicaSpec(),) * 2, concurrency=1)
    record = rehearse(stage({"a": model}, (0.0, 0, 9.0), (0.0, 0, 9.0), devices={"gpu0": 20 * GIB}))
    assert (record.loads, waits(record)) == (2, [20.0, 20.0])


class Notebook:
    """A learner who writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def arrived(self, model: str, now: float) -> None:
        self.told.append(("arrived", model, now))

    def forecast(self, model: str, now: float) -> Forecast | None:
        return Forecast(hazard_per_s=0.5 if model == "a" else 0.25)

    def returned(self, model: str, rung: Moved, seconds: float) -> None:
        self.told.append((rung, model, seconds))

    def costs(self, model: str) -> ReturnCosts | None:
        return ReturnCosts(load_s=7.0)


def test_the_learner_hears_everything_and_the_planner_sees_what_it_says() -> None:
    seen: list[FleetView] = []

    def chooser(view: FleetView, policy: Policy) -> Plan:
        seen.append(view)
        return plan(view, policy)

    book = Notebook()
    given = stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0), (100.0, 1, 1.0), (200.0, 0, 1.0))
    rehearse(replace(given, learner=book), chooser)
    assert book.told == [
        ("arrived", "a", 0.0),
        ("load", "a", 20.0),
        ("arrived", "b", 100.0),
        ("down", "a", 2.0),
        ("load", "b", 20.0),
        ("arrived", "a", 200.0),
        ("down", "b", 2.0),
        ("level1", "a", 3.0),
    ]
    outlooks = seen[-1].outlooks
    assert outlooks is not None
    a, b = outlooks.of("a"), outlooks.of("b")
    assert a is not None and b is not None
    assert (a.hazard_per_s, b.hazard_per_s) == (0.5, 0.25)
    assert seen[-1].models[0].return_s == ReturnCosts(load_s=7.0)


def test_views_of_what_did_not_change_are_the_same_objects() -> None:
    seen: list[FleetView] = []

    def chooser(view: FleetView, policy: Policy) -> Plan:
        seen.append(view)
        return plan(view, policy)

    rehearse(stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0)), chooser)
    assert len({id(view.models[1]) for view in seen}) == 1
    assert seen[0].models[0] is not seen[-1].models[0]


def test_an_order_that_cannot_be_is_a_mistake_of_the_planner() -> None:
    def chooser(view: FleetView, policy: Policy) -> Plan:
        return Plan(actions=(Wake(replica="a/0", reason=Preload()),))

    with pytest.raises(IllegalMove):
        rehearse(stage({"a": ENGINE}, (0.0, 0, 1.0)), chooser)


def test_a_chooser_that_never_rests_does_not_hang_the_rehearsal() -> None:
    rounds: list[float] = []

    def chooser(view: FleetView, policy: Policy) -> Plan:
        rounds.append(view.now)
        cold = view.models[0].replicas[0].state is State.COLD
        load = (Load(replica="a/0", reason=Preload()),) if cold else ()
        return Plan(actions=load, next_check_at=view.now)

    rehearse(replace(stage({"a": ENGINE}, (0.0, 0, 1.0)), until_s=30.0), chooser)
    assert len(rounds) <= 30.0 / 0.05 + 10


def test_the_policy_of_the_spec_is_what_the_planner_gets() -> None:
    given = stage({"a": ENGINE, "b": ENGINE}, (0.0, 0, 1.0), (100.0, 1, 1.0))
    spec = replace(given.spec, policy=PolicySpec(evict_by="unload"))
    record = rehearse(replace(given, spec=spec))
    assert [s.order for s in record.story] == ["load", "drain", "stop", "load"]


@dataclass(frozen=True, kw_only=True)
class FakeHour:
    memory: MemorySpec
    pins: Mapping[str, Window] = field(default_factory=dict)
    sleeps: Mapping[str, Window] = field(default_factory=dict)
    budgets: Mapping[str, BudgetWindow] = field(default_factory=dict)
    changes_at: float | None = None


@pytest.mark.parametrize(
    ("max_wait", "waited", "refused"), [(600.0, [0.0, 0.0, 20.0], [0, 1]), (9000.0, [7120.0, 7070.0, 0.0], [])]
)
def test_memory_that_a_schedule_has_for_longer_is_refused_at_once(
    max_wait: float, waited: list[float], refused: list[int]
) -> None:
    models = {"a": replace(ENGINE, queue=QueueSpec(max_wait=max_wait))}
    asked = stage(models, (100.0, 0, 1.0), (150.0, 0, 1.0), (7300.0, 0, 1.0))
    usual = asked.spec.memory
    taken = BudgetWindow(window=Window(when="*", timezone="UTC", since=0.0, until=7200.0), usual=15 * GIB)
    closed = replace(usual, devices={"gpu0": GIB})
    hours = [FakeHour(memory=closed, budgets={"gpu0": taken}, changes_at=7200.0), FakeHour(memory=usual)]
    record = rehearse(replace(asked, hours=lambda now: hours[now >= 7200.0]))
    assert (waits(record), record.refused) == (waited, refused)
    assert not refused or "the budget of gpu0 is 1.0 GiB" in record.waited[0].why


def test_models_of_one_server_share_its_places() -> None:
    inside = ModelSpec(inside="h", footprint=0)
    spec = RoostSpec(models={"a": inside, "b": inside}, hosts={"h": HostSpec(url="http://h:1", max_resident=1)})
    moves = Mechanics(load_s=20.0, stop_s=1.0)
    asked = [Arrival(0.0, 0, 1.0), Arrival(100.0, 1, 1.0)]
    record = rehearse(Stage(spec=spec, mechanics=[moves, moves], arrivals=asked, told=True))
    assert (waits(record), record.loads, record.evictions) == ([20.0, 21.0], 2, 1)
