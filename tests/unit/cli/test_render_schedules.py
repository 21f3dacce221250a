"""Open windows for people."""

from datetime import datetime
from typing import Any

from roost.cli.render import status_table
from roost.cli.render_schedules import window_lines
from tests.unit.cli.test_render import status, text


def one(**more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"when": "mon-fri 08:00-18:00", "timezone": "UTC", "until": None, "pin": [], "sleep": []}
    return {**known, "max_resident": None, "devices": {}, **more}


def lines(*windows: dict[str, Any]) -> list[str]:
    return list(window_lines({"open": list(windows), "next_change": None}))


def test_each_open_window_has_a_line_with_what_it_sets() -> None:
    every = one(pin=["a", "b"], sleep=["c"], max_resident=2, devices={"gpu0": 0})
    assert lines(every, one(when="sat", timezone="local")) == [
        "schedule mon-fri 08:00-18:00 (UTC), always open: pins a, b; lets c sleep; max_resident 2; gpu0 0 B",
        "schedule sat, always open: nothing",
    ]


def test_its_end_is_told_in_the_readers_own_time() -> None:
    until = "2026-11-20T17:00:00.000Z"
    here = datetime.fromisoformat(until).astimezone().strftime("%a %H:%M")
    assert lines(one(until=until, pin=["a"])) == [f"schedule mon-fri 08:00-18:00 (UTC), open until {here}: pins a"]


def test_status_has_them_above_the_models_and_older_servers_none() -> None:
    shown = text(status_table(status({}) | {"schedules": {"open": [one(pin=["a"])], "next_change": None}}))
    assert "always open: pins a" in shown[1]
    assert "schedule" not in "".join(text(status_table(status({}))))
