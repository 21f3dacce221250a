"""`--wait` of `roost load` and its like: durations as everywhere else, and plain seconds."""

import pytest
import typer

from roost.cli.order_cmd import wait_for


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("2m", 120.0), ("90", 90.0), ("0", 0.0), ("20m", 1200.0)])
def test_a_wait_is_a_duration(text: str, seconds: float) -> None:
    assert wait_for(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"), [("21m", "the longest wait"), ("soon", "not a duration"), ("never", "not a")]
)
def test_what_cannot_be_waited_for_is_said(text: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        wait_for(text)
