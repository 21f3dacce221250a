"""`/v1/messages` in Anthropic's form, whole and streamed, and its token count."""

from typing import Any

from roost.sim import text
from roost.sim.exchange import Exchange
from roost.sim.handlers.openai import flatten, render
from roost.sim.simulation import Ask, Simulation

_REASONS = {"length": "max_tokens", "stop": "end_turn", "abort": "refusal"}


def _prompt(body: dict[str, Any]) -> str:
    system = flatten(body.get("system"))
    return (f"system: {system}\n" if system else "") + render(body.get("messages"))


async def messages(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    ask = sim.ask("msg", _prompt(body), body, body.get("max_tokens"))
    async with exchange.ended_with_the_client():
        if body.get("stream"):
            await _stream(sim, exchange, ask)
        else:
            said = await sim.whole(ask)
            await exchange.answer(200, _message(ask, said, _REASONS[ask.run.finish]))


async def count_tokens(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    sim.served(body.get("model"))
    await exchange.answer(200, {"input_tokens": len(text.encode(_prompt(body)))})


def _message(ask: Ask, said: str | None, reason: str | None) -> dict[str, Any]:
    return {
        "id": ask.id,
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [] if said is None else [{"type": "text", "text": said}],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": ask.prompt_tokens, "output_tokens": ask.run.produced},
    }


async def _stream(sim: Simulation, exchange: Exchange, ask: Ask) -> None:
    async def say(kind: str, **fields: Any) -> None:
        await exchange.event({"type": kind, **fields}, kind)

    async def open_once() -> None:
        if not exchange.begun:
            await exchange.begin_events()
            await say("message_start", message=_message(ask, None, None))
            await say("content_block_start", index=0, content_block={"type": "text", "text": ""})

    async with sim.pieces(ask) as tokens:
        async for token in tokens:
            await open_once()
            await say("content_block_delta", index=0, delta={"type": "text_delta", "text": token})
    await open_once()
    await say("content_block_stop", index=0)
    delta = {"stop_reason": _REASONS[ask.run.finish], "stop_sequence": None}
    await say("message_delta", delta=delta, usage={"output_tokens": ask.run.produced})
    await say("message_stop")
    await exchange.end()
