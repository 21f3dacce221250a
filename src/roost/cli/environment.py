"""`roost serve` without a config: what the environment says.

Reads the environment; the form is `config/dialects/environment.py`'s. Called by `up_cmd` and `config_cmd`.
"""

import os
from pathlib import Path

import typer

from roost.cli.config_cmd import check_text
from roost.config.dialects.environment import read
from roost.core.spec import RoostSpec
from roost.engines.registry import validate

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
