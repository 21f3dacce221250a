"""A measurement as a picture: latency over time with the times asleep, and how latencies are distributed.

Needs matplotlib (extra `plot`), imported only here and only when a picture is wanted. Called by `bench_cmd`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roost.loadgen.plan import PlanError
from roost.loadgen.report import Report, Sample

KINDS = (".png", ".svg", ".pdf")
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
    axes.plot(
        [p.started_at - began for p in good], [p.ended_at - p.started_at for p in good], ".", ms=3, color="#555555"
    )
    first = [p for p in good if p.first_token_at is not None]
    axes.plot([p.started_at - began for p in first], [_ttft(p) for p in first], ".", ms=3, color="#c8553d")
    axes.plot([p.started_at - began for p in bad], [p.ended_at - p.started_at for p in bad], "x", ms=4, color="black")
    axes.set_yscale("log")
    axes.set_xlim(0, max(report.duration_s, 1e-3))
    axes.set_title(name.replace("$", r"\$"), loc="left", fontsize=9)
    axes.set_xlabel("s since the start (shaded: asleep)", fontsize=8)
    axes.set_ylabel("s", fontsize=8)
    _rate(axes, points, report)


def _rate(axes: Any, points: Sequence[Sample], report: Report) -> None:
    """Arrivals a second in the background, where all of them are known."""
    if not points or len(report.points) < report.total.requests:
        return
    width = max(report.duration_s / 60, 1.0)
    behind = axes.twinx()
    bins = [index * width for index in range(int(report.duration_s / width) + 2)]
    weights = [1 / width] * len(points)
    starts = [point.started_at - report.began_at for point in points]
    behind.hist(starts, bins=bins, weights=weights, color="#999999", alpha=0.25)
    behind.set_ylabel("requests/s", fontsize=8)


def _distribution(axes: Any, points: Sequence[Sample]) -> None:
    good = [point for point in points if point.error is None]
    shown = (
        ("e2e", "#555555", [point.ended_at - point.started_at for point in good]),
        ("TTFT", "#c8553d", [_ttft(point) for point in good if point.first_token_at is not None]),
    )
    for label, colour, values in shown:
        if values:
            ordered = sorted(values)
            shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=colour, label=label)
            axes.legend(fontsize=8)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel("s", fontsize=8)
    axes.set_title("share answered within", loc="left", fontsize=9)


def _ttft(point: Sample) -> float:
    assert point.first_token_at is not None
    return point.first_token_at - point.started_at
