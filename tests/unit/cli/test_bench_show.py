"""The comparison of two reports, and the options of a measurement."""

from typing import Any

import pytest
from rich.console import Console

from roost.cli.bench_cmd import _without
from roost.cli.bench_show import comparison
from roost.loadgen.plan import PlanError


def report(rate: float, ttft: float, model: str = "a") -> dict[str, Any]:
    figures = {"requests_per_s": rate, "ttft_s": {"p50": ttft, "p99": ttft * 2}, "tokens_per_s": None, "wakes_met": 0}
    return {"models": {model: figures}}


def shown(first: dict[str, Any], second: dict[str, Any]) -> str:
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(comparison(first, second, ("A.json", "B.json")))
    return captured.get()


def test_a_comparison_has_a_row_for_each_figure_that_both_know() -> None:
    text = shown(report(10.0, 0.1), report(20.0, 0.05))
    rows = {" ".join(line.split()[1:3]) if "req" not in line else "req/s": line.split() for line in text.splitlines()}
    assert "B.json against A.json" in text
    assert rows["req/s"][-3:] == ["10", "20", "2.00"]
    assert rows["TTFT p50,"][-3:] == ["100", "50", "0.50"]
    assert "tok/s" not in text
    assert "1.00" in next(line for line in text.splitlines() if "wakes met" in line)


def test_better_and_worse_follow_the_figure() -> None:
    table = comparison(report(10.0, 0.1), report(20.0, 0.2), ("A", "B"))
    ratios = list(table.columns[-1].cells)
    assert [str(getattr(cell, "style", "")) for cell in ratios[:2]] == ["green", "red"]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [({}, report(1, 1), "A is no report"), (report(1, 1), report(1, 1, "b"), "no model in common")],
)
def test_what_cannot_be_compared_is_said(first: dict[str, Any], second: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        comparison(first, second, ("A", "B"))


def test_the_command_line_of_a_session_is_that_of_the_user_without_what_chooses() -> None:
    words = ["bench", "--config", "f", "--tmux", "--model", "a", "--rate", "3", "--model=b"]
    assert _without(words, flags=("--tmux",), options=("--model",)) == ["bench", "--config", "f", "--rate", "3"]
