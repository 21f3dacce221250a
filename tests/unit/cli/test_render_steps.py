"""One model's sleeps and wakes, step by step, for people."""

from typing import Any

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
    assert lines[-1].endswith("[/bold] no")


def test_only_the_last_sequences_are_shown_and_none_is_said() -> None:
    assert sum("took" in line for line in view(*[sequence("sleep")] * 20) if line.startswith("T")) == SHOWN
    assert "has not been put to sleep" in view()[-1]


def test_event_of_a_sequence_is_one_line() -> None:
    event = {"type": "sequence", **sequence("wake", step("POST /a", 1.0), step("POST /b", 2.0))}
    assert _event_line(event) == "a/0: wake took 1.50 s; slowest: POST /b"
