"""How the config tests load a text: one folder, one home, one environment."""

import re
from collections.abc import Mapping
from textwrap import dedent

from roost.config.load import Loaded, load
from roost.core.problems import Problem
from roost.core.spec import ModelSpec, RoostSpec

BASE, HOME = "/etc/roost", "/home/u"


def read(text: str, env: Mapping[str, str] | None = None) -> Loaded:
    return load(dedent(text).lstrip("\n"), file="roost.yaml", env=env or {}, home=HOME, base_dir=BASE)


def spec_of(text: str, env: Mapping[str, str] | None = None) -> RoostSpec:
    """The spec of a text without errors."""
    loaded = read(text, env)
    assert loaded.spec is not None, said(loaded.problems)
    return loaded.spec


def model_of(text: str, env: Mapping[str, str] | None = None) -> ModelSpec:
    """The first model of a text without errors."""
    return next(iter(spec_of(text, env).models.values()))


def said(problems: tuple[Problem, ...]) -> list[str]:
    """Without the step numbers that stand beside a path: one test sees to them."""
    return [re.sub(r" \(step \d+\)(?=: )", "", problem.render("f")) for problem in problems]


def problems_of(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    return said(read(text, env).problems)


def errors_of(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    loaded = read(text, env)
    assert loaded.spec is None
    return said(loaded.problems)
