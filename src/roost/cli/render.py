"""Tables for people: the fleet and its requests. Pure functions of the API's JSON to rich renderables.

What engines, clients and configs wrote is shown as it is, never read as markup or as escape codes of a terminal:
an error like `[/rank0] failed` must not break the page that shows it.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from roost.cli.plain import plain
from roost.cli.render_memory import device_lines
from roost.cli.render_schedules import window_lines
from roost.core.units import counted, format_duration, format_size

STYLES = {
    "ready": "green",
    "asleep": "blue",
    "cold": "dim",
    "failed": "bold red",
    "stuck": "bold red",
    "backoff": "red",
}
MOVING = "yellow"
WHY_WIDTH = 32
"""Where less than this is left beside the other columns, the reason stands on a line of its own."""
NAME_WIDTH = 12
"""A model's name is cut to no less than this."""
HELP_PAGE = 'What an error of a sleep or wake means: docs/sleep.md, "Troubleshooting by failing step".'
_BROKEN = re.compile("the (sleep|wake) failed: |someone woke it, and ")
"""How roost begins the reason of a sleep or wake that failed."""
_OUTCOMES = {
    "stopping": "the engine is being stopped",
    "cold": "the engine was stopped; the next request starts it",
    "backoff": "the engine was stopped, and is started afresh after a pause",
    "starting": "the engine was stopped, and is being started afresh",
    "ready": "the engine was stopped and started afresh",
    "failed": "the engine was stopped, and its tries are used up for now; roost load starts it at once",
    "stuck": "the engine survived SIGKILL, and its memory stays taken",
}
MARK = "!"
"""Beside the state of a model of which there is more to say."""
WIDE = 110
"""From here on pid and port are shown as well."""


def status_table(status: dict[str, Any]) -> RenderableType:
    """The fleet: one row a model, with the reason of its state beside it or, on a narrow screen, below it."""
    models = status["models"]
    memory = device_lines(status.get("memory") or {})
    windows = [plain(line, "dim") for line in window_lines(status.get("schedules"))]
    return Group(_headline(status), *memory, *windows, _Fleet(models), *_sessions(models), *_footnotes(models))


def _footnotes(models: list[dict[str, Any]]) -> list[Text]:
    """Where there is more: what the mark means, and what errors mean."""
    marked = [str(model["name"]) for model in models if remarks(model)]
    served = total_line([model["totals"] for model in models if model.get("totals")])
    names = ", ".join(marked[:3]) + (", ..." if len(marked) > 3 else "")
    said = [plain(f"{MARK} There is more to say of {names}: roost status MODEL", "yellow")] if marked else []
    broken = any(_broken_by(model) for model in models)
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


def remarks(model: dict[str, Any]) -> list[str]:
    """What its user should know of how its engine was started, and of levels that are given up."""
    canary = [part for part in str(model.get("canary") or "").split("; ") if "given up" in part]
    return [
        *(str(notice) for notice in model.get("notices") or ()),
        *_of_host(model.get("host")),
        *(f"{part[:1].upper()}{part[1:]}." for part in canary),
    ]


def _of_host(host: dict[str, Any] | None) -> list[str]:
    """That the server it lives in does not answer."""
    return [str(host["trouble"])] if host is not None and host.get("trouble") else []


def outcome(state: str, *, owned: bool) -> str:
    """What followed from a sleep or wake that failed, by the state it led to."""
    if not owned:
        again = ", which it does again" if state == "ready" else ""
        return f"it runs elsewhere, and gets no requests until it answers well{again}"
    return _OUTCOMES.get(state, f"it is {state}")


def _broken_by(model: dict[str, Any]) -> str:
    """The reason of its state, where that is a sleep or wake that failed."""
    reason = str(_reason(model))
    return reason if model["state"] not in ("ready", "asleep") and _BROKEN.match(reason) else ""


def _sessions(models: list[dict[str, Any]]) -> list[Text]:
    """Where each engine can be watched, for those in tmux."""
    servings = [serving for model in models for serving in model.get("endpoints", ())]
    attached = [serving for serving in servings if serving.get("session")]
    width = max((len(serving["replica"]) for serving in attached), default=0)
    return [
        Text.assemble((f"{serving['replica']:<{width}}  ", ""), (f"tmux attach -t {serving['session']}", "dim"))
        for serving in attached
    ]


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The models as a table whose form depends on the width it gets."""

    models: list[dict[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        rows = [_cells(model, wide) for model in self.models]
        name, *others = _widths(rows, wide)
        rest = sum(others) + 2 * len(others)
        if name + rest + 2 + WHY_WIDTH <= options.max_width:
            yield _beside(self.models, rows, wide)
            return
        table = _columns([min(name, max(NAME_WIDTH, options.max_width - rest)), *others], wide)
        for cells in rows:
            table.add_row(*cells)
        header, *lines = console.render_lines(table, options, pad=False)
        yield Segments([*header, Segment.line()])
        for model, line in zip(self.models, lines, strict=True):
            yield Segments([*line, Segment.line()])
            yield Padding(plain(why(model), "dim"), (0, 0, 0, 2), expand=False)


def _beside(models: list[dict[str, Any]], rows: list[tuple[Text, ...]], wide: bool) -> Table:
    table = _columns(_widths(rows, wide), wide)
    table.add_column("why", overflow="fold")
    for model, cells in zip(models, rows, strict=True):
        table.add_row(*cells, plain(why(model)))
    return table


def _names(wide: bool) -> tuple[str, ...]:
    return ("model", "state", "busy", "memory", "pid", "port") if wide else ("model", "state", "busy", "memory")


def _widths(rows: list[tuple[Text, ...]], wide: bool) -> list[int]:
    """What each column would like to have, in cells."""
    return [max([len(name), *(row[at].cell_len for row in rows)]) for at, name in enumerate(_names(wide))]


def _columns(widths: list[int], wide: bool) -> Table:
    table = bare_table()
    for name, width in zip(_names(wide), widths, strict=True):
        side: Literal["left", "right"] = "left" if name in ("model", "state") else "right"
        table.add_column(name, justify=side, no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
    return table


def bare_table() -> Table:
    """Without lines around or between its cells."""
    return Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=False)


def _cells(model: dict[str, Any], wide: bool) -> tuple[Text, ...]:
    cells = (plain(model["name"]), _state(model), Text(_busy(model)), Text(_memory(model)))
    if not wide:
        return cells
    return (*cells, Text(str(model.get("pid") or "-")), Text(str(model.get("port") or "-")))


def _headline(status: dict[str, Any]) -> Text:
    memory = status.get("memory") or {}  # a key limited to some models is not told
    text = Text("roost ", style="bold")
    where = f"on http://{status['address']}" if status["address"] else "without a port (listen: false)"
    text.append(f"{status['state']} {where}", style="bold")
    if "resident" in memory:
        bound = f" of {memory['max_resident']}" if memory.get("max_resident") is not None else ""
        text.append(f"   {memory['resident']}{bound} awake", style="dim")
    text.append(f"   up {format_duration(status['uptime_s'])}", style="dim")
    return text


def _state(model: dict[str, Any]) -> Text:
    state = model["state"]
    level = f" {model['level']}" if model["level"] else ""
    pin = " (pinned)" if model["pinned"] else ""
    mark = f" {MARK}" if remarks(model) else ""
    return Text(f"{state}{level}{pin}{mark}", style=STYLES.get(state, MOVING))


def _busy(model: dict[str, Any]) -> str:
    queued = f" +{model['queue_depth']}" if model["queue_depth"] else ""
    return f"{model['in_flight']}{queued}" if model["in_flight"] or queued else "-"


def _memory(model: dict[str, Any]) -> str:
    """Of its devices where that was measured, else of the host."""
    held = model.get("device_bytes") or model.get("memory_bytes")
    return format_size(held) if held else "-"


def why(model: dict[str, Any]) -> str:
    """Since when a model is as it is, and the reason."""
    if model["blocked"]:
        return str(model["blocked"])
    since = format_duration(model["since_s"])
    if model["state"] == "ready" and model["idle_s"] is not None:
        return f"for {since}, idle {format_duration(model['idle_s'])}"
    reason = str(_reason(model))
    if not reason:
        return f"for {since}"
    then = f"; {outcome(model['state'], owned=model.get('owned', True))}" if _broken_by(model) else ""
    return f"for {since}: {_short(reason)}{then}"


def _reason(model: dict[str, Any]) -> str:
    return (model["last_error"] if model["state"] in ("failed", "backoff") else model["reason"]) or ""


def _short(reason: str) -> str:
    """The first line, and where it leads on to a log's last lines, the very last of them."""
    lines = [line for line in reason.splitlines() if line.strip()] or [""]
    return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


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
