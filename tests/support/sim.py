"""A simulated engine as a child process for component tests: `async with sim_engine("--token-delay", "5ms") as sim`.

It listens when the block begins; it is gone, with its log file, when the block ends.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SRC = Path(__file__).parents[2] / "src"
START_S = 30.0
STOP_S = 10.0


@dataclass(slots=True)
class Sim:
    """A running engine."""

    url: str
    port: int
    process: asyncio.subprocess.Process
    log: Path
    client: httpx.AsyncClient
    """For `url`, without keep-alive, so that a test that counts connections knows its own."""

    async def stats(self) -> dict[str, Any]:
        """What `/sim/stats` says now."""
        answer: dict[str, Any] = (await self.client.get("/sim/stats")).raise_for_status().json()
        return answer

    async def set(self, **behaviour: Any) -> None:
        """Change its behaviour."""
        (await self.client.post("/sim/set", json=behaviour)).raise_for_status()

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """Stats as soon as they are as wanted; fails after a few seconds with the last ones. Each round waits for
        an answer of the engine, which is what lets it go on."""
        stats: dict[str, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while True:
                    stats = await self.stats()
                    if all(stats[key] == value for key, value in wanted.items()):
                        return stats
        raise AssertionError(f"wanted {wanted}, last seen {stats}")

    async def wait(self) -> int:
        """Its exit status, within a deadline."""
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()


@asynccontextmanager
async def sim_engine(*flags: str, model: str = "sim") -> AsyncIterator[Sim]:
    """Start one on a free port. Fails with its log if it ends before it listens."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sim.log"
        process = await _start(log, model, flags)
        try:
            url = await _listening(process, log)
            limits = httpx.Limits(max_keepalive_connections=0)
            async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=limits, trust_env=False) as client:
                yield Sim(url=url, port=int(url.rpartition(":")[2]), process=process, log=log, client=client)
        finally:
            await _stop(process)


async def _start(log: Path, model: str, flags: tuple[str, ...]) -> asyncio.subprocess.Process:
    with log.open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "roost.sim",
            f"--model={model}",
            "--port=0",
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )


async def _listening(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        async for line in process.stdout:
            word, _, url = line.decode().strip().partition(" ")
            if word == "listening":
                return url
    raise AssertionError(f"the engine ended with {await process.wait()}: {_text(log)}")


def _text(log: Path) -> str:
    return log.read_text()


async def _stop(process: asyncio.subprocess.Process) -> None:
    # Not process.kill(): it polls first, which takes the exit status away from asyncio's own watcher.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(STOP_S):
        await process.wait()
    # The pipe is read to its end, so that its transport closes before the loop does.
    if process.stdout is not None:
        await process.stdout.read()
