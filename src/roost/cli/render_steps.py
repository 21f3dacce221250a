"""One model for people: its state, and its last sleeps and wakes step by step. Pure functions of the API's JSON to rich
renderables; what engines and configs wrote is shown as plain text.
"""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roost.cli.plain import plain
from roost.cli.render import total_line
from roost.cli.render_fleet import bare_table, replicas
from roost.cli.render_memory import footprint_lines
from roost.cli.render_why import HELP_PAGE, outcome, remarks, why
from roost.core.units import counted, format_duration, format_size

SHOWN = 6
"""Sequences: about a screen of steps."""
_SETTLED = frozenset({"ready", "asleep", "failed", "stuck"})
_MOVES = (
    ("load_s", "load"),
    ("level1_s", "wake from level 1"),
    ("level2_s", "wake from level 2"),
    ("down_s", "way down"),
)
_LOADED = ("its start was verified in", "its start could not be verified, after")
"""An engine's own loading is no sequence of steps: only what verifies it is."""


def model_view(model: dict[str, Any]) -> RenderableType:
    """What `roost status MODEL` prints: newest sequence last, where one looks first."""
    level = f" {model['level']}" if model.get("level") else ""
    shown = model["sequences"][-SHOWN:]
    reason = why(model)
    if any(sequence["error"] and sequence["error"] in reason for sequence in shown):
        reason = _without(reason, [sequence["error"] for sequence in shown if sequence["error"]])
    head = Text.assemble((plain(model["name"]).plain, "bold"), f"  {model['state']}{level} ", plain(reason, "dim"))
    parts: list[RenderableType] = [head, *(plain(remark, "yellow") for remark in remarks(model))]
    if canary := str(model.get("canary") or ""):
        parts.append(plain(f"canary {canary}", "dim"))
    if served := total_line([model["totals"]] if model.get("totals") else []):
        parts.append(plain(served, "dim"))
    parts += [*footprint_lines(model), *learned_lines(model)]
    if (several := replicas(model)) is not None:
        parts.append(several)
    for sequence in shown:
        parts += [Text(""), _headline(sequence), _steps(sequence)]
        if sequence["error"] and sequence["operation"] != "load":
            parts.append(plain(f"Then: {_then(model, sequence)}."))
    if not shown:
        parts.append(Text("It has not been put to sleep, woken or loaded since roost started.", style="dim"))
    elif any(sequence["error"] for sequence in shown):
        parts.append(Text(f"\n{HELP_PAGE}", style="dim"))
    return Group(*parts)


def learned_lines(model: dict[str, Any]) -> list[Text]:
    """What its moves take by what has been measured, and how soon it is likely wanted."""
    returns, forecast = model.get("returns") or {}, model.get("forecast")
    took = [f"{what} {format_duration(returns[key])}" for key, what in _MOVES if returns.get(key) is not None]
    said = [f"takes (as measured): {', '.join(took)}"] if took else []
    if forecast is not None:
        chance = f"{forecast['chance']:.0%} within {format_duration(forecast['within_s'])}"
        gaps = f"{counted(round(forecast['gaps']), 'gap')} between its requests"
        basis = f"by {gaps}" if forecast["gaps"] >= 1.0 else "by how models are used in general"
        soon = f"likely wanted in {format_duration(forecast['next_s'])}, " if forecast["next_s"] is not None else ""
        sign = f"; {forecast['sign']}" if forecast["sign"] else ""
        said.append(f"{soon or 'wanted '}{chance} ({basis}{sign})")
    return [plain(line, "dim") for line in said]


def _without(reason: str, errors: list[str]) -> str:
    """What stands below is not said above as well."""
    for error in errors:
        reason = reason.replace(f": {error}", " (see below)")
    return reason


def _then(model: dict[str, Any], sequence: dict[str, Any]) -> str:
    """What followed from the failure, in words."""
    later = [
        change["after"]
        for change in model.get("history", ())
        if change["replica"] == sequence["replica"] and change["at"] >= sequence["at"]
    ]
    moving = next((at for at, after in enumerate(later) if after in ("stopping", "backoff")), None)
    if moving is None:
        return outcome(model["state"], owned=model.get("owned", True))
    follows = later[moving:]
    settled = next((at for at, after in enumerate(follows) if after in _SETTLED), len(follows) - 1)
    return outcome(follows[settled], owned=model.get("owned", True))


def sequence_line(sequence: dict[str, Any]) -> str:
    """`wake took 1.24 s; slowest: POST /collective_rpc`."""
    operation, error, memory = sequence["operation"], sequence["error"], sequence["memory"] or ""
    did, did_not = _LOADED if operation == "load" else (f"{operation} took", f"{operation} failed after")
    parts = [f"{did_not if error else did} {sequence['took_s']:.2f} s"]
    if error:
        parts.append(error)
    elif sequence["slowest"] and len(sequence["steps"]) > 1:
        parts.append(f"slowest: {sequence['slowest']}")
    if sequence["freed_bytes"] is not None and not error:
        freed = max(sequence["freed_bytes"], 0)
        parts.append(f"freed {format_size(freed)}" if freed else "freed nothing")
    if memory and memory not in (error or ""):
        parts.append(memory)
    return "; ".join(parts)


def _headline(sequence: dict[str, Any]) -> Text:
    text = plain(sequence_line(sequence), "red" if sequence["error"] else "")
    return Text.assemble((f"{sequence['at']}  ", "dim"), text)


def _steps(sequence: dict[str, Any]) -> Table:
    shown = bare_table()
    for name, right in (("step", False), ("status", True), ("took", True), ("tries", True), ("", False)):
        shown.add_column(name, justify="right" if right else "left", no_wrap=bool(name), overflow="fold")
    steps = sequence["steps"]
    slowest = max(range(len(steps)), key=lambda at: float(steps[at]["duration_s"]), default=None)
    for at, step in enumerate(steps):
        notes = _notes(step, sequence, slowest=at == slowest and len(steps) > 1)
        shown.add_row(
            plain(step["name"]),
            str(step["status"] or "-"),
            f"{step['duration_s']:.2f} s",
            str(step["attempts"]),
            plain("; ".join(notes), "red" if step["error"] else "dim"),
        )
    return shown


def _notes(step: dict[str, Any], sequence: dict[str, Any], *, slowest: bool) -> list[str]:
    """An error that the headline has is not said again."""
    error = str(step["error"] or "")
    notes = ["failed" if error in (sequence["error"] or "") else error] if error else []
    if step["skipped"]:
        notes.append(f"skipped: {step['skipped']}")
    if step.get("check"):
        notes.append("verifies it")
    return [*notes, "slowest"] if slowest else notes
