"""docs/sleep.md says what the adapters do and what the specs have."""

import re
from pathlib import Path

import pytest
import yaml

from roost.config import kinds
from roost.config.load import load
from roost.core.step_spec import ConditionSpec, ExpectSpec, StepSpec, WaitSpec
from roost.engines.page import MARKS, builtin_steps_markdown

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sleep.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


def test_the_table_of_built_in_steps_is_that_of_the_adapters() -> None:
    begin, end = (PAGE.index(mark) for mark in MARKS)
    assert PAGE[begin : end + len(MARKS[1])] == builtin_steps_markdown().rstrip(), (
        "put what python -m roost.engines.page prints between the marks of docs/sleep.md"
    )


@pytest.mark.parametrize("section", [StepSpec, ExpectSpec, ConditionSpec, WaitSpec])
def test_every_key_of_a_step_is_named(section: type) -> None:
    for key in kinds.section_fields(section):
        assert f"`{key}`" in PAGE, key


def test_every_key_of_a_step_has_a_row_of_its_own() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert [key for key in rows if key in kinds.section_fields(StepSpec)] == list(kinds.section_fields(StepSpec))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_loads_without_a_problem(block: str) -> None:
    """A part of a model stands in one that has the other list."""
    written = yaml.safe_load(block)
    if "models" not in written:
        other = {"sleep_steps": [{"endpoint": "/s"}], "wake_steps": [{"endpoint": "/w"}]}
        written = {"models": {"a": {"url": "http://127.0.0.1:9000", **other, **written}}}
    loaded = load(yaml.safe_dump(written), file="page", env={}, home="/h", base_dir="/b")
    assert loaded.spec is not None and not loaded.problems


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / "docs" / target).exists()
