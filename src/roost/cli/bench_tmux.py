"""`roost bench --tmux`: one session a model, each running the same measurement of its own model, side by side.

Called by `bench_cmd`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from roost.core.errors import StartError
from roost.core.ids import session_name
from roost.core.spec import RoostSpec
from roost.host import tmux
from roost.host.store import state_home

_MARK = "roost bench"
PREFIX = "benchmark-"


def in_sessions(spec: RoostSpec, models: Sequence[str], arguments: Sequence[str]) -> int:
    """Start them and say where to look; exit status. `arguments`: the command line without --tmux and --model."""
    status = 0
    folder = state_home(os.environ) / "bench"
    for model in models:
        session = session_of(spec, model)
        argv = [sys.executable, "-m", "roost", *arguments, "--model", model]
        job = tmux.Job(session=session, mark=_MARK, argv=argv, env=os.environ, cwd=str(Path.cwd()), folder=folder)
        try:
            tmux.run(job)
        except StartError as error:
            typer.echo(f"{model}: {error}", err=True)
            status = 1
        else:
            typer.echo(f"{model}: {tmux.attach_hint(session)}")
    return status


def session_of(spec: RoostSpec, model: str) -> str:
    """`benchmark-` and what its engine's session is called."""
    replicas = spec.models[model].replicas
    return session_name(PREFIX, (replicas[0].name if replicas else None) or model)
