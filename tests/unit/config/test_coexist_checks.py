"""Checks of `memory.groups` and `memory.matrix`: each fault with its line and the way out."""

import pytest

from tests.unit.config.reading import errors_of, problems_of, spec_of

MODELS = """models:
  a: {engine: simulated, aliases: [nick]}
  b: {engine: simulated}
  org/c-7b: {engine: simulated}
"""


def grouped(*lines: str) -> str:
    return MODELS + "memory:\n  groups:\n" + "".join(f"    {line}\n" for line in lines)


def matrix(*lines: str) -> str:
    return MODELS + "memory:\n  matrix:\n" + "".join(f"    {line}\n" for line in lines)


def test_groups_that_can_be() -> None:
    spec = spec_of(grouped("big: {members: [a, b]}", "kept: {members: [org/c-7b], persistent: true, swap: false}"))
    assert list(spec.memory.groups) == ["big", "kept"]
    assert not problems_of(grouped("big: {members: [a, b]}"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("big: {members: [a, zz]}",), 'f:7: memory.groups.big.members.1: "zz" is not a model. Models are: a, b, '),
        (("big: {members: [org/c-8b]}",), 'f:7: memory.groups.big.members.0: "org/c-8b" is not a model. Did you mean '),
        (("big: {members: [nick]}",), '"nick" is not a model. It is another name of "a"; write that.'),
        (
            ("big: {members: [a]}", "small: {members: [b, a]}"),
            'f:8: memory.groups.small.members.1: "a" is in group "big" already. A model is in one group at most',
        ),
        (("big: {members: [a, a]}",), '"a" is in group "big" already'),
    ],
)
def test_groups_that_cannot_be(lines: tuple[str, ...], said: str) -> None:
    (problem,) = errors_of(grouped(*lines))
    assert said in problem


def test_a_group_of_nobody_is_said() -> None:
    (problem,) = problems_of(grouped("big: {members: []}"))
    assert problem.startswith("f:7: warning: memory.groups.big: has no members, so it does nothing")


def test_pinned_models_that_exclude_each_other() -> None:
    pinned = grouped("big: {members: [a, b]}").replace("{engine: simulated}", "{engine: simulated, pin: true}")
    (problem,) = errors_of(pinned.replace("aliases: [nick]", "pin: true"))
    assert "f:7: memory.groups.big: runs one member at a time, but 2 are pinned (a, b). Pin one at most" in problem
    assert not problems_of(pinned)


def test_groups_and_matrix_exclude_each_other() -> None:
    text = matrix("sets: {s: a & b}") + "  groups:\n    big: {members: [a]}\n"
    (problem,) = errors_of(text)
    assert problem.startswith("f:6: memory.matrix: groups and matrix exclude each other. Keep one")


def test_a_matrix_that_can_be() -> None:
    text = matrix(
        "names: {c: org/c-7b}", "sets: {s: a & (b | org/c-7b), t: +s | c & b}", "evict_costs: {c: 5, nick: 1, a: 2}"
    )
    assert not problems_of(text.replace("nick: 1, ", ""))
    (problem,) = errors_of(text)
    assert 'f:9: memory.matrix.evict_costs.nick: "nick" is neither a name nor a model' in problem


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("names: {x: nobody}", 'f:7: memory.matrix.names.x: "nobody" is not a model. Known: a, b'),
        ("names: {'x y': a}", 'memory.matrix.names.x y: "x y" cannot stand in a set. A short name is one word'),
        ("sets: {s: a & org/c-8b}", 'f:7: memory.matrix.sets.s: at character 5: "org/c-8b" is neither a name nor a '),
        ("sets: {s: a & +t, u: b}", 'at character 5: there is no set "t"'),
        ("sets: {s: a & (b}", 'at character 7: expected ")", found the end'),
        ("sets: {s: +t, t: b | +s}", "refers to itself (s -> t -> s)"),
        ("evict_costs: {a: 0}", "memory.matrix.evict_costs.a: 0 is not a whole number of 1 or more"),
    ],
)
def test_a_matrix_that_cannot_be(line: str, said: str) -> None:
    assert any(said in problem for problem in errors_of(matrix(line))), errors_of(matrix(line))


def test_names_that_set_parameters_are_names() -> None:
    text = """
    models:
      a:
        engine: simulated
        aliases: [nick]
        set_params_by_name: {a: {seed: 1}, nick: {seed: 2}, "a:hot": {temperature: 2}, b: {seed: 3}, "x?": {seed: 4}}
      b: {engine: simulated}
    """
    assert errors_of(text) == [
        'f:5: models.a.set_params_by_name.b: "b" already names the model "b" itself. Choose another name.',
        "f:5: models.a.set_params_by_name.x?: the name holds '?', which cannot stand in a URL path. "
        "Choose another name.",
    ]
