"""What log and records show of a call and its answer: never a key, not even a part of one."""

import pytest

from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.core.step_spec import StepSpec
from roost.host.showing import ANSWER_SHOWN, Shower, shower_of

KEY = "sk-" + "K" * 40


@pytest.mark.parametrize("before", range(ANSWER_SHOWN - len(KEY) - 1, ANSWER_SHOWN + 2))
def test_a_key_at_the_cut_is_hidden_before_the_cut(before: int) -> None:
    shown = Shower(KEY).answer(b"x" * before + KEY.encode() + b" rest")
    assert "K" not in shown
    assert len(shown) <= ANSWER_SHOWN


def test_a_key_as_json_spells_it_is_hidden_too() -> None:
    assert Shower('a"b\\ü').answer(b'{"got": "a\\"b\\\\\\u00fc"}') == '{"got": "***"}'


def test_values_of_secret_headers_of_its_own_steps_are_hidden() -> None:
    headers = {"Authorization": "Bearer tok-12345", "X-Api-Key": "abc-987", "X-Trace": "seen", "Cookie": "id=17"}
    step = StepSpec(endpoint="/sleep", headers=headers)
    shower = shower_of(ModelSpec(api_key=KEY, sleep_steps=(StepSpec(endpoint="/a"),), wake_steps=(step,)))
    said = f"not tok-12345, abc-987 (Bearer tok-12345), id=17 nor {KEY}; seen"
    assert shower.text(said) == "not ***, *** (***), *** nor ***; seen"


def test_a_header_too_short_to_be_a_secret_tears_up_no_sentence() -> None:
    step = StepSpec(endpoint="/sleep", headers={"X-Token": "1"})
    assert shower_of(ModelSpec(sleep_steps=(step,))).text("answered 401") == "answered 401"


def test_the_longer_of_two_secrets_is_hidden_first() -> None:
    assert Shower("abcd", ["abcdefgh"]).text("abcdefgh abcd") == "*** ***"


def test_a_body_and_a_query_are_shown_without_their_secrets() -> None:
    shower = Shower(KEY)
    assert shower.sent(Step(path="/a", json={"api_key": "x", "n": [KEY]})) == '{"api_key":"***","n":["***"]}'
    assert shower.text("GET /a?token=abc&level=1") == "GET /a?token=***&level=1"


def test_an_answer_full_of_question_marks_is_read_in_no_time() -> None:
    """1 MiB is the most that is read; a search that looked on from each mark would take hours."""
    assert Shower(None).answer(b"?" * (1 << 20)) == "?" * ANSWER_SHOWN
