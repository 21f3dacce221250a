"""What earlier runs of a configuration measured, for its rehearsal: how long moves take, and what models hold.

Reads the state directory of that configuration's instance, if there is one; changes nothing. Called by `plan_cmd`.
"""

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roost.core.forecast import ReturnCosts
from roost.core.spec import RoostSpec
from roost.core.units import format_duration
from roost.host.database_read import Reader
from roost.host.database_schema import FILE
from roost.host.store import instance_name, state_home
from roost.planner.demand import Demand

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """All that is known; nothing where it never ran."""

    costs: Mapping[str, ReturnCosts] = field(default_factory=dict)
    footprints: Mapping[str, Any] = field(default_factory=dict)
    """As `host.footprints` keeps them."""
    sentences: tuple[str, ...] = ()


def learned_of(config: Path, spec: RoostSpec, instance: str | None, state_dir: Path | None) -> Learned:
    """Of the instance that the config runs as, or the one that is named."""
    name = instance or instance_name(spec.server.name, str(config.resolve()))
    path = (state_dir or state_home(os.environ) / name) / FILE
    if not path.is_file():
        return Learned()
    try:
        reader = Reader(path)
        kept, footprints = reader.load("learned"), reader.load("footprint")
    except (sqlite3.Error, ValueError) as error:
        return Learned(sentences=(f"What earlier runs measured cannot be read ({path}: {error}).",))
    demand = Demand()
    for model in spec.models:
        if isinstance(kept.get(model), Mapping):
            demand.restore(model, kept[model], 0.0, 0.0)
    costs = {model: found for model in spec.models if (found := demand.costs(model)) is not None}
    said = (f"Earlier runs measured ({path}): {_said(costs)}.",) if costs else ()
    return Learned(costs=costs, footprints=footprints, sentences=said)


def _said(costs: Mapping[str, ReturnCosts]) -> str:
    shown = [f"{model} {_times(found)}" for model, found in list(costs.items())[:_SHOWN]]
    more = len(costs) - len(shown)
    return "; ".join(shown) + (f"; and {more} more models" if more else "")


def _times(costs: ReturnCosts) -> str:
    named = {
        "load": costs.load_s,
        "wake": costs.level1_s,
        "wake from level 2": costs.level2_s,
        "down": costs.down_s,
    }
    return ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in named.items() if seconds is not None)
