"""Which models a round has to look at: all but those that are cold and that nobody asks for.

Most models of a large fleet rest most of the time; a plan is the same without them, and much sooner made. Pure; called
by `plan`.
"""

from collections.abc import Collection
from dataclasses import replace

from roost.core.lifecycle import State
from roost.core.view import FleetView, ModelView, Policy


def stirring(view: FleetView, policy: Policy) -> FleetView:
    """The view without the models that rest. A matrix is made of the names of all models, so there they all stay."""
    if view.memory.matrix is not None:
        return view
    pending, foresees = view.pending, policy.spec.wake_ahead or policy.spec.idle != "fixed"
    hosts = {model.host for model in view.models if model.host and model.wish is not None}
    models = tuple([m for m in view.models if m.name in hosts or not _rests(m, pending, foresees)])
    return view if len(models) == len(view.models) else replace(view, models=models)


def _rests(model: ModelView, pending: Collection[str], foresees: bool) -> bool:
    if (
        model.waiting
        or model.onlookers
        or model.wish is not None
        or model.pinned
        or model.spec.preload
        or (foresees and _may_be_next(model))
    ):
        return False
    for replica in model.replicas:
        if replica.state is not State.COLD or replica.revive or replica.lingering or replica.in_flight:
            return False
        if pending and replica.id in pending:
            return False
    return True


def _may_be_next(model: ModelView) -> bool:
    """Somebody has asked for it before."""
    return model.forecast is not None or any(replica.last_used_at is not None for replica in model.replicas)
