"""Memory for people: each device's budget and what it is used for, and one model's footprint. Pure functions of the
API's JSON to rich texts. Called by `render` and `render_steps`.
"""

from typing import Any

from rich.text import Text

from roost.cli.plain import plain
from roost.core.units import format_size

_RUNGS = (("awake", "awake"), ("level1", "level 1"), ("level2", "level 2"))


def device_lines(memory: dict[str, Any]) -> list[Text]:
    """`gpu0  54.0 GiB of 71.2 GiB held; others use 8.8 GiB`, a line for each device with a budget."""
    budgets = memory.get("budgets") or ()
    width = max((len(str(one["name"])) for one in budgets), default=0)
    return [
        Text.assemble((f"{plain(one['name']).plain:<{width}}  ", ""), plain(_budget(one), "dim")) for one in budgets
    ]


def _budget(one: dict[str, Any]) -> str:
    held = sum(holder["bytes"] for holder in one["holders"])
    parts = [f"{format_size(held)} of {format_size(one['budget_bytes'])} held"]
    if one["others_bytes"]:
        parts.append(f"others use {format_size(one['others_bytes'])}")
    if one["held_back_bytes"] or one["reason"] is not None:
        until = f"until {one['held_until']}" if one["held_until"] else "until it is released"
        why = f" ({one['reason']})" if one["reason"] else ""
        parts.append(f"{format_size(one['held_back_bytes'])} kept for its owner {until}{why}")
    return "; ".join(parts)


def footprint_lines(model: dict[str, Any]) -> list[Text]:
    """What one model holds in each state of which anything is known, claimed and measured."""
    footprint = model.get("footprint") or {}
    said = [(name, _state(footprint[rung])) for rung, name in _RUNGS if rung in footprint]
    lines = [plain(f"holds {name}: {text}", "dim") for name, text in said if text]
    if model.get("lingering_bytes"):
        lines.append(plain(f"{format_size(model['lingering_bytes'])} given back, not yet seen free", "yellow"))
    return lines


def _state(rung: dict[str, Any]) -> str:
    parts = []
    for key, where in (("device_bytes", "a device"), ("host_bytes", "of host memory")):
        claimed, measured = rung["claimed"][key], rung["measured"][key]
        source = rung["claimed"]["source"]
        said = [f"{source} {format_size(claimed)}"] if claimed and source != "unknown" else []
        if measured is not None:
            said.append(f"measured {format_size(measured)}")
        if said:
            parts.append(f"{', '.join(said)} {where}")
    return "; ".join(parts)
