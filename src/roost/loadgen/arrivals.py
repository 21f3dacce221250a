"""When requests come: closed and open loops, ramps, replays. Pure: randomness is the caller's, time starts at 0.

Made by the CLI or a test as part of a plan, carried out by `run`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One request to be sent. Sizes are the trace's own, None where it tells none."""

    at_s: float
    """After the start."""
    prompt_words: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """So many at once, each after the last."""

    concurrency: int

    def __str__(self) -> str:
        return f"{self.concurrency} at once"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests a second at random moments."""

    rate: float

    def __str__(self) -> str:
        return f"{self.rate:g} requests/s"


@dataclass(frozen=True, slots=True)
class Even:
    """Requests a second, evenly spaced."""

    rate: float

    def __str__(self) -> str:
        return f"{self.rate:g} requests/s, evenly spaced"


@dataclass(frozen=True, slots=True)
class Ramp:
    """0, 1, 2, ... up to `peak` and down to 1 requests a second, a second each, evenly spaced within it."""

    peak: int

    @property
    def rates(self) -> tuple[int, ...]:
        """Requests in each second."""
        return (*range(self.peak + 1), *range(self.peak - 1, 0, -1))

    def __str__(self) -> str:
        return f"ramp to {self.peak} requests/s and back, {len(self.rates)} s"


@dataclass(frozen=True, slots=True)
class Replay:
    """Given moments, in order."""

    moments: tuple[Moment, ...]
    name: str = "trace"

    def __str__(self) -> str:
        last = self.moments[-1].at_s if self.moments else 0.0
        return f"{self.name}: {len(self.moments)} requests in {last:.0f} s"


Arrivals = Closed | Poisson | Even | Ramp | Replay
Open = Poisson | Even | Ramp | Replay


def ends(arrivals: Arrivals) -> bool:
    """Whether it comes to an end by itself."""
    return isinstance(arrivals, (Ramp, Replay))


def moments(arrivals: Open, random: Random) -> Iterator[Moment]:
    """Every moment in order; without end for rates."""
    match arrivals:
        case Poisson(rate=rate):
            at = 0.0
            while True:
                at += random.expovariate(rate)
                yield Moment(at_s=at)
        case Even(rate=rate):
            number = 0
            while True:
                yield Moment(at_s=number / rate)
                number += 1
        case Ramp():
            for second, count in enumerate(arrivals.rates):
                for number in range(count):
                    yield Moment(at_s=second + number / count)
        case Replay(moments=given):
            yield from given
