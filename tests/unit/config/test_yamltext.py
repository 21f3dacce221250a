"""YAML to a tree: lines, kinds, bounds."""

import pytest

from roost.config.tree import Node, find, lines
from roost.config.yamltext import MAX_CHARS, MAX_DEPTH, parse, scalar


def tree(text: str) -> Node:
    root, problems = parse(text)
    assert root is not None and not problems
    return root


def fault(text: str) -> str:
    root, problems = parse(text)
    assert root is None and len(problems) == 1
    return problems[0].render("f")


def test_every_value_has_the_line_of_its_key() -> None:
    root = tree("a:\n  b:\n    - x\n    - y: 1\n\nc:\n  long: |\n    text\n")
    assert lines(root) == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1): 4,
        ("a", "b", 1, "y"): 4,
        ("c",): 6,
        ("c", "long"): 7,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("", None),
        ("007", 7),
        ("0x10", 16),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 61, "9" * 61),
        ("-3", -3),
        (".", "."),
        ("1_000", "1_000"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_a_scalar_keeps_how_it_was_written() -> None:
    node, _ = find(tree("a: 007"), ("a",))
    assert (node.value, node.text) == (7, "007")


def test_quotes_and_tags_decide_the_kind() -> None:
    root = tree("a: '1'\nb: !!str 2\nc: !!int '3'\n4: d\n")
    assert [node.value for node in root.mapping.values()] == ["1", "2", 3, "d"]
    assert list(root.mapping) == ["a", "b", "c", "4"]


def test_a_key_written_twice_is_one_problem_and_the_first_value_stays() -> None:
    root, problems = parse("a: 1\nb: 2\na: 3\n")
    assert root is not None and root.mapping["a"].value == 1
    assert [problem.render("f") for problem in problems] == [
        'f:3: a: key "a" is written twice; the first is on line 1. Keep one of them.'
    ]


def test_merge_keys_take_earlier_sources_first_and_own_keys_before_both() -> None:
    root = tree("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2, d: 2}\nz:\n  <<: [*x, *y]\n  d: 3\n")
    assert {key: node.value for key, node in root.mapping["z"].mapping.items()} == {"a": 1, "b": 1, "c": 2, "d": 3}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert list(tree('"<<": 1').mapping) == ["<<"]


def test_an_alias_stands_at_its_own_place() -> None:
    root = tree("a: &a [1]\nb:\n  c: *a\n")
    node, _ = find(root, ("b", "c"))
    assert (node.path, node.line, node.items[0].line) == (("b", "c"), 3, 1)


def test_a_syntax_error_is_one_problem_with_line_and_hint() -> None:
    assert fault("models:\n\ta: 1\n").startswith("f:2: is not valid YAML:")
    assert "spaces, not tabs" in fault("models:\n\ta: 1\n")
    assert fault("a: b: c\n").endswith('Check the indentation; a value that holds ": " needs quotes.')
    assert "quote a value that holds ${...}" in fault("args: [${x}]\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: !thing 1", "tag !thing is not supported"),
        ("a: !!python/object:os.system x", "tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: !!int x", "x is not of the kind its tag !!int says"),
        ("a: *b", "alias *b is not defined before this line"),
        ("a: &a [*a]", "refers to the value that it is part of"),
        ("a: 1\n---\nb: 2", "f:2: a second document begins here"),
        ("? [a]\n: 1", "a key must be plain text"),
        ("<<: 3", "<< takes a mapping or a list of mappings"),
        ("a: \0", "is not text that YAML allows"),
        ("a: \ud800", "is not text that YAML allows"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    assert sentence in fault(text)


def test_nesting_is_bounded() -> None:
    assert f"nested deeper than {MAX_DEPTH} levels" in fault("[" * 100_000)
    tree("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_an_alias_bomb_is_refused_without_being_built() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "values once its aliases are expanded" in fault("\n".join(rows))


def test_the_size_is_bounded() -> None:
    assert "at most 4,194,304 are read" in fault("#" * (MAX_CHARS + 1))


def test_an_empty_text_is_no_tree_and_no_problem() -> None:
    assert parse("") == (None, ())
    assert parse("# only a comment\n") == (None, ())


def test_a_byte_order_mark_is_skipped() -> None:
    assert list(tree("\ufeffa: 1").mapping) == ["a"]
