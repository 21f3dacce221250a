"""What monitors ask: health, version, load, metrics, and llama-server's props. None of them wakes the engine."""

from roost import __version__
from roost.sim.exchange import Exchange
from roost.sim.simulation import Simulation


async def health(sim: Simulation, exchange: Exchange) -> None:
    sim.stats.health_checks += 1
    limit = sim.behaviour.fail_health_after
    failed = limit is not None and sim.stats.health_checks > limit
    await exchange.raw(503 if failed else 200, b"")


async def ping(sim: Simulation, exchange: Exchange) -> None:
    await exchange.raw(200, b"")


async def version(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"version": f"0.32.0+roost-sim-{__version__}"})


async def load(sim: Simulation, exchange: Exchange) -> None:
    await exchange.answer(200, {"server_load": len(sim.engine.scheduler.running)})


async def props(sim: Simulation, exchange: Exchange) -> None:
    answer = {"model_alias": sim.behaviour.names[0], "is_sleeping": bool(sim.engine.asleep), "total_slots": 4}
    await exchange.answer(200, answer)


async def slots(sim: Simulation, exchange: Exchange) -> None:
    running = [{"id": at, "is_processing": True} for at in range(len(sim.engine.scheduler.running))]
    await exchange.answer(200, running)


async def metrics(sim: Simulation, exchange: Exchange) -> None:
    scheduler = sim.engine.scheduler
    # As in vLLM the figures move only on engine steps: what waits while it sleeps is not shown.
    waiting = 0 if sim.engine.is_sleeping else len(scheduler.waiting)
    model = sim.behaviour.names[0].replace("\\", "\\\\").replace('"', '\\"')
    label = f'engine="0",model_name="{model}"'
    lines = ["# TYPE vllm:engine_sleep_state gauge"]
    for state, holds in _sleep_states(sim).items():
        lines.append(f'vllm:engine_sleep_state{{{label},sleep_state="{state}"}} {float(holds)}')
    for name, kind, value in (
        ("num_requests_running", "gauge", len(scheduler.running)),
        ("num_requests_waiting", "gauge", waiting),
        ("kv_cache_usage_perc", "gauge", min(1.0, len(scheduler.running) / 256)),
        ("generation_tokens_total", "counter", sim.engine.tokens),
    ):
        lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{label}}} {float(value)}"]
    await exchange.raw(200, ("\n".join(lines) + "\n").encode(), "text/plain; version=0.0.4; charset=utf-8")


def _sleep_states(sim: Simulation) -> dict[str, bool]:
    asleep = bool(sim.engine.asleep)
    deep = asleep and sim.engine.level == 2
    return {"awake": not asleep, "weights_offloaded": asleep and not deep, "discard_all": deep}
