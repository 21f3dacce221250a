"""Handlers of `/api/v1` that show the running roost and take orders for it. They decide nothing themselves."""

import asyncio
from typing import Any

from starlette.responses import Response

from roost import tasks
from roost.admin.answers import answer_json, answer_order
from roost.admin.ask import Ask, Options, options_of
from roost.admin.errors import refuse
from roost.core.view import Goal

JOURNAL_S = 3600
JOURNAL_ROWS = 100
JOURNAL_MOST = 1000


async def status(ask: Ask) -> Response:
    """For a key limited to some models without what speaks of the others."""
    found = ask.console.status()
    found["models"] = ask.caller.only(found.get("models", ()))
    if not ask.caller.sees_all:
        found.pop("memory", None)
    return answer_json(found)


async def models(ask: Ask) -> Response:
    return answer_json({"models": ask.caller.only(ask.console.models())})


async def model(ask: Ask) -> Response:
    return answer_json(ask.model())


async def load(ask: Ask) -> Response:
    return await _order(ask, Goal.READY)


async def sleep(ask: Ask) -> Response:
    return await _order(ask, Goal.ASLEEP)


async def unload(ask: Ask) -> Response:
    return await _order(ask, Goal.STOPPED)


async def restart(ask: Ask) -> Response:
    return await _order(ask, Goal.RESTARTED)


async def pin(ask: Ask) -> Response:
    return await _pin(ask, pinned=True)


async def unpin(ask: Ask) -> Response:
    return await _pin(ask, pinned=False)


async def unload_all(ask: Ask) -> Response:
    return answer_order(ask.request, await unload_every(ask, await options_of(ask, ask.options)))


async def unload_every(ask: Ask, options: Options) -> dict[str, Any]:
    """All at once: each answer stands beside its model's name; the status is the worst of them. Models that run
    elsewhere are not ours to stop and are left out."""
    names = [model["name"] for model in ask.caller.only(ask.console.models()) if model.get("owned", True)]
    orders = [tasks.spawn(obey(ask, name, Goal.STOPPED, options), f"unload {name}") for name in names]
    results = await asyncio.gather(*orders)
    worst = max((int(result.get("status", 200)) for result in results), default=200)
    failed = [name for name, result in zip(names, results, strict=True) if not result["success"]]
    message = f"Not unloaded: {', '.join(failed)}." if failed else f"{len(names)} models are unloaded."
    each = dict(zip(names, results, strict=True))
    return {"success": not failed, "message": message, "models": each, "status": worst}


async def plan(ask: Ask) -> Response:
    ask.caller.must_see_all("The plan")
    return answer_json(ask.console.plan())


async def journal(ask: Ask) -> Response:
    ask.caller.must_see_all("The journal")
    since, limit = ask.duration("since", JOURNAL_S), ask.whole_number("limit", JOURNAL_ROWS, JOURNAL_MOST)
    return answer_json({"plans": await ask.console.journal(since, limit)})


async def requests(ask: Ask) -> Response:
    return answer_json({"requests": ask.caller.only(ask.console.requests(), "model")})


async def recent(ask: Ask) -> Response:
    return answer_json({"requests": ask.caller.only(ask.console.recent(), "model")})


async def cancel(ask: Ask) -> Response:
    request_id = str(ask.request.path_params["id"])
    seen = ask.caller.models is None or any(
        request["id"] == request_id for request in ask.caller.only(ask.console.requests(), "model")
    )
    if not seen or not ask.console.cancel(request_id):
        message = f"No request {request_id[:128]!r} is in flight. GET /api/v1/requests lists those that are."
        refuse(404, "request_not_found", message)
    return answer_json({"id": request_id, "cancelled": True})


async def _order(ask: Ask, goal: Goal) -> Response:
    name = ask.model()["name"]
    options = await options_of(ask, ask.options)
    return answer_order(ask.request, await obey(ask, name, goal, options))


async def obey(ask: Ask, name: str, goal: Goal, options: Options) -> dict[str, Any]:
    """Give the console an order in the caller's name; its result as it came."""
    return await ask.console.order(
        name, goal, by=ask.caller.by, level=options.level, wait_s=options.wait_s, force=options.force
    )


async def _pin(ask: Ask, *, pinned: bool) -> Response:
    name = ask.model()["name"]
    await options_of(ask, ask.options)
    return answer_order(ask.request, ask.console.pin(name, pinned, by=ask.caller.by))
