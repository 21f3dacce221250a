"""Cold models that nobody asks for are passed over, and everybody else is looked at."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.forecast import Forecast
from roost.core.hosted_spec import AdapterSpec
from roost.core.lifecycle import State
from roost.core.memory_spec import MatrixSpec, MemorySpec
from roost.core.policy_spec import PolicySpec
from roost.core.schedule import Window
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, Goal, ModelView, Policy, ReplicaView, Wish
from roost.planner import census
from roost.planner.census import Census
from roost.planner.plan import Planner, plan
from roost.planner.room import budgets
from tests.property.test_planner_views import QUICK, views

SPEC = ModelSpec(command="engine")
COLD = ModelView(
    name="a", spec=SPEC, replicas=(ReplicaView(id="a/0", model="a", state=State.COLD, since=0.0),), waiting=0
)


def seen(model: ModelView, policy: PolicySpec | None = None, **view: object) -> bool:
    fleet = FleetView(now=9.0, models=(model, replace(COLD, name="z")), **view)  # type: ignore[arg-type]
    looked_at = Census().look(fleet, Policy(spec=policy or PolicySpec()), budgets(fleet))
    return model in [one.model for one in looked_at]


def test_a_cold_model_is_passed_over() -> None:
    assert not seen(COLD)
    assert not seen(replace(COLD, forecast=Forecast(hazard_per_s=1.0)))


@pytest.mark.parametrize(
    "changes",
    [
        {"waiting": 1},
        {"onlookers": 1},
        {"pinned": True},
        {"wish": Wish(goal=Goal.READY, by="cli", asked_at=0.0)},
        {"spec": replace(SPEC, preload=True)},
        *(
            {"replicas": (replace(COLD.replicas[0], **change),)}
            for change in ({"state": State.ASLEEP}, {"revive": True}, {"lingering": 5}, {"in_flight": 1})
        ),
    ],
)
def test_who_is_asked_for_or_holds_something_is_looked_at(changes: dict[str, object]) -> None:
    assert seen(replace(COLD, **changes))  # type: ignore[arg-type]


def test_orders_under_way_forecasts_and_matrices_count() -> None:
    assert seen(COLD, pending={"a/0": "load"})
    hot = replace(COLD, forecast=Forecast(hazard_per_s=1.0))
    assert seen(hot, PolicySpec(wake_ahead=True))
    assert seen(hot, PolicySpec(idle="histogram"))
    assert seen(COLD, memory=MemorySpec(matrix=MatrixSpec(sets={"s": "a & z"})))


@pytest.mark.parametrize(
    "wanted",
    [
        {"called": Window(when="mon-fri", timezone="local", since=0.0, until=99.0), "pinned": True},
        {"wish": Wish(goal=Goal.READY, by="cli", asked_at=0.0)},
        {"waiting": 1, "oldest_wait_at": 8.0},
    ],
)
def test_a_base_comes_up_for_whoever_wants_an_adapter_inside(wanted: dict[str, object]) -> None:
    """Also for a schedule."""
    base = replace(COLD, spec=replace(SPEC, adapters={"b": AdapterSpec(path="/lora")}))
    inside = ReplicaView(id="b/0", model="b", state=State.COLD, since=0.0, base="a/0")
    guest = replace(COLD, name="b", spec=ModelSpec(inside="a"), host="a", replicas=(inside,), **wanted)  # type: ignore[arg-type]
    made = plan(FleetView(now=9.0, models=(base, guest), places={"a/0": 2}), Policy())
    assert [action.replica for action in made.actions] == ["a/0"]


def test_a_large_server_with_an_order_costs_no_square() -> None:
    """Models are compared by name: to compare their views took a second with two thousand."""
    compared: list[int] = []

    class Counted(str):
        def __eq__(self, other: object) -> bool:
            compared.append(1)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    models = [replace(COLD, name=Counted(f"m{n}"), host="s", forecast=Forecast(hazard_per_s=1.0)) for n in range(100)]
    models[50] = replace(models[50], wish=Wish(goal=Goal.READY, by="cli", asked_at=0.0))
    fleet = FleetView(now=9.0, models=tuple(models), places={"s": 4})
    assert len(Census().look(fleet, Policy(spec=PolicySpec(wake_ahead=True)), budgets(fleet))) == 100
    assert len(compared) < 1000


@QUICK
@given(views())
def test_the_plan_is_the_same_without_those_that_rest(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Census, "look", lambda self, view, *_: [census._entry(one, view.pending) for one in view.models])
        whole = plan(view, policy)
    assert plan(view, policy) == whole


@QUICK
@given(st.lists(views(), min_size=2, max_size=4))
def test_what_is_remembered_changes_no_plan(rounds: list[tuple[FleetView, Policy]]) -> None:
    """Views of other fleets, and those that have most models in common with the one before."""
    planner, (before, _) = Planner(), rounds[0]
    for view, policy in rounds:
        shared = replace(view, models=(*before.models[:1], *view.models[1:]))
        for one in (view, replace(view, pending={}), shared, before):
            assert planner(one, policy) == plan(one, policy)
        before = view
