"""`roost bench`: load on a running roost, or on any OpenAI-compatible server, and what it did to the answers.

Owns options, table and exit status; measuring is `loadgen`'s. Ctrl-C shows what was measured so far.
"""

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from roost.core.spec import Task
from roost.core.units import parse_duration
from roost.loadgen.ask import TASKS, Failed, models
from roost.loadgen.plan import LoadPlan, PlanError, Target, server
from roost.loadgen.report import Figures, Report, Sample
from roost.loadgen.run import run
from roost.loadgen.stats import Summary
from roost.loadgen.wire import Broken, Client

_DEFAULT_CONCURRENCY = 8
_DEFAULT_DURATION_S = 30.0
_SHOW_EVERY = 50
_INTERRUPTED = 130


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not isinstance(seconds, float):
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 30s or 5m")
    return seconds


def bench(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8080",
    model: Annotated[list[str] | None, typer.Option(help="Model, or MODEL=WEIGHT; repeat for several.")] = None,
    rate: Annotated[float | None, typer.Option(help="Open loop: requests a second (Poisson).")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Closed loop: requests at once (default 8).")] = None,
    duration: Annotated[float | None, typer.Option(parser=_seconds, help="How long to send (default 30s).")] = None,
    requests: Annotated[int | None, typer.Option(help="How many to send.")] = None,
    stream: Annotated[bool, typer.Option(help="Streamed answers; TTFT, ITL and TPOT need them.")] = True,
    max_tokens: Annotated[int, typer.Option(help="Tokens per answer.")] = 64,
    prompt_words: Annotated[int, typer.Option(help="Words per prompt.")] = 32,
    warm_up: Annotated[int, typer.Option(help="Requests to each model before, not counted.")] = 1,
    timeout: Annotated[float, typer.Option(parser=_seconds, help="Longest wait for one answer.")] = "10m",  # type: ignore[assignment]
    seed: Annotated[int, typer.Option(help="Of arrival times and prompts.")] = 0,
    api_key: Annotated[str | None, typer.Option(envvar="ROOST_API_KEY", help="Sent as a Bearer token.")] = None,
    json_to: Annotated[
        str | None, typer.Option("--json", help="Also write the report to a file; - for stdout.")
    ] = None,
) -> None:
    """Send load and measure: TTFT, ITL, latency and throughput per model."""
    if concurrency is None and rate is None:
        concurrency = _DEFAULT_CONCURRENCY
    if duration is None and requests is None:
        duration = _DEFAULT_DURATION_S
    plan = LoadPlan(
        url=url,
        targets=(),
        concurrency=concurrency,
        rate=rate,
        duration_s=duration,
        requests=requests,
        stream=stream,
        max_tokens=max_tokens,
        prompt_words=prompt_words,
        warm_up=warm_up,
        api_key=api_key,
        timeout_s=timeout,
        seed=seed,
    )
    raise typer.Exit(_bench(plan, model or [], json_to))


def _bench(plan: LoadPlan, names: list[str], json_to: str | None) -> int:
    """Exit status: 0 measured, 1 nothing was answered, 2 cannot begin, 130 interrupted."""
    # The table goes where JSON does not, so that a pipe gets JSON alone.
    console = Console(stderr=json_to == "-")
    try:
        report = asyncio.run(_measure(plan, names, console))
    except (PlanError, Broken, Failed, TimeoutError) as error:
        console.print(f"[red]Cannot measure {plan.url}:[/] {error or 'it did not answer'}", highlight=False)
        return 2
    console.print(table(report), *([_remark(report)] if _remark(report) else []))
    _write(report, json_to)
    if report.interrupted:
        return _INTERRUPTED
    return 0 if report.total.answered else 1


async def _measure(plan: LoadPlan, names: list[str], console: Console) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends at once

    plan = replace(plan, targets=await _targets(plan, names))
    loop.add_signal_handler(signal.SIGINT, interrupted)
    with console.status("sending") as status:
        return await run(plan, stop=stop, heard=_counter(status))


def _counter(status: Status) -> Any:
    counts = {"answered": 0, "failed": 0}

    def heard(sample: Sample) -> None:
        counts["failed" if sample.error else "answered"] += 1
        if sum(counts.values()) % _SHOW_EVERY == 0:
            status.update(f"sending: {counts['answered']} answered, {counts['failed']} failed")

    return heard


async def _targets(plan: LoadPlan, names: list[str]) -> tuple[Target, ...]:
    """The models named, else all listed ones that generate; tasks as the server tells them."""
    client = Client(server(plan.url), plan.api_key)
    try:
        listed = {str(entry.get("id")): _task(entry) for entry in await models(client)}
    except Failed:
        if not names:
            raise
        listed = {}
    finally:
        client.close()
    if not names:
        return tuple(Target(name=name) for name, task in listed.items() if task is Task.GENERATE)
    weights = dict(_weighted(name, listed) for name in names)
    targets = [
        Target(name=name, weight=weight, task=listed.get(name, Task.GENERATE)) for name, weight in weights.items()
    ]
    unfit = [target.name for target in targets if target.task not in TASKS]
    if unfit:
        raise PlanError(f"{', '.join(unfit)}: bench can send to models that generate, embed or rerank.")
    return tuple(targets)


def _task(entry: dict[str, Any]) -> Task:
    told = entry.get("task")
    return Task(told) if told in list(Task) else Task.GENERATE


def _weighted(text: str, listed: dict[str, Task]) -> tuple[str, float]:
    """`a=3` is model a with weight 3, unless a model is really called so."""
    name, mark, weight = text.rpartition("=")
    if text in listed or not mark:
        return text, 1.0
    try:
        return name, float(weight)
    except ValueError:
        return text, 1.0


def _write(report: Report, json_to: str | None) -> None:
    if json_to is None:
        return
    text = json.dumps(report.to_dict(), indent=2) + "\n"
    if json_to == "-":
        sys.stdout.write(text)
    else:
        Path(json_to).write_text(text)


def table(report: Report) -> Table:
    """One row a model, and one for all where there are several."""
    how = "streamed" if report.stream else "whole"
    result = Table(
        title=f"{report.url}: {report.load}, {how} answers, {report.duration_s:.1f} s",
        caption="times in ms: p50/p99",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    result.add_column("model")
    for name in ("ok", "errors", "req/s", "tok/s", "TTFT", "ITL", "TPOT", "e2e"):
        result.add_column(name, justify="right")
    for name, figures in report.models.items():
        result.add_row(name, *_cells(figures))
    if len(report.models) > 1:
        result.add_row("all", *_cells(report.total), style="bold")
    return result


def _cells(figures: Figures) -> tuple[str, ...]:
    tokens = "-" if figures.tokens_per_s is None else f"{figures.tokens_per_s:.0f}"
    times = (figures.ttft_s, figures.itl_s, figures.tpot_s, figures.e2e_s)
    failed = str(figures.requests - figures.answered)
    return (str(figures.answered), failed, f"{figures.requests_per_s:.1f}", tokens, *map(_times, times))


def _times(summary: Summary | None) -> str:
    return "-" if summary is None else f"{_milliseconds(summary.p50)}/{_milliseconds(summary.p99)}"


def _milliseconds(seconds: float) -> str:
    """Three figures or so: the table fits 80 columns."""
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f}"


def _remark(report: Report) -> str:
    errors = ", ".join(f"{kind}: {count}" for kind, count in report.total.errors.items())
    lines = [f"errors: {errors}"] if errors else []
    if report.interrupted:
        lines.append(f"interrupted; {report.cut} requests were under way and are not counted")
    return "\n".join(lines)
