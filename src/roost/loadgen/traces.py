"""Arrival traces out of CSV, and what each model gets of them. Pure: text and seed in, moments out.

Two forms, told apart by their header (docs/benchmarking.md describes both): a row per request, or a row per client and
window with a rate and the distribution of the gaps. Called by the CLI.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import gamma
from random import Random

from roost.loadgen.arrivals import Moment, Replay
from roost.loadgen.plan import PlanError

MAX_MOMENTS = 500_000
_WORDS_PER_TOKEN = 0.75
_WINDOW_S = 600.0
_DISTRIBUTIONS = ("gamma", "weibull")
_SHAPES = {"weibull": (0.02, 1e6), "gamma": (1e-3, 1e6)}
"""Below, the scale of a Weibull with that mean leaves the range of numbers. Real clients have Gammas of 0.01."""
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

    def meets(self, start_s: float, length_s: float) -> bool:
        """Whether any of this stretch is wanted."""
        return start_s + length_s > self.from_s and (self.for_s is None or start_s < self.from_s + self.for_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    start_s: float
    length_s: float
    rate: float
    distribution: str
    shape: float


def replays(text: str, name: str, models: Sequence[str], cut: Cut) -> dict[str, Replay]:
    """Each model's moments; who gets what follows from the list of models, so give all of them and take those wanted.
    PlanError on a file that is no trace, holds nothing in the cut, or has too few clients."""
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
    if not any(given.values()):
        raise PlanError(f"{name} has no request in the part that was asked for.")
    return {model: Replay(tuple(moments), name) for model, moments in given.items()}


class _Keeper:
    """Cuts, thins and bounds as moments come, so that what is not wanted takes neither time nor room."""

    def __init__(self, name: str, cut: Cut) -> None:
        self._name, self._cut = name, cut
        self._count = 0

    def keep(self, at_s: float, luck: Random, words: int | None = None, tokens: int | None = None) -> list[Moment]:
        """One moment, or none. Draws once for each, whatever the part."""
        cut = self._cut
        lucky = luck.random() < cut.keep
        if not lucky or not cut.has(at_s):
            return []
        self._count += 1
        if self._count > MAX_MOMENTS:
            raise PlanError(
                f"{self._name} has over {MAX_MOMENTS} requests in the part asked for; shorten it with --for "
                "(bench: --trace-for), or thin it with --keep."
            )
        return [Moment(at_s=(at_s - cut.from_s) / cut.speed_up, prompt_words=words, max_tokens=tokens)]


def _by_request(
    rows: Iterable[Mapping[str, str]], name: str, models: Sequence[str], cut: Cut
) -> dict[str, list[Moment]]:
    """Rows in turn to the models."""
    given: dict[str, list[Moment]] = {model: [] for model in models}
    began: datetime | None = None
    keeper, luck = _Keeper(name, cut), Random(f"keep {cut.seed}")
    for number, row in enumerate(rows, 2):
        try:
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            tokens_in, tokens_out = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (ValueError, TypeError):
            raise PlanError(f"{name}:{number} cannot be read; wanted: time, prompt tokens, generated tokens.") from None
        began = began or at
        words = max(1, round(tokens_in * _WORDS_PER_TOKEN))
        at_s = (at - began).total_seconds()
        given[models[number % len(models)]] += keeper.keep(at_s, luck, words, max(1, tokens_out))
    return given


def _by_window(
    rows: Iterable[Mapping[str, str]], name: str, models: Sequence[str], cut: Cut
) -> dict[str, list[Moment]]:
    """One client a model, in the order of the file."""
    clients: dict[str, list[_Window]] = {}
    for number, row in enumerate(rows, 2):
        clients.setdefault(row["client"], []).append(_window(row, f"{name}:{number}"))
    if len(clients) < len(models):
        raise PlanError(f"{name} has {len(clients)} clients for {len(models)} models; take a config with fewer.")
    keeper = _Keeper(name, cut)
    made: dict[str, list[Moment]] = {}
    for model, (client, windows) in zip(models, clients.items(), strict=False):
        made[model] = []
        for window in windows:
            if cut.meets(window.start_s, window.length_s):
                which = f"{cut.seed} {client} {window.start_s}"  # the same whatever part is taken, and how much of it
                luck = Random(f"keep {which}")
                for at_s in _arrivals(window, Random(which)):
                    made[model] += keeper.keep(at_s, luck)
    return made


def _window(row: Mapping[str, str], place: str) -> _Window:
    try:
        window = _Window(
            start_s=float(row["window_start_s"]),
            length_s=float(row.get("window_s") or _WINDOW_S),
            rate=float(row["rate_rps"]),
            distribution=row["distribution"].strip().lower(),
            shape=float(row["shape"]),
        )
    except (ValueError, TypeError, AttributeError):
        raise PlanError(f"{place} cannot be read; wanted: numbers for start, rate and shape.") from None
    if window.distribution not in _DISTRIBUTIONS:
        raise PlanError(f"{place} has the distribution {row['distribution']!r}; known are Gamma and Weibull.")
    low, high = _SHAPES[window.distribution]
    if not (0 <= window.rate < float("inf") and low <= window.shape <= high and window.length_s > 0):
        raise PlanError(f"{place} makes no sense: rate from 0 on, shape from {low} to {high}, length above 0.")
    return window


def _arrivals(window: _Window, random: Random) -> Iterator[float]:
    """Moments within the window. The mean gap is 1 / rate: a fit's own scale can disagree with the rate."""
    if window.rate == 0:
        return
    mean, shape = 1 / window.rate, window.shape
    is_weibull = window.distribution == "weibull"
    scale = mean / gamma(1 + 1 / shape) if is_weibull else mean / shape

    def gap() -> float:
        return random.weibullvariate(scale, shape) if is_weibull else random.gammavariate(shape, scale)

    at = gap() * random.random()  # the window opens somewhere between two arrivals
    while at < window.length_s:
        yield window.start_s + at
        at += max(gap(), 1e-6)
