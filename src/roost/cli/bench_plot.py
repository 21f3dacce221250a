"""A measurement as a picture: latency over time with the times asleep, and how latencies are distributed.

Needs matplotlib (extra `plot`), imported only here and only when a picture is wanted. Called by `bench_cmd`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roost.loadgen.plan import PlanError
from roost.loadgen.report import Report, Sample

KINDS = (".png", ".svg", ".pdf")
_GRAIN_S = 0.01
"""An arrival is sent a moment after its time; it belongs to the second it was meant for."""
Spells = Mapping[str, Sequence[tuple[float, float]]]
"""Model -> (from, to) in monotonic seconds."""


def check(path: Path) -> None:
    """PlanError before anything is measured for a picture that cannot be made."""
    if path.suffix.lower() not in KINDS:
        raise PlanError(f"{path.name} is no picture that can be drawn; end it in {', '.join(KINDS)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlanError("Plots need matplotlib: pip install 'roost[plot]'.") from None


def draw(report: Report, spells: Spells, path: Path) -> None:
    """Write the picture: one row a model. Raises OSError."""
    from matplotlib.figure import Figure

    names = list(report.models)
    figure = Figure(figsize=(11, 2.6 * len(names) + 0.8), layout="constrained")
    figure.suptitle(f"{report.load}, {report.duration_s:.0f} s", fontsize=11)
    axes = figure.subplots(len(names), 2, squeeze=False, width_ratios=(2.4, 1))
    for row, name in zip(axes, names, strict=True):
        points = [point for point in report.points if point.model == name]
        _over_time(row[0], name, points, report, spells.get(name, ()))
        _distribution(row[1], points)
    figure.savefig(path, dpi=130)


def _over_time(
    axes: Any, name: str, points: Sequence[Sample], report: Report, spells: Sequence[tuple[float, float]]
) -> None:
    began = report.began_at
    good = [point for point in points if point.error is None]
    bad = [point for point in points if point.error is not None]
    for start, end in spells:
        left, right = max(start - began, 0.0), min(end - began, report.duration_s)
        if right > left:
            axes.axvspan(left, right, color="#4878a8", alpha=0.15, linewidth=0)
    axes.plot([p.started_at - began for p in good], [_e2e_ms(p) for p in good], ".", ms=3, color="#555555")
    first = [p for p in good if p.first_token_at is not None]
    axes.plot([p.started_at - began for p in first], [_ttft_ms(p) for p in first], ".", ms=3, color="#c8553d")
    axes.plot([p.started_at - began for p in bad], [_e2e_ms(p) for p in bad], "x", ms=4, color="black")
    axes.set_yscale("log")
    axes.set_xlim(0, max(report.duration_s, 1e-3))
    shown = "".join(sign if sign.isprintable() else "?" for sign in name)
    axes.set_title(shown.replace("$", r"\$"), loc="left", fontsize=9)
    axes.set_xlabel("s since the start (shaded: asleep)", fontsize=8)
    axes.set_ylabel("ms", fontsize=8)
    _plain_log(axes.yaxis)
    _rate(axes, points, report)


def _rate(axes: Any, points: Sequence[Sample], report: Report) -> None:
    """Arrivals a second in the background, where all of them are known."""
    if not points or len(report.points) < report.total.requests:
        return
    width = max(report.duration_s / 60, 1.0)
    behind = axes.twinx()
    counts = Counter(int((point.started_at - report.began_at + _GRAIN_S) / width) for point in points)
    places = sorted(counts)
    heights = [counts[place] / width for place in places]
    behind.bar([place * width for place in places], heights, width, align="edge", color="#999999", alpha=0.25)
    behind.set_ylabel("requests/s", fontsize=8)


def _distribution(axes: Any, points: Sequence[Sample]) -> None:
    good = [point for point in points if point.error is None]
    shown = (
        ("e2e", "#555555", [_e2e_ms(point) for point in good]),
        ("TTFT", "#c8553d", [_ttft_ms(point) for point in good if point.first_token_at is not None]),
    )
    for label, colour, values in shown:
        if values:
            ordered = sorted(values)
            shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=colour, label=label)
            axes.legend(fontsize=8)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel("ms", fontsize=8)
    _plain_log(axes.xaxis)
    axes.set_title("share answered within", loc="left", fontsize=9)


def _plain_log(axis: Any) -> None:
    """1, 2, 5, 10, ... as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def _e2e_ms(point: Sample) -> float:
    return (point.ended_at - point.started_at) * 1000


def _ttft_ms(point: Sample) -> float:
    assert point.first_token_at is not None
    return (point.first_token_at - point.started_at) * 1000
