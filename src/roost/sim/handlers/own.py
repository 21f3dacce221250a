"""The simulation's own paths: `/sim/set` changes its behaviour, `/sim/stats` tells what it saw, `/sim/echo` (also
under `/v1`, for proxies) answers what arrived. They answer even while everything else hangs or loads.
"""

import os
from hashlib import sha256

from roost.sim.exchange import Exchange, Refused
from roost.sim.flags import change
from roost.sim.simulation import Simulation


async def set_behaviour(sim: Simulation, exchange: Exchange) -> None:
    wanted = await exchange.json()
    try:
        changed = change(sim.behaviour, wanted)
    except ValueError as error:
        raise Refused(400, "BadRequestError", f"{error}.") from None
    if "claim_memory" in changed and "weights" not in sim.engine.asleep:
        sim.engine.load()
    if "seed" in changed:
        sim.errors.seed(sim.behaviour.seed)
    sim.faults.changed(changed)
    sim.engine.scheduler.look_again()
    if sim.idle is not None:
        sim.idle.rearm()
    await exchange.answer(200, {"set": sorted(changed)})


async def ok(sim: Simulation, exchange: Exchange) -> None:
    """A path that it was told to answer."""
    await exchange.answer(200, {})


async def stats(sim: Simulation, exchange: Exchange) -> None:
    engine, seen = sim.engine, sim.stats
    answer = {
        "pid": os.getpid(),
        "model": sim.behaviour.model,
        "port": sim.port,
        "loaded": sim.loaded,
        "requests": seen.requests,
        "answered": seen.answered,
        "running": len(engine.scheduler.running),
        "waiting": len(engine.scheduler.waiting),
        "aborted": seen.aborted,
        "connections": seen.connections,
        "health_checks": seen.health_checks,
        "tokens": engine.tokens,
        "sleeping": bool(engine.asleep),
        "asleep": sorted(engine.asleep),
        "paused": engine.is_paused,
        "level": engine.level,
        "sleeps": engine.sleeps,
        "wakes": engine.wakes,
        "sound": engine.is_sound,
        "models": sim.router.statuses() if sim.router is not None else {},
        "loras": [lora.name for lora in sim.loras.loaded()] if sim.loras is not None else [],
        "lora_swaps": sim.loras.swaps if sim.loras is not None else 0,
        "memory": engine.memory.held,
        "paths": dict(seen.paths),
        "calls": list(seen.calls),
    }
    await exchange.answer(200, answer)


async def echo(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.body()
    answer = {
        "engine": sim.behaviour.model,
        "method": exchange.method,
        "path": exchange.path,
        "query": exchange.query_string,
        "headers": exchange.headers,
        "body_sha256": sha256(body).hexdigest(),
        "body_length": len(body),
    }
    await exchange.answer(200, answer)
