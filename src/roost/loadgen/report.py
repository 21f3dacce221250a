"""From samples to the report: per model and together, as values and as JSON-ready dictionaries.

Pure. `Tally.add` is called for each finished request by `run`; the report is shown by the CLI.
"""

import random
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from roost.loadgen.stats import Reservoir, Summary

POINTS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One finished request. Times are monotonic seconds, unknown is None."""

    model: str
    started_at: float
    ended_at: float
    error: str | None = None
    """What went wrong, in a few words that many requests share; None: answered."""
    first_token_at: float | None = None
    gaps: tuple[float, ...] = ()
    """Seconds between one token event and the next."""
    tokens_in: int | None = None
    tokens_out: int | None = None

    @property
    def tpot_s(self) -> float | None:
        """Mean time per token after the first."""
        if self.first_token_at is None or self.tokens_out is None or self.tokens_out < 2:
            return None
        return (self.ended_at - self.first_token_at) / (self.tokens_out - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured of one model, or of all. Summaries in seconds, over answered requests only."""

    requests: int
    answered: int
    errors: dict[str, int]
    tokens_in: int | None
    tokens_out: int | None
    """None where no answer told its tokens."""
    requests_per_s: float
    """Answered ones."""
    tokens_per_s: float | None
    ttft_s: Summary | None
    itl_s: Summary | None
    tpot_s: Summary | None
    e2e_s: Summary | None
    asleep_s: float | None = None
    """How long of the measurement the model was asleep or not running; None where the server does not tell."""
    wakes_met: int | None = None
    """Loads and wakes that requests of the measurement had to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What was sent, to whom, as a reader wants it."""

    url: str
    load: str
    """`8 at once` or `20 requests/s`."""
    stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one measurement."""

    url: str
    load: str
    """`8 at once` or `20 requests/s`."""
    stream: bool
    duration_s: float
    """From the first request to the last answer."""
    cut: int
    """Requests under way when the measurement was interrupted; in no figure."""
    interrupted: bool
    models: dict[str, Figures]
    total: Figures
    began_at: float = 0.0
    """Monotonic seconds."""
    points: tuple[Sample, ...] = ()
    """An even choice of the samples, without their gaps, for plots."""
    plan: dict[str, Any] = field(default_factory=dict)
    """Options, seed and version that it was made with."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the fields' own names; without the points."""
        facts = asdict(replace(self, points=()))
        return {name: value for name, value in facts.items() if name not in ("points", "began_at")}


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    tokens_in: int | None = None
    tokens_out: int | None = None
    ttft: Reservoir = field(default_factory=Reservoir)
    itl: Reservoir = field(default_factory=Reservoir)
    tpot: Reservoir = field(default_factory=Reservoir)
    e2e: Reservoir = field(default_factory=Reservoir)

    def add(self, sample: Sample) -> None:
        self.requests += 1
        if sample.error is not None:
            self.errors[sample.error] += 1
            return
        self.answered += 1
        self.tokens_in = _plus(self.tokens_in, sample.tokens_in)
        self.tokens_out = _plus(self.tokens_out, sample.tokens_out)
        self.e2e.add(sample.ended_at - sample.started_at)
        self.itl.extend(sample.gaps)
        if sample.first_token_at is not None:
            self.ttft.add(sample.first_token_at - sample.started_at)
        if sample.tpot_s is not None:
            self.tpot.add(sample.tpot_s)

    def figures(self, duration_s: float) -> Figures:
        per_s = 1 / duration_s if duration_s > 0 else 0.0
        return Figures(
            requests=self.requests,
            answered=self.answered,
            errors=dict(self.errors.most_common()),
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            requests_per_s=self.answered * per_s,
            tokens_per_s=None if self.tokens_out is None else self.tokens_out * per_s,
            ttft_s=self.ttft.summary(),
            itl_s=self.itl.summary(),
            tpot_s=self.tpot.summary(),
            e2e_s=self.e2e.summary(),
        )


def _plus(total: int | None, more: int | None) -> int | None:
    return total if more is None else (total or 0) + more


class Tally:
    """Takes samples in any order; `report` may be asked at any time."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self._models = {name: _Sums() for name in models}
        self._total = _Sums()
        self._began: float | None = None
        self._ended = 0.0
        self._random = random.Random(0)
        self._points: list[Sample] = []

    @property
    def requests(self) -> int:
        return self._total.requests

    def add(self, sample: Sample) -> None:
        self._models[sample.model].add(sample)
        self._total.add(sample)
        self._began = sample.started_at if self._began is None else min(self._began, sample.started_at)
        self._ended = max(self._ended, sample.ended_at)
        self._keep(replace(sample, gaps=()))

    def _keep(self, point: Sample) -> None:
        """An even choice of all so far (Vitter's R)."""
        if len(self._points) < POINTS_MAX:
            self._points.append(point)
        elif (place := self._random.randrange(self._total.requests)) < POINTS_MAX:
            self._points[place] = point

    def report(self, how: How, *, cut: int = 0, interrupted: bool = False) -> Report:
        """All so far."""
        duration_s = self._ended - self._began if self._began is not None else 0.0
        return Report(
            url=how.url,
            load=how.load,
            stream=how.stream,
            duration_s=duration_s,
            cut=cut,
            interrupted=interrupted,
            models={name: sums.figures(duration_s) for name, sums in self._models.items()},
            total=self._total.figures(duration_s),
            began_at=self._began or 0.0,
            points=tuple(sorted(self._points, key=lambda point: point.started_at)),
        )
