"""Durations on the command line: `30s`, `5m`, as in the config. Used as typer's parser by commands that measure."""

import typer

from roost.core.units import parse_duration


def seconds(text: str) -> float:
    """Seconds of a duration from 0 on; typer's error for anything else."""
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not isinstance(value, float):
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 30s or 5m")
    return value


def some_seconds(text: str) -> float:
    """The same above 0."""
    value = seconds(text)
    if value <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration above 0; write it like 30s or 5m")
    return value
