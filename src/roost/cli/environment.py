"""`roost serve` without a config: what the environment says, and the lines such a router writes for its models.

Reads the environment; the form is `config/dialects/environment.py`'s. Called by `up_cmd` and `config_cmd`.
"""

import os
from pathlib import Path

import typer

from roost.cli.config_cmd import check_text
from roost.config.dialects.environment import read
from roost.core.events import Changed
from roost.core.lifecycle import Fact, State
from roost.core.spec import RoostSpec
from roost.engines.registry import validate
from roost.logs import log

CALLED = "the environment"


def environment_text() -> str:
    """The native configuration that the environment stands for. Ends the command where a variable makes no sense."""
    said = read(os.environ)
    for problem in said.problems:
        typer.echo(problem.render(CALLED), err=True)
    if said.problems:
        typer.echo("Nothing was started: mend the variables, or name a config file.", err=True)
        raise typer.Exit(2)
    return said.text


def environment_spec() -> RoostSpec:
    """The effective spec of it."""
    loaded = check_text(environment_text(), file=CALLED, base_dir=Path.cwd(), validators=(validate,))
    for problem in loaded.problems:
        typer.echo(problem.render(CALLED), err=True)
    if loaded.spec is None:
        raise typer.Exit(2)
    return loaded.spec


def narrate(spec: RoostSpec, change: Changed) -> None:
    """One line for a load that begins, an unload that begins, and a load that comes to nothing, each with why."""
    model = spec.models.get(change.model)
    served = model.served_name if model is not None and model.served_name else change.model
    if change.after is State.STARTING:
        log.info("Loading model %s as served name %s: %s", change.model, served, change.reason)
    elif change.before is State.STARTING and change.event is Fact.TIMED_OUT:
        log.error("Timed out waiting for model to load: %s: %s", change.model, change.reason)
    elif change.before is State.STARTING and change.after in (State.BACKOFF, State.FAILED, State.STOPPING):
        log.error("Failed to load model %s: %s", change.model, change.reason)
    elif change.after is State.STOPPING:
        log.info("Unloading model %s: %s", served, change.reason)
