"""One model for people: its state, and its last sleeps and wakes step by step. Pure functions of the API's JSON to rich
renderables; what engines and configs wrote is shown as plain text.
"""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roost.cli.render import bare_table, plain, why
from roost.core.units import format_size

SHOWN = 6
"""Sequences: about a screen of steps."""


def model_view(model: dict[str, Any]) -> RenderableType:
    """What `roost status MODEL` prints: newest sequence last, where one looks first."""
    level = f" {model['level']}" if model.get("level") else ""
    head = Text.assemble((plain(model["name"]).plain, "bold"), f"  {model['state']}{level} ", plain(why(model), "dim"))
    parts: list[RenderableType] = [head]
    for sequence in model["sequences"][-SHOWN:]:
        parts += [Text(""), _headline(sequence), _steps(sequence)]
    if not model["sequences"]:
        parts.append(Text("It has not been put to sleep, woken or loaded since roost started.", style="dim"))
    return Group(*parts)


def sequence_line(sequence: dict[str, Any]) -> str:
    """`wake took 1.24 s; slowest: POST /collective_rpc`."""
    parts = [f"{sequence['operation']} {'failed after' if sequence['error'] else 'took'} {sequence['took_s']:.2f} s"]
    if sequence["error"]:
        parts.append(sequence["error"])
    elif sequence["slowest"] and len(sequence["steps"]) > 1:
        parts.append(f"slowest: {sequence['slowest']}")
    if sequence["freed_bytes"] is not None:
        parts.append(f"freed {format_size(sequence['freed_bytes'])}")
    if sequence["memory"]:
        parts.append(sequence["memory"])
    return "; ".join(parts)


def _headline(sequence: dict[str, Any]) -> Text:
    text = plain(sequence_line(sequence), "red" if sequence["error"] else "")
    return Text.assemble((f"{sequence['at']}  ", "dim"), text)


def _steps(sequence: dict[str, Any]) -> Table:
    shown = bare_table()
    for name, right in (("step", False), ("status", True), ("took", True), ("tries", True), ("", False)):
        shown.add_column(name, justify="right" if right else "left", no_wrap=bool(name), overflow="fold")
    for step in sequence["steps"]:
        slowest = len(sequence["steps"]) > 1 and step["name"] == sequence["slowest"]
        note = step["error"] or (f"skipped: {step['skipped']}" if step["skipped"] else "slowest" if slowest else "")
        shown.add_row(
            plain(step["name"]),
            str(step["status"] or "-"),
            f"{step['duration_s']:.2f} s",
            str(step["attempts"]),
            plain(note, "red" if step["error"] else "dim"),
        )
    return shown
