"""Handlers whose answers do not end by themselves: followed logs, and events as SSE.

Each holds one reader of the console's, and lets it go however the answer ends. A heartbeat shows that the line lives.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from roost import tasks
from roost.admin.answers import answer_json, encode
from roost.admin.ask import Ask
from roost.admin.caller import Caller

HEARTBEAT_S = 15.0
LINES, MOST_LINES = 100, 10_000
_NO_CACHE = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_NOTHING = object()
_END = object()


class _Source:
    """Reads an iterator in tasks of its own: a wait for it can time out, and it can be closed after the answer
    was cancelled (inside a cancelled scope of anyio every further await is cancelled again)."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self._next: asyncio.Task[Any] | None = None

    async def begin(self) -> None:
        """Have it listen from here on: a generator takes its place only when it is first asked."""
        self._next = tasks.spawn(self._one(), "admin stream: next")
        await asyncio.sleep(0)

    async def next(self, timeout_s: float | None = None) -> Any:
        """The next item, `_END`, or `_NOTHING` when none came in time."""
        if self._next is None:
            self._next = tasks.spawn(self._one(), "admin stream: next")
        await asyncio.wait({self._next}, timeout=timeout_s)
        if not self._next.done():
            return _NOTHING
        done, self._next = self._next, None
        return done.result()

    async def close(self) -> None:
        await tasks.end(self._next)
        aclose = getattr(self._items, "aclose", None)  # an iterator need not have it; those that hold something do
        if aclose is not None:
            await aclose()

    async def _one(self) -> Any:
        return await anext(self._items, _END)


class _Held(StreamingResponse):
    """A stream that lets its source go when it ends, is cut off, or never began."""

    def __init__(self, pieces: AsyncIterator[bytes], source: _Source, media_type: str) -> None:
        super().__init__(pieces, media_type=media_type, headers=_NO_CACHE)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            tasks.spawn(self._source.close(), "admin stream: close")


async def logs(ask: Ask) -> Response:
    """`GET /models/a/logs` may also name a model that is called `a/logs`: the longest known name wins."""
    whole = ask.console.model(ask.name + "/logs")
    if whole is not None and ask.caller.sees(whole["name"]):
        return answer_json(whole)
    name = ask.model()["name"]
    lines = ask.whole_number("lines", LINES, MOST_LINES)
    if not ask.flag("follow") or ask.request.method == "HEAD":
        return Response(_tail(ask, name, lines), media_type="text/plain")
    source = _Source(ask.console.log_follow(name))
    await source.begin()
    return _Held(_followed(_tail(ask, name, lines), source), source, "text/plain")


async def held_text(ask: Ask, history: Callable[[], str], lines: AsyncIterator[str]) -> Response:
    """Lines as text as long as they come, after what was before unless `no-history`; HEAD gets none."""
    is_wanted = not ask.flag("no-history")
    source = _Source(lines)
    if ask.request.method == "HEAD":
        await source.close()
        return Response(media_type="text/plain", headers=_NO_CACHE)
    await source.begin()
    return _Held(_followed(history() if is_wanted else "", source), source, "text/plain")


def _tail(ask: Ask, name: str, lines: int) -> str:
    return "".join(line + "\n" for line in ask.console.log_tail(name, lines) or [])


async def events(ask: Ask) -> Response:
    if ask.request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=_NO_CACHE)
    source = _Source(ask.console.events())
    return _Held(_sse(source, ask.caller), source, "text/event-stream")


async def _followed(text: str, source: _Source) -> AsyncIterator[bytes]:
    if text:
        yield text.encode()
    while (line := await source.next()) is not _END:
        yield line.encode() + b"\n"


async def _sse(source: _Source, caller: Caller) -> AsyncIterator[bytes]:
    yield b": roost events\n\n"
    while (event := await source.next(HEARTBEAT_S)) is not _END:
        if event is _NOTHING:
            yield b": heartbeat\n\n"
        elif caller.models is None or caller.sees(str(event.get("model") or "")):
            kind = str(event.get("type", "message"))
            yield b"event: " + kind.encode() + b"\ndata: " + encode(event) + b"\n\n"
    yield b": the end: roost stops, or this reader was too slow\n\n"
