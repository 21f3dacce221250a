"""What a sane answer is, and when two answers are the same."""

import math
from dataclasses import replace
from typing import Any

import pytest

from roost.core.spec import ModelSpec, Task
from roost.core.step import Step
from roost.engines.base import Adapter
from roost.engines.common import openai_verify
from roost.engines.llamacpp import LLAMACPP
from roost.engines.questions import DOCUMENTS, Answer, Form, differ, form_of, question, read, recorded
from roost.engines.registry import ADAPTERS
from roost.engines.simulated import SIMULATED

TASKS = (Task.GENERATE, Task.EMBED, Task.RERANK)


def text(said: str) -> dict[str, Any]:
    return {"choices": [{"text": said, "finish_reason": "length"}]}


def chat(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "length"}]}


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS.values() if str(one.kind) != "command"])
@pytest.mark.parametrize("task", TASKS)
def test_every_adapter_verifies_by_a_request_whose_answer_can_be_read(adapter: Adapter, task: Task) -> None:
    asked = question(adapter.verify(ModelSpec(task=task), "m"))
    assert asked is not None
    assert asked.json["model"] == "m"
    if task is Task.GENERATE:
        assert (asked.json["temperature"], asked.json["max_tokens"]) == (0, 8)
        assert "seed" in asked.json


def test_the_question_keeps_path_and_limit_of_the_verifying_request() -> None:
    verify = LLAMACPP.verify(ModelSpec(start_timeout=77), "m")
    asked = question(verify)
    assert asked is not None
    assert (asked.path, asked.timeout_s) == (verify.path, 77)
    ranked = question(openai_verify(ModelSpec(task=Task.RERANK), "m"))
    assert ranked is not None
    assert ranked.json["documents"] == list(DOCUMENTS)


def test_a_health_path_has_no_question() -> None:
    verify = SIMULATED.verify(ModelSpec(task=Task.OTHER), "m")
    assert form_of(verify) is None
    assert question(verify) is None
    assert question(Step(path="/v1/completions", text="{}")) is None


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [
        (Form.TEXT, text(" eight"), " eight"),
        (Form.TEXT, text(""), ""),
        (Form.CHAT, chat(content="eight"), "eight"),
        (Form.CHAT, chat(content=None, reasoning_content="Let me see"), "Let me see"),
        (Form.CHAT, chat(content=None), ""),
    ],
)
def test_text_is_read(form: Form, body: object, said: str) -> None:
    assert read(form, body).text == said


@pytest.mark.parametrize(
    ("form", "body", "numbers"),
    [
        (Form.VECTOR, {"data": [{"embedding": [0.5, 1]}]}, (0.5, 1.0)),
        (Form.VECTOR, {"data": [{"embedding": [[0.5], [1.0]]}]}, (0.5, 1.0)),
        (
            Form.SCORES,
            {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]},
            (0.1, 0.9),
        ),
        (Form.SCORES, [{"score": 0.3}, {"score": 0.2}], (0.3, 0.2)),
    ],
)
def test_numbers_are_read_in_the_order_of_what_was_asked(form: Form, body: object, numbers: tuple[float, ...]) -> None:
    assert read(form, body).numbers == numbers


@pytest.mark.parametrize(
    ("form", "body", "why"),
    [
        (Form.TEXT, {}, "no choices"),
        (Form.TEXT, None, "no choices"),
        (Form.TEXT, {"choices": [{"finish_reason": "length"}]}, "no text"),
        (Form.TEXT, {"choices": [{"text": "x", "finish_reason": "abort"}]}, "'abort'"),
        (Form.CHAT, {"choices": [{"finish_reason": "stop"}]}, "no text"),
        (Form.CHAT, {"error": {"message": "no"}}, "no choices"),
        (Form.VECTOR, {"data": [{"embedding": None}]}, "no embedding"),
        (Form.VECTOR, {"data": [{"embedding": [1.0, math.nan]}]}, "no finite number"),
        (Form.VECTOR, {"data": [{"embedding": [1.0, None]}]}, "no finite number"),
        (Form.VECTOR, {"data": [{"embedding": [0.0, 0.0]}]}, "all zeros"),
        (Form.SCORES, {"results": []}, "no results"),
        (Form.SCORES, {"results": [{"index": 0, "relevance_score": math.inf}]}, "no finite score"),
    ],
)
def test_what_is_not_sane_is_named(form: Form, body: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(form, body)


def test_texts_must_be_equal_and_are_shown_short() -> None:
    one = Answer(form=Form.TEXT, text="eight, nine")
    assert differ(one, one) == ""
    assert differ(one, replace(one, text="!" * 200)) == f"'eight, nine' then, '{'!' * 60}...' now"


def test_vectors_have_a_tolerance() -> None:
    one = Answer(form=Form.VECTOR, numbers=(0.6, 0.8))
    assert differ(one, replace(one, numbers=(0.605, 0.796))) == ""
    assert "[0.6, 0.8] then, [0.7, 0.71] now" in differ(one, replace(one, numbers=(0.7, 0.71)))
    assert differ(one, replace(one, numbers=(0.6,)))


def test_scores_have_a_tolerance() -> None:
    one = Answer(form=Form.SCORES, numbers=(0.01, 9.0))
    assert differ(one, replace(one, numbers=(0.02, 9.1))) == ""
    assert differ(one, replace(one, numbers=(0.05, 9.0)))
    assert differ(one, replace(one, numbers=(0.01, 9.3)))


def test_an_answer_survives_its_record() -> None:
    for answer in (Answer(form=Form.TEXT, text="eight"), Answer(form=Form.VECTOR, numbers=(0.5, 1.0))):
        assert recorded(answer.record()) == answer
    for broken in (None, {}, {"form": "a poem"}, {"form": "a completion", "text": 1, "numbers": []}):
        assert recorded(broken) is None
