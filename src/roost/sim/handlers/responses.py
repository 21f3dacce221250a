"""`/v1/responses` in OpenAI's form: one text message, whole or as the stream of named events."""

from itertools import count
from typing import Any

from roost.sim.exchange import Exchange, Refused
from roost.sim.handlers.openai import render
from roost.sim.simulation import Ask, Simulation


async def responses(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    ask = sim.ask("resp", _prompt(body), body, body.get("max_output_tokens"))
    async with exchange.ended_with_the_client():
        if body.get("stream"):
            await _stream(sim, exchange, ask)
        else:
            said = await sim.whole(ask)
            await exchange.answer(200, _response(ask, said))


def _prompt(body: dict[str, Any]) -> str:
    given = body.get("input")
    if given is None:
        raise Refused(400, "BadRequestError", "input is missing.", "input")
    instructions = f"system: {body['instructions']}\n" if body.get("instructions") else ""
    return instructions + (f"user: {given}" if isinstance(given, str) else render(given))


def _part(said: str) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": []}


def _item(ask: Ask, said: str | None) -> dict[str, Any]:
    content = [] if said is None else [_part(said)]
    status = "in_progress" if said is None else "completed"
    return {"type": "message", "id": f"msg-{ask.id}", "status": status, "role": "assistant", "content": content}


def _response(ask: Ask, said: str | None) -> dict[str, Any]:
    made = ask.run.produced
    usage = {
        "input_tokens": ask.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": ask.prompt_tokens + made,
    }
    status = "in_progress" if said is None else {"stop": "completed"}.get(ask.run.finish, "incomplete")
    cut = {"reason": "max_output_tokens" if ask.run.finish == "length" else "abort"}
    return {
        "id": ask.id,
        "object": "response",
        "created_at": ask.created,
        "model": ask.model,
        "status": status,
        "error": None,
        "incomplete_details": cut if status == "incomplete" else None,
        "output": [] if said is None else [_item(ask, said)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if said is None else usage,
    }


async def _stream(sim: Simulation, exchange: Exchange, ask: Ask) -> None:
    numbers = count()
    place = {"item_id": f"msg-{ask.id}", "output_index": 0, "content_index": 0}

    async def say(kind: str, **fields: Any) -> None:
        await exchange.event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    async def open_once() -> None:
        if not exchange.begun:
            await exchange.begin_events()
            await say("response.created", response=_response(ask, None))
            await say("response.in_progress", response=_response(ask, None))
            await say("response.output_item.added", output_index=0, item=_item(ask, None))
            await say("response.content_part.added", part=_part(""), **place)

    said: list[str] = []
    async with sim.pieces(ask) as tokens:
        async for token in tokens:
            await open_once()
            said.append(token)
            await say("response.output_text.delta", delta=token, logprobs=[], **place)
    await open_once()
    whole = "".join(said)
    await say("response.output_text.done", text=whole, logprobs=[], **place)
    await say("response.content_part.done", part=_part(whole), **place)
    await say("response.output_item.done", output_index=0, item=_item(ask, whole))
    ending = _response(ask, whole)
    await say(f"response.{ending['status']}", response=ending)
    await exchange.end()
