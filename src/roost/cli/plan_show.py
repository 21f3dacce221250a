"""What a rehearsal is told as: who is awake when, who waits and why, sums, and whether it thrashes.

Text and JSON out of one record. Called by `plan_cmd`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roost.core.lifecycle import RESIDENT, State
from roost.core.spec import RoostSpec
from roost.core.units import counted, format_duration, format_size
from roost.planner.rehearse_advice import IN_VAIN_S, Verdict
from roost.planner.rehearse_stage import Arrival, Mechanics, Record, Scene, Wait, awake_bytes

COLUMNS = 60
_LONGEST, _EACH = 10, 3
"""Waits shown: in all, and of one model, for those of a model resemble each other."""
_NAME_MAX = 40
_AWAKE, _MOVING, _ASLEEP, _COLD = "█", "▒", "·", " "
_SPELT = {State.READY: _AWAKE, State.DRAINING: _AWAKE, State.ASLEEP: _ASLEEP, State.COLD: _COLD}
_MAX_STORY = 10_000
_NO_REQUESTS = (
    "There are no requests: shown is what preload, pins and schedules bring up by themselves. Give requests by --trace "
    "(docs/benchmarking.md) to see who waits and why."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything there is to show."""

    spec: RoostSpec
    mechanics: Sequence[Mechanics]
    record: Record
    arrivals: Sequence[Arrival] | None
    """None: there was no trace."""
    assumed: Sequence[str]
    verdict: Verdict
    remedy: tuple[RoostSpec, Verdict] | None
    """The same config with larger budgets that end the thrashing, and what comes of it."""


def show(told: Told, console: Console) -> None:
    """For a reader."""
    for sentence in told.assumed:
        console.print(f"Assumed: {sentence}", markup=False, highlight=False)
    for line in (*_bounds(told.spec), *_timeline(told)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if told.arrivals is None:
        console.print(_sizes(told))
        console.print(_NO_REQUESTS, markup=False, highlight=False)
        return
    console.print(_numbers(told))
    if told.record.waited:
        console.print(_longest(told.record.waited))
    for sentence in [_sums(told), *_thrash(told)]:
        console.print(sentence, markup=False, highlight=False)


def _bounds(spec: RoostSpec) -> Iterator[str]:
    """What must not be exceeded, one line each."""
    memory = spec.memory
    for name, size in memory.devices.items():
        reserve = f", {format_size(memory.reserve)} of it kept free" if memory.reserve else ""
        yield f"Bound: {format_size(size)} on {name}{reserve}."
    if memory.host is not None:
        yield f"Bound: {format_size(memory.host)} of host memory."
    if memory.max_resident is not None:
        yield f"Bound: {memory.max_resident} awake at once (memory.max_resident)."
    for name, host in spec.hosts.items():
        inside = [model for model, one in spec.models.items() if one.inside == name]
        if host.max_resident is not None and inside:
            yield f"Bound: {host.max_resident} at once in {name} (hosts.{name}.max_resident) of {', '.join(inside)}."


def _sizes(told: Told) -> Table:
    """What is known of each model, where there are no requests to tell of."""
    table = Table(title="What each model holds, and how long it takes")
    table.add_column("model")
    for name in ("holds", "load", "wake", "wake, level 2"):
        table.add_column(name, justify="right")
    for (name, model), moves in zip(told.spec.models.items(), told.mechanics, strict=True):
        holds = awake_bytes(model, moves)
        wakes = [format_duration(moves.wake_s[level - 1]) if level in moves.levels else "-" for level in (1, 2)]
        table.add_row(escape(name), format_size(holds) if holds else "?", format_duration(moves.load_s), *wakes)
    return table


def _timeline(told: Told) -> Iterator[str]:
    names = list(told.spec.models)
    width = min(_NAME_MAX, max(map(len, names)))
    yield f"Awake when, over {format_duration(told.record.ended_s)}:"
    for name in names:
        yield f"  {name[:width]:{width}} {_line(told.record, name)}"
    yield f"  {_AWAKE} awake  {_MOVING} on its way  {_ASLEEP} asleep  blank: not loaded"


def _numbers(told: Told) -> Table:
    table = Table(title="Model by model")
    table.add_column("model")
    for name in ("requests", "waited", "longest", "loads", "wakes", "evicted"):
        table.add_column(name, justify="right")
    for row in _models(told):
        counts = (row["loads"], row["wakes"], row["evicted"])
        longest = format_duration(row["longest_wait_s"])
        table.add_row(escape(row["model"]), str(row["requests"]), str(row["waited"]), longest, *map(str, counts))
    return table


def _models(told: Told) -> list[dict[str, Any]]:
    record, rows = told.record, []
    asked = [0] * len(told.spec.models)
    for arrival in told.arrivals or ():
        asked[arrival.model] += 1
    for index, name in enumerate(told.spec.models):
        mine = [wait for wait in record.waited if wait.model == name]
        story = [scene for scene in record.story if scene.replica.rpartition("/")[0] == name]
        rows.append(
            {
                "model": name,
                "over_time": _line(record, name),
                "requests": asked[index],
                "waited": len(mine),
                "refused": sum(not wait.served for wait in mine),
                "total_wait_s": sum(wait.wait_s for wait in mine),
                "longest_wait_s": max((wait.wait_s for wait in mine), default=0.0),
                "loads": sum(scene.order == "load" for scene in story),
                "wakes": sum(scene.order == "wake" for scene in story),
                "evicted": _evictions(story),
            }
        )
    return rows


def _evictions(story: Sequence[Scene]) -> int:
    """A stop or sleep at the end of a drain is no second one."""
    found, draining = 0, set[str]()
    for scene in story:
        if scene.evicts and scene.order in ("drain", "stop") and scene.replica not in draining:
            found += 1
        if scene.order == "drain":
            draining.add(scene.replica)
        else:
            draining.discard(scene.replica)
    return found


def _line(record: Record, model: str) -> str:
    """What its replicas are at the longest in each stretch of time, the most awake one shown."""
    length = record.ended_s / COLUMNS
    if not length:
        return ""
    shares: list[dict[str, float]] = [{} for _ in range(COLUMNS)]
    for spell in record.spells:
        if spell.replica.rpartition("/")[0] != model:
            continue
        sign = _SPELT.get(spell.state, _MOVING)
        first, last = int(spell.from_s / length), min(COLUMNS - 1, int(spell.to_s / length))
        for column in range(first, last + 1):
            part = min(spell.to_s, (column + 1) * length) - max(spell.from_s, column * length)
            shares[column][sign] = shares[column].get(sign, 0.0) + part
    return "".join(max(share, key=lambda sign: share[sign]) if share else _COLD for share in shares)


def _longest(waited: Sequence[Wait]) -> Table:
    table = Table(title="The longest waits: until room was made, while it loaded or woke, in its queue")
    for name in ("at", "model", "waited", "room", "rise", "queue"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for wait in _chosen(waited):
        queued = max(0.0, wait.wait_s - wait.room_s - wait.rise_s)
        parts = (wait.wait_s, wait.room_s, wait.rise_s, queued)
        why = wait.why if wait.served else f"refused: {wait.why}"
        table.add_row(format_duration(wait.at_s), escape(wait.model), *map(format_duration, parts), escape(why))
    return table


def _chosen(waited: Sequence[Wait]) -> list[Wait]:
    shown: Counter[str] = Counter()
    found = []
    for wait in sorted(waited, key=lambda wait: -wait.wait_s):
        shown[wait.model] += 1
        if shown[wait.model] <= _EACH:
            found.append(wait)
    return found[:_LONGEST]


def _sums(told: Told) -> str:
    record, found = told.record, told.verdict
    held = f", {format_size(int(record.awake_byte_s / record.ended_s))} awake on average" if record.awake_byte_s else ""
    return (
        f"{counted(found.requests, 'request')} in {format_duration(record.ended_s)}: {found.waited} waited "
        f"({len(record.refused)} of them in vain), {format_duration(record.total_wait_s)} together, p99 "
        f"{format_duration(record.quantile(0.99))}. {counted(record.loads, 'load')}, {counted(record.wakes, 'wake')}, "
        f"{counted(record.evictions, 'eviction')}, {record.idled} down for idleness{held}."
    )


def _thrash(told: Told) -> list[str]:
    found, memory = told.verdict, told.spec.memory
    if not found.thrashes:
        return []
    warning = (
        f"It thrashes: {found.in_vain} of {counted(found.evictions, 'eviction')} were in vain, for the model was "
        f"brought back within {format_duration(IN_VAIN_S)}; {found.waited} of {counted(found.requests, 'request')} "
        "waited."
    )
    if memory.groups or memory.matrix is not None:
        return [warning, "Groups or a matrix keep models apart: allow together those that are used together."]
    if told.remedy is None:
        return [warning, "No budget that was tried ends it: fewer models on this machine, or other requests elsewhere."]
    larger, after = told.remedy
    evictions, waits = counted(after.evictions, "eviction"), counted(after.waited, "request", "waits", "wait")
    enough = (
        f"It would end with {_budget(told.spec, larger)}: then {after.in_vain} of {evictions} are in vain and {waits}."
    )
    return [warning, enough]


def _budget(before: RoostSpec, after: RoostSpec) -> str:
    """What is larger in it."""
    memory = after.memory
    if memory == before.memory:
        grown = {name: host for name, host in after.hosts.items() if host != before.hosts[name]}
        return ", ".join(f"hosts.{name}.max_resident {host.max_resident}" for name, host in grown.items())
    parts = [f"{name} {format_size(size)}" for name, size in memory.devices.items()]
    if memory.max_resident is not None:
        parts.append(f"max_resident {memory.max_resident}")
    return ", ".join(parts)


def as_json(told: Told) -> dict[str, Any]:
    """For a program."""
    record, found = told.record, told.verdict
    awake = sum(spell.to_s - spell.from_s for spell in record.spells if spell.state in RESIDENT)
    return {
        "assumed": list(told.assumed),
        "bounds": list(_bounds(told.spec)),
        "seconds": record.ended_s,
        "requests": found.requests,
        "waited": found.waited,
        "refused": len(record.refused),
        "total_wait_s": record.total_wait_s,
        "p99_wait_s": record.quantile(0.99),
        "loads": record.loads,
        "wakes": record.wakes,
        "evictions": record.evictions,
        "evictions_in_vain": found.in_vain,
        "awake_replica_s": awake,
        "models": _models(told),
        "waits": [wait._asdict() for wait in _chosen(record.waited)],
        "story": [scene._asdict() for scene in record.story[:_MAX_STORY]],
        "story_left_out": max(0, len(record.story) - _MAX_STORY),
        "thrashes": found.thrashes,
        "enough": None if told.remedy is None else _budget(told.spec, told.remedy[0]),
        "advice": _thrash(told),
    }
