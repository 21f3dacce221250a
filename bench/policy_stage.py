"""The stages of the policy benchmark: models, their sizes and return costs drawn by seed, budgets, policies.

Everything here is a choice of the benchmark, written down in README.md. Called by policy.py.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import policy_trace as trace

from roost.core.forecast import Forecast, ReturnCosts
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec, RoostSpec
from roost.planner.demand import Demand
from roost.planner.rehearse_stage import Arrival, Learner, Mechanics, Moved, Stage

GIB = 1024**3
HOUR_S = 3600.0
MAX_RATE = 0.02
WANTED_S = 120.0
BUDGETS = (0.6, 0.7, 0.8, 0.87)
"""Of what is asked for at a time: of the models that were called within the last `WANTED_S`, in the mean. From
70 to 87 % requests wait under `lru` 1.5 to 2.2 times as long as under the reference; far below everybody queues whoever
yields, far above hardly anybody has to."""
SIZES_GIB = (2.0, 70.0)
SLEEPERS = 0.75
"""How many of the models have an engine that can sleep."""
SERVICE_S = (1.2, 0.7)
"""Mean and deviation of the logarithm of a request's seconds: half of them take up to 3.3 s, one in a hundred 17 s."""


@dataclass(frozen=True, slots=True)
class Models:
    """What is the same for every policy and budget of a seed."""

    spec: RoostSpec
    mechanics: tuple[Mechanics, ...]
    arrivals: tuple[Arrival, ...]
    until_s: float
    wanted: float
    """Bytes of the models that were asked for within the last `WANTED_S`, in the mean over time."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One policy of the table."""

    name: str
    policy: PolicySpec
    learner: Callable[[Models], Learner | None]
    sleep_after: float | None = None


class Weekly(Demand):
    """What roost learns; it is told the hour of the week, as the server tells it."""

    def arrived(self, model: str, now: float) -> None:
        self.hour(int(now // HOUR_S) % 168)
        super().arrived(model, now)


class Oracle:
    """The clairvoyant reference: it knows when each model is next wanted and what each return takes."""

    def __init__(self, models: Models) -> None:
        self._mechanics = dict(zip(models.spec.models, models.mechanics, strict=True))
        self._times: dict[str, list[float]] = {name: [] for name in models.spec.models}
        names = list(models.spec.models)
        for arrival in models.arrivals:
            self._times[names[arrival.model]].append(arrival.at_s)

    def arrived(self, model: str, now: float) -> None:
        pass

    def forecast(self, model: str, now: float) -> Forecast | None:
        times = self._times[model]
        at = bisect_right(times, now)
        if at == len(times):
            return Forecast(hazard_per_s=0.0, samples=1e9)
        next_s = max(times[at] - now, 1e-3)
        return Forecast(hazard_per_s=1.0 / next_s, next_s=next_s, samples=1e9)

    def returned(self, model: str, rung: Moved, seconds: float) -> None:
        pass

    def costs(self, model: str) -> ReturnCosts | None:
        known = self._mechanics[model]
        if not known.levels:
            return ReturnCosts(load_s=known.load_s)
        return ReturnCosts(load_s=known.load_s, level1_s=known.wake_s[0], level2_s=known.wake_s[1])


def _nothing(_: Models) -> None:
    return None


def _learns(_: Models) -> Learner:
    return Weekly()


REFERENCE, LRU = "reference", "lru"
FALLBACK_S = 300.0
PLAIN = PolicySpec(eviction="cost", max_starts=16)
"""Memory is to be what is scarce, not starts."""
CONTENDERS = (
    Contender(LRU, replace(PLAIN, eviction="lru"), _nothing),
    Contender("cost", PLAIN, _learns),
    Contender("cost + histogram", replace(PLAIN, idle="histogram"), _learns, FALLBACK_S),
    Contender("cost + wake_ahead", replace(PLAIN, wake_ahead=True), _learns),
    Contender(REFERENCE, PLAIN, Oracle),
)


@lru_cache(maxsize=1)
def models(paths: tuple[Path, ...], seed: int, days: float, half: int | None) -> Models:
    """The models of a seed, with everything that is asked of them. `half`: only every second client, from that one."""
    clients = {f"{path.stem}/{name}": windows for path in paths for name, windows in trace.read(path).items()}
    span_s = trace.length_s(clients)
    if half is not None:
        clients = dict(list(clients.items())[half::2])
    until_s = min(days * trace.DAY_S, span_s)
    specs: dict[str, ModelSpec] = {}
    mechanics, arrivals = [], []
    for index, (name, windows) in enumerate(clients.items()):
        luck = Random(f"{seed} {name}")
        spec, moves = _drawn(luck)
        specs[name] = spec
        mechanics.append(moves)
        keep = trace.keep_for(windows, MAX_RATE, span_s)
        for at_s in trace.moments(windows, keep, until_s, luck):
            arrivals.append(Arrival(at_s, index, luck.lognormvariate(*SERVICE_S)))
    arrivals.sort()
    sizes = [spec.footprint or 0 for spec in specs.values()]
    return Models(
        RoostSpec(models=specs), tuple(mechanics), tuple(arrivals), until_s, _wanted(sizes, arrivals, until_s)
    )


def _wanted(sizes: Sequence[int], arrivals: Sequence[Arrival], until_s: float) -> float:
    last = [-WANTED_S] * len(sizes)
    total = 0.0
    for arrival in arrivals:
        total += sizes[arrival.model] * min(WANTED_S, arrival.at_s - last[arrival.model])
        last[arrival.model] = arrival.at_s
    return total / until_s


def _drawn(luck: Random) -> tuple[ModelSpec, Mechanics]:
    """Sizes are spread evenly over their logarithm: as many models from 2 to 4 GiB as from 32 to 64."""
    low, high = SIZES_GIB
    gib = low * (high / low) ** luck.random()
    moves = Mechanics(
        load_s=10.0 + gib / 1.5,
        levels=(1, 2) if luck.random() < SLEEPERS else (),
        sleep_s=(0.3 + gib / 12.0, 0.3),
        wake_s=(0.3 + gib / 12.0, 1.0 + gib / 3.0),
    )
    return ModelSpec(footprint=int(gib * GIB), sleep_after=None), moves


def stage(made: Models, share: float, contender: Contender) -> Stage:
    """One run."""
    specs = made.spec.models
    if contender.sleep_after is not None:
        specs = {name: replace(spec, sleep_after=contender.sleep_after) for name, spec in specs.items()}
    largest = max(spec.footprint or 0 for spec in specs.values())
    budget = max(int(made.wanted * share), largest)
    spec = RoostSpec(models=dict(specs), memory=MemorySpec(devices={"gpu0": budget}), policy=contender.policy)
    return Stage(
        spec=spec,
        mechanics=made.mechanics,
        arrivals=made.arrivals,
        until_s=made.until_s,
        learner=contender.learner(made),
    )


def of(names: Sequence[str]) -> tuple[Contender, ...]:
    """Those policies; all without names."""
    return tuple(contender for contender in CONTENDERS if not names or contender.name in names)
