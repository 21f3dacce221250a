"""`roost sim-engine` as a command: the flags are those of `python -m roost.sim`, the process is the engine itself."""

import asyncio
import os
import sys

import httpx

from tests.support.live import live
from tests.support.sim import SRC

SCRIPT = """
import typer
from roost.cli.sim_cmd import CONTEXT_SETTINGS, sim_engine
app = typer.Typer()
app.command("sim-engine", context_settings=CONTEXT_SETTINGS)(sim_engine)
app.callback()(lambda: None)
app()
"""


async def _command(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        "sim-engine",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )


@live
async def test_the_command_becomes_the_engine() -> None:
    process = await _command("--model", "a", "--port", "0", "--token-delay", "1ms")
    assert process.stdout is not None
    word, url = (await process.stdout.readline()).decode().split()
    assert word == "listening"
    async with httpx.AsyncClient(base_url=url) as client:
        stats = (await client.get("/sim/stats")).json()
    assert (stats["model"], stats["pid"]) == ("a", process.pid)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


@live
async def test_its_help_and_its_errors_are_the_engines_own() -> None:
    process = await _command("--help")
    out, _ = await process.communicate()
    assert process.returncode == 0 and b"--garbage-after-wake" in out
    process = await _command("--tokens", "many")
    _, errors = await process.communicate()
    assert process.returncode == 2 and b"'many' is not a whole number" in errors
