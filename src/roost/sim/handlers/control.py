"""vLLM's development endpoints: sleep, wake, pause, collective_rpc. Parameters come in the query; bodies are ignored
where vLLM ignores them.
"""

from typing import Any

from roost.sim.engine import EngineRefused
from roost.sim.exchange import Exchange, Refused
from roost.sim.scheduler import Mode
from roost.sim.simulation import Simulation


def _mode(exchange: Exchange) -> Mode:
    word = exchange.query.get("mode", [Mode.ABORT])[-1]
    try:
        return Mode(word)
    except ValueError:
        raise Refused(400, "BadRequestError", f"mode must be abort, wait or keep, not {word!r}") from None


async def sleep(sim: Simulation, exchange: Exchange) -> None:
    word = exchange.query.get("level", ["1"])[-1]
    if word not in ("0", "1", "2"):
        raise Refused(400, "BadRequestError", f"level must be 0, 1 or 2, not {word!r}")
    await sim.engine.sleep(int(word), _mode(exchange))
    await exchange.answer(200, {"status": "sleeping", "level": int(word)})


async def wake_up(sim: Simulation, exchange: Exchange) -> None:
    tags = exchange.query.get("tags")
    await sim.engine.wake(tags)
    status = "sleeping" if sim.engine.is_sleeping else "awake"
    await exchange.answer(200, {"status": status, "tags": tags})


async def is_sleeping(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"is_sleeping": sim.engine.is_sleeping})


async def pause(sim: Simulation, exchange: Exchange) -> None:
    await sim.engine.pause(_mode(exchange))
    if exchange.query.get("clear_cache", ["true"])[-1].lower() == "true":
        sim.engine.reset_prefix_cache()
    await exchange.answer(200, {"status": "paused"})


async def resume(sim: Simulation, exchange: Exchange) -> None:
    sim.engine.scheduler.resume()
    await exchange.answer(200, {"status": "resumed"})


async def is_paused(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"is_paused": sim.engine.is_paused})


async def collective_rpc(sim: Simulation, exchange: Exchange) -> None:
    body: dict[str, Any] = await exchange.json()
    method = body.get("method")
    if method is None:
        raise Refused(400, "BadRequestError", "the body names no method")
    if method != "reload_weights":
        raise EngineRefused(f"the worker has no method {method!r}")
    sim.engine.reload_weights()
    await exchange.answer(200, {"results": [None]})


async def reset_prefix_cache(sim: Simulation, exchange: Exchange) -> None:
    sim.engine.reset_prefix_cache()
    await exchange.answer(200, {"success": True})


async def abort_requests(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    sim.engine.scheduler.abort(map(str, body.get("request_ids") or ()))
    await exchange.answer(200, {"status": "aborted"})
