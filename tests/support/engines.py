"""Engines for a SleepManager, in this process: what answers at each port is a `FakeEngine`, some calls take their time.

`with serving(engine) as port:` gives the engine an address for as long as the block lasts; on the virtual loop too.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import httpx

from roost.host.calling import Caller, Reach
from roost.host.setup import Setup
from tests.support.stage import FakeEngine, FakeGauge

_ports = itertools.count(20000)


@dataclass(slots=True)
class Engine(FakeEngine):
    """A FakeEngine with patience."""

    slow: dict[str, float] = field(default_factory=dict)
    """Path -> seconds before it answers."""
    bodies: dict[str, Any] = field(default_factory=dict)
    """Path -> the last JSON that came."""

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if (delay := self.slow.get(request.url.path)) is not None:
            self.calls.append(f"{request.method} {request.url.path} begins")
            await asyncio.sleep(delay)
        if request.content:
            self.bodies[request.url.path] = json.loads(request.content)
        return await FakeEngine.answer(self, request)

    def count(self, path: str) -> int:
        """How often this path was called, whatever its query."""
        return sum(
            call.removesuffix(" begins") == call and call.split(" ")[1].split("?")[0] == path for call in self.calls
        )

    @property
    def orders(self) -> list[str]:
        """What was called, but for questions."""
        return [call for call in self.calls if call.startswith("POST") and not call.endswith(" begins")]

    @property
    def controls(self) -> list[str]:
        """The same without requests to the model: those verify it."""
        return [call for call in self.orders if "/v1/" not in call]


@contextlib.contextmanager
def serving(*engines: Engine) -> Iterator[list[str]]:
    """Their ports, in order."""
    at = {next(_ports): engine for engine in engines}

    async def answer(request: httpx.Request) -> httpx.Response:
        return await at[request.url.port or 0].answer(request)

    async def reach(caller: Caller) -> Reach:
        return Reach.ACCEPTS if at[caller._address.port].up else Reach.REFUSES

    def setup(**parts: Any) -> Setup:
        return Setup(**parts, transport=httpx.MockTransport(answer), gauge=FakeGauge())

    with mock.patch("roost.tending.Setup", setup), mock.patch.object(Caller, "reach", reach):
        yield [str(port) for port in at]
