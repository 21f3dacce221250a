"""`roost down`: end a running roost in order. Needs no config."""

import os
import signal
from typing import Annotated

import psutil
import typer

from roost.cli.client import InstanceOpt, StateOpt, choose, fail

LIMIT_S = 120.0


def down(
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for its end.", min=0)] = LIMIT_S,
) -> None:
    """Stop accepting, let answers end, stop the engines. Ctrl-C here cuts the waiting short over there, too."""
    facts = choose(instance, state_dir)
    pid = int(facts["pid"])
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGTERM)
    typer.echo(f"Stopping {facts['instance']} (pid {pid}, {facts['address']}) ...")
    try:
        process.wait(wait)
    except psutil.TimeoutExpired:
        fail(f"It is still stopping after {wait:g} s; `roost status` shows what runs.", 1)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        process.wait(wait)
    typer.echo("Stopped.")
