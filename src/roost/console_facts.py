"""What happened and what is planned, as JSON for API and events. Values only; called by `console` and `app`."""

from dataclasses import asdict
from typing import Any

from roost import clock
from roost.core.events import Changed, Performed
from roost.core.forecast import Forecast, ReturnCosts
from roost.core.plan import Action, Plan
from roost.core.step import StepRecord


def change_fact(change: Changed) -> dict[str, Any]:
    return {
        "replica": change.replica,
        "model": change.model,
        "before": str(change.before),
        "after": str(change.after),
        "event": str(change.event),
        "at": clock.iso(clock.to_wall(change.at)),
        "reason": change.reason,
        "reason_kind": change.reason_kind,
        "took_s": None if change.took_s is None else round(change.took_s, 4),
    }


def change_event(change: Changed) -> dict[str, Any]:
    """A change as the events stream shows it."""
    return {"type": "state", **change_fact(change)}


def sequence_fact(performed: Performed) -> dict[str, Any]:
    slowest = performed.slowest
    return {
        "replica": performed.replica,
        "model": performed.model,
        "operation": str(performed.operation),
        "level": performed.level,
        "at": clock.iso(clock.to_wall(performed.started_at)),
        "took_s": round(performed.duration_s, 4),
        "error": performed.error or None,
        "slowest": slowest.name if slowest is not None else None,
        "freed_bytes": performed.freed_bytes,
        "memory": performed.memory or None,
        "steps": [step_fact(record) for record in performed.steps],
    }


def step_fact(record: StepRecord) -> dict[str, Any]:
    return asdict(record) | {"at": clock.iso(clock.to_wall(record.started_at))}


def performed_event(performed: Performed) -> dict[str, Any]:
    """The end of a sleep, wake or load as the events stream shows it."""
    return {"type": "sequence", **sequence_fact(performed)}


def action_facts(action: Action) -> dict[str, Any]:
    """An action with its reason, for API and events."""
    facts = {
        "action": type(action).__name__.lower(),
        "replica": action.replica,
        "reason": str(action.reason),
        "reason_kind": action.reason.kind,
    }
    for extra in ("goal", "level", "forced"):
        if hasattr(action, extra):
            facts[extra] = getattr(action, extra)
    return facts


def plan_facts(plan: Plan, now: float) -> dict[str, Any]:
    """A plan for API and events."""
    due = plan.next_check_at
    return {
        "actions": [action_facts(action) for action in plan.actions],
        "blocked": [asdict(blocked) for blocked in plan.blocked.values()],
        "notes": list(plan.notes),
        "next_check_in_s": None if due is None else round(max(0.0, due - now), 3),
    }


def learned_facts(forecast: Forecast | None, costs: ReturnCosts | None) -> dict[str, Any]:
    """What its past says of a model, part of its facts: how long it takes to come back, and how soon it is wanted."""
    told = None
    if forecast is not None:
        told = {
            "next_s": None if forecast.next_s is None else round(forecast.next_s, 1),
            "gaps": round(forecast.samples, 1),
            "chance": round(forecast.soon, 3),
            "within_s": round(forecast.soon_s, 1),
            "sign": forecast.sign or None,
        }
    returns = None if costs is None else {name: _rounded(took_s) for name, took_s in asdict(costs).items()}
    return {"forecast": told, "returns": returns}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
