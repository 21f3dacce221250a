"""What a verifying request asks and what its answer must look like; the canary's fixed question, and whether two
answers to it are the same.

An engine whose weights are gone answers status 200 like any other, so the status alone proves nothing. Pure: never
calls anything. Called by `host/canary.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, assert_never

from roost.core.step import Step

PROMPT = "Count on in words: one, two, three, four, five, six, seven,"
"""A sound model is sure how this goes on, so that the noise of batching does not turn its answer."""
DOCUMENTS = ("A lake is water that land surrounds.", "Bread is baked in an oven.", "Seven is followed by eight.")
GREEDY: Mapping[str, Any] = {"max_tokens": 8, "temperature": 0, "seed": 7}
MAX_NUMBERS = 256
"""Of a vector that is kept: enough to know it again, and small in the record of the state directory."""
VECTOR_TOLERANCE = 0.05
"""Length of the difference by length of the vector: half precision makes some thousandths, wrong weights about 1.4."""
SCORE_TOLERANCE = 0.02
"""Of a score, absolute and again by its size."""
SHOWN = 60
_BROKEN_ENDS = frozenset({"abort", "error"})


class Form(StrEnum):
    """What a request asks for; each has an answer of its own form."""

    CHAT = "a chat completion"
    TEXT = "a completion"
    VECTOR = "embeddings"
    SCORES = "a ranking"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an engine said: a text, or numbers (the first vector, or scores in the order of the documents)."""

    form: Form
    text: str = ""
    numbers: tuple[float, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing in it tells sound weights from others."""
        return not self.text.strip() and not self.numbers

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"form": str(self.form), "text": self.text, "numbers": list(self.numbers)}


def recorded(value: object) -> Answer | None:
    """The answer of a record; None where it holds none."""
    if not isinstance(value, dict) or value.get("form") not in list(Form):
        return None
    text, numbers = value.get("text"), value.get("numbers")
    if not isinstance(text, str) or not isinstance(numbers, list) or not all(map(_is_number, numbers)):
        return None
    return Answer(form=Form(value["form"]), text=text, numbers=tuple(numbers))


def form_of(step: Step) -> Form | None:
    """What a verifying request asks for; None where its status is all there is (a health path)."""
    if step.method != "POST":
        return None
    ends = (("/chat/completions", Form.CHAT), ("/completions", Form.TEXT), ("/embeddings", Form.VECTOR))
    for end, form in (*ends, ("/rerank", Form.SCORES)):
        if step.path.endswith(end):
            return form
    return None


def question(verify: Step) -> Step | None:
    """The canary's request, made of the verifying one; None where no fixed answer can be asked for."""
    form = form_of(verify)
    if form is None or not isinstance(verify.json, dict):
        return None
    return replace(verify, json={**verify.json, **_asked(form)})


def _asked(form: Form) -> dict[str, Any]:
    match form:
        case Form.CHAT:
            return {"messages": [{"role": "user", "content": PROMPT}], **GREEDY}
        case Form.TEXT:
            return {"prompt": PROMPT, **GREEDY}
        case Form.VECTOR:
            return {"input": PROMPT}
        case Form.SCORES:
            return {"query": "What comes after seven?", "documents": list(DOCUMENTS)}
        case _:
            assert_never(form)


# reading answers


def read(form: Form, body: object) -> Answer:
    """The answer in a decoded body. Raises ValueError with what is wrong with it."""
    match form:
        case Form.CHAT | Form.TEXT:
            return Answer(form=form, text=_text(form, body))
        case Form.VECTOR:
            return Answer(form=form, numbers=_vector(body))
        case Form.SCORES:
            return Answer(form=form, numbers=_scores(body))
        case _:
            assert_never(form)


def _text(form: Form, body: object) -> str:
    choice = _first(body, "choices")
    finish = choice.get("finish_reason")
    if finish in _BROKEN_ENDS:
        raise ValueError(f"the answer ends with finish_reason {finish!r}")
    if form is Form.TEXT:
        parts = [choice.get("text")]
    else:
        message = choice.get("message")
        known = message if isinstance(message, dict) else {}
        parts = [known.get(key) for key in ("reasoning_content", "reasoning", "content")]
    said = [part for part in parts if isinstance(part, str)]
    # A model that thinks first may have said nothing yet: null beside the role is a whole message.
    if not said and not (form is Form.CHAT and isinstance(choice.get("message"), dict)):
        raise ValueError("choices[0] has no text")
    return "".join(said)


def _vector(body: object) -> tuple[float, ...]:
    numbers = _first(body, "data").get("embedding")
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], list):
        numbers = [number for row in numbers if isinstance(row, list) for number in row]  # one vector a token
    if not isinstance(numbers, list) or not numbers:
        raise ValueError("data[0] has no embedding")
    if not all(map(_is_number, numbers)):
        raise ValueError("the embedding holds something that is no finite number")
    if not any(numbers):
        raise ValueError("the embedding is all zeros")
    return tuple(map(float, numbers[:MAX_NUMBERS]))


def _scores(body: object) -> tuple[float, ...]:
    rows = body if isinstance(body, list) else _field(body, "results") or _field(body, "data")
    if not isinstance(rows, list) or not rows:
        raise ValueError("there are no results")
    scored: dict[int, float] = {}
    for place, row in enumerate(rows):
        known = row if isinstance(row, dict) else {}
        score = known.get("relevance_score", known.get("score"))
        if score is None or not _is_number(score):
            raise ValueError("a result has no finite score")
        index = known.get("index")
        scored[index if isinstance(index, int) else place] = float(score)
    return tuple(scored[index] for index in sorted(scored)[:MAX_NUMBERS])


def _first(body: object, name: str) -> dict[str, Any]:
    rows = _field(body, name)
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        raise ValueError(f"there are no {name}")
    return rows[0]


def _field(body: object, name: str) -> Any:
    return body.get(name) if isinstance(body, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# comparing answers


def differ(before: Answer, now: Answer) -> str:
    """Both answers, short, where they are not the same; else nothing. Numbers have a tolerance: the order in which a
    GPU adds them up is not always the same."""
    if before.form is not now.form:
        return f"{before.form} then, {now.form} now"
    if before.text != now.text:
        return f"{_short(before.text)} then, {_short(now.text)} now"
    same = _near_vector if before.form is Form.VECTOR else _near_scores
    if same(before.numbers, now.numbers):
        return ""
    return f"{_numbers(before.numbers)} then, {_numbers(now.numbers)} now"


def _near_vector(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and math.dist(before, now) <= VECTOR_TOLERANCE * math.hypot(*before)


def _near_scores(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and all(
        math.isclose(one, other, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)
        for one, other in zip(before, now, strict=True)
    )


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}...")


def _numbers(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:.4g}' for number in numbers[:3])}{', ...' if len(numbers) > 3 else ''}]"
