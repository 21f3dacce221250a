"""Arrival traces out of CSV, and what each model gets of them. Pure: text and seed in, moments out.

Two forms, told apart by their header (docs/benchmarking.md describes both): a row per request, or a row per client and
window with a rate and the distribution of the gaps. Called by the CLI.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import gamma
from random import Random

from roost.loadgen.arrivals import Moment, Replay
from roost.loadgen.plan import PlanError

MAX_MOMENTS = 500_000
_WORDS_PER_TOKEN = 0.75
_WINDOW_S = 600.0
_REQUESTS = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
_WINDOWS = frozenset({"client", "window_start_s", "rate_rps", "distribution", "shape"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which part of a trace, how fast, how much of it. Times in the trace's own seconds, from its beginning."""

    from_s: float = 0.0
    for_s: float | None = None
    speed_up: float = 1.0
    keep: float = 1.0
    """Each arrival is kept with this probability: it thins a trace and keeps the shape of its day."""
    seed: int = 0

    def has(self, at_s: float) -> bool:
        return self.from_s <= at_s and (self.for_s is None or at_s < self.from_s + self.for_s)


@dataclass(frozen=True, slots=True)
class _Window:
    start_s: float
    rate: float
    distribution: str
    shape: float


def replays(text: str, name: str, models: Sequence[str], cut: Cut) -> dict[str, Replay]:
    """Each model's moments. PlanError on a file that is no trace, holds nothing in the cut, or has too few clients."""
    rows = csv.DictReader(text.splitlines())
    fields = frozenset(rows.fieldnames or ())
    if fields >= _REQUESTS:
        given = _by_request(rows, name, models, cut)
    elif fields >= _WINDOWS:
        given = _by_window(rows, name, models, cut)
    else:
        raise PlanError(
            f"{name} is no trace: its first line names {', '.join(sorted(fields))[:80] or 'nothing'}. Wanted are "
            f"{', '.join(sorted(_REQUESTS))} or {', '.join(sorted(_WINDOWS))}."
        )
    random = Random(f"keep {cut.seed}")
    kept = {model: tuple(_kept(moments, cut, random)) for model, moments in given.items()}
    if not any(kept.values()):
        raise PlanError(f"{name} has no request in the part that was asked for.")
    return {model: Replay(moments, name) for model, moments in kept.items()}


def _kept(moments: Iterable[Moment], cut: Cut, random: Random) -> Iterator[Moment]:
    for moment in moments:
        if cut.keep >= 1 or random.random() < cut.keep:
            at_s = (moment.at_s - cut.from_s) / cut.speed_up
            yield Moment(at_s=at_s, prompt_words=moment.prompt_words, max_tokens=moment.max_tokens)


def _by_request(
    rows: Iterable[Mapping[str, str]], name: str, models: Sequence[str], cut: Cut
) -> dict[str, list[Moment]]:
    """Rows in turn to the models."""
    given: dict[str, list[Moment]] = {model: [] for model in models}
    began: datetime | None = None
    taken = 0
    for number, row in enumerate(rows, 2):
        try:
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            tokens_in, tokens_out = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (ValueError, TypeError):
            raise PlanError(f"{name}:{number} cannot be read; wanted: time, prompt tokens, generated tokens.") from None
        began = began or at
        at_s = (at - began).total_seconds()
        if not cut.has(at_s):
            continue
        words = max(1, round(tokens_in * _WORDS_PER_TOKEN))
        given[models[taken % len(models)]].append(Moment(at_s=at_s, prompt_words=words, max_tokens=max(1, tokens_out)))
        taken = _bounded(taken + 1, name)
    return given


def _by_window(
    rows: Iterable[Mapping[str, str]], name: str, models: Sequence[str], cut: Cut
) -> dict[str, list[Moment]]:
    """One client a model, in the order of the file."""
    clients: dict[str, list[_Window]] = {}
    for number, row in enumerate(rows, 2):
        try:
            window = _Window(
                float(row["window_start_s"]), float(row["rate_rps"]), row["distribution"], float(row["shape"])
            )
        except (ValueError, TypeError):
            raise PlanError(f"{name}:{number} cannot be read; wanted: numbers for start, rate and shape.") from None
        clients.setdefault(row["client"], []).append(window)
    if len(clients) < len(models):
        raise PlanError(f"{name} has {len(clients)} clients for {len(models)} models; name fewer with --model.")
    length_s = _length(clients.values())
    made: dict[str, list[Moment]] = {}
    count = 0
    for model, (client, windows) in zip(models, clients.items(), strict=False):
        random = Random(f"{cut.seed} {client}")
        made[model] = []
        for window in windows:
            for at_s in _arrivals(window, length_s, random):
                if cut.has(at_s):
                    made[model].append(Moment(at_s=at_s))
                    count = _bounded(count + 1, name)
    return made


def _length(clients: Iterable[Sequence[_Window]]) -> float:
    """The windows' length: the least distance of two of one client."""
    steps = [after.start_s - before.start_s for windows in clients for before, after in pairwise(windows)]
    return min((step for step in steps if step > 0), default=_WINDOW_S)


def _arrivals(window: _Window, length_s: float, random: Random) -> Iterator[float]:
    """Moments within the window. The mean gap is 1 / rate: a fit's own scale can disagree with the rate."""
    if window.rate <= 0 or window.shape <= 0:
        return
    mean, shape = 1 / window.rate, window.shape
    is_weibull = window.distribution.lower() == "weibull"
    scale = mean / gamma(1 + 1 / shape) if is_weibull and shape > 0.01 else mean / shape

    def gap() -> float:
        return random.weibullvariate(scale, shape) if is_weibull else random.gammavariate(shape, scale)

    at = gap() * random.random()  # the window opens somewhere between two arrivals
    while at < length_s:
        yield window.start_s + at
        at += max(gap(), 1e-6)


def _bounded(count: int, name: str) -> int:
    if count > MAX_MOMENTS:
        raise PlanError(f"{name} has over {MAX_MOMENTS} requests in the part asked for; shorten it with --trace-for.")
    return count
