"""Runs a model's own stop command, within the grace; its words go to the engine's log. Called by the keeper."""

import asyncio
import os
import subprocess
from collections.abc import Sequence

from roost.host.keepers.base import Start
from roost.host.output import Output


async def run_stop_command(argv: Sequence[str], start: Start | None, output: Output, limit_s: float) -> str:
    """Empty if it ended well, else why not. `start`: its environment and folder are the engine's."""
    env = {**os.environ, **(start.env if start is not None else {})}
    descriptor = output.open("the stop command of the config runs")
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=start.cwd if start is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
        )
    except OSError as error:
        return f"{argv[0]}: {error.strerror or error}"
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(limit_s):
            status = await child.wait()
    except TimeoutError:
        return f"it did not end within {limit_s:g} s"
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return "" if status == 0 else f"exit status {status}"
