"""llama-server's router mode: its list of models with their statuses, and the calls that load and unload one."""

from typing import Any

from roost import clock
from roost.sim.exchange import Exchange, Refused
from roost.sim.router import Router
from roost.sim.simulation import Simulation


def _router(sim: Simulation) -> Router:
    assert sim.router is not None  # these paths exist for this kind only
    return sim.router


async def _name(exchange: Exchange) -> str:
    body: dict[str, Any] = await exchange.json()
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise Refused(400, "invalid_request_error", "model name is missing from the request")
    return name


async def load(sim: Simulation, exchange: Exchange) -> None:
    _router(sim).load(await _name(exchange))
    await exchange.answer(200, {"success": True})


async def unload(sim: Simulation, exchange: Exchange) -> None:
    _router(sim).unload(await _name(exchange))
    await exchange.answer(200, {"success": True})


async def models(sim: Simulation, exchange: Exchange) -> None:
    router, created = _router(sim), int(clock.wall())
    data = [
        {"id": name, "object": "model", "owned_by": "llamacpp", "created": created, "status": router.status(name)}
        for name in sim.behaviour.names
    ]
    await exchange.answer(200, {"object": "list", "data": data})
