"""Checks of inference: what fits each model's task, whole and streamed.

The first request may load or wake the model. Called by `run` for each model, and by `sleeping` for one request.
"""

import json
from typing import Any

from roost.core.spec import Task
from roost.selftest.lines import Check
from roost.selftest.shapes import LIST, shown
from roost.selftest.talk import Got, events
from roost.selftest.visit import Model, Visit

MAX_TOKENS = 8
PROMPT = "Hello"
_MESSAGES = [{"role": "user", "content": PROMPT}]
_EXPECTED = {False: "an answer in one piece", True: "events up to [DONE]"}
_CANNOT = (400, 404, 405, 422, 501)
"""An engine's own answer to what its model is not made for, such as chat without a chat template."""


def answers(visit: Visit, model: Model) -> bool:
    """False if the model does not answer, so that nothing further can be asked of it."""
    match model.task:
        case Task.GENERATE:
            return _generates(visit, model)
        case Task.EMBED:
            got = _ask(visit, model, "/v1/embeddings", {"input": PROMPT})
            return visit.judge(_check(model, "embedding", "a vector of numbers"), got, _no_vector(got), _took(got))
        case Task.RERANK:
            got = _ask(visit, model, "/v1/rerank", {"query": PROMPT, "documents": [PROMPT, "Something else"]})
            return visit.judge(_check(model, "rerank", "a ranking of two"), got, _no_ranking(got), _took(got))
        case Task.OTHER:
            visit.skip(_check(model, "answer", ""), "its task is `other`: no request is known that fits it")
            return True


def again(visit: Visit, model: Model) -> Got | None:
    """One more of the requests that the model has answered; None if there was none."""
    request = visit.works.get(model.name)
    return None if request is None else visit.infer(model, *request)


def _ask(visit: Visit, model: Model, path: str, body: dict[str, Any]) -> Got:
    """One request. A model that requests may not wake, and that was found asleep, is woken by an order first."""
    got = visit.infer(model, path, body)
    asleep = got.status == 503 and got.error.get("code") == "model_asleep"
    if asleep and visit.talk.order(f"/action/wakeup/{model.encoded}").status == 200:
        got = visit.infer(model, path, body)
    if got.status == 200:
        visit.works.setdefault(model.name, (path, body))
    return got


def _check(model: Model, name: str, expected: str) -> Check:
    return Check(name=name, expected=expected, model=model.name)


def _took(got: Got) -> str:
    return f"{got.took_s:.2f} s"


def _generates(visit: Visit, model: Model) -> bool:
    """Completions and chat, whole and streamed; what the engine itself does not serve is skipped."""
    passed = skipped = 0
    forms: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("completion", "/v1/completions", {"prompt": PROMPT}),
        ("chat", "/v1/chat/completions", {"messages": _MESSAGES}),
    )
    for name, path, body in forms:
        for stream in (False, True):
            check = _check(model, f"{name}, streamed" if stream else name, _EXPECTED[stream])
            got = _ask(visit, model, path, {**body, "max_tokens": MAX_TOKENS} | ({"stream": True} if stream else {}))
            if _is_not_served(got):
                visit.skip(check, f"the engine says {got.said}")
                skipped += 1
                break
            passed += visit.judge(check, got, _no_events(got) if stream else _no_text(got), _took(got))
            if got.status is None or got.denied:
                return passed > 0  # what does not answer once would take its whole time again
    if skipped == 2:
        visit.settle(_check(model, "answer", "completions or chat"), "neither")
    return passed > 0


def _is_not_served(got: Got) -> bool:
    """The engine's own refusal of the path or the form; roost's own say whose fault it is."""
    return got.status in _CANNOT and "fault" not in got.error


def _no_text(got: Got) -> str | None:
    """A model may say nothing and end at once; but it says so."""
    fault = got.fault(choices=LIST)
    if fault is not None:
        return fault
    return _no_choice(got.body["choices"])


def _no_choice(choices: list[Any]) -> str | None:
    if not choices or not isinstance(choices[0], dict) or not choices[0].keys() & {"text", "message"}:
        return f"choices {shown(choices)}"
    return None


def _no_events(got: Got) -> str | None:
    if got.status != 200:
        return got.said
    if not got.content_type.startswith("text/event-stream"):
        return f"content type {shown(got.content_type)}"
    pieces = list(events(got.text))
    if not pieces or pieces[-1] != "[DONE]":
        return f"a stream of {len(pieces)} events that ends with {shown(pieces[-1]) if pieces else 'nothing'}"
    if len(pieces) == 1:
        return "a stream that says nothing"
    return next((f"the event {shown(piece)}" for piece in pieces[:-1] if not _is_choice(piece)), None)


def _is_choice(piece: str) -> bool:
    try:
        value = json.loads(piece)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("choices"), list)


def _no_vector(got: Got) -> str | None:
    fault = got.fault(data=LIST)
    if fault is not None:
        return fault
    first = got.body["data"][0] if got.body["data"] else None
    vector = first.get("embedding") if isinstance(first, dict) else None
    good = isinstance(vector, list) and vector and all(isinstance(one, int | float) for one in vector)
    return None if good else f"data {shown(got.body['data'])}"


def _no_ranking(got: Got) -> str | None:
    """A list, or an object that has one under `results` or `data`: engines differ."""
    if got.status != 200:
        return got.said
    body = got.body if isinstance(got.body, dict) else {"results": got.body}
    ranking = body.get("results", body.get("data"))
    return None if isinstance(ranking, list) and len(ranking) == 2 else shown(got.body)
