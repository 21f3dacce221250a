"""`/v1/models`, chat and text completions, whole and streamed, with usage, tools and structured output as vLLM does."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roost import clock
from roost.sim import text
from roost.sim.exchange import Exchange, Refused
from roost.sim.simulation import Ask, Simulation

_PIECE = 8
Make = Callable[[str, str | None], dict[str, Any]]
"""A stream's choice from text and finish reason."""


async def models(sim: Simulation, exchange: Exchange) -> None:
    created, behaviour = int(clock.wall()), sim.behaviour
    data = [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "roost-sim",
            "root": behaviour.model,
            "parent": None,
            "max_model_len": behaviour.max_model_len,
        }
        for name in behaviour.names
    ]
    data += [
        {
            "id": lora.name,
            "object": "model",
            "created": created,
            "owned_by": "roost-sim",
            "root": lora.path,
            "parent": behaviour.names[0],
            "max_model_len": None,
        }
        for lora in (sim.loras.loaded() if sim.loras is not None else ())
    ]
    await exchange.answer(200, {"object": "list", "data": data})


def render(messages: Any) -> str:
    """The prompt of a conversation; Refused 400 on what is none."""
    if not isinstance(messages, list) or not messages or not all(isinstance(entry, dict) for entry in messages):
        raise Refused(400, "BadRequestError", "messages must be a list of at least one message.", "messages")
    return "\n".join(f"{entry.get('role')}: {flatten(entry.get('content'))}" for entry in messages)


def flatten(content: Any) -> str:
    """Text of a message's content: a string, or parts whose text is taken and the rest kept as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            str(part["text"]) if isinstance(part, dict) and "text" in part else json.dumps(part) for part in content
        )
    return "" if content is None else json.dumps(content)


def in_pieces(whole: str) -> list[str]:
    """A fixed text as the tokens of a stream."""
    return [whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)]


def _tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function to call: the named one, else the first; None where no call is asked for."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools or choice in (None, "none"):
        return None
    functions: list[dict[str, Any]] = [tool.get("function", {}) for tool in tools]
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else functions[0].get("name")
    found = next((function for function in functions if function.get("name") == wanted), None)
    if found is None:
        raise Refused(400, "BadRequestError", f"tool_choice names {wanted!r}, which is not in tools.", "tool_choice")
    return found


def _form(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a structured answer."""
    wanted = body.get("response_format") or {}
    match wanted.get("type"):
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case "json_schema":
            schema = (wanted.get("json_schema") or {}).get("schema")
            return schema if isinstance(schema, dict) else {"type": "object"}
        case _:
            return None


async def chat(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    prompt = render(body.get("messages"))
    tool = _tool(body)
    schema = tool.get("parameters", {"type": "object"}) if tool is not None else _form(body)
    script = in_pieces(text.fitting(schema, sim.key(prompt))) if schema is not None else None
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    ask = sim.ask("chatcmpl", prompt, body, limit, script)
    async with exchange.ended_with_the_client():
        if body.get("stream"):
            await _stream_chat(sim, exchange, ask, tool, _wants_usage(body))
        else:
            await _whole_chat(sim, exchange, ask, tool)


def _wants_usage(body: Mapping[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _finish(ask: Ask, tool: Mapping[str, Any] | None) -> str:
    return "tool_calls" if tool is not None and ask.run.finish == "stop" else ask.run.finish


async def _whole_chat(sim: Simulation, exchange: Exchange, ask: Ask, tool: Mapping[str, Any] | None) -> None:
    said = await sim.whole(ask)
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if tool is not None:
        call = {"id": f"call-{ask.id}", "type": "function", "function": {"name": tool.get("name"), "arguments": said}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(ask, tool)}
    await exchange.answer(200, {**_envelope(ask, "chat.completion"), "choices": [choice], "usage": ask.usage()})


async def _stream_chat(
    sim: Simulation, exchange: Exchange, ask: Ask, tool: Mapping[str, Any] | None, usage: bool
) -> None:
    head: dict[str, Any] = {"role": "assistant", "content": ""}
    if tool is not None:
        function = {"name": tool.get("name"), "arguments": ""}
        head["tool_calls"] = [{"index": 0, "id": f"call-{ask.id}", "type": "function", "function": function}]

    def choice(said: str, finish: str | None) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": said}
        if tool is not None:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": said}}]} if said else {}
        finish = "tool_calls" if tool is not None and finish == "stop" else finish
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

    opening = {"index": 0, "delta": head, "logprobs": None, "finish_reason": None}
    await _stream(sim, exchange, ask, _Stream("chat.completion.chunk", choice, opening, usage))


class _Stream:
    """The form of one event stream."""

    def __init__(self, kind: str, choice: Make, opening: dict[str, Any] | None, usage: bool) -> None:
        self.kind, self.choice, self.opening, self.usage = kind, choice, opening, usage


async def _stream(sim: Simulation, exchange: Exchange, ask: Ask, form: _Stream) -> None:
    """Opening with the first token, tokens, finish reason, usage if asked for, [DONE]."""
    envelope = _envelope(ask, form.kind)
    async with sim.pieces(ask) as tokens:
        async for token in tokens:
            await _open(exchange, envelope, form)
            await exchange.event({**envelope, "choices": [form.choice(token, None)]})
    await _open(exchange, envelope, form)
    await exchange.event({**envelope, "choices": [form.choice("", ask.run.finish)]})
    if form.usage:
        await exchange.event({**envelope, "choices": [], "usage": ask.usage()})
    await exchange.event("[DONE]")
    await exchange.end()


async def _open(exchange: Exchange, envelope: dict[str, Any], form: _Stream) -> None:
    if exchange.begun:
        return
    await exchange.begin_events()
    if form.opening is not None:
        await exchange.event({**envelope, "choices": [form.opening]})


def _envelope(ask: Ask, kind: str) -> dict[str, Any]:
    return {"id": ask.id, "object": kind, "created": ask.created, "model": ask.model}


async def completions(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    ask = sim.ask("cmpl", _prompt(body.get("prompt")), body, body.get("max_tokens", 16))
    async with exchange.ended_with_the_client():
        if body.get("stream"):
            form = _Stream("text_completion", _text_choice, None, _wants_usage(body))
            await _stream(sim, exchange, ask, form)
            return
        choice = _text_choice(await sim.whole(ask), ask.run.finish)
        await exchange.answer(200, {**_envelope(ask, "text_completion"), "choices": [choice], "usage": ask.usage()})


def _text_choice(said: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "text": said, "logprobs": None, "finish_reason": finish}


def _prompt(prompt: Any) -> str:
    """A text, a list of tokens, or a list with one of these."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence) and prompt:
        if all(isinstance(token, int) for token in prompt):
            return text.decode(list(prompt))
        if len(prompt) == 1:
            return _prompt(prompt[0])
    raise Refused(400, "BadRequestError", "prompt must be one text or one list of tokens.", "prompt")
