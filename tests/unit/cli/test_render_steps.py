"""One model's sleeps and wakes, step by step, for people."""

from typing import Any

import pytest

from roost.cli.look_cmd import _event_line
from roost.cli.render_steps import SHOWN, model_view
from tests.unit.cli.test_render import MODEL
from tests.unit.cli.test_render_hostile import drawn


def step(name: str, took_s: float, **fields: Any) -> dict[str, Any]:
    known = {"status": 200, "error": "", "attempts": 1, "skipped": ""}
    return {"name": name, "duration_s": took_s, **known, **fields}


def sequence(operation: str, *steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    slowest = max(steps, key=lambda one: float(one["duration_s"]))["name"] if steps else None
    known = {"replica": "a/0", "at": "T", "took_s": 1.5, "error": None, "freed_bytes": None, "memory": None}
    return {"operation": operation, "slowest": slowest, "steps": list(steps), **known, **fields}


def view(*sequences: dict[str, Any], width: int = 100) -> list[str]:
    return drawn(model_view({**MODEL, "state": "asleep", "level": 2, "sequences": list(sequences)}), width)


def test_each_step_has_its_line_and_the_slowest_is_marked() -> None:
    wake = sequence(
        "wake",
        step("POST /wake_up", 0.2),
        step("POST /collective_rpc", 1.2, attempts=3),
        step("POST /b", 0.0, status=None, attempts=0, skipped="the sleep level is 1, not 2"),
    )
    assert view(wake) == [
        "a  asleep 2 for 65 s: 1 request waits",
        "",
        "T  wake took 1.50 s; slowest: POST /collective_rpc",
        "step                  status    took  tries",
        "POST /wake_up            200  0.20 s      1",
        "POST /collective_rpc     200  1.20 s      3  slowest",
        "POST /b                    -  0.00 s      0  skipped: the sleep level is 1, not 2",
    ]


def test_failure_and_freed_memory_are_said() -> None:
    slept = sequence("sleep", step("POST /sleep", 1.0), freed_bytes=3 << 30, memory="RSS of 1 process")
    failed = sequence("wake", step("POST /x", 1.0, status=500, error="[/bold] no"), error="wake step 1 of 1: no")
    lines = view(slept, failed)
    assert "T  sleep took 1.50 s; freed 3.0 GiB; RSS of 1 process" in lines
    assert "T  wake failed after 1.50 s; wake step 1 of 1: no" in lines
    assert any(line.endswith("[/bold] no") for line in lines)
    assert lines[-1].startswith("What an error of a sleep or wake means: docs/sleep.md")


def test_a_long_error_is_said_once_and_the_failed_step_may_be_the_slowest() -> None:
    said = 'POST /x answered 500: {"error": {"message": "CUDA out of memory"}}'
    wake = sequence(
        "wake",
        step("POST /x", 0.5),
        step("POST /x", 1.4, status=500, error=said),
        step("POST /v1/completions", 0.1, check=True),
        error=f"wake step 2 of 2: {said}",
    )
    model = {**MODEL, "state": "cold", "reason": f"the wake failed: wake step 2 of 2: {said}", "sequences": [wake]}
    lines = drawn(model_view({**model, "history": HISTORY[:2]}), 160)
    assert (
        lines[0] == "a  cold for 65 s: the wake failed (see below); the engine was stopped; the next request starts it"
    )
    assert sum("CUDA" in line for line in lines) == 1
    assert lines[3:] == [
        "step                  status    took  tries",
        "POST /x                  200  0.50 s      1",
        "POST /x                  500  1.40 s      1  failed; slowest",
        "POST /v1/completions     200  0.10 s      1  verifies it",
        "Then: the engine was stopped; the next request starts it.",
        "",
        'What an error of a sleep or wake means: docs/sleep.md, "Troubleshooting by failing step".',
    ]


def change(after: str, at: str = "T") -> dict[str, Any]:
    return {"replica": "a/0", "after": after, "at": at}


HISTORY = [change("stopping"), change("cold"), change("starting"), change("ready")]


@pytest.mark.parametrize(
    ("history", "owned", "said"),
    [
        (HISTORY[:1], True, "the engine is being stopped"),
        (HISTORY[:3], True, "the engine was stopped, and is being started afresh"),
        ([change("ready", "S"), *HISTORY, change("suspending"), change("asleep")], True, "stopped and started afresh"),
        ([change("stopping"), change("backoff")], True, "the engine was stopped, and is started afresh after a pause"),
        ([change("stopping"), change("backoff")], False, "it runs elsewhere, and gets no requests until"),
        ([change("stopping"), change("stuck")], True, "the engine survived SIGKILL"),
    ],
)
def test_what_followed_from_a_failure_is_said(history: list[dict[str, Any]], owned: bool, said: str) -> None:
    slept = sequence("sleep", step("POST /sleep", 1.0), error="no")
    model = {**MODEL, "state": "ready", "owned": owned, "sequences": [slept], "history": history}
    (then,) = (line for line in drawn(model_view(model), 160) if line.startswith("Then: "))
    assert said in then


def test_a_load_says_that_its_start_was_verified_and_nothing_freed_is_no_negative_number() -> None:
    lines = view(
        sequence("load", step("POST /v1/completions", 0.02, check=True), took_s=0.02),
        sequence(
            "sleep", step("POST /sleep", 1.0), freed_bytes=-8192, memory="GPU memory 2.0 GiB before, 2.0 GiB after"
        ),
        sequence("sleep", freed_bytes=-1, memory="M before", error="its memory did not fall (M before)"),
    )
    assert "T  its start was verified in 0.02 s" in lines
    assert "T  sleep took 1.50 s; freed nothing; GPU memory 2.0 GiB before, 2.0 GiB after" in lines
    assert "T  sleep failed after 1.50 s; its memory did not fall (M before)" in lines


def test_notices_and_given_up_levels_are_whole_sentences_below_the_head() -> None:
    given_up = "armed; sleep level 2 given up: its answers were not the same after it"
    model = {**MODEL, "sequences": [], "notices": ["It runs without --enable-sleep-mode."], "canary": given_up}
    lines = drawn(model_view(model), 160)
    assert lines[1:4] == [
        "It runs without --enable-sleep-mode.",
        "Sleep level 2 given up: its answers were not the same after it.",
        f"canary {given_up}",
    ]


def test_only_the_last_sequences_are_shown_and_none_is_said() -> None:
    assert sum("took" in line for line in view(*[sequence("sleep")] * 20) if line.startswith("T")) == SHOWN
    assert "has not been put to sleep" in view()[-1]


def test_event_of_a_sequence_is_one_line() -> None:
    event = {"type": "sequence", **sequence("wake", step("POST /a", 1.0), step("POST /b", 2.0))}
    assert _event_line(event) == "a/0: wake took 1.50 s; slowest: POST /b"


def test_what_its_moves_take_and_how_soon_it_is_wanted() -> None:
    learned = {
        "returns": {"load_s": 31.0, "level1_s": 1.5, "level2_s": None, "down_s": 0.4},
        "forecast": {"next_s": 240.0, "gaps": 12.4, "chance": 0.62, "within_s": 620.0, "sign": None},
        "sequences": [],
    }
    lines = drawn(model_view({**MODEL, **learned}), 120)
    assert "takes (as measured): load 31 s, wake from level 1 1.5 s, way down 0.4 s" in lines
    assert "likely wanted in 4m 00s, 62% within 10m 20s (by 12 gaps between its requests)" in lines
    nothing: dict[str, Any] = {"returns": None, "forecast": None, "sequences": []}
    assert not [line for line in drawn(model_view({**MODEL, **nothing}), 120) if "takes" in line or "wanted" in line]
