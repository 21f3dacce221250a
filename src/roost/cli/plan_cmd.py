"""`roost plan`: what the running roost would do now; with a config what it would do, by a trace, in simulated time.

The rehearsal needs neither a running roost nor an engine. Reads files; changes nothing.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from roost.cli import plan_assume, plan_show
from roost.cli.bench_plan import MAX_TRACE, read_config
from roost.cli.client import InstanceOpt, KeyOpt, StateOpt, UrlOpt, connect
from roost.cli.durations import seconds, some_seconds
from roost.cli.plan_learned import Learned, learned_of
from roost.cli.render_schedules import window_lines
from roost.control import schedule
from roost.core.spec import RoostSpec
from roost.host.claims import claims
from roost.loadgen.plan import PlanError
from roost.loadgen.traces import Cut, replays
from roost.planner.rehearse import rehearse
from roost.planner.rehearse_advice import enough, verdict
from roost.planner.rehearse_stage import Arrival, Mechanics, Record, Stage

_DAY_S, _LEAST_S = 86400.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be rehearsed."""

    trace: Path | None
    cut: Cut
    service_s: float
    starts_at: float | None
    """Unix time; None: schedules are left out."""
    lasts_s: float | None
    """Of the trace's time; None: until its last request."""


def plan(
    config: Annotated[Path | None, typer.Argument(help="Rehearse this configuration instead.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="The requests of the rehearsal (.csv, .csv.gz); see docs/benchmarking.md.")
    ] = None,
    trace_from: Annotated[float, typer.Option("--from", parser=seconds, help="Begin the trace here.")] = "0s",  # type: ignore[assignment]
    trace_for: Annotated[
        float | None,
        typer.Option("--for", parser=some_seconds, help="So much time; left out: a day, or less where the trace ends."),
    ] = None,
    keep: Annotated[float, typer.Option(help="Keep each arrival with this probability.")] = 1.0,
    speed_up: Annotated[float, typer.Option(help="The requests come so many times as fast.")] = 1.0,
    service: Annotated[
        float, typer.Option(parser=seconds, help="How long a request runs, where the trace has no tokens.")
    ] = "5s",  # type: ignore[assignment]
    starts: Annotated[
        str | None, typer.Option(help="When it begins, such as 2026-11-20T07:00, for policy.schedules.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is kept, and of gaps that are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """What the running roost would do now, what it cannot do, and why. With CONFIG: what would be awake when, which
    requests would wait and why, by rehearsal."""
    if config is None:
        if trace is not None:
            raise typer.BadParameter("A trace needs the CONFIG that it is rehearsed with: roost plan CONFIG --trace T")
        _of_running(as_json, instance, state_dir, url, api_key)
        return
    try:
        if not (speed_up > 0 and 0 < keep <= 1):
            raise PlanError("--speed-up must be above 0, and --keep above 0 and at most 1.")
        cut = Cut(from_s=trace_from, for_s=trace_for or _DAY_S, speed_up=speed_up, keep=keep, seed=seed)
        ends_itself = trace is not None and starts is None
        lasts_s = trace_for or (None if ends_itself else _DAY_S)
        asked = Asked(trace=trace, cut=cut, service_s=service, starts_at=_moment(starts), lasts_s=lasts_s)
        spec = read_config(config)
        if not spec.models:
            raise PlanError("The config has no models.")
        if unknown := schedule.validate(spec):
            raise PlanError(unknown[0].render("the config"))
        _rehearsed(spec, asked, learned_of(config, spec, instance, state_dir), as_json=as_json)
    except PlanError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _of_running(
    as_json: bool, instance: str | None, state_dir: Path | None, url: str | None, api_key: str | None
) -> None:
    with connect(instance, state_dir, url, api_key) as api:
        facts = api.get("/api/v1/plan", has="actions")
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for line in window_lines(facts.get("schedules")):
        typer.echo(line)
    for action in facts["actions"]:
        typer.echo(f"{action['action']} {action['replica']}: {action['reason']}")
    for blocked in facts["blocked"]:
        typer.echo(f"blocked {blocked['model']}: {blocked['sentence']}")
    notes = facts.get("notes", [])
    for note in notes:
        typer.echo(note)
    if not facts["actions"] and not facts["blocked"] and not notes:
        typer.echo("Nothing to do now.")
    if facts["next_check_in_s"] is not None:
        typer.echo(f"Next look in {facts['next_check_in_s']:.1f} s.")


def _rehearsed(spec: RoostSpec, asked: Asked, learned: Learned, *, as_json: bool) -> None:
    holds, has_hours = claims(spec, learned.footprints), asked.starts_at is not None
    mechanics, assumed = plan_assume.mechanics(spec, holds, learned, has_hours=has_hours)
    arrivals = _arrivals(spec, asked.trace, asked.cut, asked.service_s) if asked.trace is not None else []
    if asked.trace is not None:
        assumed.append(plan_assume.service_sentence(asked.service_s))

    def play(larger: RoostSpec) -> Record:
        return _play(larger, mechanics, arrivals, asked)

    record = play(spec)
    found = verdict(record)
    told = plan_show.Told(
        spec=spec,
        mechanics=mechanics,
        record=record,
        arrivals=arrivals if asked.trace is not None else None,
        assumed=assumed,
        verdict=found,
        remedy=enough(spec, play) if found.thrashes else None,
    )
    if as_json:
        typer.echo(json.dumps(plan_show.as_json(told), indent=1))
    else:
        plan_show.show(told, Console())


def _play(spec: RoostSpec, mechanics: list[Mechanics], arrivals: list[Arrival], asked: Asked) -> Record:
    ends_at = arrivals[-1].at_s if arrivals else 0.0
    until_s = max(ends_at, _LEAST_S) if asked.lasts_s is None else asked.lasts_s / asked.cut.speed_up
    hours = None if asked.starts_at is None else _hours(spec, asked.starts_at)
    learner = plan_assume.Weekly(plan_assume.MONDAY_S if asked.starts_at is None else asked.starts_at)
    return rehearse(
        Stage(
            spec=spec, mechanics=mechanics, arrivals=arrivals, until_s=until_s, hours=hours, learner=learner, told=True
        )
    )


def _hours(spec: RoostSpec, starts_at: float) -> Callable[[float], schedule.Standing]:
    timetable = schedule.Timetable(spec.memory, spec.policy.schedules)
    return lambda now: timetable.at(now, starts_at + now)


def _moment(text: str | None) -> float | None:
    """Unix time; without an offset in the time zone of this machine."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise PlanError(f'"{text}" is no moment. Write it as 2026-11-20T07:00.') from None


def _arrivals(spec: RoostSpec, trace: Path, cut: Cut, service_s: float) -> list[Arrival]:
    found = replays(_text(trace), str(trace), list(spec.models), cut)
    return sorted(
        Arrival(moment.at_s, index, plan_assume.service_s(moment.max_tokens, service_s))
        for index, name in enumerate(spec.models)
        for moment in found[name].moments
    )


def _text(path: Path) -> str:
    """The trace; PlanError where it cannot be read or is too large."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            raw = stream.read(MAX_TRACE + 1)
    except (OSError, EOFError) as error:
        raise PlanError(f"{path} cannot be read: {error}.") from None
    if len(raw) > MAX_TRACE:
        raise PlanError(f"{path} is larger than {MAX_TRACE // 1024**2} MiB unpacked; take a part of it.")
    return raw.decode(errors="replace")
