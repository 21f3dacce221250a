"""The fleet as a table: a row a model, below it a row a replica where it has several. Pure functions of the API's JSON.

Its form depends on the width: where too little is left beside the other columns, the reason stands below its row.
Called by `render` and `render_steps`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from roost.cli.plain import plain
from roost.cli.render_memory import NOTHING_RUNS, held_now
from roost.cli.render_why import remarks, short, why
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
WHY_WIDTH = 27
"""Where less than this is left beside the other columns, the reason stands on a line of its own."""
NAME_WIDTH = 12
"""A model's name is cut to no less than this."""
MARK = "!"
"""Beside the state of a model of which there is more to say."""
WIDE = 110
"""From here on pid and port are shown as well."""
_LEFT = ("model", "replica", "state", "on")
_WHY_MAX = 240
"""Characters of a reason in the table of the fleet."""
_ALWAYS = ("model", "replica", "state", "busy")
_SHOWN_WIDE = ("pid", "port")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of it."""

    cells: dict[str, Text]
    """By column."""
    why: str
    plain: bool = False
    """There is nothing to explain: where the reasons stand below, this one does not."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Any such rows; all have the same columns."""

    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.rows:
            yield plain("No models.", "dim")
            return
        widths = _widths(self.rows, wide=options.max_width >= WIDE)
        first, *others = widths.values()
        rest = sum(others) + 2 * len(others)
        if first + rest + 2 + WHY_WIDTH <= options.max_width:
            yield _beside(self.rows, widths)
            return
        widths[next(iter(widths))] = min(first, max(NAME_WIDTH, options.max_width - rest))
        table = _columns(widths)
        for row in self.rows:
            table.add_row(*(row.cells[name] for name in widths))
        header, *lines = console.render_lines(table, options, pad=False)
        yield Segments([*header, Segment.line()])
        for row, line in zip(self.rows, lines, strict=True):
            yield Segments([*line, Segment.line()])
            if not row.plain:
                yield Padding(plain(row.why, "dim"), (0, 0, 0, 2), expand=False)


def fleet(models: Sequence[dict[str, Any]]) -> Rows:
    """Every model, and the replicas of those that have several."""
    return Rows([row for model in models for row in _rows(model)])


def replicas(model: dict[str, Any]) -> Rows | None:
    """The replicas of one model, where it has several."""
    servings = model.get("endpoints") or ()
    if len(servings) < 2:
        return None
    named = [_replica_row(model, one) for one in servings]
    renamed = ({"replica" if key == "model" else key: text for key, text in row.cells.items()} for row in named)
    return Rows([replace(row, cells=cells) for row, cells in zip(named, renamed, strict=True)])


def _rows(model: dict[str, Any]) -> Iterator[Row]:
    servings = model.get("endpoints") or ()
    several = len(servings) > 1
    claimed, measured = ("", "") if several else _memory(model, model)
    cells = {
        "model": plain(model["name"]),
        "state": _state(model, servings),
        "busy": Text(_busy(model)),
        "claimed": Text(claimed),
        "measured": Text(measured),
        "on": plain("" if several else _where(model, model)),
        "pid": Text("" if several else str(model.get("pid") or "-")),
        "port": Text("" if several else str(model.get("port") or "-")),
    }
    yield Row(cells, _cut(why(model)))
    if several:
        yield from (_indented(_replica_row(model, one)) for one in servings)


def _replica_row(model: dict[str, Any], serving: dict[str, Any]) -> Row:
    claimed, measured = _memory(model, serving)
    state = str(serving["state"])
    cells = {
        "model": plain(serving["replica"]),
        "state": Text(_level(serving), style=_style(state)),
        "busy": Text(str(serving.get("in_flight") or "-")),
        "claimed": Text(claimed),
        "measured": Text(measured),
        "on": plain(_where(model, serving) or ("" if state in NOTHING_RUNS else _address(serving))),
        "pid": Text(str(serving.get("pid") or "-")),
        "port": Text(str(urlsplit(str(serving["endpoint"])).port or "-")),
    }
    since = f"for {format_duration(serving['since_s'])}" if "since_s" in serving else ""
    more = _replica_cause(serving, state, same=state == model["state"])
    return Row(cells, _cut(since + more), plain=not more)


def _replica_cause(serving: dict[str, Any], state: str, *, same: bool) -> str:
    """Of one that serves as it should, or rests as its model does, there is nothing to say."""
    broken = state in ("failed", "backoff")
    cause = serving.get("last_error") if broken else serving.get("reason")
    said = f": {short(str(cause))}" if cause and (broken or not same) and state != "ready" else ""
    return said + (f"; it has failed {serving['failures']} of its requests" if serving.get("failures") else "")


def _cut(text: str) -> str:
    """Its beginning and its end; `roost status MODEL` has all of it."""
    return text if len(text) <= _WHY_MAX else f"{text[: _WHY_MAX - 70]} ... {text[-65:]}"


def _indented(row: Row) -> Row:
    return replace(row, cells=row.cells | {"model": Text.assemble("  ", row.cells["model"])})


def _where(model: dict[str, Any], serving: dict[str, Any]) -> str:
    """On which devices, in whose server, or at which address; empty where it is a process beside roost."""
    if serving["state"] in NOTHING_RUNS:
        return ""
    if serving.get("devices"):
        return ",".join(serving["devices"])
    if model.get("host"):
        return str(model["host"]["name"])
    return _address(serving) if not model.get("owned", True) else ""


def _address(serving: dict[str, Any]) -> str:
    return urlsplit(str(serving.get("endpoint") or "")).netloc


def _beside(rows: Sequence[Row], widths: dict[str, int]) -> Table:
    table = _columns(widths)
    table.add_column("why", overflow="fold")
    for row in rows:
        table.add_row(*(row.cells[name] for name in widths), plain(row.why))
    return table


def _widths(rows: Sequence[Row], *, wide: bool) -> dict[str, int]:
    """What each column that is shown would like to have, in cells. One that says nothing is not."""
    found = {}
    for name in rows[0].cells:
        said = {row.cells[name].plain for row in rows}
        if (name in _ALWAYS or said - {"", "-"}) and (wide or name not in _SHOWN_WIDE):
            found[name] = max(len(name), *(row.cells[name].cell_len for row in rows))
    return found


def _columns(widths: dict[str, int]) -> Table:
    table = bare_table()
    for name, width in widths.items():
        side: Literal["left", "right"] = "left" if name in _LEFT else "right"
        table.add_column(name, justify=side, no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
    return table


def bare_table() -> Table:
    """Without lines around or between its cells."""
    return Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=False)


def _state(model: dict[str, Any], servings: Sequence[dict[str, Any]]) -> Text:
    state = str(model["state"])
    same = sum(serving["state"] == state for serving in servings)
    count = f" {same} of {len(servings)}" if len(servings) > 1 and state != "cold" else ""
    pin = " (pinned)" if model["pinned"] else ""
    mark = f" {MARK}" if remarks(model) else ""
    return Text(f"{_level(model)}{count}{pin}{mark}", style=_style(state))


def _level(one: dict[str, Any]) -> str:
    return f"{one['state']} {one['level']}" if one.get("level") else str(one["state"])


def _style(state: str) -> str:
    return STYLES.get(state, MOVING)


def _busy(model: dict[str, Any]) -> str:
    queued = f" +{model['queue_depth']}" if model["queue_depth"] else ""
    return f"{model['in_flight']}{queued}" if model["in_flight"] or queued else "-"


def _memory(model: dict[str, Any], serving: dict[str, Any]) -> tuple[str, str]:
    """Claimed and measured, on each of its devices; of the host where it has none."""
    claimed, measured = held_now(model, serving)
    return format_size(claimed) if claimed else "-", format_size(measured) if measured else "-"
