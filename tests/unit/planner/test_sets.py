"""The sets of a matrix: how they are read, and that choosing in them does not grow with what they allow."""

import pytest

from roost.core.matrix import MAX_DEPTH, compiled
from roost.core.memory_spec import MatrixSpec
from roost.planner.sets import best

MODELS = ["a", "b", "c", "org/model-7b", "x+y"]


def kept(text: str, newcomer: str, *running: str, **matrix: dict[str, str]) -> set[str]:
    made = compiled(MatrixSpec(sets={"s": text}, **matrix), MODELS)  # type: ignore[arg-type]
    assert made.faults == ()
    found = best(made, newcomer, dict.fromkeys(running, 1))
    assert found is not None
    return set(found.kept)


def test_and_binds_closer_than_or() -> None:
    assert kept("a & b | c", "a", "b", "c") == {"a", "b"}
    assert kept("a & (b | c)", "a", "b", "c") == {"a", "b"}
    assert kept("a & b | c", "c", "a", "b") == {"c"}
    assert kept("a&(c|b)", "a", "b", "c") == {"a", "c"}


def test_ids_may_hold_slashes_dashes_and_a_plus_inside() -> None:
    assert kept("org/model-7b & x+y", "x+y", "org/model-7b") == {"x+y", "org/model-7b"}


def test_a_short_name_wins_over_an_id() -> None:
    assert kept("a & c", "b", "c", names={"a": "b"}) == {"b", "c"}


def test_parts_that_name_the_same_models_are_chosen_together() -> None:
    """Any two of three, written as one of them twice."""
    assert kept("(a|b|c) & (a|b|c)", "c", "a", "b") == {"a", "c"}
    assert kept("(a|b|c) & (a|b|c)", "b", "c") == {"b", "c"}


def test_of_equals_the_alternative_written_first() -> None:
    assert kept("a & (b|c)", "a", "b", "c") == {"a", "b"}
    assert kept("(a|b) & (a|c)", "a", "b", "c") == {"a", "c"}
    assert kept("(a|c) & (a|b)", "a", "b", "c") == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a &", 'at character 4: expected a name, "(" or "+" with the name of a set, found the end'),
        ("a b", 'at character 3: expected "&", "|" or the end, found "b"'),
        ("(a | b", 'at character 7: expected ")", found the end'),
        ("a )", 'at character 3: expected "&", "|" or the end, found ")"'),
        ("& a", 'at character 1: expected a name, "(" or "+" with the name of a set, found "&"'),
        ("a & nobody", 'at character 5: "nobody" is neither a name nor a model'),
        ("a | +nothing", 'at character 5: there is no set "nothing"'),
        ("a & +s", "at character 5: refers to itself (s -> s)"),
        ("(" * 60 + "a" + ")" * 60, f"has parentheses more than {MAX_DEPTH} deep"),
    ],
)
def test_faults_have_their_place_in_the_text(text: str, message: str) -> None:
    (fault,) = compiled(MatrixSpec(sets={"s": text}), MODELS).faults
    assert (fault.place, fault.message) == (("sets", "s"), message)


def test_long_chains_of_references_are_bounded() -> None:
    sets = {f"s{number}": f"+s{number + 1}" for number in range(2000)} | {"s2000": "a"}
    assert any("more than 50 deep" in fault.message for fault in compiled(MatrixSpec(sets=sets), MODELS).faults)


def test_a_set_with_a_fault_allows_nothing() -> None:
    made = compiled(MatrixSpec(sets={"bad": "a & nobody", "good": "b | c"}), MODELS)
    assert best(made, "a", {"b": 1}) is None
    assert [name for name, _ in made.sets] == ["good"]


def test_the_work_grows_with_what_runs_and_not_with_what_is_allowed() -> None:
    """2 to the power of 60 combinations, and references that double."""
    models = [f"{side}{number}" for number in range(60) for side in "ab"]
    wide = " & ".join(f"(a{number} | b{number})" for number in range(60))
    doubling = {f"d{number}": f"+d{number - 1} & +d{number - 1}" for number in range(1, 8)}
    matrix = compiled(MatrixSpec(sets={"d0": wide, **doubling}), models)
    running = {f"a{number}": 1 for number in range(60)}
    found = best(matrix, "b7", running)
    assert found is not None
    assert set(found.kept) == set(running) - {"a7"} | {"b7"}


def test_past_the_bound_the_choice_is_still_allowed() -> None:
    models = [f"m{number}" for number in range(24)]
    any_one = f"({' | '.join(models)})"
    matrix = compiled(MatrixSpec(sets={"s": " & ".join([any_one] * 12)}), models)
    found = best(matrix, "m23", dict.fromkeys(models[:23], 1))
    assert found is not None
    assert "m23" in found.kept
    assert len(found.kept) <= 12
