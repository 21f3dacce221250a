"""vLLM's calls that load and unload LoRA adapters; they answer plain text."""

from roost.sim.exchange import Exchange
from roost.sim.loras import Loras
from roost.sim.simulation import Simulation


def _loras(sim: Simulation) -> Loras:
    assert sim.loras is not None  # these paths exist with --enable-lora only
    return sim.loras


async def load(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    name = body.get("lora_name")
    _loras(sim).load(name, body.get("lora_path"))
    await exchange.answer(200, f"Success: LoRA adapter '{name}' added successfully.")


async def unload(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    name = body.get("lora_name")
    _loras(sim).unload(name)
    await exchange.answer(200, f"Success: LoRA adapter '{name}' removed successfully.")
