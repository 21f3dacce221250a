"""A view and its plan as JSON and back: what the journal keeps of a decision, and what a replay starts from.

Pure. What seldom changes (specs, memory, policy) is a `Setup` of its own that many views share. Secrets, and what else
of a spec no decision rests on, are never written. Called by `host/database.py`, `keeping.py` and `roost replay`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import msgspec

from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Plan
from roost.core.rebuild import Unreadable, builder
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, ModelView, Policy, ReplicaView

WHOLE_MODELS = 100
"""Fleets up to this size are kept whole; of larger ones the models are left out that no decision rests on."""
_NO_MATTER = frozenset(
    {
        *("command", "args", "env", "replicas", "weights", "cwd", "venv", "stop_command"),
        *("sleep_steps", "wake_steps", "set_params", "set_params_by_name", "strip_params"),
        *("display_name", "description", "metadata", "modalities", "adapters"),
    }
)
"""Of a model's spec: how its engine is called and what clients read. Command lines, variables and headers may hold
keys."""
_ACTIONS: Mapping[str, Any] = {kind.__name__.lower(): kind for kind in get_args(Action)}
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What many views have in common."""

    models: Mapping[str, ModelSpec]
    memory: MemorySpec
    policy: Policy

    @classmethod
    def of(cls, view: FleetView, policy: Policy) -> "Setup":
        """Of this view."""
        return cls(models={model.name: model.spec for model in view.models}, memory=view.memory, policy=policy)

    def holds_for(self, view: FleetView, policy: Policy) -> bool:
        """Whether the view has just these. Quick where the specs are the same objects."""
        mine, memory = self.models, self.memory
        return (
            len(mine) == len(view.models)
            and policy == self.policy
            and view.memory == memory
            and all(mine.get(model.name) == model.spec for model in view.models)
        )


def essence(view: FleetView) -> FleetView:
    """The view as the journal keeps it: of a large fleet without a matrix only the models that hold, want, are ordered
    or are expected something. Budgets stay."""
    if len(view.models) <= WHOLE_MODELS or view.memory.matrix is not None:
        return view
    told = {} if view.outlooks is None else view.outlooks.told
    kept = (one for one in view.models if told.get(one.name) is not None or not _at_rest(one, view.pending))
    return replace(view, models=tuple(kept))


def plain(spec: ModelSpec) -> ModelSpec:
    """The spec without secrets and what else no decision rests on."""
    return replace(spec, **_BLANK)


def encode_setup(setup: Setup) -> bytes:
    """Without secrets: what comes back has `plain` specs."""
    models = {name: plain(spec) for name, spec in setup.models.items()}
    return _encoder.encode(replace(setup, models=models))


def decode_setup(data: bytes | str) -> Setup:
    """Raises Unreadable."""
    made: Setup = builder(Setup)(_tree(data))
    return made


def encode_view(view: FleetView) -> bytes:
    """Without what its `Setup` holds, with the forecasts that were read. Figures must be finite, as in every view."""
    told = {} if view.outlooks is None else view.outlooks.told
    models = [
        {name: getattr(model, name) for name in _MODEL_FIELDS} | {"forecast": model.forecast or told.get(model.name)}
        for model in view.models
    ]
    tree = {name: getattr(view, name) for name in _VIEW_FIELDS}
    return _encoder.encode({**tree, "models": models})


def decode_view(data: bytes | str, setup: Setup) -> FleetView:
    """As it was encoded, with the setup's specs. Raises Unreadable."""
    tree = _tree(data)
    found = tree.get("models")
    if not isinstance(found, list):
        raise Unreadable("a view without models")
    models = tuple(_model(one, setup) for one in found)
    made: FleetView = builder(FleetView)({**tree, "models": []})
    return replace(made, models=models, memory=setup.memory)


def encode_plan(made: Plan) -> bytes:
    """Each action with its name and the sentence of its reason, for readers that know no classes."""
    actions = [{"action": type(one).__name__.lower(), "says": str(one.reason), "order": one} for one in made.actions]
    tree = {name: getattr(made, name) for name in _PLAN_FIELDS}
    return _encoder.encode({**tree, "actions": actions})


def decode_plan(data: bytes | str) -> Plan:
    """As it was encoded. Raises Unreadable."""
    tree = _tree(data)
    actions = tuple(_action(one) for one in tree.get("actions", ()))
    made: Plan = builder(Plan)({**tree, "actions": []})
    return replace(made, actions=actions)


def _tree(data: bytes | str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"no JSON object: {error}") from None


def _model(tree: Any, setup: Setup) -> ModelView:
    name = tree.get("name") if isinstance(tree, dict) else None
    spec = setup.models.get(name) if isinstance(name, str) else None
    if spec is None:
        raise Unreadable(f"the model {name!r} has no spec")
    made: ModelView = builder(ModelView)({**tree, "spec": {}})
    return replace(made, spec=spec)


def _action(tree: Any) -> Action:
    kind = _ACTIONS.get(tree.get("action", "")) if isinstance(tree, dict) else None
    if kind is None:
        raise Unreadable(f"this version knows no such action: {str(tree)[:80]}")
    made: Action = builder(kind)(tree.get("order"))
    return made


def _at_rest(model: ModelView, pending: Mapping[str, str]) -> bool:
    """Nothing of it runs, nobody wants it, and nothing says that anybody soon will."""
    asked = model.waiting or model.onlookers or model.wish is not None
    meant = model.pinned or model.spec.preload or model.forecast is not None
    return not asked and not meant and all(_holds_nothing(one) and one.id not in pending for one in model.replicas)


def _holds_nothing(replica: ReplicaView) -> bool:
    return replica.state is State.COLD and not (replica.in_flight or replica.lingering or replica.revive)


def _blank() -> dict[str, Any]:
    """The defaults of what is never written; a field that hides itself from `repr` is a secret."""
    empty = ModelSpec()
    hidden = {one.name for one in fields(ModelSpec) if not one.repr}
    return {name: getattr(empty, name) for name in sorted(_NO_MATTER | hidden)}


def _names(kind: Any, *but: str) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.name not in but)


_BLANK = _blank()
_MODEL_FIELDS = _names(ModelView, "spec")
_VIEW_FIELDS = _names(FleetView, "models", "memory", "outlooks")
_PLAN_FIELDS = _names(Plan, "actions")
