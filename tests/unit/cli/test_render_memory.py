"""Budgets and footprints for people."""

from typing import Any

from roost.cli.plain import moment
from roost.cli.render import status_table
from roost.cli.render_memory import device_lines, footprint_lines
from tests.unit.cli.test_render import status, text

GIB = 1 << 30


def budget(**more: Any) -> dict[str, Any]:
    known = {"name": "gpu0", "budget_bytes": 70 * GIB, "size_bytes": 80 * GIB, "others_bytes": 0, "held_back_bytes": 0}
    return {**known, "held_until": None, "reason": None, "holders": [], **more}


def lines(*budgets: dict[str, Any]) -> list[str]:
    return [line.plain for line in device_lines({"budgets": list(budgets)})]


def test_each_device_has_a_line_with_what_is_held_and_by_whom() -> None:
    holders = [{"replica": "a/0", "bytes": 20 * GIB, "measured": True}, {"replica": "b/0", "bytes": GIB}]
    assert lines(budget(holders=holders, others_bytes=8 * GIB), budget(name="host")) == [
        "gpu0  21.0 GiB of 70.0 GiB held; others use 8.0 GiB",
        "      a/0 20.0 GiB, b/0 1.0 GiB counted",
        "host  0 B of 70.0 GiB held",
    ]


def test_a_hold_is_shown_with_its_end_and_its_reason_and_what_is_too_much_beside_it() -> None:
    until = "2026-11-21T14:30:00.000Z"
    held = budget(budget_bytes=50 * GIB, held_back_bytes=20 * GIB, held_until=until, reason="training")
    when = moment(until, dated=True)
    assert lines(held) == [
        f"gpu0  0 B of 70.0 GiB held; 20.0 GiB of it is held back for its owner until {when} (training)"
    ]
    holders = [{"replica": "a/0", "bytes": 14 * GIB, "measured": True}]
    whole = budget(budget_bytes=0, held_back_bytes=24 * GIB, reason="", holders=holders, others_bytes=GIB)
    assert lines(whole)[0] == (
        "gpu0  14.0 GiB of 24.0 GiB held; all of it is held back for its owner until it is released; others use "
        "1.0 GiB; 14.0 GiB too much now"
    )


def test_status_has_them_above_the_models() -> None:
    facts = status({})
    facts["memory"] = {**facts["memory"], "budgets": [budget()]}
    shown = text(status_table(facts))
    assert shown[1] == "gpu0  0 B of 70.0 GiB held"
    assert shown[2].startswith("model")


def rung(claimed: int, source: str, measured: int | None, host: int | None = None) -> dict[str, Any]:
    return {
        "claimed": {"device_bytes": claimed, "host_bytes": 0, "source": source},
        "measured": {"device_bytes": measured, "host_bytes": host},
    }


def test_a_footprint_shows_claimed_and_measured() -> None:
    footprint = {
        "awake": rung(20 * GIB, "declared", 18 * GIB, 2 * GIB),
        "level1": rung(0, "unknown", None),
        "level2": rung(GIB, "estimated", None),
    }
    assert [line.plain for line in footprint_lines({"footprint": footprint, "lingering_bytes": GIB})] == [
        "holds awake: declared 20.0 GiB, measured 18.0 GiB a device; measured 2.0 GiB of host memory",
        "holds level 2: estimated 1.0 GiB a device",
        "1.0 GiB given back, not yet seen free",
    ]
    assert footprint_lines({}) == []
