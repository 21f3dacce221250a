"""Reads how deep an engine sleeps from its metrics page. Pure; called by `host/confirming.py`."""

from roost.engines.base import StateGauge


def levels_shown(gauge: StateGauge, page: str) -> frozenset[int]:
    """The sleep levels that its series show, 0 for awake; more than one where a server of several engines does not
    show the same for all. Empty where the page does not have the metric."""
    found: set[int] = set()
    for line in page.splitlines():
        name, brace, rest = line.partition("{")
        labels, _, value = rest.rpartition("}")
        if not brace or name != gauge.name or not _is_one(value):
            continue
        found |= {level for state, level in gauge.levels if f'{gauge.label}="{state}"' in labels}
    return frozenset(found)


def _is_one(value: str) -> bool:
    """A time stamp may follow the value."""
    try:
        return float(value.split()[0]) == 1.0
    except (ValueError, IndexError):
        return False
