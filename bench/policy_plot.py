"""Plots of the policy benchmark (extra `plot`). Called by policy.py."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import policy_table as table

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = ("#4c566a", "#0a7d5c", "#b3541e", "#2563a8", "#9aa0a6")


def plots(rows: Sequence[table.Row], folder: Path) -> list[Path]:
    """Wait and awake memory against the budget, a line for each policy."""
    found = table.sums(rows)
    return [
        _plot(found, folder / "policy-wait.png", "added wait, hours", lambda total: total.wait_s / 3600),
        _plot(found, folder / "policy-awake.png", "memory awake, GiB·h", lambda total: total.awake_gib_s / 3600),
    ]


def _plot(found: table.Sums, path: Path, label: str, figure: Callable[[table.Sum], float]) -> Path:
    shares = sorted({share for share, _ in found})
    policies = list(dict.fromkeys(policy for _, policy in found))
    drawing, axes = pyplot.subplots(figsize=(7, 4.2), dpi=130, layout="constrained")
    for policy, colour in zip(policies, COLOURS, strict=False):
        line = "--" if policy == table.REFERENCE else "-"
        values = [figure(found[share, policy]) for share in shares]
        axes.plot([share * 100 for share in shares], values, line, marker="o", color=colour, label=policy)
    axes.set_xlabel("budget, % of what is asked for at a time")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    drawing.savefig(path)
    pyplot.close(drawing)
    return path
