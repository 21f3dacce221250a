"""What the journal keeps of specs, and what is made of entries that another version wrote."""

import json
from dataclasses import fields
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import MatrixSpec, MemorySpec
from roost.core.plan import Load, Plan
from roost.core.reason import Demand, Stalled
from roost.core.rebuild import Unreadable
from roost.core.snapshot import (
    WHOLE_MODELS,
    Setup,
    decode_plan,
    decode_setup,
    decode_view,
    encode_plan,
    encode_setup,
    encode_view,
    essence,
)
from roost.core.spec import ModelSpec, ReplicaSpec
from roost.core.step_spec import StepSpec
from roost.core.view import FleetView, Goal, ModelView, Policy, ReplicaView, Wish


def view(*models: ModelView) -> FleetView:
    return FleetView(now=5.0, models=models)


def model(name: str, state: State = State.READY, spec: ModelSpec | None = None, **more: Any) -> ModelView:
    replica = ReplicaView(id=f"{name}/0", model=name, state=state, since=1.0)
    return ModelView(name=name, spec=spec or ModelSpec(command="x"), replicas=(replica,), **more)


def test_no_secret_is_written() -> None:
    secret = "hunter2"
    step = StepSpec(endpoint="/x", headers={"Authorization": secret})
    spec = ModelSpec(
        command=f"serve --key {secret}",
        args=(f"--api-key={secret}",),
        env={"TOKEN": secret},
        api_key=secret,
        replicas=(ReplicaSpec(env={"TOKEN": secret}),),
        stop_command=secret,
        sleep_steps=(step,),
        wake_steps=(step,),
        set_params={"user": secret},
        metadata={"note": secret},
        footprint=7,
    )
    seen = view(model("a", spec=spec))
    setup = encode_setup(Setup.of(seen, Policy()))
    assert secret.encode() not in setup + encode_view(seen)
    assert decode_setup(setup).models["a"].footprint == 7


def test_every_hidden_field_of_a_model_is_a_secret_here_too() -> None:
    hidden = [one.name for one in fields(ModelSpec) if not one.repr]
    assert hidden
    setup = json.loads(encode_setup(Setup.of(view(model("a", spec=ModelSpec(api_key="k"))), Policy())))
    assert all(not setup["models"]["a"][name] for name in hidden)


def test_a_key_that_is_missing_has_its_default_and_one_too_many_is_left_out() -> None:
    seen = view(model("a", waiting=2))
    setup = Setup.of(seen, Policy())
    tree = json.loads(encode_view(seen))
    tree["weather"] = "fine"
    del tree["devices"], tree["models"][0]["waiting"], tree["models"][0]["replicas"][0]["lingering"]
    tree["models"][0]["replicas"][0]["colour"] = "blue"
    back = decode_view(json.dumps(tree), setup)
    assert back.models[0].waiting == 0
    assert back.models[0].replicas == seen.models[0].replicas


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": "dancing"}, "'dancing' is no State"),
        ({"since": "long"}, "'long' is no float"),
        ({"drain_reason": {"kind": "whim"}}, "nothing of the kind 'whim'"),
        ({"sleep_levels": 3}, "'3' is no list"),
    ],
)
def test_what_no_version_wrote_so_is_unreadable(change: dict[str, Any], why: str) -> None:
    seen = view(model("a"))
    tree = json.loads(encode_view(seen))
    tree["models"][0]["replicas"][0] |= change
    with pytest.raises(Unreadable, match=why):
        decode_view(json.dumps(tree), Setup.of(seen, Policy()))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"now": 1}', '{"now": 1, "models": [7]}'])
def test_no_view_at_all_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        decode_view(text, Setup.of(view(), Policy()))


def test_a_required_key_is_missed_by_name() -> None:
    seen = view(model("a"))
    tree = json.loads(encode_view(seen))
    del tree["models"][0]["replicas"][0]["state"]
    with pytest.raises(Unreadable, match="ReplicaView without state"):
        decode_view(json.dumps(tree), Setup.of(seen, Policy()))


def test_an_order_of_another_version_is_unreadable() -> None:
    load = Load(replica="a/0", reason=Demand(waiting=1, waited_s=2.0), devices=("gpu0",))
    tree = json.loads(encode_plan(Plan(actions=(load,))))
    assert decode_plan(json.dumps(tree)).actions == (load,)
    tree["actions"][0]["action"] = "teleport"
    with pytest.raises(Unreadable, match="no such action"):
        decode_plan(json.dumps(tree))


def test_a_reason_comes_back_as_what_it_was() -> None:
    replica = ReplicaView(
        id="a/0", model="a", state=State.DRAINING, since=1.0, drain_reason=Stalled(sentence="it stands")
    )
    seen = view(ModelView(name="a", spec=ModelSpec(), replicas=(replica,)))
    (back,) = decode_view(encode_view(seen), Setup.of(seen, Policy())).models
    assert back.replicas == (replica,)


def test_a_setup_holds_until_a_spec_a_budget_or_the_policy_changes() -> None:
    spec = ModelSpec(command="x")
    seen, policy = view(model("a", spec=spec)), Policy()
    setup = Setup.of(seen, policy)
    assert setup.holds_for(view(model("a", State.COLD, spec, waiting=3)), policy)
    assert not setup.holds_for(view(model("a", spec=ModelSpec(command="x", footprint=1))), policy)
    assert not setup.holds_for(view(model("b", spec=spec)), policy)
    assert not setup.holds_for(view(), policy)
    assert not setup.holds_for(seen, Policy(auto=False))
    assert not setup.holds_for(FleetView(now=1, models=seen.models, memory=MemorySpec(max_resident=1)), policy)


def test_of_a_large_fleet_only_those_are_kept_that_hold_want_or_are_meant() -> None:
    wish = Wish(goal=Goal.READY, by="cli", asked_at=1.0)
    matter = (
        model("ready"),
        model("asleep", State.ASLEEP),
        model("failed", State.FAILED),
        model("waited-for", State.COLD, waiting=1),
        model("looked-at", State.COLD, onlookers=1),
        model("wished", State.COLD, wish=wish),
        model("pinned", State.COLD, pinned=True),
        model("preloaded", State.COLD, ModelSpec(preload=True)),
        model("ordered", State.COLD),
    )
    rest = tuple(model(f"cold{number}", State.COLD) for number in range(WHOLE_MODELS))
    large = FleetView(now=1.0, models=(*matter, *rest), pending={"ordered/0": "load"})
    assert essence(large).models == matter
    assert len(essence(view(*rest)).models) == WHOLE_MODELS, "a fleet of that size is kept whole"
    sets = MemorySpec(matrix=MatrixSpec(sets={"s": "cold0 | cold1"}))
    named = FleetView(now=1.0, models=large.models, memory=sets)
    assert essence(named) is named, "the sets of a matrix name models"
