"""`roost down`: end a running roost in order. Needs no config."""

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
    typer.echo(f"Stopping {facts['instance']} (pid {pid}, {facts['address']}) ...")
    try:
        _stop(psutil.Process(pid), wait)
    except psutil.NoSuchProcess:
        pass  # it was gone already, or between two looks
    except psutil.AccessDenied:
        fail(f"Process {pid} belongs to another user; stop it as that user.", 1)
    except psutil.TimeoutExpired:
        fail(f"It is still stopping after {wait:g} s; `roost status` shows what runs.", 1)
    typer.echo("Stopped.")


def _stop(process: psutil.Process, wait: float) -> None:
    """SIGTERM through psutil, which looks once more whether the pid is still the same process."""
    process.terminate()
    try:
        process.wait(wait)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(wait)
