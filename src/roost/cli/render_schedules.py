"""Open windows of `policy.schedules` for people: a pure function of the API's JSON to lines of text. Called by `render`
and `plan_cmd`.
"""

from collections.abc import Iterator
from typing import Any

from roost.cli.plain import moment
from roost.core.units import format_size


def window_lines(schedules: dict[str, Any] | None) -> Iterator[str]:
    """`schedule mon-fri 08:00-18:00, open until Fri 18:00: pins chat; max_resident 1`, one for each that is open."""
    for one in (schedules or {}).get("open", ()):
        where = "" if one["timezone"] == "local" else f" ({one['timezone']})"
        until = f"open until {moment(one['until'])}" if one["until"] else "always open"
        yield f"schedule {one['when']}{where}, {until}: {'; '.join(_sets(one)) or 'nothing'}"


def _sets(one: dict[str, Any]) -> Iterator[str]:
    if one["pin"]:
        yield f"pins {', '.join(one['pin'])}"
    if one["sleep"]:
        yield f"lets {', '.join(one['sleep'])} sleep"
    if one["max_resident"] is not None:
        yield f"max_resident {one['max_resident']}"
    for device, amount in one["devices"].items():
        yield f"{device} {format_size(amount)}"
