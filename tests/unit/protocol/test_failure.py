"""What the end of an answer says: streams and whole answers of many engines, as they look on the wire."""

import json
from typing import Any

import pytest

from roost.core.request import HiddenFailure
from roost.core.spec import EngineKind
from roost.protocol.failure import Failure, Tail, judge_json, judge_stream, looks_well, without_marks

CHAT, TEXT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"
VLLM, SGLANG, LLAMACPP, COMMAND = EngineKind.VLLM, EngineKind.SGLANG, EngineKind.LLAMACPP, EngineKind.COMMAND
ABORT, ERROR, BARE = HiddenFailure.ABORT, HiddenFailure.ERROR_CHUNK, HiddenFailure.BARE_END
DONE = b"data: [DONE]\n\n"
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def sse(*values: Any, end: bytes = b"\n\n") -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + end for value in values)


def named(*values: dict[str, Any]) -> bytes:
    """Events as Anthropic and the Responses API name them."""
    return b"".join(b"event: %b\n%b" % (value["type"].encode(), sse(value)) for value in values)


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def seen(
    data: bytes, path: str, kind: EngineKind | None, *, whole: bool = True, chunked: bool = False
) -> Failure | None:
    """As the relay sees it: looked at closely only where it does not look well."""
    body = without_marks(data, whole=whole) if chunked else data
    if looks_well(body, event_stream=True):
        return None
    return judge_stream(Tail(data=body, whole=whole), path, kind)


START = {"type": "message_start", "message": {"role": "assistant", "stop_reason": None}}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "an error of mine"}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
LAST = {"type": "message_stop"}


def response(status: str, **more: Any) -> dict[str, Any]:
    body = {"object": "response", "status": status, "error": None, "incomplete_details": None, **more}
    return {"type": f"response.{status}", "response": body}


WELL: dict[str, tuple[bytes, str, EngineKind]] = {
    "vllm chat": (sse(chunk("a"), chunk("", "stop")) + DONE, CHAT, VLLM),
    "vllm chat with usage": (sse(chunk("a"), chunk("", "length"), USAGE) + DONE, CHAT, VLLM),
    "vllm completions": (sse({"choices": [{"text": "a", "finish_reason": "stop"}]}) + DONE, TEXT, VLLM),
    "vllm responses": (named(response("completed")), RESPONSES, VLLM),
    "responses cut at their length": (
        named(response("incomplete", incomplete_details={"reason": "max_output_tokens"})),
        RESPONSES,
        VLLM,
    ),
    "vllm messages": (named(START, DELTA, STOP, LAST), MESSAGES, VLLM),
    "vllm messages with [DONE]": (named(START, DELTA, STOP, LAST) + DONE, MESSAGES, VLLM),
    "a text that speaks of errors": (
        sse(chunk('{"error": "abort"} data: error'), chunk("", "stop")) + DONE,
        CHAT,
        VLLM,
    ),
    "a text that quotes an abort": (sse(chunk('"finish_reason": "abort"'), chunk("", "stop")) + DONE, CHAT, VLLM),
    "llama.cpp chat": (sse(chunk("a"), chunk("", "stop"), {**USAGE, "timings": {}}) + DONE, CHAT, LLAMACPP),
    "llama.cpp's own form": (sse({"content": "a", "stop": True}), "/completion", LLAMACPP),
    "llama.cpp with pings": (sse(chunk("a")) + b":\n\n" + sse(chunk("", "stop")) + DONE, CHAT, LLAMACPP),
    "sglang chat": (sse(chunk("a"), chunk("", "stop")) + DONE, CHAT, SGLANG),
    "sglang's own form": (sse({"meta_info": {"finish_reason": {"type": "length"}}}) + DONE, "/generate", SGLANG),
    "transformers, without [DONE]": (sse(chunk("a"), {**chunk("", "stop"), "usage": {}}), CHAT, COMMAND),
    "no empty line after the last event": (sse(chunk("a"), chunk("", "stop")) + b"data: [DONE]", CHAT, COMMAND),
    "lines that end in CRLF": (
        sse(chunk("a"), chunk("", "stop"), end=b"\r\n\r\n") + b"data: [DONE]\r\n\r\n",
        CHAT,
        VLLM,
    ),
    "interrupted by another request, as llama-cpp-python": (sse(chunk("a")) + DONE, CHAT, COMMAND),
    "no OpenAI chunks at all": (b"data: 1\n\ndata: 2\n\n", CHAT, COMMAND),
    "an unknown path": (sse({"progress": 1}), "/v1/audio/speech", VLLM),
    "unnamed progress, by a command": (sse({"status": "failed"}), "/v1/custom", COMMAND),
}
FAILED: dict[str, tuple[bytes, str, EngineKind, HiddenFailure]] = {
    "vllm aborts a chat": (sse(chunk("a"), chunk("", "abort"), USAGE) + DONE, CHAT, VLLM, ABORT),
    "vllm aborts a completion": (
        sse({"choices": [{"text": "", "finish_reason": "abort"}]}) + DONE,
        TEXT,
        VLLM,
        ABORT,
    ),
    "one of two choices aborted": (
        sse({"choices": [{"finish_reason": "stop"}, {"finish_reason": "abort"}]}) + DONE,
        CHAT,
        VLLM,
        ABORT,
    ),
    "sglang aborts its own form": (
        sse({"meta_info": {"finish_reason": {"type": "abort"}}}) + DONE,
        "/generate",
        SGLANG,
        ABORT,
    ),
    "aborted messages": (named(START, {**STOP, "delta": {"stop_reason": "abort"}}, LAST), MESSAGES, VLLM, ABORT),
    "responses aborted": (
        named(response("incomplete", incomplete_details={"reason": "abort"})),
        RESPONSES,
        VLLM,
        ABORT,
    ),
    "responses cancelled": (named(response("cancelled")) + DONE, RESPONSES, VLLM, ABORT),
    "vllm's worker died": (
        sse(chunk("a"), {"error": {"message": "EngineCore died", "code": 500}}) + DONE,
        CHAT,
        VLLM,
        ERROR,
    ),
    "an error object of old": (sse({"object": "error", "message": "boom", "code": 500}) + DONE, CHAT, VLLM, ERROR),
    "an error that is a text": (sse({"error": "boom"}), CHAT, COMMAND, ERROR),
    "older llama.cpp": (sse(chunk("a")) + b'error: {"message": "context is full"}\n\n', CHAT, LLAMACPP, ERROR),
    "messages end in an error": (
        named(START, {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}),
        MESSAGES,
        VLLM,
        ERROR,
    ),
    "responses failed": (named(response("failed", error={"message": "boom"})), RESPONSES, VLLM, ERROR),
    "responses failed without a word": (named(response("failed")), RESPONSES, VLLM, ERROR),
    "llama-server's router lost its child": (
        sse(chunk("a")) + b"proxy error: Failed to read connection",
        CHAT,
        LLAMACPP,
        BARE,
    ),
    "bare text after a finish": (sse(chunk("", "stop")) + b"Internal Server Error\n\n", CHAT, COMMAND, BARE),
    "in the middle of an event": (sse(chunk("a")) + b'data: {"choices": [{"del', CHAT, COMMAND, BARE),
    "vllm without [DONE]": (sse(chunk("a"), chunk("", "stop")), CHAT, VLLM, BARE),
    "no reason and no [DONE]": (sse(chunk("a"), chunk("b")), CHAT, COMMAND, BARE),
    "messages without their stop": (named(START, DELTA), MESSAGES, COMMAND, BARE),
    "responses without their end": (named({"type": "response.output_text.delta", "delta": "a"}), RESPONSES, VLLM, BARE),
    "nothing at all": (b"", CHAT, VLLM, BARE),
}


@pytest.mark.parametrize("name", WELL)
def test_a_stream_that_is_well_is_left_alone(name: str) -> None:
    body, path, kind = WELL[name]
    assert seen(body, path, kind) is None
    for size in (1000, 40, 7):
        assert seen(chunked(body, size), path, kind, chunked=True) is None, size


@pytest.mark.parametrize("name", FAILED)
def test_a_stream_that_failed_is_told_however_it_was_cut_into_chunks(name: str) -> None:
    body, path, kind, how = FAILED[name]
    failure = seen(body, path, kind)
    assert failure is not None
    assert failure.kind is how
    for size in (1000, 40, 7):
        again = seen(chunked(body, size), path, kind, chunked=True)
        assert again is not None, size
        assert (again.kind, again.what) == (how, failure.what), size


@pytest.mark.parametrize("name", sorted({*WELL, *FAILED} - {"no OpenAI chunks at all", "nothing at all"}))
def test_what_came_before_the_tail_does_not_matter(name: str) -> None:
    """The tail begins anywhere: in the middle of an event, and of a chunk."""
    body, path, kind = (WELL.get(name) or FAILED[name])[:3]
    how = None if name in WELL else FAILED[name][3]
    before = sse(*(chunk(f"word {number}") for number in range(9)))
    if path not in (CHAT, TEXT):
        return
    for data, marks in ((before + body, False), (chunked(before + body, 33), True)):
        for start in range(1, 60, 7):
            failure = seen(data[start:], path, kind, whole=False, chunked=marks)
            assert (None if failure is None else failure.kind) is how, (start, marks)


def test_an_event_larger_than_the_tail_is_not_judged() -> None:
    whole = named(response("completed", output="x" * 9000))
    assert seen(whole[-8192:], RESPONSES, VLLM, whole=False) is None


def test_the_sentence_names_what_came_last_and_no_more_than_that() -> None:
    failure = seen(sse(chunk("a")) + b"proxy error: " + b"x" * 5000, CHAT, LLAMACPP)
    assert failure is not None
    assert len(failure.what) < 300
    error = seen(sse({"error": {"message": "EngineCore died"}}) + DONE, CHAT, VLLM)
    assert error is not None
    assert error.what == "reported an error under status 200: 'EngineCore died'"


def whole_answer(finish: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": finish}], "usage": {}}).encode()


@pytest.mark.parametrize(
    ("body", "how", "by_close"),
    [
        (whole_answer("stop"), None, False),
        (whole_answer("stop") + b"\n", None, True),
        (whole_answer("abort"), ABORT, False),
        (b'{"error": {"message": "boom"}}', ERROR, False),
        (b'{"object": "response", "status": "failed", "error": {"message": "boom"}}', ERROR, False),
        (b'{"object": "list", "data": [], "error": null}', None, False),
        (b'{"choices": [{"message": {"content": "proxy error', BARE, False),
        (b'{"data": [{"embedding": [0.1]}', BARE, True),
        (b"null", None, True),
        (b'"a text"', None, False),
        (b"[]", None, True),
    ],
)
def test_whole_answers(body: bytes, how: HiddenFailure | None, by_close: bool) -> None:
    for data in (body, without_marks(chunked(body, 11), whole=True)):
        well = looks_well(data, event_stream=False) and not by_close
        failure = None if well else judge_json(Tail(data=data, whole=True, by_close=by_close))
        assert (failure.kind if failure else None) is how, data


def test_an_abort_at_the_end_of_a_long_answer_is_seen() -> None:
    tail = (b'x" }, ' + whole_answer("abort"))[-60:]
    failure = judge_json(Tail(data=tail, whole=False))
    assert failure is not None
    assert failure.kind is ABORT
