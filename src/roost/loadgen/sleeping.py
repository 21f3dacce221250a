"""Which of a roost's models slept while they were loaded, and which requests met a sleeper: by its event stream.

Only looks. Where the server is no roost, or the key may not read, all is unknown (None). Called by the CLI.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from roost import clock
from roost.tasks import end, spawn

DOWN = frozenset({"asleep", "cold", "failed", "backoff", "stuck"})
RISING = frozenset({"starting", "waking"})
MAX_SPELLS = 10_000
_CONNECT_S = 5.0


class Sleeps:
    """`async with Sleeps(url, key) as sleeps:` watches within the block."""

    def __init__(self, url: str, api_key: str | None) -> None:
        fields = {"authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(_CONNECT_S, read=None)
        self._client = httpx.AsyncClient(base_url=url, headers=fields, timeout=timeout, trust_env=False)
        self._task: asyncio.Task[None] | None = None
        self._states: dict[str, dict[str, str]] = {}
        self._down_since: dict[str, float] = {}
        self.spells: dict[str, list[tuple[float, float]]] = {}
        """Model -> (from, to) in monotonic seconds when nothing of it was up."""
        self._wakes: dict[str, list[float]] = {}
        self.known = False

    async def __aenter__(self) -> "Sleeps":
        try:
            answer = await self._client.get("/api/v1/models", timeout=_CONNECT_S)
            listed = answer.json()["models"] if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return self
        for model in listed or ():
            for one in model.get("endpoints") or ():
                self._enter(str(model["name"]), str(one["replica"]), str(one["state"]))
        self.known = listed is not None
        if self.known:
            self._task = spawn(self._watch(), "watch sleeps")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._task)
        await self._client.aclose()
        for name in list(self._down_since):
            self._end_spell(name)

    def asleep_s(self, name: str, began: float, ended: float) -> float | None:
        """How long within these moments the model was down; None if that is not known."""
        if not self.known:
            return None
        since = self._down_since.get(name)
        spells = [*self.spells.get(name, ()), *(() if since is None else ((since, ended),))]
        return float(sum(max(0.0, min(to, ended) - max(start, began)) for start, to in spells))

    def wakes_met(self, name: str, began: float) -> int | None:
        """Loads and wakes begun for waiting requests since then; None if that is not known."""
        return sum(at >= began for at in self._wakes.get(name, ())) if self.known else None

    async def _watch(self) -> None:
        try:
            async with self._client.stream("GET", "/api/v1/events") as answer:
                if answer.status_code != 200:
                    self.known = False
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        self._hear(line[5:])
        except (httpx.HTTPError, ValueError):
            self.known = False  # half of the truth would look like all of it

    def _hear(self, data: str) -> None:
        event: Mapping[str, Any] = json.loads(data)
        if event.get("type") != "state":
            return
        name, after = str(event["model"]), str(event["after"])
        if after in RISING and event.get("reason_kind") == "demand":
            wakes = self._wakes.setdefault(name, [])
            if len(wakes) < MAX_SPELLS:
                wakes.append(clock.now())
        self._enter(name, str(event["replica"]), after)

    def _enter(self, name: str, replica: str, state: str) -> None:
        states = self._states.setdefault(name, {})
        states[replica] = state
        if all(one in DOWN for one in states.values()):
            self._down_since.setdefault(name, clock.now())
        elif name in self._down_since:
            self._end_spell(name)

    def _end_spell(self, name: str) -> None:
        spells = self.spells.setdefault(name, [])
        if len(spells) < MAX_SPELLS:
            spells.append((self._down_since.pop(name), clock.now()))
        else:
            self._down_since.pop(name)
