"""Handlers of llama-swap's endpoints, and of its fork's order to sleep: the same paths, statuses and words.

What is different on purpose: engines are drained before they are stopped, command lines are shown without keys, and a
page of another site cannot unload through the GET. Decides nothing; the orders are those of /api/v1.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import PlainTextResponse, Response

from roost import tasks
from roost.admin.answers import answer_json, answer_order
from roost.admin.ask import Ask, query_options_of
from roost.admin.errors import refuse
from roost.admin.manage import obey, unload_every
from roost.admin.streams import MOST_LINES, held_text
from roost.core.lifecycle import State
from roost.core.view import Goal
from roost.logs import KEPT_BYTES

MERGED_LINES = 1024
"""Lines read from engines and not yet taken by a slow reader."""
_OURS = ("none", "same-origin")
_WORDS = {
    State.STARTING: "starting",
    State.READY: "ready",
    State.DRAINING: "stopping",
    State.SUSPENDING: "sleepPending",
    State.ASLEEP: "asleep",
    State.WAKING: "waking",
    State.STOPPING: "stopping",
    State.STUCK: "stopping",
}
"""Roost's states in which something runs, in the words of llama-swap and its fork."""
Facts = dict[str, Any]


async def running(ask: Ask) -> Response:
    models = ask.caller.only(ask.console.models())
    return answer_json({"running": [_running(model) for model in models if model["state"] in _WORDS]})


def _running(model: Facts) -> Facts:
    word = _WORDS[State(model["state"])]
    if model["state"] == State.DRAINING and model.get("drain_goal") == Goal.ASLEEP:
        word = "sleepPending"
    return {
        "model": model["name"],
        "state": word,
        "cmd": model.get("command") or "",
        "proxy": model["endpoint"],
        "ttl": round(model.get("idle_limit_s") or 0),
        "name": model.get("display_name") or "",
        "description": model.get("description") or "",
        "roost_state": model["state"],
        "level": model["level"],
    }


# orders


async def unload_all(ask: Ask) -> Response:
    """HEAD is answered and changes nothing. A picture or link on a web page sends no Origin, so the browser's own word
    on where the GET comes from is heeded."""
    if ask.request.method == "HEAD":
        return PlainTextResponse("OK")
    if ask.request.method == "GET" and ask.request.headers.get("sec-fetch-site", "none").strip() not in _OURS:
        refuse(403, "foreign_page", "Another site's page may not unload models. Use POST /api/models/unload.")
    result = await unload_every(ask, query_options_of(ask, ask.options))
    if result["status"] != 200:
        return answer_order(ask.request, result)
    return PlainTextResponse("OK") if ask.request.method == "GET" else answer_json({"msg": "ok"})


async def unload(ask: Ask) -> Response:
    name = ask.model()["name"]
    return _told(ask, await obey(ask, name, Goal.STOPPED, query_options_of(ask, ask.options)))


async def sleep(ask: Ask) -> Response:
    """OK too where it would not sleep and was stopped instead, as there: its memory is free. 409 where its engine has
    no sleep order."""
    model = ask.model()
    result = await obey(ask, model["name"], Goal.ASLEEP, query_options_of(ask, ask.options))
    if result["status"] == 503 and result["state"] in (State.COLD, State.STOPPING):
        return PlainTextResponse(f"OK, stopped instead: {result['message']}")
    return _told(ask, result)


def _told(ask: Ask, result: Facts) -> Response:
    return PlainTextResponse("OK") if result["status"] == 200 else answer_order(ask.request, result)


# logs


async def logs(ask: Ask) -> Response:
    """What is kept of roost's own log, then the last lines of each engine."""
    ask.caller.must_see_all("/logs")
    return PlainTextResponse(_all(ask, [model["name"] for model in ask.console.models()]))


async def follow_all(ask: Ask) -> Response:
    ask.caller.must_see_all("/logs/stream")
    names = [model["name"] for model in ask.console.models()]
    sources = {"": ask.console.own_log_follow()} | _followed(ask, names)
    return await held_text(ask, lambda: _all(ask, names), Merged(sources))


async def follow_own(ask: Ask) -> Response:
    ask.caller.must_see_all("/logs/stream/proxy")
    return await held_text(ask, lambda: _bounded(ask.console.own_log_tail()), ask.console.own_log_follow())


async def follow_engines(ask: Ask) -> Response:
    names = [model["name"] for model in ask.caller.only(ask.console.models())]
    return await held_text(ask, lambda: _last_of(ask, names), Merged(_followed(ask, names)))


async def follow_model(ask: Ask) -> Response:
    name = ask.model()["name"]

    def before() -> str:
        return _bounded(ask.console.log_tail(name, MOST_LINES) or [])

    return await held_text(ask, before, ask.console.log_follow(name))


def _followed(ask: Ask, names: list[str]) -> dict[str, AsyncIterator[str]]:
    return {f"{name} | ": ask.console.log_follow(name) for name in names}


def _all(ask: Ask, names: list[str]) -> str:
    return _bounded(ask.console.own_log_tail()) + _last_of(ask, names)


def _last_of(ask: Ask, names: list[str]) -> str:
    """Each engine's last lines, marked with its model; together they have the bound that each log has there."""
    share = KEPT_BYTES // max(1, len(names))
    return "".join(
        _bounded([f"{name} | {line}" for line in ask.console.log_tail(name, MOST_LINES) or []], share) for name in names
    )


def _bounded(lines: list[str], most: int = KEPT_BYTES) -> str:
    """The last lines that fit."""
    taken, size = len(lines), 0
    while taken and size + len(lines[taken - 1]) < most:
        taken -= 1
        size += len(lines[taken]) + 1
    return "".join(f"{line}\n" for line in lines[taken:])


@dataclass
class Merged:
    """Several followed logs as one: an async iterator, each line after its source's mark. Ends when all have ended.
    A reader that is too slow makes the sources wait."""

    sources: dict[str, AsyncIterator[str]]
    _lines: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(MERGED_LINES))
    _pumps: list[asyncio.Task[None]] = field(default_factory=list)
    _left: int = 0

    def __aiter__(self) -> "Merged":
        return self

    async def __anext__(self) -> str:
        if not self._pumps:
            self._left = len(self.sources)
            self._pumps = [tasks.spawn(self._pump(m, s), f"follow {m}log") for m, s in self.sources.items()]
        while self._left:
            line = await self._lines.get()
            if line is not None:
                return line
            self._left -= 1
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Read no more, and let every source go."""
        await tasks.end(*self._pumps)

    async def _pump(self, mark: str, source: AsyncIterator[str]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                stack.push_async_callback(aclose)
            async for line in source:
                await self._lines.put(mark + line)
        await self._lines.put(None)
