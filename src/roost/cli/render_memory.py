"""Memory for people: each device's budget and what it is used for, and one model's footprint. Pure functions of the
API's JSON to rich texts. Called by `render` and `render_steps`.
"""

from typing import Any

from rich.text import Text

from roost.cli.plain import moment, plain
from roost.core.units import format_size

NOTHING_RUNS = ("cold", "backoff", "failed")
_HOLDERS = 6
"""Named of those that hold something of a device."""
_RUNGS = (("awake", "awake"), ("level1", "level 1"), ("level2", "level 2"))


def device_lines(memory: dict[str, Any]) -> list[Text]:
    """`gpu0  54.0 GiB of 71.2 GiB held; others use 8.8 GiB`, for each device with a budget, and by whom."""
    budgets = memory.get("budgets") or ()
    width = max((len(str(one["name"])) for one in budgets), default=0)
    lines = []
    for one in budgets:
        lines.append(Text.assemble((f"{plain(one['name']).plain:<{width}}  ", ""), plain(_budget(one), "dim")))
        if one["holders"]:
            lines.append(Text.assemble(" " * (width + 2), plain(_holders(one["holders"]), "dim")))
    return lines


def _budget(one: dict[str, Any]) -> str:
    """What is held back is a part of the budget that roost may not use now, so it stays in the sum."""
    held, back = sum(holder["bytes"] for holder in one["holders"]), one["held_back_bytes"]
    parts = [f"{format_size(held)} of {format_size(one['budget_bytes'] + back)} held"]
    if back or one["reason"] is not None:
        until = f"until {moment(one['held_until'], dated=True)}" if one["held_until"] else "until it is released"
        why = f" ({one['reason']})" if one["reason"] else ""
        what = f"{format_size(back)} of it is" if one["budget_bytes"] else "all of it is"
        parts.append(f"{what} held back for its owner {until}{why}")
    if one["others_bytes"]:
        parts.append(f"others use {format_size(one['others_bytes'])}")
    if held > one["budget_bytes"]:
        parts.append(f"{format_size(held - one['budget_bytes'])} too much now")
    return "; ".join(parts)


def _holders(holders: list[dict[str, Any]]) -> str:
    """The largest first."""
    ranked = sorted(holders, key=lambda holder: -int(holder["bytes"]))
    named = [
        f"{holder['replica']} {format_size(holder['bytes'])}{'' if holder.get('measured') else ' counted'}"
        for holder in ranked[:_HOLDERS]
    ]
    more = f" and {len(ranked) - _HOLDERS} more" if len(ranked) > _HOLDERS else ""
    return ", ".join(named) + more


def held_now(model: dict[str, Any], serving: dict[str, Any]) -> tuple[int | None, int | None]:
    """Bytes that a replica in its present state is claimed to hold and was measured to hold: on each of its devices, or
    of the host where it holds nothing on any."""
    state, level = serving["state"], serving.get("level")
    if state in NOTHING_RUNS:
        return None, None
    rung = "awake" if state != "asleep" or level == 0 else "level2" if level == 2 else "level1"
    known = (model.get("footprint") or {}).get(rung) or {"claimed": {}, "measured": {}}
    claimed, measured = known["claimed"], known["measured"]
    device = serving.get("device_bytes") or measured.get("device_bytes")
    if device or claimed.get("device_bytes"):
        return claimed.get("device_bytes"), device
    return claimed.get("host_bytes"), serving.get("memory_bytes") or measured.get("host_bytes")


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
    held = rung["claimed"]
    sources = held["source"], held.get("host_source", held["source"])
    for key, source, where in zip(("device_bytes", "host_bytes"), sources, ("a device", "of host memory"), strict=True):
        claimed, measured = held[key], rung["measured"][key]
        said = [f"{source} {format_size(claimed)}"] if claimed and source != "unknown" else []
        if measured is not None:
            said.append(f"measured {format_size(measured)}")
        if said:
            parts.append(f"{', '.join(said)} {where}")
    return "; ".join(parts)
