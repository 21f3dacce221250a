"""A whole roost in this process, from YAML text, on a free port; and one as a child, for kill -9."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from roost.app import App, Options
from roost.config.load import check_further, load
from roost.core.lifecycle import State
from roost.core.spec import RoostSpec
from roost.engines.registry import validate
from roost.engines.simulated import simulate
from roost.host.devices_watch import Reader, machine_reader
from roost.host.machine import find_machine

SRC = str(Path(__file__).parents[2] / "src")


def spec_of(text: str, folder: Path, *, simulated: bool = False) -> RoostSpec:
    """The spec of a config without problems, on a free port; `simulated`: as `roost up --simulate` has it."""
    loaded = check_further(load(text, file="roost.yaml", env={}, home=str(folder), base_dir=str(folder)), [validate])
    assert loaded.spec is not None, [problem.render("roost.yaml") for problem in loaded.problems]
    spec = simulate(loaded.spec) if simulated else loaded.spec
    return replace(spec, server=replace(spec.server, port=0))


@dataclass
class RunningRoost:
    """One that serves."""

    app: App
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.app.port}"

    async def chat(self, model: str, prompt: str = "Hi", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, **more}
        return await self.client.post("/v1/chat/completions", json=body)

    def state(self, model: str) -> State:
        return next(one for one in self.app.replicas if one.model == model).state

    async def until(self, model: str, *states: State, limit_s: float = 30.0) -> None:
        """Until the model is in one of the states."""
        owner = next(one for one in self.app.replicas if one.model == model)
        moved = asyncio.Event()
        owner.subscribe(lambda _: moved.set())
        async with asyncio.timeout(limit_s):
            while owner.state not in states:
                moved.clear()
                await moved.wait()


@contextlib.asynccontextmanager
async def running_roost(
    text: str,
    folder: Path,
    *,
    keep_engines: bool = False,
    simulated: bool = False,
    write_access_log: Callable[[str], None] | None = None,
    read_devices: Reader | None = None,
) -> AsyncIterator[RunningRoost]:
    spec = spec_of(text, folder, simulated=simulated)
    options = Options(
        state_dir=folder / "state",
        instance="test",
        base_dir=str(folder),
        machine=find_machine(),
        write_access_log=write_access_log,
        read_devices=read_devices or machine_reader(),
    )
    app = App(spec, options)
    await app.start()
    headers = {}
    if spec.server.keys:
        headers["authorization"] = f"Bearer {spec.server.keys[0].key}"
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{app.port}", timeout=60.0, trust_env=False, headers=headers
        ) as client:
            yield RunningRoost(app, client)
    finally:
        await app.stop(keep_engines=keep_engines)


@contextlib.asynccontextmanager
async def roost_process(config: Path, state: Path, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m roost up` as a child; ended with SIGTERM if it still runs."""
    with (state.parent / "roost.out").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "roost", "up", str(config), "--plain", "--state-dir", str(state), *more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": SRC},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def until_ready(client: httpx.AsyncClient, limit_s: float = 30.0) -> None:
    """Until `/ready` answers 200."""
    async with asyncio.timeout(limit_s):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0)
