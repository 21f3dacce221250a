"""Handlers of sleep in the shapes of kvcached's controller: who sleeps, who could, and orders to sleep and wake.

Orders go the same way as those of /api/v1; their answers carry `model_name` too. Their bodies are not looked at, as
that controller never did: options stand in the query.
"""

from typing import Any

from starlette.responses import Response

from roost.admin.answers import answer_json, answer_order
from roost.admin.ask import Ask, plain, query_options_of
from roost.admin.manage import obey
from roost.core.view import Goal

Facts = dict[str, Any]


async def status(ask: Ask) -> Response:
    found = ask.console.sleep_status()
    models = ask.caller.only(found["models"])
    return answer_json(
        {
            "sleeping_models": {facts["name"]: _sleeper(facts) for facts in models if facts["asleep"]},
            "sleep_candidates": [facts["name"] for facts in models if facts["candidate"]],
            "auto_sleep_enabled": found["auto_sleep"],
            "idle_threshold_seconds": plain(found["idle_threshold_s"]),
            "wakeup_on_request": not models or any(facts["wake_on_request"] for facts in models),
            "models": {facts["name"]: _rules(facts) for facts in models},
        }
    )


async def candidates(ask: Ask) -> Response:
    """Idle by the planner's own measure, which a manual wake starts anew."""
    found = ask.console.sleep_status()
    models = [facts for facts in ask.caller.only(found["models"]) if facts["candidate"]]
    traffic = {facts["name"]: facts for facts in ask.console.traffic(1.0)} if models else {}
    return answer_json(
        {
            "sleep_candidates": [facts["name"] for facts in models],
            "candidate_details": {facts["name"]: _candidate(facts, traffic[facts["name"]]) for facts in models},
            "idle_threshold_seconds": plain(found["idle_threshold_s"]),
            "auto_sleep_enabled": found["auto_sleep"],
        }
    )


async def sleep(ask: Ask) -> Response:
    return await _order(ask, Goal.ASLEEP)


async def wake(ask: Ask) -> Response:
    return await _order(ask, Goal.READY)


async def _order(ask: Ask, goal: Goal) -> Response:
    name = ask.model()["name"]
    result = await obey(ask, name, goal, query_options_of(ask, ask.options))
    return answer_order(ask.request, {"model_name": name, **result})


def _sleeper(facts: Facts) -> Facts:
    return {
        "sleep_start_time": facts["asleep_since"],
        "sleep_duration": facts["asleep_s"],
        "manual_sleep": facts["manual"],
        "level": facts["level"],
        "reason": facts["reason"],
    }


def _rules(facts: Facts) -> Facts:
    return {
        "state": facts["state"],
        "wake_on_request": facts["wake_on_request"],
        "sleep_after_seconds": facts["sleep_after_s"],
        "pinned": facts["pinned"],
    }


def _candidate(facts: Facts, traffic: Facts) -> Facts:
    return {
        "idle_time_seconds": facts["idle_s"],
        "total_requests": traffic["total_requests"],
        "last_activity_time": traffic["last_activity_time"],
        "can_sleep": True,
        "sleep_after_seconds": facts["sleep_after_s"],
    }
