"""An Ollama on paper, on a real port: its list, its loaded models, load and unload by `keep_alive`, OpenAI's chat.

As the real one it loads a known model for any request, and says 404 with a bare text for others. `strict` turns the
former off, so that a test sees what a gateway makes of a model that is gone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.models import free_port


class Fake(Protocol):
    """A server that `listening` can open a port for."""

    port: int

    def app(self) -> Starlette: ...


F = TypeVar("F", bound=Fake)


@dataclass
class FakeOllama:
    names: tuple[str, ...] = ("alpha:latest", "beta:latest", "nomic:v1")
    strict: bool = True
    loaded: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Loads wait for it."""
    broken: str = ""
    """A model whose loads fail."""
    denied: frozenset[str] = frozenset()
    """Paths that say of any model that it is not there."""
    asked: list[str] = field(default_factory=list)
    """Paths of inference that were asked."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/tags", self._tags),
                Route("/api/ps", self._ps),
                Route("/api/generate", self._generate, methods=["POST"]),
                Route("/api/embed", self._generate, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._chat, methods=["POST"]),
                Route("/v1/embeddings", self._chat, methods=["POST"]),
            ]
        )

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in self.names]})

    async def _ps(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in self.loaded]})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]})

    def _known(self, name: str) -> str | None:
        whole = name if ":" in name else f"{name}:latest"
        return whole if whole in self.names else None

    async def _generate(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        name = self._known(body["model"])
        if name is None:
            return JSONResponse({"error": f"model '{body['model']}' not found"}, status_code=404)
        if body.get("keep_alive") == 0:
            self.orders.append(f"unload {name}")
            if name in self.loaded:
                self.loaded.remove(name)
            return JSONResponse({"model": name, "done": True, "done_reason": "unload"})
        self.orders.append(f"load {name}")
        if self.gate is not None:
            await self.gate.wait()
        if name == self.broken:
            return JSONResponse({"error": "llama runner process has terminated"}, status_code=500)
        if name not in self.loaded:
            self.loaded.append(name)
        return JSONResponse({"model": name, "done": True, "done_reason": "load"})

    async def _chat(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        name = self._known(body["model"])
        self.asked.append(request.url.path)
        gone = request.url.path in self.denied or (self.strict and name not in self.loaded)
        if name is None or gone:
            error = {"message": f"model '{body['model']}' not found", "type": "api_error", "code": None}
            return JSONResponse({"error": error}, status_code=404)
        if body.get("stream"):
            return StreamingResponse(_pieces(name), media_type="text/event-stream")
        choice = {"index": 0, "text": name, "message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
        return JSONResponse({"object": "chat.completion", "model": name, "choices": [choice], "data": [1]})


def _pieces(name: str) -> Iterator[str]:
    for part in ("from ", name):
        yield f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{part}"}}}}]}}\n\n'
    yield 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    yield "data: [DONE]\n\n"


@contextlib.asynccontextmanager
async def listening(fake: F) -> AsyncIterator[F]:
    """On its port, a free one at first; gone with the block, and free to come back there."""
    fake.port = fake.port or free_port()
    config = uvicorn.Config(fake.app(), host="127.0.0.1", port=fake.port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.get_running_loop().create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0)
        yield fake
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
