"""The tables at other widths, with long names, and with text that is not to be trusted."""

import io
from typing import Any

import pytest
from rich.console import Console

from roost.cli.render import live_view, requests_table, status_table
from tests.support.command_line import FullConsole, model

LONG = "meta-llama/Llama-3.3-70B-Instruct-with-a-name-that-goes-on-and-on"


def drawn(renderable: Any, width: int, *, terminal: bool = False) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None).print(
        renderable
    )
    return [line.rstrip() for line in file.getvalue().splitlines()]


def fleet(*models: dict[str, Any]) -> Any:
    return status_table(FullConsole(entries=list(models)).status())


MIXED = (
    model("smollm2", in_flight=2, queue_depth=3, memory_bytes=1_300_000_000, reason="preload: true"),
    model("qwen", "asleep", level=1, pinned=True, reason="idle for 412 s (sleep_after 300 s)"),
    model("bad", "failed", last_error="It ended with status 1.\nsecond line"),
)


def test_at_80_columns_the_reason_stands_beside() -> None:
    assert drawn(fleet(*MIXED), 80) == [
        "roost serving on http://127.0.0.1:8080   1 of 2 awake   up 12m 05s",
        "model    state              busy   memory  why",
        "smollm2  ready              2 +3  1.2 GiB  for 12 s: preload: true",
        "qwen     asleep 1 (pinned)     -        -  for 12 s: idle for 412 s (sleep_after",
        "                                           300 s)",
        "bad      failed                -        -  for 12 s: It ended with status 1.",
    ]


def test_a_long_name_moves_the_reason_below_and_costs_no_other_column() -> None:
    assert drawn(fleet(model(LONG, "asleep", level=2, reason="a sentence"), MIXED[0]), 80) == [
        "roost serving on http://127.0.0.1:8080   1 of 2 awake   up 12m 05s",
        "model                                                    state     busy   memory",
        "meta-llama/Llama-3.3-70B-Instruct-with-a-name-that-goe…  asleep 2     -        -",
        "  for 12 s: a sentence",
        "smollm2                                                  ready     2 +3  1.2 GiB",
        "  for 12 s: preload: true",
    ]


def test_a_wide_screen_has_room_for_pid_and_port() -> None:
    lines = drawn(fleet(MIXED[0]), 120)
    assert lines[1].split() == ["model", "state", "busy", "memory", "pid", "port", "why"]
    assert lines[2].split()[4:8] == ["1.2", "GiB", "4123", "9001"]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    blocked = model("x" * 200, "backoff", blocked="word " * 60)
    assert max(map(len, drawn(fleet(blocked, *MIXED), width))) <= width


def test_an_error_with_log_lines_shows_the_last_of_them() -> None:
    error = "The engine ended with exit status 3. Its last lines:\n  loading\n  OSError: no such file\n"
    lines = drawn(fleet(model("bad", "backoff", last_error=error)), 200)
    assert lines[2].endswith("for 12 s: The engine ended with exit status 3. Its last lines: OSError: no such file")


def test_an_empty_fleet_is_a_table_too() -> None:
    assert drawn(fleet(), 80)[1].split() == ["model", "state", "busy", "memory", "why"]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_engines_wrote_is_neither_markup_nor_escape_codes(terminal: bool) -> None:
    error = "[rank0]: out of memory [/bold] [red]x[/] \x1b[2J\x1b]0;title\x07end"
    text = "\n".join(drawn(fleet(model("[b]m[/b]", "failed", last_error=error)), 200, terminal=terminal))
    assert "[rank0]: out of memory [/bold] [red]x[/]" in text
    assert "[b]m[/b]" in text
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text


def test_colours_on_a_terminal_and_none_elsewhere() -> None:
    assert any("\x1b[32m" in line for line in drawn(fleet(MIXED[0]), 80, terminal=True))
    assert not any("\x1b" in line for line in drawn(fleet(*MIXED), 80))


def test_a_limited_key_s_status_has_no_memory_and_is_drawn_all_the_same() -> None:
    status = FullConsole(entries=[MIXED[0]]).status()
    del status["memory"]
    assert drawn(status_table(status), 80)[0] == "roost serving on http://127.0.0.1:8080   up 12m 05s"


def request(**more: Any) -> dict[str, Any]:
    known = {"id": "r-1", "model": "a", "phase": "streaming", "age_s": 1.5, "ttft_s": 0.25, "completion_tokens": 7}
    return known | {"status": None, "outcome": None} | more


def test_requests_in_flight_and_settled() -> None:
    rows = [request(), request(id="[/x]", model=None, status=503, outcome="refused", ttft_s=None)]
    assert drawn(requests_table(rows), 80) == [
        "request  model  what            age   first  tokens",
        "r-1      a      streaming    1.50 s  0.25 s       7",
        "[/x]     -      503 refused  1.50 s       -       7",
    ]


def test_the_live_view_is_both() -> None:
    status = FullConsole(entries=[MIXED[0]]).status()
    lines = drawn(live_view(status, [request()]), 80)
    assert [line.split()[0] for line in lines if line] == ["roost", "model", "smollm2", "request", "r-1"]
