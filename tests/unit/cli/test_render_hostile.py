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
        "model    state              busy  measured  why",
        "smollm2  ready              2 +3   1.2 GiB  for 12 s: preload: true",
        "qwen     asleep 1 (pinned)     -         -  for 12 s: idle for 412 s",
        "                                            (sleep_after 300 s)",
        "bad      failed                -         -  for 12 s: It ended with status 1.",
    ]


def test_a_long_name_moves_the_reason_below_and_costs_no_other_column() -> None:
    assert drawn(fleet(model(LONG, "asleep", level=2, reason="a sentence"), MIXED[0]), 80) == [
        "roost serving on http://127.0.0.1:8080   1 of 2 awake   up 12m 05s",
        "model                                                   state     busy  measured",
        "meta-llama/Llama-3.3-70B-Instruct-with-a-name-that-go…  asleep 2     -         -",
        "  for 12 s: a sentence",
        "smollm2                                                 ready     2 +3   1.2 GiB",
        "  for 12 s: preload: true",
    ]


def test_a_wide_screen_has_room_for_pid_and_port() -> None:
    lines = drawn(fleet(MIXED[0]), 120)
    assert lines[1].split() == ["model", "state", "busy", "measured", "pid", "port", "why"]
    assert lines[2].split()[4:8] == ["1.2", "GiB", "4123", "9001"]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    blocked = model("x" * 200, "backoff", blocked="word " * 60)
    assert max(map(len, drawn(fleet(blocked, *MIXED), width))) <= width


def test_an_error_with_log_lines_shows_the_last_of_them() -> None:
    error = "The engine ended with exit status 3. Its last lines:\n  loading\n  OSError: no such file\n"
    lines = drawn(fleet(model("bad", "backoff", last_error=error)), 200)
    assert lines[2].endswith("for 12 s: The engine ended with exit status 3. Its last lines: OSError: no such file")


def replicated() -> dict[str, Any]:
    """One model on three replicas, on two devices and elsewhere."""

    def serving(number: int, state: str, **more: Any) -> dict[str, Any]:
        known = {"replica": f"chat/{number}", "endpoint": f"http://127.0.0.1:900{number}", "level": None, "pid": 70}
        return {**known, "state": state, "in_flight": number, "failures": 0, "since_s": 65.0, "devices": [], **more}

    held = {"device_bytes": 20 << 30, "host_bytes": 0, "source": "declared"}
    footprint = {"awake": {"claimed": held, "measured": {"device_bytes": 18 << 30, "host_bytes": None}}}
    endpoints = [
        serving(1, "ready", devices=["gpu0", "gpu1"]),
        serving(2, "backoff", pid=None, last_error="exit status 1"),
        serving(3, "ready", devices=["gpu2"], failures=4),
    ]
    return model("chat", in_flight=6, endpoints=endpoints, footprint=footprint, owned=True)


def test_each_replica_has_a_row_with_its_state_its_requests_and_where_it_runs() -> None:
    assert [line.rstrip() for line in drawn(fleet(replicated()), 140)[1:]] == [
        "model     state         busy   claimed  measured  on         pid  port  why",
        "chat      ready 2 of 3     6                                            for 12 s",
        "  chat/1  ready            1  20.0 GiB  18.0 GiB  gpu0,gpu1   70  9001  for 65 s",
        "  chat/2  backoff          2         -         -               -  9002  for 65 s: exit status 1",
        "  chat/3  ready            3  20.0 GiB  18.0 GiB  gpu2        70  9003  for 65 s; it has failed 4 of its requests",  # noqa: E501
    ]
    assert max(map(len, drawn(fleet(replicated()), 80))) <= 80


def test_who_serves_from_elsewhere_is_not_counted_against_the_bound() -> None:
    status = FullConsole(entries=[MIXED[0]]).status()
    status["memory"] = {"max_resident": 1, "resident": 1, "elsewhere": 2, "devices": {}}
    assert "1 of 1 awake, 2 elsewhere   up" in drawn(status_table(status), 80)[0]


def test_an_empty_fleet_says_so() -> None:
    assert drawn(fleet(), 80)[1:] == ["No models."]


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
