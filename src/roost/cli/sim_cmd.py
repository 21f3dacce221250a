"""`roost sim-engine`: hands its flags to `python -m roost.sim`, which defines them.

The process is replaced, so that signals, exit status and memory are those of the engine itself.
"""

import os
import sys

import typer

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For the command's registration: every flag, `--help` too, belongs to the simulated engine."""


def sim_engine(context: typer.Context) -> None:
    """Run a simulated engine: a real server that behaves like vLLM and can be told to misbehave."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "roost.sim", *context.args])  # noqa: S606 - no shell is wanted
