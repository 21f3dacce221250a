"""What the API shows of `policy.schedules`: the windows that are open, what they set, and when that changes.

Reads what control says; changes nothing. Used by `console` alone.
"""

from typing import Any

from roost import clock
from roost.control.schedule import Standing


def schedule_facts(standing: Standing) -> dict[str, Any]:
    """`open`: each open window as it is written; `next_change`: when one opens or closes."""
    return {
        "open": [
            {
                "when": spec.when,
                "timezone": spec.timezone,
                "since": _iso(window.since),
                "until": _iso(window.until),
                "pin": list(spec.pin),
                "sleep": list(spec.sleep),
                "max_resident": spec.max_resident,
                "devices": dict(spec.devices),
            }
            for spec, window in standing.open
        ],
        "next_change": _iso(standing.changes_at),
    }


def _iso(moment: float | None) -> str | None:
    """Windows begin and end at whole seconds; two clocks are never read at quite the same moment."""
    return None if moment is None else clock.iso(round(clock.to_wall(moment)))
