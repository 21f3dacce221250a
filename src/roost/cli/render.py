"""Tables for people: the fleet and its requests. Pure functions of the API's JSON to rich renderables.

What engines, clients and configs wrote is shown as it is, never read as markup or as escape codes of a terminal:
an error like `[/rank0] failed` must not break the page that shows it.
"""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roost.cli.plain import plain
from roost.cli.render_fleet import MARK, bare_table, fleet
from roost.cli.render_memory import device_lines
from roost.cli.render_schedules import window_lines
from roost.cli.render_why import HELP_PAGE, broken_by, remarks
from roost.core.units import counted, format_duration


def status_table(status: dict[str, Any]) -> RenderableType:
    """The fleet: one row a model, with the reason of its state beside it or, on a narrow screen, below it."""
    models = status["models"]
    memory = device_lines(status.get("memory") or {})
    windows = [plain(line, "dim") for line in window_lines(status.get("schedules"))]
    return Group(_headline(status), *memory, *windows, fleet(models), *_sessions(models), *_footnotes(models))


def _footnotes(models: list[dict[str, Any]]) -> list[Text]:
    """Where there is more: what the mark means, and what errors mean."""
    marked = [str(model["name"]) for model in models if remarks(model)]
    served = total_line([model["totals"] for model in models if model.get("totals")])
    names = ", ".join(marked[:3]) + (", ..." if len(marked) > 3 else "")
    said = [plain(f"{MARK} There is more to say of {names}: roost status MODEL", "yellow")] if marked else []
    broken = any(broken_by(model) for model in models)
    said += [Text(f"The steps: roost status MODEL. {HELP_PAGE}", style="dim")] if broken else []
    return [*said, plain(served, "dim")] if served else said


def total_line(totals: list[dict[str, Any]]) -> str:
    """Since when roost has counted over its restarts, and what; empty where nothing came."""
    requests = sum(one["requests"] for one in totals)
    if not requests:
        return ""
    tokens_in = sum(one["prompt_tokens"] for one in totals)
    tokens_out = sum(one["completion_tokens"] for one in totals)
    since = min(one["since"] for one in totals if one["requests"])[:10]
    return f"Since {since}: {counted(requests, 'request')}, {tokens_in} tokens in, {tokens_out} out."


def _sessions(models: list[dict[str, Any]]) -> list[Text]:
    """Where each engine can be watched, for those in tmux."""
    servings = [serving for model in models for serving in model.get("endpoints", ())]
    attached = [serving for serving in servings if serving.get("session")]
    width = max((len(serving["replica"]) for serving in attached), default=0)
    return [
        Text.assemble((f"{serving['replica']:<{width}}  ", ""), (f"tmux attach -t {serving['session']}", "dim"))
        for serving in attached
    ]


def _headline(status: dict[str, Any]) -> Text:
    memory = status.get("memory") or {}  # a key limited to some models is not told
    text = Text("roost ", style="bold")
    where = f"on http://{status['address']}" if status["address"] else "without a port (listen: false)"
    text.append(f"{status['state']} {where}", style="bold")
    if "resident" in memory:
        bound = f" of {memory['max_resident']}" if memory.get("max_resident") is not None else ""
        elsewhere = f", {memory['elsewhere']} elsewhere" if memory.get("elsewhere") else ""
        text.append(f"   {memory['resident']}{bound} awake{elsewhere}", style="dim")
    text.append(f"   up {format_duration(status['uptime_s'])}", style="dim")
    return text


def live_view(status: dict[str, Any], recent: list[dict[str, Any]]) -> RenderableType:
    """What `roost up` shows: the fleet, and the last requests below it."""
    parts: list[RenderableType] = [status_table(status)]
    if recent:
        parts += [Text(""), requests_table(recent)]
    return Group(*parts)


def requests_table(rows: list[dict[str, Any]]) -> Table:
    """Requests, in flight or settled."""
    table = bare_table()
    for name in ("request", "model", "what", "age", "first", "tokens"):
        table.add_column(name, justify="right" if name in ("age", "first", "tokens") else "left", no_wrap=True)
    for row in rows:
        what = f"{row['status']} {row['outcome']}" if row["outcome"] else row["phase"]
        good = row["outcome"] in (None, "ok") and (row["status"] or 0) < 400
        tokens = row["completion_tokens"] if row["completion_tokens"] is not None else "-"
        first = "-" if row["ttft_s"] is None else f"{row['ttft_s']:.2f} s"
        table.add_row(
            plain(row["id"]),
            plain(row["model"] or "-"),
            Text(what, style="" if good else "red"),
            f"{row['age_s']:.2f} s",
            first,
            str(tokens),
        )
    return table
