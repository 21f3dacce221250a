"""Samples to figures: medians, the one table, and the ratios with their targets.

Pure functions over the samples of cells.py. A sample is disturbed when other processes took more CPU than allowed;
medians leave disturbed samples out as long as at least half of the rounds remain, and are marked ~ otherwise.
"""

import statistics
from dataclasses import dataclass
from typing import Literal

from parts.cells import CELLS, Sample
from parts.peers import DIRECT


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure of a cell, shown after division, with its range if `spread`."""

    cell: str
    label: str
    figure: str
    per: float = 1.0
    digits: int = 0
    spread: bool = False
    added: bool = False


ROWS = (
    Row("low", "added latency p50, µs", "lat_p50", spread=True, added=True),
    Row("low", "added latency p99, µs", "lat_p99", spread=True, added=True),
    Row("c1", "requests/s", "rps"),
    Row("c32", "requests/s", "rps"),
    Row("c32", "CPU µs per request", "cpu_us", digits=1, spread=True),
    Row("c32", "latency p50, ms", "lat_p50", 1000, 2),
    Row("c32", "latency p99, ms", "lat_p99", 1000, 2),
    Row("c256", "requests/s", "rps"),
    Row("c256", "CPU µs per request", "cpu_us", digits=1),
    Row("c256", "latency p99, ms", "lat_p99", 1000, 1),
    Row("p100k", "requests/s", "rps"),
    Row("p100k", "CPU µs per request", "cpu_us", spread=True),
    Row("p1m", "requests/s", "rps"),
    Row("p1m", "CPU µs per request", "cpu_us", spread=True),
    Row("s32", "chunk transit p50, µs", "transit_p50"),
    Row("s32", "chunk transit p99, µs", "transit_p99", spread=True),
    Row("s256", "chunks/s", "chunks_s"),
    Row("s256", "CPU µs per chunk", "cpu_us", digits=1, spread=True),
    Row("s256", "chunk transit p50, ms", "transit_p50", 1000, 2),
    Row("s256", "chunk transit p99, ms", "transit_p99", 1000, 2, spread=True),
    Row("s256", "TTFB p99, ms", "ttfb_p99", 1000, 1),
    Row("s1000", "chunks/s", "chunks_s"),
    Row("s1000", "CPU µs per chunk", "cpu_us", digits=1, spread=True),
    Row("s1000", "chunk transit p50, ms", "transit_p50", 1000, 2),
    Row("s1000", "chunk transit p99, ms", "transit_p99", 1000, 2, spread=True),
    Row("s1000", "TTFB p99, ms", "ttfb_p99", 1000, 1),
    Row("s1000", "memory, MB", "loaded_mb"),
    Row("s1000", "memory above idle, MB", "above_idle_mb", spread=True),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the subject must reach. `ratio` and `difference` compare with `against` in the same round."""

    cell: str
    label: str
    figure: str
    kind: Literal["ratio", "difference", "value"]
    limit: float
    against: str = ""
    unit: str = ""


TARGETS = (
    Target("c32", "CPU per request", "cpu_us", "ratio", 0.6, "vllm-router"),
    Target("c32", "CPU per request", "cpu_us", "ratio", 2.5, "nginx"),
    Target("s256", "CPU per chunk", "cpu_us", "ratio", 1.3, "vllm-router"),
    Target("s256", "CPU per chunk", "cpu_us", "ratio", 1.75, "nginx"),
    Target("p100k", "CPU per request", "cpu_us", "ratio", 0.8, "vllm-router"),
    Target("s1000", "memory above idle", "above_idle_mb", "value", 60, unit="MB"),
    Target("s1000", "chunk transit p99", "transit_p99", "ratio", 1.0, "vllm-router"),
    Target("low", "latency p50", "lat_p50", "difference", 0, "vllm-router", "µs"),
    Target("low", "latency p99", "lat_p99", "difference", 0, "vllm-router", "µs"),
)


class Samples:
    """All samples of a run, by peer and cell."""

    def __init__(self, samples: list[Sample], quiet: float) -> None:
        self.quiet = quiet
        self.by: dict[tuple[str, str], dict[int, Sample]] = {}
        for s in samples:
            self.by.setdefault((s["peer"], s["cell"]), {})[s["round"]] = s

    def disturbed(self, sample: Sample) -> bool:
        """Whether other processes took more CPU than allowed while it was taken."""
        return bool(sample["other_cpu"] > self.quiet)

    def series(self, peer: str, cell: str, figure: str, minus: str = "", over: str = "") -> tuple[list[float], bool]:
        """A figure over the rounds, and whether disturbed samples had to be kept.

        `minus` and `over` name a peer whose figure of the same round is taken off, or divided by.
        """
        base = self.by.get((minus or over, cell), {})
        clean: list[float] = []
        every: list[float] = []
        for number, sample in self.by.get((peer, cell), {}).items():
            other = base.get(number)
            value = _combined(sample.get(figure), other.get(figure) if other else None, minus, over)
            if value is None:
                continue
            every.append(value)
            if not self.disturbed(sample) and not (other and self.disturbed(other)):
                clean.append(value)
        return (clean, False) if clean and len(clean) * 2 >= len(every) else (every, bool(every))

    def failed(self, peer: str, cell: str) -> bool:
        """Whether any sample had errors or answers other than 200."""
        return any(s["failed"] for s in self.by.get((peer, cell), {}).values())


def _combined(value: float | None, other: float | None, minus: str, over: str) -> float | None:
    if value is None or ((minus or over) and other is None):
        return None
    if minus and other is not None:
        return value - other
    if over:
        return value / other if other else None
    return value


def _cell_text(samples: Samples, peer: str, row: Row) -> str:
    if row.added and peer == DIRECT:
        values, kept = samples.series(peer, row.cell, row.figure)
    else:
        values, kept = samples.series(peer, row.cell, row.figure, minus=DIRECT if row.added else "")
    if not values or (peer == DIRECT and row.figure in ("cpu_us", "loaded_mb", "above_idle_mb")):
        return "-"
    middle, low, high = (v / row.per for v in (statistics.median(values), min(values), max(values)))
    text = f"{middle:,.{row.digits}f}"
    if row.added and peer == DIRECT:
        text = f"(itself {text})"
    elif row.spread and len(values) > 1:
        text += f" ({low:,.{row.digits}f}–{high:,.{row.digits}f})"
    return text + ("~" if kept else "") + ("!" if samples.failed(peer, row.cell) else "")


def table(samples: Samples, names: list[str]) -> str:
    """The one table: a line for each figure, a column for each proxy."""
    lines = ["| load | figure | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for row in ROWS:
        cells = [_cell_text(samples, name, row) for name in names]
        if any(c != "-" for c in cells):
            lines.append(f"| {CELLS[row.cell].title} | {row.label} | " + " | ".join(cells) + " |")
    idle = {
        n: [s["idle_mb"] for (p, _), rounds in samples.by.items() if p == n for s in rounds.values()] for n in names
    }
    shown = [f"{statistics.median(v):,.0f}" if v and n != DIRECT else "-" for n, v in idle.items()]
    lines.append("| none | memory at idle, MB | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def judged(samples: Samples, subject: str) -> list[dict[str, object]]:
    """Each target with the subject's figure, its range, and whether it is met (None: not measured)."""
    found: list[dict[str, object]] = []
    for t in TARGETS:
        over = t.against if t.kind == "ratio" else ""
        minus = t.against if t.kind == "difference" else ""
        values, kept = samples.series(subject, t.cell, t.figure, minus, over)
        middle = statistics.median(values) if values else None
        found.append(
            {
                "load": CELLS[t.cell].title,
                "figure": f"{t.label}{ {'ratio': ' / ', 'difference': ' − ', 'value': ''}[t.kind] }{t.against}",
                "limit": t.limit,
                "unit": t.unit,
                "median": middle,
                "min": min(values) if values else None,
                "max": max(values) if values else None,
                "disturbed": kept,
                "met": None if middle is None else middle <= t.limit,
            }
        )
    return found


def targets_table(samples: Samples, subject: str) -> str:
    """The targets as Markdown."""
    lines = [f"| load | {subject} | target | median (min–max) | |", "|---|---|---|---|---|"]
    for j in judged(samples, subject):
        unit = f" {j['unit']}" if j["unit"] else ""
        shown = "-"
        if j["median"] is not None:
            digits = 0 if j["unit"] else 2
            shown = f"{j['median']:.{digits}f} ({j['min']:.{digits}f}–{j['max']:.{digits}f}){unit}"
        verdict = {None: "not measured", True: "met", False: "missed"}[j["met"]]  # type: ignore[index]
        mark = "~" if j["disturbed"] else ""
        lines.append(f"| {j['load']} | {j['figure']} | ≤ {j['limit']:g}{unit} | {shown}{mark} | {verdict} |")
    return "\n".join(lines)
