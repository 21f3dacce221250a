"""SGLang's control endpoints: pause, release, resume, weights from disk. Bodies are JSON and must be there.

What kills the real server kills this one: releasing while a request runs, resuming what was not released.
"""

from typing import Any

from roost.sim.engine import EngineRefused
from roost.sim.exchange import Exchange, Refused
from roost.sim.scheduler import Mode
from roost.sim.simulation import Simulation

_TAGS = ("weights", "kv_cache", "cuda_graph")
_MODES = {"abort": Mode.ABORT, "in_place": Mode.KEEP, "retract": Mode.KEEP}


async def _body(exchange: Exchange) -> dict[str, Any]:
    if exchange.header("content-length") in (None, "0") and exchange.header("transfer-encoding") is None:
        raise Refused(400, "BadRequestError", "Field required: body")
    body: dict[str, Any] = await exchange.json()
    return body


async def _tags(exchange: Exchange) -> set[str]:
    tags = (await _body(exchange)).get("tags")
    return set(_TAGS if tags is None else map(str, tags))


async def pause_generation(sim: Simulation, exchange: Exchange) -> None:
    mode = (await _body(exchange)).get("mode", "abort")
    if mode not in _MODES:
        raise Refused(400, "BadRequestError", f"mode must be abort, in_place or retract, not {mode!r}")
    await sim.engine.pause(_MODES[mode])
    await exchange.answer(200, {"status": "ok", "message": "Generation paused successfully."})


async def continue_generation(sim: Simulation, exchange: Exchange) -> None:
    sim.engine.scheduler.resume()
    await exchange.answer(200, {"status": "ok", "message": "Generation continued successfully."})


async def release_memory_occupation(sim: Simulation, exchange: Exchange) -> None:
    await sim.engine.release(await _tags(exchange))
    await exchange.answer(200, None)


async def resume_memory_occupation(sim: Simulation, exchange: Exchange) -> None:
    await sim.engine.restore(await _tags(exchange))
    await exchange.answer(200, None)


async def update_weights_from_disk(sim: Simulation, exchange: Exchange) -> None:
    path = (await _body(exchange)).get("model_path")
    if not isinstance(path, str) or not path:
        raise Refused(400, "BadRequestError", "the body names no model_path")
    try:
        sim.engine.reload_weights()
    except EngineRefused as error:
        await exchange.answer(400, {"success": False, "message": f"Failed to update weights: {error}."})
        return
    sim.behaviour.served_model_name = (path,)  # as the real one does
    await exchange.answer(200, {"success": True, "message": "Succeeded to update model weights."})


async def flush_cache(sim: Simulation, exchange: Exchange) -> None:
    scheduler = sim.engine.scheduler
    if scheduler.running or scheduler.waiting:
        raise Refused(400, "BadRequestError", "Cache not flushed because there are pending requests.")
    sim.engine.reset_prefix_cache()
    await exchange.answer(200, {"success": True})


async def abort_request(sim: Simulation, exchange: Exchange) -> None:
    body = await _body(exchange)
    sim.engine.scheduler.abort(() if body.get("abort_all") else [str(body.get("rid"))])
    await exchange.raw(200, b"")


async def ready(sim: Simulation, exchange: Exchange) -> None:
    await exchange.raw(503 if sim.engine.is_paused else 200, b"")


async def server_info(sim: Simulation, exchange: Exchange) -> None:
    behaviour = sim.behaviour
    facts = {"model_path": behaviour.model, "served_model_name": behaviour.names[0], "version": "0.5.23"}
    await exchange.answer(200, {**facts, "max_total_num_tokens": behaviour.max_model_len})
