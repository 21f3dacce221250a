"""Reading the sleep state from a metrics page."""

import pytest

from roost.engines.gauge import levels_shown
from roost.engines.vllm import SLEEP_GAUGE


def _page(*ones: str, engine: int = 0, value: str = "1.0") -> str:
    lines = ["# HELP vllm:engine_sleep_state Engine sleep state", "# TYPE vllm:engine_sleep_state gauge"]
    for state in ("awake", "weights_offloaded", "discard_all"):
        shown = value if state in ones else "0.0"
        lines.append(f'vllm:engine_sleep_state{{engine="{engine}",model_name="a{{}}",sleep_state="{state}"}} {shown}')
    return "\n".join((*lines, 'vllm:num_requests_running{engine="0"} 1.0', "up 1", ""))


@pytest.mark.parametrize(
    ("page", "levels"),
    [
        (_page("awake"), {0}),
        (_page("weights_offloaded"), {1}),
        (_page("discard_all", value="1 1395066363000"), {2}),
        (_page("awake") + _page("discard_all", engine=1), {0, 2}),
        (_page(), set()),
        ("", set()),
        ('vllm:engine_sleep_state{sleep_state="awake"}', set()),
        ('vllm:engine_sleep_state{sleep_state="awake"} much', set()),
        ('vllm:engine_sleep_state_created{sleep_state="awake"} 1.0', set()),
    ],
)
def test_the_state_that_is_set_names_the_level(page: str, levels: set[int]) -> None:
    assert levels_shown(SLEEP_GAUGE, page) == levels
