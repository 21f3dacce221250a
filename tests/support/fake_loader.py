"""A server with a plain pair of calls that load and unload, on paper and on a real port: its list names what is loaded
and nothing else, as vLLM's does. With `can_load` off it has no such calls."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class FakeLoader:
    knows: set[str] = field(default_factory=lambda: {"alpha", "beta", "gamma"})
    can_load: bool = True
    loaded: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Loads wait for it."""
    broken: set[str] = field(default_factory=set)
    """Models whose loads fail."""
    keys: list[str] = field(default_factory=list)
    """Authorization of each request of inference."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._chat, methods=["POST"]),
        ]
        if self.can_load:
            routes.append(Route("/v1/models/load", self._load, methods=["POST"]))
            routes.append(Route("/v1/models/unload", self._unload, methods=["POST"]))
        return Starlette(routes=routes)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.loaded]})

    async def _load(self, request: Request) -> Response:
        name = (await request.json())["model"]
        self.orders.append(f"load {name}")
        if self.gate is not None:
            await self.gate.wait()
        if name not in self.knows:
            return JSONResponse({"error": {"message": f"no weights for {name}"}}, status_code=404)
        if name in self.broken:
            return JSONResponse({"error": {"message": "out of memory"}}, status_code=500)
        if name not in self.loaded:
            self.loaded.append(name)
        return JSONResponse({"ok": True})

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["model"]
        self.orders.append(f"unload {name}")
        if name in self.loaded:
            self.loaded.remove(name)
        return JSONResponse({"ok": True})

    async def _chat(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        name = body["model"]
        self.keys.append(request.headers.get("authorization", ""))
        if name not in self.loaded:
            error = {"message": f"The model `{name}` does not exist.", "type": "NotFoundError", "code": 404}
            return JSONResponse({"error": error}, status_code=404)
        if request.url.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}]
            return JSONResponse({"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": 1}})
        if body.get("stream"):
            return StreamingResponse(_pieces(name), media_type="text/event-stream")
        message = {"role": "assistant", "content": name}
        choice = {"index": 0, "text": name, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "x", "object": "chat.completion", "created": 1, "model": name, "choices": [choice]})


def _pieces(name: str) -> Iterator[str]:
    for part in ("from ", name):
        yield f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{part}"}}}}]}}\n\n'
    yield 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    yield "data: [DONE]\n\n"
