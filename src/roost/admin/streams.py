"""Handlers whose answers do not end by themselves: followed logs, and events as SSE.

Each holds one reader of the console's and closes it when the client leaves. A heartbeat shows that the line lives.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from roost import tasks
from roost.admin.answers import answer_json, encode
from roost.admin.ask import Ask
from roost.admin.caller import Caller

HEARTBEAT_S = 15.0
LINES, MOST_LINES = 100, 10_000
_NO_CACHE = {"cache-control": "no-cache", "x-accel-buffering": "no"}
T = TypeVar("T")


async def logs(ask: Ask) -> Response:
    """`GET /models/a/logs` may also name a model that is called `a/logs`: the longest known name wins."""
    whole = ask.console.model(ask.name + "/logs")
    if whole is not None and ask.caller.sees(whole["name"]):
        return answer_json(whole)
    name = ask.model()["name"]
    lines = ask.whole_number("lines", LINES, MOST_LINES)
    follower = ask.console.log_follow(name) if ask.flag("follow") and ask.request.method != "HEAD" else None
    tail = ask.console.log_tail(name, lines) or []
    text = "".join(line + "\n" for line in tail)
    if follower is None:
        return Response(text, media_type="text/plain")
    return StreamingResponse(_followed(text, follower), media_type="text/plain", headers=_NO_CACHE)


async def events(ask: Ask) -> Response:
    if ask.request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=_NO_CACHE)
    pieces = _sse(ask.console.events(), ask.caller)
    return StreamingResponse(pieces, media_type="text/event-stream", headers=_NO_CACHE)


async def _followed(text: str, follower: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        if text:
            yield text
        async for line in follower:
            yield line + "\n"
    finally:
        await _close(follower)


async def _sse(source: AsyncIterator[Any], caller: Caller) -> AsyncIterator[bytes]:
    yield b": roost events\n\n"
    async with contextlib.aclosing(_or_heartbeat(source)) as beats:
        async for event in beats:
            if event is None:
                yield b": heartbeat\n\n"
            elif caller.models is None or caller.sees(str(event.get("model") or "")):
                kind = str(event.get("type", "message"))
                yield b"event: " + kind.encode() + b"\ndata: " + encode(event) + b"\n\n"
    yield b": the end: roost stops, or this reader was too slow\n\n"


async def _or_heartbeat(source: AsyncIterator[T]) -> AsyncIterator[T | None]:
    """What the source gives, and None each time it gave nothing for `HEARTBEAT_S`."""
    next_one: asyncio.Task[T | None] | None = None
    try:
        while True:
            if next_one is None:
                next_one = tasks.spawn(_next(source), "next event")
            await asyncio.wait({next_one}, timeout=HEARTBEAT_S)
            if not next_one.done():
                yield None
                continue
            event = next_one.result()
            next_one = None
            if event is None:
                return
            yield event
    finally:
        if next_one is not None:
            next_one.cancel()
            await asyncio.wait({next_one})
        await _close(source)


async def _next(source: AsyncIterator[T]) -> T | None:
    """The next one; None at the end (a task may not raise StopAsyncIteration)."""
    return await anext(source, None)


async def _close(source: AsyncIterator[Any]) -> None:
    """An iterator need not have `aclose`; those that hold something do."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()
