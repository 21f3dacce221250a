"""One measured request: its body, its answer read token by token, and the sample that comes of it.

Owns the reading of answers. Called by `run` and, for the list of models, by the CLI.
"""

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from roost import clock
from roost.core.spec import Task
from roost.loadgen.plan import LoadPlan, Prompt, Target
from roost.loadgen.prompts import as_text
from roost.loadgen.report import Sample
from roost.loadgen.wire import Answer, Broken, Client

_CARRIERS = ("content", "reasoning_content", "reasoning", "tool_calls")
"""Where a delta carries tokens; the opening one, with a role only, is none."""
_EVENT_MAX = 16 * 1024 * 1024
_PATHS = {
    Task.GENERATE: "/v1/chat/completions",
    Task.EMBED: "/v1/embeddings",
    Task.RERANK: "/v1/rerank",
}
TASKS = frozenset(_PATHS)
"""What can be sent to."""


class Failed(Exception):
    """The answer came and is an error; the text is the sample's `error`."""


def body(plan: LoadPlan, target: Target, prompt: Prompt, max_tokens: int | None = None) -> bytes:
    """The request's JSON. `max_tokens`: of this request alone."""
    match target.task:
        case Task.EMBED:
            content: dict[str, Any] = {"model": target.name, "input": as_text(prompt)}
        case Task.RERANK:
            query = as_text(prompt)
            content = {"model": target.name, "query": query, "documents": [query, "something else"]}
        case _:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            content = {"model": target.name, "messages": messages, "max_tokens": max_tokens or plan.max_tokens}
            if plan.stream:
                content |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(content).encode()


class Reading:
    """What has been seen of one answer so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.usage: Mapping[str, Any] = {}
        self._events = 0
        self._buffer = b""

    def feed(self, piece: bytes, now: float) -> None:
        """Bytes of an event stream that arrived at `now`. Raises Failed on an error event."""
        whole = (self._buffer + piece).replace(b"\r\n", b"\n")
        if len(whole) > _EVENT_MAX:
            raise Failed("event too long")
        *events, self._buffer = whole.split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    self._data(line[5:].strip(), now)

    def _data(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            return
        value = _decoded(data)
        self.take(value)
        self._events += 1
        if _has_token(value):
            self.times.append(now)

    def take(self, value: Mapping[str, Any]) -> None:
        """Usage and errors of an event or of a whole answer."""
        if "error" in value:
            raise Failed("error in the answer")
        self.usage = value.get("usage") or self.usage
        for choice in value.get("choices") or ():
            if choice.get("finish_reason") == "abort":
                raise Failed("aborted by the engine")

    @property
    def tokens_out(self) -> int | None:
        """As the engine counts them; else one per event that carried some, in a stream."""
        told = self.usage.get("completion_tokens")
        return told if isinstance(told, int) else len(self.times) or None

    def finish(self, *, streamed: bool) -> None:
        """Raises Failed if a stream ended without saying anything."""
        if streamed and not self._events:
            raise Failed("empty stream")


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise Failed("answer is not JSON") from None
    if not isinstance(value, dict):
        raise Failed("answer is not JSON")
    return value


def _has_token(value: Mapping[str, Any]) -> bool:
    deltas = (choice.get("delta") or {} for choice in value.get("choices") or ())
    return any(delta.get(key) for delta in deltas for key in _CARRIERS)


async def ask(client: Client, plan: LoadPlan, target: Target, prompt: Prompt, max_tokens: int | None = None) -> Sample:
    """Send one request and read all of its answer. Never raises for what the server does."""
    began = clock.now()
    reading = Reading()
    error: str | None = None
    try:
        async with asyncio.timeout(plan.timeout_s):
            answer = await client.send("POST", _PATHS[target.task], body(plan, target, prompt, max_tokens))
            try:
                await _read(answer, reading)
            finally:
                client.release(answer)
    except TimeoutError:
        error = "timed out"
    except (Broken, Failed) as failure:
        error = str(failure)
    times = reading.times
    told = reading.usage.get("prompt_tokens")
    return Sample(
        model=target.name,
        started_at=began,
        ended_at=clock.now(),
        error=error,
        first_token_at=times[0] if times else None,
        gaps=tuple(after - before for before, after in pairwise(times)),
        tokens_in=told if isinstance(told, int) else None,
        tokens_out=reading.tokens_out,
    )


async def _read(answer: Answer, reading: Reading) -> None:
    if answer.status != 200:
        await answer.whole()
        raise Failed(f"HTTP {answer.status}")
    streamed = answer.fields.get("content-type", "").startswith("text/event-stream")
    if streamed:
        async for piece in answer.pieces():
            reading.feed(piece, clock.now())
    else:
        reading.take(_decoded(await answer.whole()))
    reading.finish(streamed=streamed)


async def models(client: Client) -> list[dict[str, Any]]:
    """What `GET /v1/models` lists. Raises Broken or Failed."""
    async with asyncio.timeout(30):
        answer = await client.send("GET", "/v1/models")
        try:
            if answer.status != 200:
                await answer.whole()
                raise Failed(f"HTTP {answer.status}")
            listed = _decoded(await answer.whole()).get("data")
        finally:
            client.release(answer)
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
