"""Prompts: made to a length, or from a file in turn."""

from random import Random

import pytest

from roost.loadgen.plan import PlanError
from roost.loadgen.prompts import Prompts, as_text, read


def test_made_prompts_have_their_length_and_never_repeat() -> None:
    prompts = Prompts((), 12, Random(0))
    given = [str(prompts.next(None)) for _ in range(200)]
    assert {len(one.split()) for one in given} == {12}
    assert len({one.split()[0] for one in given}) == 200
    assert len(str(prompts.next(3)).split()) == 3
    assert len(str(prompts.next(1)).split()) == 1


def test_a_file_of_lines_or_of_json_lines_is_taken_in_turn() -> None:
    lines = Prompts(read("one\n\n two \n", "f.txt"), 5, Random(0))
    assert [lines.next(None) for _ in range(3)] == ["one", " two ", "one"]
    text = '{"prompt": "p"}\n{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}\n'
    one, chat = read(text, "f.jsonl")
    assert one == "p"
    assert as_text(chat) == "s\nu"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\n", "holds no prompt"),
        ('{"prompt": "p"}\n{"text": "x"}', "f:2 has neither"),
        ('{"prompt": "p"}\nplain', "f:2 is not JSON"),
        ('{"messages": []}', "f:1 has neither"),
        ("x\n" * 100_001, "at most 100000"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        read(text, "f")
