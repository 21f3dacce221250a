import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.spec import Task
from roost.loadgen.arrivals import Closed, Poisson, Ramp
from roost.loadgen.ask import Failed, Reading, body
from roost.loadgen.plan import LoadPlan, PlanError, Target, server

STREAM = b"".join(
    b"data: " + json.dumps(event).encode() + b"\n\n"
    for event in (
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "a"}}]},
        {"choices": [{"delta": {"content": " b"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}},
    )
)


def _plan(**fields: object) -> LoadPlan:
    plan: dict[str, object] = {"url": "http://h:1", "targets": (Target(name="a"),), "arrivals": Closed(1)}
    plan["requests"] = 1
    return LoadPlan(**{**plan, **fields})  # type: ignore[arg-type]


@given(st.lists(st.integers(1, len(STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_an_answer_reads_the_same_however_it_is_cut(cuts: list[int], line_end: bytes) -> None:
    reading = Reading()
    whole = STREAM.replace(b"\n", line_end)
    for at, (start, end) in enumerate(pairwise([0, *sorted(cuts), len(whole)])):
        reading.feed(whole[start:end], float(at))
    reading.feed(b"data: [DONE]\n\n", 99.0)
    assert len(reading.times) == 2
    assert reading.tokens_out == 7


def test_crlf_streams_read_too() -> None:
    reading = Reading()
    reading.feed(STREAM.replace(b"\n", b"\r\n"), 1.0)
    assert reading.times == [1.0, 1.0]


def test_without_usage_events_are_counted() -> None:
    reading = Reading()
    reading.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', 1.0)
    assert reading.tokens_out == 1


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'data: {"error":{"message":"gone"}}\n\n', "error in the answer"),
        (b'data: {"choices":[{"delta":{},"finish_reason":"abort"}]}\n\n', "aborted by the engine"),
        (b"data: proxy error\n\n", "answer is not JSON"),
    ],
)
def test_failures_inside_a_stream_are_errors(event: bytes, error: str) -> None:
    with pytest.raises(Failed, match=error):
        Reading().feed(event, 1.0)


def test_a_stream_that_says_nothing_is_an_error() -> None:
    with pytest.raises(Failed, match="empty stream"):
        Reading().finish(streamed=True)


def test_bodies_fit_the_task() -> None:
    made = {task: json.loads(body(_plan(), Target(name="m", task=task), "p")) for task in Task}
    assert made[Task.GENERATE]["stream"] is True and made[Task.GENERATE]["max_tokens"] == 64
    assert made[Task.EMBED] == {"model": "m", "input": "p"}
    assert made[Task.RERANK]["query"] == "p"
    assert "stream" not in json.loads(body(_plan(stream=False), Target(name="m"), "p"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"arrivals": Closed(0)}, "must be above 0"),
        ({"arrivals": Poisson(-1.0)}, "must be above 0"),
        ({"arrivals": Ramp(0)}, "must be above 0"),
        ({"requests": None}, "would not end"),
        ({"targets": ()}, "no model"),
        ({"duration_s": 0.0}, "duration must be above 0"),
        ({"targets": (Target(name="a", weight=-1),)}, "weight of a must be above 0"),
        ({"url": "ftp://x"}, "not an address"),
    ],
)
def test_plans_that_make_no_sense_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        _plan(**fields).check()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://h:8080", ("h", 8080, False, "")),
        ("h:8080", ("h", 8080, False, "")),
        ("https://h/v1/", ("h", 443, True, "")),
        ("http://[::1]:9/up/a/v1", ("::1", 9, False, "/up/a")),
    ],
)
def test_addresses(url: str, wanted: tuple[str, int, bool, str]) -> None:
    found = server(url)
    assert (found.host, found.port, found.tls, found.prefix) == wanted


def test_a_port_that_is_none_is_said_so() -> None:
    with pytest.raises(PlanError, match="not an address"):
        server("http://h:many")
