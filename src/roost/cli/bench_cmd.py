"""`roost bench`: load on a running roost, or on any OpenAI-compatible server, and what it did to the answers.

Owns options and exit status; plans are `bench_plan`'s, measuring is `loadgen`'s. Ctrl-C shows what was measured so far.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from roost import __version__
from roost.cli import bench_plan, bench_plot, bench_show, bench_tmux
from roost.cli.bench_plan import Asked
from roost.cli.durations import seconds
from roost.core.spec import Task
from roost.loadgen.ask import Failed, models
from roost.loadgen.plan import LoadPlan, PlanError, server
from roost.loadgen.report import Report
from roost.loadgen.run import Watch, how, run
from roost.loadgen.sleeping import Sleeps
from roost.loadgen.traces import Cut
from roost.loadgen.wire import Broken, Client
from roost.tasks import end, spawn

_SHOW_S = 0.5
_LINE_S = 5.0
_INTERRUPTED = 130
_PAIR = 2


@dataclass(frozen=True, slots=True)
class _Out:
    """Where the result goes besides the table."""

    json_to: str | None
    plot: Path | None


def bench(
    config: Annotated[Path | None, typer.Option(help="Load every model of this config, side by side.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the server (default: the config's, else port 8080).")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model, or MODEL=WEIGHT; repeat for several.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Closed loop: requests at once (default 8).")] = None,
    rate: Annotated[float | None, typer.Option(help="Open loop: requests a second (Poisson).")] = None,
    fixed_rate: Annotated[float | None, typer.Option(help="Open loop: requests a second, evenly spaced.")] = None,
    ramp: Annotated[
        int | None, typer.Option(help="0 to this many requests a second and back, 1 more each second.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Replay a trace (.csv, .csv.gz); see docs/benchmarking.md.")
    ] = None,
    trace_from: Annotated[float, typer.Option(parser=seconds, help="Begin the trace here.")] = "0s",  # type: ignore[assignment]
    trace_for: Annotated[float | None, typer.Option(parser=seconds, help="Take so much of the trace.")] = None,
    speed_up: Annotated[float, typer.Option(help="Replay so many times as fast.")] = 1.0,
    keep: Annotated[float, typer.Option(help="Keep each arrival of the trace with this probability.")] = 1.0,
    stagger: Annotated[float, typer.Option(parser=seconds, help="Between the starts of two models.")] = "0s",  # type: ignore[assignment]
    duration: Annotated[float | None, typer.Option(parser=seconds, help="How long to send (default 30s).")] = None,
    requests: Annotated[int | None, typer.Option(help="How many to send (with --config to each model).")] = None,
    stream: Annotated[bool, typer.Option(help="Streamed answers; TTFT, ITL and TPOT need them.")] = True,
    max_tokens: Annotated[int, typer.Option(help="Tokens per answer.")] = 64,
    prompts: Annotated[Path | None, typer.Option(help="Prompts, one a line, or JSON lines.")] = None,
    prompt_words: Annotated[int, typer.Option(help="Words per made prompt.")] = 32,
    warm_up: Annotated[int, typer.Option(help="Requests to each model before, not counted.")] = 1,
    timeout: Annotated[float, typer.Option(parser=seconds, help="Longest wait for one answer.")] = "10m",  # type: ignore[assignment]
    seed: Annotated[int, typer.Option(help="Of arrival times and prompts.")] = 0,
    api_key: Annotated[str | None, typer.Option(envvar="ROOST_API_KEY", help="Sent as a Bearer token.")] = None,
    tmux: Annotated[bool, typer.Option("--tmux", help="With --config: a tmux session for each model.")] = False,
    json_to: Annotated[
        str | None, typer.Option("--json", help="Also write the report to a file; - for stdout.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw a picture: FILE.png or FILE.svg.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Compare two reports; nothing is sent.", metavar="A.json B.json")
    ] = None,
) -> None:
    """Send load and measure: TTFT, ITL, latency and throughput per model, and who slept meanwhile."""
    asked = Asked(
        config=config,
        url=url,
        models=tuple(model or ()),
        concurrency=concurrency,
        rate=rate,
        fixed_rate=fixed_rate,
        ramp=ramp,
        trace=trace,
        cut=Cut(from_s=trace_from, for_s=trace_for, speed_up=speed_up, keep=keep, seed=seed),
        stagger_s=stagger,
        duration_s=duration,
        requests=requests,
        stream=stream,
        max_tokens=max_tokens,
        prompts=prompts,
        prompt_words=prompt_words,
        warm_up=warm_up,
        timeout_s=timeout,
        seed=seed,
        api_key=api_key,
    )
    # The table goes where JSON does not, so that a pipe gets JSON alone.
    console = Console(stderr=json_to == "-")
    try:
        status = _compare(compare, console) if compare else _bench(asked, _Out(json_to, plot), tmux, console)
    except PlanError as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        status = 2
    raise typer.Exit(status)


def _bench(asked: Asked, out: _Out, tmux: bool, console: Console) -> int:
    """Exit status: 0 measured, 1 nothing was answered, 2 cannot begin, 130 interrupted."""
    if out.plot is not None:
        bench_plot.check(out.plot)
    if not (asked.cut.speed_up > 0 and 0 < asked.cut.keep <= 1):
        raise PlanError("--speed-up must be above 0, and --keep above 0 and at most 1.")
    if tmux:
        return _in_tmux(asked)
    try:
        report, sleeps = asyncio.run(_measure(asked, console))
    except (Broken, Failed, TimeoutError) as error:
        raise PlanError(
            f"Cannot measure {asked.url or bench_plan.DEFAULT_URL}: {error or 'it did not answer'}"
        ) from None
    console.print(bench_show.table(report, console.width))
    if said := bench_show.remark(report):
        console.print(said, highlight=False, markup=False)
    _write(report, sleeps, out)
    if report.interrupted:
        return _INTERRUPTED
    return 0 if report.total.answered else 1


def _in_tmux(asked: Asked) -> int:
    if asked.config is None:
        raise PlanError("--tmux goes with --config: it makes a session for each model of it.")
    spec = bench_plan.read_config(asked.config)
    names = [target.name for target in bench_plan.config_targets(asked, spec)]
    names = [name for name in names if not asked.models or name in asked.models]
    return bench_tmux.in_sessions(spec, names, _without(sys.argv[1:], flags=("--tmux",), options=("--model",)))


def _without(words: Sequence[str], *, flags: Sequence[str], options: Sequence[str]) -> list[str]:
    """The command line without these flags, and without these options and their values."""
    kept, skip = [], False
    for word in words:
        if skip or word in flags or word.startswith(tuple(f"{option}=" for option in options)):
            skip = False
        elif word in options:
            skip = True
        else:
            kept.append(word)
    return kept


async def _measure(asked: Asked, console: Console) -> tuple[Report, Sleeps]:
    plans, shown = await _plans(asked)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends at once

    loop.add_signal_handler(signal.SIGINT, interrupted)
    watch = Watch()
    key = plans[0].api_key
    async with Sleeps(plans[0].url if "://" in plans[0].url else f"http://{plans[0].url}", key) as sleeps:
        showing = spawn(_show(watch, plans, sleeps, console), "show")
        try:
            report = await run(*plans, stop=stop, watch=watch)
        finally:
            await end(showing)
        report = _with_sleeps(report, sleeps)
    return replace(report, plan={"version": __version__, **bench_plan.facts(shown)}), sleeps


async def _plans(asked: Asked) -> tuple[tuple[LoadPlan, ...], Asked]:
    """The plans, and the options with what the config added. PlanError, Broken or Failed if the server is not there."""
    if asked.config is not None:
        spec = bench_plan.read_config(asked.config)
        asked = bench_plan.with_config(asked, spec)
        await _listed(asked)
        return bench_plan.plans(asked, bench_plan.config_targets(asked, spec), side_by_side=True), asked
    try:
        listed = await _listed(asked)
    except Failed:
        if not asked.models:
            raise
        listed = {}
    targets = bench_plan.named_targets(asked.models, listed)
    if not targets:
        raise PlanError("There is no model to send to. Name one with --model.")
    return bench_plan.plans(asked, targets, side_by_side=False), asked


async def _listed(asked: Asked) -> dict[str, Task]:
    client = Client(server(asked.url or bench_plan.DEFAULT_URL), asked.api_key)
    try:
        return {str(entry.get("id")): _task(entry) for entry in await models(client)}
    finally:
        client.close()


def _task(entry: dict[str, Any]) -> Task:
    told = entry.get("task")
    return Task(told) if told in list(Task) else Task.GENERATE


async def _show(watch: Watch, plans: Sequence[LoadPlan], sleeps: Sleeps, console: Console) -> None:
    """The table so far on a terminal, a line now and then elsewhere."""
    about = how(plans)
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINE_S)
            if watch.tally is not None:
                console.print(bench_show.line(watch.tally.report(about)), highlight=False, markup=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(_SHOW_S)
            if watch.tally is not None:
                live.update(
                    bench_show.table(_with_sleeps(watch.tally.report(about), sleeps), console.width), refresh=True
                )


def _with_sleeps(report: Report, sleeps: Sleeps) -> Report:
    if not sleeps.known:
        return report
    ended = report.began_at + report.duration_s
    told = {
        name: replace(
            figures,
            asleep_s=sleeps.asleep_s(name, report.began_at, ended),
            wakes_met=sleeps.wakes_met(name, report.began_at),
        )
        for name, figures in report.models.items()
    }
    return replace(report, models=told)


def _write(report: Report, sleeps: Sleeps, out: _Out) -> None:
    if out.plot is not None:
        try:
            bench_plot.draw(report, sleeps.spells, out.plot)
        except OSError as error:
            raise PlanError(f"{out.plot} cannot be written: {error.strerror or error}.") from None
    if out.json_to is None:
        return
    text = json.dumps(report.to_dict(), indent=2) + "\n"
    if out.json_to == "-":
        sys.stdout.write(text)
        return
    try:
        Path(out.json_to).write_text(text)
    except OSError as error:
        raise PlanError(f"{out.json_to} cannot be written: {error.strerror or error}.") from None


def _compare(paths: tuple[Path, Path], console: Console) -> int:
    reports = [_report(path) for path in paths]
    assert len(reports) == _PAIR
    console.print(bench_show.comparison(reports[0], reports[1], (paths[0].name, paths[1].name)))
    return 0


def _report(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read as a report: {getattr(error, 'strerror', None) or error}.") from None
    if not isinstance(value, dict):
        raise PlanError(f"{path} is no report of roost bench --json.")
    return value
