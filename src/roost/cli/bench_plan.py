"""From the options of `roost bench` to the plans that are carried out: address, models, arrivals, prompts.

Reads the config, the trace and the prompts; sends nothing. Called by `bench_cmd`.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roost.cli.config_cmd import check_file
from roost.core.server_spec import Scope
from roost.core.spec import RoostSpec, Task
from roost.core.units import format_duration
from roost.loadgen import prompts, traces
from roost.loadgen.arrivals import Arrivals, Closed, Even, Poisson, Ramp, ends
from roost.loadgen.ask import TASKS
from roost.loadgen.plan import LoadPlan, PlanError, Prompt, Target

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_CONCURRENCY = 8
DEFAULT_DURATION_S = 30.0
MAX_TRACE = 256 * 1024 * 1024
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options as they were given."""

    config: Path | None
    url: str | None
    models: tuple[str, ...]
    concurrency: int | None
    rate: float | None
    fixed_rate: float | None
    ramp: int | None
    trace: Path | None
    cut: traces.Cut
    stagger_s: float
    duration_s: float | None
    requests: int | None
    stream: bool
    max_tokens: int
    prompts: Path | None
    prompt_words: int
    warm_up: int
    timeout_s: float
    seed: int
    api_key: str | None


def read_config(path: Path) -> RoostSpec:
    """The spec of a config; PlanError with all its problems."""
    try:
        loaded = check_file(str(path))
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror or error}.") from None
    if loaded.spec is None:
        said = "\n".join(problem.render(str(path)) for problem in loaded.problems if problem.severity == "error")
        raise PlanError(f"{path} has problems:\n{said}")
    return loaded.spec


def with_config(asked: Asked, spec: RoostSpec) -> Asked:
    """Address and key as the config has them, where the options say nothing."""
    server = spec.server
    host = _ANYWHERE.get(server.host, server.host)
    url = asked.url or f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    fitting = [key for key in server.keys if key.models is None and {Scope.INFER, Scope.ADMIN} & set(key.scopes)]
    reading = [key for key in fitting if {Scope.READ, Scope.ADMIN} & set(key.scopes)]  # may see who sleeps
    chosen = next(iter((*reading, *fitting)), None)
    return replace(asked, url=url, api_key=asked.api_key or (chosen.key if chosen is not None else None))


def config_targets(asked: Asked, spec: RoostSpec) -> tuple[Target, ...]:
    """All of the config's models that can be sent to. Which of them are is `plans`' choice: a model's share of a trace
    and its turn to begin are the same whoever else is loaded."""
    known = {name: model.task for name, model in spec.models.items()}
    missing = [name for name in asked.models if name not in known]
    if missing:
        raise PlanError(f"The config has no model {missing[0]!r}; it has {', '.join(known)}.")
    targets = tuple(Target(name=name, task=task) for name, task in known.items() if task in TASKS)
    if not targets:
        raise PlanError("The config has no model that generates, embeds or ranks.")
    return targets


def named_targets(names: Sequence[str], listed: Mapping[str, Task]) -> tuple[Target, ...]:
    """The models named (NAME=WEIGHT), else all listed ones that generate."""
    if not names:
        return tuple(Target(name=name) for name, task in listed.items() if task is Task.GENERATE)
    weights = dict(_weighted(name, listed) for name in names)
    targets = tuple(Target(name=name, weight=w, task=listed.get(name, Task.GENERATE)) for name, w in weights.items())
    unfit = [target.name for target in targets if target.task not in TASKS]
    if unfit:
        raise PlanError(f"{', '.join(unfit)}: bench can send to models that generate, embed or rank.")
    return targets


def _weighted(text: str, listed: Mapping[str, Task]) -> tuple[str, float]:
    """`a=3` is model a with weight 3, unless a model is really called so."""
    name, mark, weight = text.rpartition("=")
    if text in listed or not mark:
        return text, 1.0
    try:
        return name, float(weight)
    except ValueError:
        return text, 1.0


def plans(asked: Asked, targets: Sequence[Target], *, side_by_side: bool) -> tuple[LoadPlan, ...]:
    """One for all models, or one for each that is named (all if none is): then each has arrivals of its own,
    `stagger_s` after the one before."""
    groups = [(target,) for target in targets] if side_by_side or asked.trace is not None else [tuple(targets)]
    arrivals = _arrivals(asked, [group[0].name for group in groups])
    given = _prompts(asked.prompts)
    return tuple(
        _plan(asked, group, arrivals[group[0].name], given, number * asked.stagger_s)
        for number, group in enumerate(groups)
        if group and not (side_by_side and asked.models and group[0].name not in asked.models)
    )


def _plan(
    asked: Asked, targets: tuple[Target, ...], arrivals: Arrivals, given: tuple[Prompt, ...], after_s: float
) -> LoadPlan:
    unbounded = asked.duration_s is None and asked.requests is None and not ends(arrivals)
    return LoadPlan(
        url=asked.url or DEFAULT_URL,
        targets=targets,
        arrivals=arrivals,
        begins_after_s=after_s,
        duration_s=DEFAULT_DURATION_S if unbounded else asked.duration_s,
        requests=asked.requests,
        stream=asked.stream,
        max_tokens=asked.max_tokens,
        prompt_words=asked.prompt_words,
        prompts=given,
        warm_up=asked.warm_up,
        api_key=asked.api_key,
        timeout_s=asked.timeout_s,
        seed=asked.seed,
    )


def _arrivals(asked: Asked, names: Sequence[str]) -> dict[str, Arrivals]:
    ways: list[tuple[str, Arrivals]] = []
    if asked.concurrency is not None:
        ways.append(("--concurrency", Closed(asked.concurrency)))
    if asked.rate is not None:
        ways.append(("--rate", Poisson(asked.rate)))
    if asked.fixed_rate is not None:
        ways.append(("--fixed-rate", Even(asked.fixed_rate)))
    if asked.ramp is not None:
        ways.append(("--ramp", Ramp(asked.ramp)))
    if len(ways) + (asked.trace is not None) > 1:
        given = [name for name, _ in ways] + (["--trace"] if asked.trace is not None else [])
        raise PlanError(f"{' and '.join(given)} exclude each other: requests come in one way only.")
    if asked.trace is not None:
        text = _text(asked.trace, MAX_TRACE)
        return dict(traces.replays(text, asked.trace.name, names, asked.cut))
    return dict.fromkeys(names, ways[0][1] if ways else Closed(DEFAULT_CONCURRENCY))


def _prompts(path: Path | None) -> tuple[Prompt, ...]:
    return () if path is None else prompts.read(_text(path, prompts.MAX_FILE), path.name)


def _text(path: Path, limit: int) -> str:
    """A file's text, unpacked if it is packed; no more than `limit` bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise PlanError(f"{path} has over {limit >> 20} MiB; take a part of it.")
        return data.decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def facts(asked: Asked) -> dict[str, Any]:
    """The options for the report: what one needs to do it again. Never the key."""
    shown: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value
        for name in Asked.__dataclass_fields__
        if name not in ("api_key", "cut") and (value := getattr(asked, name)) is not None
    }
    if asked.trace is not None:
        cut = asked.cut
        length = "to its end" if cut.for_s is None else f"for {format_duration(cut.for_s)}"
        shown["trace_part"] = (
            f"from {format_duration(cut.from_s)} {length}, {cut.speed_up:g} times as fast, keep {cut.keep:g}"
        )
    return shown
