"""Every example loads without a problem, as does every YAML block of the reference page that is a whole file."""

import re
from pathlib import Path

import pytest

from roost.config.load import load
from roost.config.reference import reference_markdown

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
ENV = {"ROOST_ADMIN_KEY": "k1", "ROOST_TEAM_A_KEY": "k2", "ROOST_MONITORING_KEY": "k3"}
BLOCKS = [block for block in re.findall(r"```yaml\n(.*?)```", reference_markdown(), re.S) if "models:" in block]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_no_problem(path: Path) -> None:
    loaded = load(path.read_text(), file=path.name, env=ENV, home="/home/u", base_dir="/srv")
    assert loaded.spec is not None and not loaded.problems


def test_the_examples_are_there_and_the_smallest_has_three_lines() -> None:
    assert len(EXAMPLES) == 13
    assert len((EXAMPLES[0].parent / "minimal.yaml").read_text().splitlines()) == 3


@pytest.mark.parametrize("text", BLOCKS)
def test_a_block_of_the_page_has_no_problem(text: str) -> None:
    assert not load(text, file="page", env={}, home="/home/u", base_dir="/srv").problems
