"""A real llama-server in router mode over three tiny models, as a child on a free port, and what it lists."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from roost.host.tiny_model import write_tiny_model
from tests.support.models import free_port

NAMES = ("alpha", "beta", "gamma")
START_S = 60.0


@dataclass
class LlamaRouter:
    """One that runs, or will again after `restart`."""

    program: str
    folder: Path
    models_max: int
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns once it answers."""
        with (self.folder / "llama-server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(self.program, "--host", "127.0.0.1", "--port", str(self.port), "--offline"),
                *("--models-dir", str(self.folder / "models"), "--models-max", str(self.models_max)),
                *("--no-models-autoload", "--ctx-size", "2048", "--parallel", "4", "--threads", "1"),
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")},
            )
        async with asyncio.timeout(START_S), self.client() as client:
            while not await self._answers(client):
                assert self.process.returncode is None, (self.folder / "llama-server.log").read_text()[-4000:]

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get("/health")).status_code == 200
        await asyncio.sleep(0)
        return False

    async def stop(self) -> None:
        """It and its children are gone then."""
        assert self.process is not None
        children = self.children()
        self.process.terminate()
        async with asyncio.timeout(30):
            await self.process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def children(self) -> list[psutil.Process]:
        """One for each loaded model."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def client(self) -> httpx.AsyncClient:
        """Past roost."""
        return httpx.AsyncClient(base_url=self.url, timeout=30.0, trust_env=False)

    async def statuses(self, client: httpx.AsyncClient) -> dict[str, str]:
        data = (await client.get("/v1/models")).raise_for_status().json()["data"]
        return {entry["id"]: entry["status"]["value"] for entry in data}

    async def until(self, **wanted: str) -> None:
        """Until these models have these statuses."""
        async with asyncio.timeout(START_S), self.client() as client:
            while True:
                seen = await self.statuses(client)
                if all(seen[name] == status for name, status in wanted.items()):
                    return

    async def order(self, what: str, name: str) -> None:
        """`load` or `unload`, as somebody else would."""
        async with self.client() as client:
            (await client.post(f"/models/{what}", json={"model": name})).raise_for_status()


@contextlib.asynccontextmanager
async def llama_router(program: str, folder: Path, *, models_max: int = 4) -> AsyncIterator[LlamaRouter]:
    """Over three models that answer the same question differently."""
    (folder / "models").mkdir()
    for seed, name in enumerate(NAMES, 1):
        write_tiny_model(folder / "models" / f"{name}.gguf", seed=seed, name=name)
    router = LlamaRouter(program, folder, models_max)
    await router.start()
    try:
        yield router
    finally:
        await router.stop()
