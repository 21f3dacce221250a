"""`roost serve` with nothing but the environment, as a child, and what it wrote to stdout."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.models import free_port
from tests.support.roost import SRC, until_ready


@dataclass
class Router:
    """One that runs as a child."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    output: Path

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    async def complete(self, model: str) -> httpx.Response:
        """The curl of its page."""
        body = {"model": model, "prompt": "Hello world", "max_tokens": 10}
        return await self.client.post("/v1/completions", json=body)

    async def loaded(self, query: str = "") -> list[str]:
        return sorted(model["id"] for model in (await self.client.get(f"/v1/models{query}")).json()["data"])

    def lines(self) -> list[str]:
        """What it wrote, without times and levels."""
        return [re.sub(r"^\S+ +\S+ +", "", line) for line in self.output.read_text().splitlines()]

    def said(self, *beginnings: str) -> list[str]:
        """Its lines of the first router, in order, up to the reason."""
        return [line.partition(" in host ")[0] for line in self.lines() if line.startswith(beginnings)]


@asynccontextmanager
async def router(folder: Path, *urls: str, **variables: str) -> AsyncIterator[Router]:
    port, output = free_port(), folder / "stdout"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ROOST_", "VLLM_", "PORT"))}
    with output.open("ab") as stdout:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "roost", "serve", "--state-dir", str(folder / "state")),
            stdout=stdout,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env={**ours, "PYTHONPATH": SRC, "PORT": str(port), "VLLM_BASE_URL": ",".join(urls), **variables},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False) as client:
            await until_ready(client)
            yield Router(process, client, output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
