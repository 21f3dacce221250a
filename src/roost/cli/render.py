"""Tables for people: the fleet and its requests. Pure functions of the API's JSON to rich renderables."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roost.core.units import format_duration, format_size

STYLES = {
    "ready": "green",
    "asleep": "blue",
    "cold": "dim",
    "failed": "bold red",
    "stuck": "bold red",
    "backoff": "red",
}
MOVING = "yellow"


def status_table(status: dict[str, Any]) -> RenderableType:
    """The fleet: one row a model, with the reason of its state."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=False)
    for name, justify in (
        ("model", "left"),
        ("state", "left"),
        ("busy", "right"),
        ("memory", "right"),
        ("why", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold" if name == "why" else "ellipsis", no_wrap=name != "why")  # type: ignore[arg-type]
    for model in status["models"]:
        table.add_row(model["name"], _state(model), _busy(model), _memory(model), _why(model))
    return Group(_headline(status), table)


def _headline(status: dict[str, Any]) -> Text:
    memory = status["memory"]
    bound = f" of {memory['max_resident']}" if memory["max_resident"] is not None else ""
    text = Text("roost ", style="bold")
    text.append(f"{status['state']} on http://{status['address']}", style="bold")
    text.append(f"   {memory['resident']}{bound} awake   up {format_duration(status['uptime_s'])}", style="dim")
    return text


def _state(model: dict[str, Any]) -> Text:
    state = model["state"]
    level = f" {model['level']}" if model["level"] else ""
    pin = " (pinned)" if model["pinned"] else ""
    return Text(f"{state}{level}{pin}", style=STYLES.get(state, MOVING))


def _busy(model: dict[str, Any]) -> str:
    queued = f" +{model['queue_depth']}" if model["queue_depth"] else ""
    return f"{model['in_flight']}{queued}" if model["in_flight"] or queued else "-"


def _memory(model: dict[str, Any]) -> str:
    return format_size(model["memory_bytes"]) if model.get("memory_bytes") else "-"


def _why(model: dict[str, Any]) -> str:
    if model["blocked"]:
        return str(model["blocked"])
    since = format_duration(model["since_s"])
    if model["state"] == "ready" and model["idle_s"] is not None:
        return f"for {since}, idle {format_duration(model['idle_s'])}"
    reason = (model["last_error"] if model["state"] in ("failed", "backoff") else model["reason"]) or ""
    first = str(reason).splitlines()[0] if reason else ""
    return f"for {since}: {first}" if first else f"for {since}"


def live_view(status: dict[str, Any], recent: list[dict[str, Any]]) -> RenderableType:
    """What `roost up` shows: the fleet, and the last requests below it."""
    parts: list[RenderableType] = [status_table(status)]
    if recent:
        parts += [Text(""), requests_table(recent)]
    return Group(*parts)


def requests_table(rows: list[dict[str, Any]]) -> Table:
    """Requests, in flight or settled."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for name in ("request", "model", "what", "age", "first", "tokens"):
        table.add_column(name, justify="right" if name in ("age", "first", "tokens") else "left", no_wrap=True)
    for row in rows:
        what = f"{row['status']} {row['outcome']}" if row["outcome"] else row["phase"]
        good = row["outcome"] in (None, "ok") and (row["status"] or 0) < 400
        tokens = row["completion_tokens"] if row["completion_tokens"] is not None else "-"
        first = "-" if row["ttft_s"] is None else f"{row['ttft_s']:.2f} s"
        table.add_row(
            row["id"],
            row["model"] or "-",
            Text(what, style="" if good else "red"),
            f"{row['age_s']:.2f} s",
            first,
            str(tokens),
        )
    return table
