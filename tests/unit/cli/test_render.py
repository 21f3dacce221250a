"""Tables for people, at 80 columns."""

import io
from typing import Any

from rich.console import Console, RenderableType

from roost.cli.render import live_view, requests_table, status_table

MODEL: dict[str, Any] = {
    "name": "a",
    "state": "ready",
    "since_s": 65.0,
    "level": None,
    "in_flight": 0,
    "queue_depth": 0,
    "pinned": False,
    "idle_s": 61.0,
    "reason": "1 request waits",
    "last_error": None,
    "blocked": None,
    "memory_bytes": 3 << 30,
}
MEMORY = {"max_resident": 2, "resident": 1, "devices": {}}


def status(*models: dict[str, Any]) -> dict[str, Any]:
    facts = {"state": "serving", "address": "127.0.0.1:8080", "uptime_s": 7320.0, "memory": MEMORY}
    return {**facts, "models": [{**MODEL, **model} for model in models]}


def text(shown: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(shown)
    out = console.file
    assert isinstance(out, io.StringIO)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_status_says_who_is_awake_and_why() -> None:
    asleep = {
        "name": "b",
        "state": "asleep",
        "level": 2,
        "reason": "idle for 5m 00s (sleep_after 5m 00s)",
        "pinned": True,
    }
    busy = {"name": "c", "in_flight": 3, "queue_depth": 7, "idle_s": None, "reason": "2 requests wait"}
    failed = {"name": "d", "state": "failed", "last_error": "exit status 1\nlong log", "memory_bytes": None}
    lines = text(status_table(status({}, asleep, busy, failed)))
    assert lines[0] == "roost serving on http://127.0.0.1:8080   1 of 2 awake   up 2h 02m"
    assert lines[2].split() == ["a", "ready", "-", "3.0", "GiB", "for", "65", "s,", "idle", "61", "s"]
    assert "asleep 2 (pinned)" in lines[3]
    assert "3 +7" in "\n".join(lines)
    assert lines[-1].endswith("for 65 s: exit status 1")
    assert all(len(line) <= 80 for line in lines)


def test_blocked_model_shows_the_sentence_of_its_waiters() -> None:
    blocked = status({"state": "cold", "blocked": "Waits for room."})
    assert "Waits for room." in "\n".join(text(status_table(blocked)))


def test_requests_show_phase_or_outcome() -> None:
    row = {"id": "r-1", "model": "a", "phase": "streaming", "outcome": None, "status": None, "age_s": 1.0}
    row |= {"ttft_s": 0.25, "completion_tokens": 9}
    done = {**row, "id": "r-2", "outcome": "engine_failed", "status": 502, "model": None, "ttft_s": None}
    lines = text(requests_table([row, done]))
    assert lines[1].split() == ["r-1", "a", "streaming", "1.00", "s", "0.25", "s", "9"]
    assert lines[2].split() == ["r-2", "-", "502", "engine_failed", "1.00", "s", "-", "9"]
    assert any("r-1" in line for line in text(live_view(status({}), [row])))


def test_a_mark_says_that_there_is_more_to_a_model() -> None:
    marked = {"name": "b", "notices": ["It runs without --enable-sleep-mode."], "canary": "armed"}
    given_up = {"name": "c", "canary": "armed; sleep level 2 given up: its answers were not the same after it"}
    lines = text(status_table(status({"canary": "armed"}, marked, given_up)))
    assert [line.split()[:3] for line in lines[2:5]] == [["a", "ready", "-"], ["b", "ready", "!"], ["c", "ready", "!"]]
    assert lines[-1] == "! There is more to say of b, c: roost status MODEL"


def test_a_failed_sleep_or_wake_says_what_followed_and_where_to_read_on() -> None:
    broken = {
        "state": "cold",
        "idle_s": None,
        "reason": "the wake failed: wake step 1 of 1: POST /wake_up answered 500",
    }
    lines = " ".join(" ".join(text(status_table(status(broken)))).split())
    assert "answered 500; the engine was stopped; the next request starts it" in lines
    assert "docs/sleep.md" in lines and "roost status MODEL" in lines
    elsewhere = {**broken, "state": "backoff", "last_error": broken["reason"], "owned": False}
    assert "it runs elsewhere, and gets no requests until" in " ".join(
        " ".join(text(status_table(status(elsewhere)))).split()
    )
    assert "docs/sleep.md" not in " ".join(text(status_table(status({}))))


def test_totals_over_all_restarts_stand_below() -> None:
    used = {"requests": 3, "prompt_tokens": 40, "completion_tokens": 7, "since": "2026-01-02T03:04:05.000Z"}
    never = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "since": "2025-01-01T00:00:00.000Z"}
    shown = text(status_table(status({"totals": used}, {"name": "b", "totals": used}, {"name": "c", "totals": never})))
    assert shown[-1] == "Since 2026-01-02: 6 requests, 80 tokens in, 14 out."
    assert "Since" not in "\n".join(text(status_table(status({"totals": never}, {}))))
