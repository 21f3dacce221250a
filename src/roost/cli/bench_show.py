"""What `roost bench` shows: the table of figures, the comparison of two reports. Pure functions to rich renderables.

Called by `bench_cmd`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roost.loadgen.plan import PlanError
from roost.loadgen.report import Figures, Report
from roost.loadgen.stats import Summary

WIDE = 120
FIGURES_WIDTH = 88
"""What the figures take; the rest is the names'."""
NOTABLE = 1.05
"""A ratio this far from 1, either way, is coloured."""


def table(report: Report, width: int = WIDE) -> RenderableType:
    """One row a model, and one for all where there are several. Where that would cut the figures, rows are numbered,
    and names and sleep stand below."""
    how = "streamed" if report.stream else "whole"
    numbered = max(map(len, report.models), default=0) > width - FIGURES_WIDTH
    tells_sleep = not numbered and any(figures.asleep_s is not None for figures in report.models.values())
    result = _table(f"{report.url}: {report.load}, {how} answers, {report.duration_s:.1f} s", "times in ms: p50/p99")
    result.add_column("model", no_wrap=True, overflow="ellipsis")
    names = (
        "ok",
        "errors",
        "req/s",
        "tok/s",
        "TTFT",
        "ITL",
        "TPOT",
        "e2e",
        *(("asleep", "wakes") if tells_sleep else ()),
    )
    for name in names:
        result.add_column(name, justify="right", no_wrap=True)
    for number, (name, figures) in enumerate(report.models.items(), 1):
        slept = _slept(figures) if tells_sleep else ()
        result.add_row(Text(f"#{number}" if numbered else name), *_cells(figures), *slept)
    if len(report.models) > 1:
        result.add_row("all", *_cells(report.total), style="bold")
    return Group(result, *_names(report)) if numbered else result


def _names(report: Report) -> Iterator[Text]:
    for number, (name, figures) in enumerate(report.models.items(), 1):
        asleep, wakes = _slept(figures)
        slept = "" if figures.asleep_s is None else f"  asleep {asleep}, wakes {wakes}"
        yield Text(f"#{number} {name}{slept}", style="dim")


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _cells(figures: Figures) -> tuple[str, ...]:
    tokens = "-" if figures.tokens_per_s is None else f"{figures.tokens_per_s:.0f}"
    times = (figures.ttft_s, figures.itl_s, figures.tpot_s, figures.e2e_s)
    failed = str(figures.requests - figures.answered)
    return (str(figures.answered), failed, f"{figures.requests_per_s:.1f}", tokens, *map(_times, times))


def _slept(figures: Figures) -> tuple[str, str]:
    asleep = "-" if figures.asleep_s is None else f"{figures.asleep_s:.1f} s"
    return asleep, "-" if figures.wakes_met is None else str(figures.wakes_met)


def _times(summary: Summary | None) -> str:
    return "-" if summary is None else f"{_milliseconds(summary.p50)}/{_milliseconds(summary.p99)}"


def _milliseconds(seconds: float) -> str:
    """Three figures or so: the table fits 80 columns."""
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1 if seconds >= 0.001 else 2}f}"


def remark(report: Report) -> str:
    """Errors and what an interruption left out; empty where there is nothing to say."""
    errors = ", ".join(f"{kind}: {count}" for kind, count in report.total.errors.items())
    lines = [f"errors: {errors}"] if errors else []
    if report.interrupted:
        lines.append(f"interrupted; {report.cut} requests were under way and are not counted")
    return "\n".join(lines)


def line(report: Report) -> str:
    """The state of a measurement in one line, for a log."""
    each = ", ".join(
        f"{name}: {figures.answered} ok {figures.requests - figures.answered} failed"
        for name, figures in report.models.items()
    )
    return f"{report.duration_s:6.1f} s  {each}"


# comparing


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    path: tuple[str, ...]
    factor: float = 1.0
    less_is_better: bool = True


_FIGURES = (
    _Figure("req/s", ("requests_per_s",), less_is_better=False),
    _Figure("tok/s", ("tokens_per_s",), less_is_better=False),
    *(
        _Figure(f"{name} {part}, ms", (f"{key}_s", part), 1000.0)
        for name, key in (("TTFT", "ttft"), ("ITL", "itl"), ("TPOT", "tpot"), ("e2e", "e2e"))
        for part in ("p50", "p99")
    ),
    _Figure("asleep, s", ("asleep_s",)),
    _Figure("wakes met", ("wakes_met",)),
)


def comparison(first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]) -> Table:
    """Both reports' figures per model, and the second as a multiple of the first. PlanError on what is no report."""
    result = _table(f"{names[1]} against {names[0]}", "ratio: second / first; green is better, red is worse")
    for column in ("model", "figure"):
        result.add_column(column)
    for column in ("first", "second", "ratio"):
        result.add_column(column, justify="right")
    for model in _shared(first, second, names):
        for row in _rows(first["models"][model], second["models"][model]):
            result.add_row(Text(model), *row)
        result.add_section()
    return result


def _shared(first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    for report, name in zip((first, second), names, strict=True):
        if not isinstance(report.get("models"), dict):
            raise PlanError(f"{name} is no report of roost bench --json.")
    shared = [model for model in first["models"] if model in second["models"]]
    if not shared:
        raise PlanError(f"{names[0]} and {names[1]} have no model in common.")
    return shared


def _rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Text]]:
    for figure in _FIGURES:
        one, other = _value(first, figure), _value(second, figure)
        if one is not None and other is not None:
            yield figure.name, f"{one:.4g}", f"{other:.4g}", _ratio(one, other, figure)


def _value(figures: Mapping[str, Any], figure: _Figure) -> float | None:
    value: Any = figures
    for key in figure.path:
        value = value.get(key) if isinstance(value, dict) else None
    return value * figure.factor if isinstance(value, int | float) else None


def _ratio(one: float, other: float, figure: _Figure) -> Text:
    if one == 0:
        return Text("1.00" if other == 0 else "-")
    ratio = other / one
    if 1 / NOTABLE < ratio < NOTABLE:
        return Text(f"{ratio:.2f}")
    return Text(f"{ratio:.2f}", style="green" if (ratio < 1) is figure.less_is_better else "red")
