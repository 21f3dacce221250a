"""A real engine with vLLM's or SGLang's command line and control endpoints, on any CPU: llama.cpp does all inference.

Sleeping ends the llama.cpp server, so its memory is really given back; waking starts it anew and reads the weights from
disk. Run as a script by the environments of `migration.py`; never imported.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

HOP = {"transfer-encoding", "content-length", "connection", "keep-alive", "host"}
START_S = 30.0


class Engine:
    """The llama.cpp server, up or asleep."""

    def __init__(self, gguf: str, name: str) -> None:
        self._gguf, self._name = gguf, name
        self._process: asyncio.subprocess.Process | None = None
        self._order = asyncio.Lock()
        self.client = httpx.AsyncClient(timeout=None, trust_env=False)
        self.base = ""

    @property
    def asleep(self) -> bool:
        return self._process is None

    async def wake(self) -> None:
        async with self._order:
            if self._process is not None:
                return
            with socket.socket() as trial:
                trial.bind(("127.0.0.1", 0))
                port = trial.getsockname()[1]
            self.base = f"http://127.0.0.1:{port}"
            words = ("--model", self._gguf, "--host", "127.0.0.1", "--port", str(port), "--alias", self._name)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "roost.host.embedded_llamacpp", *words, "--threads", "1")
            )
            async with asyncio.timeout(START_S):
                while not await self._answers():
                    await asyncio.sleep(0)

    async def _answers(self) -> bool:
        try:
            return (await self.client.get(f"{self.base}/health")).status_code == 200
        except httpx.HTTPError:
            return False

    async def sleep(self) -> None:
        async with self._order:
            if self._process is not None:
                self._process.terminate()
                await self._process.wait()
                self._process = None


def app(engine: Engine, kind: str) -> Starlette:
    """The control endpoints of the kind; all else is llama.cpp's."""

    async def sleep(request: Request) -> Response:
        await engine.sleep()
        return JSONResponse(None)

    async def wake(request: Request) -> Response:
        if kind == "sglang" and not engine.asleep:
            os._exit(1)  # as the real one: what was not released cannot be resumed
        await engine.wake()
        return JSONResponse(None)

    async def is_sleeping(request: Request) -> Response:
        return JSONResponse({"is_sleeping": engine.asleep})

    async def fine(request: Request) -> Response:
        return JSONResponse({"success": True})

    async def relay(request: Request) -> Response:
        headers = [(key, value) for key, value in request.headers.items() if key not in HOP]
        asked = engine.client.build_request(
            request.method, f"{engine.base}{request.url.path}", headers=headers, content=await request.body()
        )
        answer = await engine.client.send(asked, stream=True)
        kept = {key: value for key, value in answer.headers.items() if key not in HOP}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))

    vllm = {"/sleep": sleep, "/wake_up": wake, "/collective_rpc": fine, "/reset_prefix_cache": fine}
    sglang = {"/release_memory_occupation": sleep, "/resume_memory_occupation": wake, "/flush_cache": fine}
    sglang |= dict.fromkeys(("/pause_generation", "/continue_generation", "/update_weights_from_disk"), fine)
    routes = [Route(path, handler, methods=["POST"]) for path, handler in (vllm if kind == "vllm" else sglang).items()]
    if kind == "vllm":
        routes.append(Route("/is_sleeping", is_sleeping))
    routes.append(Route("/health", fine))  # 200 asleep, too
    routes.append(Route("/{path:path}", relay, methods=["GET", "POST"]))

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        await engine.wake()
        yield
        await engine.sleep()
        await engine.client.aclose()

    return Starlette(routes=routes, lifespan=life)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in ("--kind", "--gguf", "--name", "--host", "--port"):
        parser.add_argument(flag, required=True)
    options = parser.parse_args()
    served = app(Engine(options.gguf, options.name), options.kind)
    uvicorn.run(served, host=options.host, port=int(options.port), log_level="warning")
