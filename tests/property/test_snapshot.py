"""A view and its plan go through the journal unchanged, and what is left out of it changes no plan."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.footprint import Footprint, Held, Source
from roost.core.forecast import Forecast, Outlooks, ReturnCosts
from roost.core.lifecycle import State
from roost.core.memory_spec import GroupSpec, MatrixSpec
from roost.core.policy_spec import ScheduleSpec
from roost.core.reason import Stalled
from roost.core.snapshot import (
    Setup,
    decode_plan,
    decode_setup,
    decode_view,
    encode_plan,
    encode_setup,
    encode_view,
    essence,
    plain,
)
from roost.core.spec import ModelSpec
from roost.core.view import DeviceView, FleetView, ModelView, Policy, ReplicaView
from roost.planner.plan import plan
from tests.property.test_planner_views import QUICK, views

numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | numbers
sizes = st.integers(0, 2**50)
helds = st.builds(Held, device=sizes, host=sizes, source=st.sampled_from(Source))
footprints = st.builds(Footprint, awake=helds, level1=helds, level2=helds)
forecasts = st.builds(Forecast, hazard_per_s=numbers, next_s=maybe, samples=numbers)
costs = st.builds(ReturnCosts, load_s=maybe, level1_s=maybe, level2_s=maybe)
devices = st.builds(DeviceView, name=st.text(), budget=sizes, others=sizes, held_back=sizes, held_until=maybe)
RARE = settings(QUICK, max_examples=100)


@st.composite
def rich_views(draw: st.DrawFn) -> tuple[FleetView, Policy]:
    """Views with everything in them that a view may have."""
    view, policy = draw(views())
    models = tuple(
        replace(
            model,
            forecast=draw(st.none() | forecasts),
            return_s=draw(st.none() | costs),
            host=draw(st.text(max_size=3)),
            replicas=tuple(
                replace(
                    replica,
                    footprint=draw(st.none() | footprints),
                    devices=tuple(draw(st.lists(st.text(), max_size=2))),
                    lingering=draw(sizes),
                    drain_reason=draw(st.just(replica.drain_reason) | st.builds(Stalled, sentence=st.text())),
                )
                for replica in model.replicas
            ),
        )
        for model in view.models
    )
    memory = replace(
        view.memory,
        groups={"g": GroupSpec(members=("m0",))} if draw(st.booleans()) else {},
        matrix=MatrixSpec(sets={"s": "m0 | m1"}, evict_costs={"m0": 3}) if draw(st.booleans()) else None,
    )
    spec = replace(
        policy.spec,
        last_resort=draw(st.sampled_from([(), ("residency",), ("residency", "pin")])),
        schedules=(ScheduleSpec(when="sat", pin=("m0",), devices={"gpu0": 5}),) if draw(st.booleans()) else (),
    )
    places = draw(st.dictionaries(st.text(), sizes, max_size=2))
    found = tuple(draw(st.lists(devices, max_size=2)))
    held = draw(st.none() | st.just(found))
    return replace(view, models=models, memory=memory, devices=held, places=places), replace(policy, spec=spec)


@QUICK
@given(rich_views())
def test_a_view_comes_back_exactly(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    setup = decode_setup(encode_setup(Setup.of(view, policy)))
    back = decode_view(encode_view(view), setup)
    models = tuple(replace(model, spec=plain(model.spec)) for model in view.models)
    assert back == replace(view, models=models)
    assert setup.policy == policy


def test_forecasts_that_a_plan_read_are_kept_with_the_models() -> None:
    """One whose forecast a plan has read matters, at rest or not; nobody else is asked for the journal's sake."""
    cold = [ReplicaView(id=f"m{number}/0", model=f"m{number}", state=State.COLD, since=1.0) for number in range(101)]
    models = tuple(ModelView(name=one.model, spec=ModelSpec(), replicas=(one,)) for one in cold)
    outlooks = Outlooks(lambda model, now: Forecast(hazard_per_s=0.5), 0.0)
    assert outlooks.of("m7") is not None
    view = FleetView(now=9.0, models=models, outlooks=outlooks)
    kept = essence(view)
    assert [model.name for model in kept.models] == ["m7"]
    back = decode_view(encode_view(kept), Setup.of(view, Policy()))
    assert back.models[0].forecast == Forecast(hazard_per_s=0.5)
    assert list(outlooks.told) == ["m7"]


@QUICK
@given(views())
def test_a_plan_comes_back_exactly(given_view: tuple[FleetView, Policy]) -> None:
    made = plan(*given_view)
    assert decode_plan(encode_plan(made)) == made


@QUICK
@given(views())
def test_what_comes_back_is_planned_as_it_was(given_view: tuple[FleetView, Policy]) -> None:
    """Nothing that a decision rests on is among what is never written."""
    view, policy = given_view
    setup = decode_setup(encode_setup(Setup.of(view, policy)))
    assert plan(decode_view(encode_view(view), setup), setup.policy) == plan(view, policy)


@RARE
@given(views(), st.booleans())
def test_models_at_rest_change_no_plan(given_view: tuple[FleetView, Policy], grouped: bool) -> None:
    """A fleet of many idle cold models beside the few that matter is planned as without them."""
    view, policy = given_view
    spec = replace(view.models[0].spec, preload=False)
    idle = tuple(
        ModelView(
            name=f"idle{number}",
            spec=spec,
            replicas=(ReplicaView(id=f"idle{number}/0", model=f"idle{number}", state=State.COLD, since=900.0),),
        )
        for number in range(100)
    )
    groups = {"g": GroupSpec(members=("m0", "idle7"))} if grouped else {}
    large = replace(view, models=(*view.models, *idle), memory=replace(view.memory, groups=groups))
    kept = essence(large)
    assert not {model.name for model in kept.models} & {model.name for model in idle}
    assert plan(kept, policy) == plan(large, policy)
