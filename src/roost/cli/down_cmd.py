"""`roost down`: end a running roost in order, or the engines that a killed one left. Needs no config."""

import asyncio
from pathlib import Path
from typing import Annotated

import psutil
import typer

from roost import clock
from roost.cli.client import InstanceOpt, StateOpt, choose, fail, left_behind, living
from roost.cli.durations import seconds
from roost.core.errors import RoostError
from roost.core.units import format_duration
from roost.host.fleet import end_leftovers
from roost.host.keepers.tmux import frontend_mark
from roost.host.store import Store
from roost.host.tmux import remove_dead

LOOK_S = 0.2
SIGNALS = 3
"""What a roost knows: the first ends it in order, the second cuts answers, the third kills the engines."""


def down(
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    wait: Annotated[float, typer.Option(parser=seconds, help="How long to wait for its end: 30s, 2m.")] = "2m",  # type: ignore[assignment]
) -> None:
    """Stop accepting, let answers end, stop the engines, also those that a killed roost or `roost serve` left. Ctrl-C
    here cuts running answers over there; once more kills the engines."""
    live = living(instance, state_dir)
    left = None if live else left_behind(instance, state_dir)
    if left is not None:
        typer.echo(f"No roost runs on {left}, but engines of an earlier one do.")
        raise typer.Exit(_end_engines(left))
    facts = choose(instance, state_dir)
    pid = int(facts["pid"])
    typer.echo(f"Stopping {facts['instance']} (pid {pid}, {facts['address'] or 'no port'}) ...")
    try:
        _stop(psutil.Process(pid), wait)
    except psutil.NoSuchProcess:
        pass  # it was gone already, or between two looks
    except psutil.AccessDenied:
        fail(f"Process {pid} belongs to another user; stop it as that user.", 1)
    except psutil.TimeoutExpired:
        fail(f"It is still stopping after {format_duration(wait)}; `roost status` shows what runs.", 1)
    if facts.get("mode") == "serve":  # it leaves engines as they are: down means all of it
        raise typer.Exit(_end_engines(Path(facts["state_dir"])))
    remove_dead(frontend_mark(Path(facts["state_dir"])))
    typer.echo("Stopped.")


def _end_engines(state_dir: Path) -> int:
    """Stop what an ended roost left running; exit status."""
    store = Store(state_dir)
    try:
        store.lock()
    except RoostError as error:
        fail(str(error), 1)
    try:
        said = asyncio.run(end_leftovers(store))
    finally:
        store.close()
    remove_dead(frontend_mark(state_dir))
    for sentence in said:
        typer.echo(f"  {sentence}")
    typer.echo("Stopped.")
    return 1 if any("survived" in sentence for sentence in said) else 0


def _stop(process: psutil.Process, wait: float) -> None:
    """SIGTERM through psutil, which looks once more whether the pid is still the same process.

    Each Ctrl-C passes another on. The one after the last leaves, and says so.
    """
    for _ in range(SIGNALS):
        try:
            process.terminate()
            _wait_until_gone(process, wait)
            return
        except KeyboardInterrupt:
            continue
    fail(f"Left alone while it still stops (pid {process.pid}).", 1)


def _wait_until_gone(process: psutil.Process, wait: float) -> None:
    """Raises psutil.TimeoutExpired. A zombie is gone, too: the first process of a container may never reap it."""
    deadline = clock.now() + wait
    while process.status() != psutil.STATUS_ZOMBIE:
        left = max(deadline - clock.now(), 0.0)
        try:
            process.wait(min(LOOK_S, left))
            return
        except psutil.TimeoutExpired:
            if left == 0.0:
                raise
