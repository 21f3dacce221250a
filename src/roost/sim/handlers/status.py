"""What monitors ask: health, version, load, metrics, and llama-server's props. None of them wakes the engine."""

import asyncio

from roost import __version__
from roost.sim.exchange import Exchange
from roost.sim.simulation import Simulation

_HEALTH_TOKEN_S = 20.0


async def health(sim: Simulation, exchange: Exchange) -> None:
    sim.stats.health_checks += 1
    limit = sim.behaviour.fail_health_after
    failed = limit is not None and sim.stats.health_checks > limit
    if sim.behaviour.kind == "sglang" and sim.behaviour.health_generates:
        failed = failed or not await _makes_a_token(sim)
    await exchange.raw(503 if failed else 200, b"")


async def _makes_a_token(sim: Simulation) -> bool:
    try:
        async with asyncio.timeout(_HEALTH_TOKEN_S):
            await sim.whole(sim.ask("health", "health", {}, 1))
    except TimeoutError:
        return False
    return True


async def ping(sim: Simulation, exchange: Exchange) -> None:
    await exchange.raw(200, b"")


async def version(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"version": f"0.32.0+roost-sim-{__version__}"})


async def load(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"server_load": len(sim.engine.scheduler.running)})


async def props(sim: Simulation, exchange: Exchange) -> None:
    if sim.router is not None:
        await exchange.answer(200, {"role": "router", "max_instances": 0})
        return
    answer = {"model_alias": sim.behaviour.names[0], "is_sleeping": bool(sim.engine.asleep), "total_slots": 4}
    await exchange.answer(200, answer)


async def slots(sim: Simulation, exchange: Exchange) -> None:
    running = [{"id": at, "is_processing": True} for at in range(len(sim.engine.scheduler.running))]
    await exchange.answer(200, running)


async def metrics(sim: Simulation, exchange: Exchange) -> None:
    match sim.behaviour.kind:
        case "vllm":
            text = _vllm(sim)
        case "sglang":
            text = _plain("sglang", ("num_running_reqs", "prompt_tokens_total", "generation_tokens_total"), sim)
        case _:
            text = _plain("llamacpp", ("requests_processing", "prompt_tokens_total", "tokens_predicted_total"), sim)
    await exchange.raw(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")


def _plain(prefix: str, names: tuple[str, str, str], sim: Simulation) -> str:
    engine = sim.engine
    values = (len(engine.scheduler.running), engine.prompt_tokens, engine.tokens)
    return "".join(f"{prefix}:{name} {float(value)}\n" for name, value in zip(names, values, strict=True))


def _vllm(sim: Simulation) -> str:
    scheduler = sim.engine.scheduler
    # As in vLLM the figures move only on engine steps: what waits while it sleeps is not shown.
    waiting = 0 if sim.engine.is_sleeping else len(scheduler.waiting)
    model = sim.behaviour.names[0].replace("\\", "\\\\").replace('"', '\\"')
    label = f'engine="0",model_name="{model}"'
    lines = [] if sim.behaviour.no_sleep_gauge else ["# TYPE vllm:engine_sleep_state gauge"]
    for state, holds in _sleep_states(sim).items() if lines else ():
        lines.append(f'vllm:engine_sleep_state{{{label},sleep_state="{state}"}} {float(holds)}')
    for name, kind, value in (
        ("num_requests_running", "gauge", len(scheduler.running)),
        ("num_requests_waiting", "gauge", waiting),
        ("kv_cache_usage_perc", "gauge", min(1.0, len(scheduler.running) / 256)),
        ("prompt_tokens_total", "counter", sim.engine.prompt_tokens),
        ("generation_tokens_total", "counter", sim.engine.tokens),
    ):
        lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{label}}} {float(value)}"]
    return "\n".join(lines) + "\n"


def _sleep_states(sim: Simulation) -> dict[str, bool]:
    asleep = bool(sim.engine.asleep)
    deep = asleep and sim.engine.level == 2
    return {"awake": not asleep, "weights_offloaded": asleep and not deep, "discard_all": deep}
