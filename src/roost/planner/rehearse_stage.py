"""What a rehearsal is given and what it gives back: the stage, how fast each engine moves, who learns, the record.

Pure values and one protocol. Made by `bench/policy.py`, the CLI and tests; played by `rehearse`.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from roost.core.footprint import Footprint
from roost.core.forecast import Forecast, ReturnCosts
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.schedule import BudgetWindow, Window
from roost.core.spec import ModelSpec, RoostSpec

Rung = Literal["load", "level1", "level2"]
"""From where a replica came back: from nothing, or from a sleep level."""
Moved = Rung | Literal["down"]
"""The same, or the way down."""


class Arrival(NamedTuple):
    """One request."""

    at_s: float
    model: int
    """Which of the spec's models, in config order."""
    service_s: float
    """How long it keeps its place once it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanics:
    """How long the moves of one model's replicas take, in seconds, and what they hold."""

    load_s: float
    stop_s: float = 1.0
    levels: tuple[int, ...] = ()
    """Sleep levels that its engine has; empty: it cannot sleep and is stopped instead."""
    sleep_s: tuple[float, float] = (1.0, 1.0)
    """Into level 1 and level 2."""
    wake_s: tuple[float, float] = (1.0, 1.0)
    """Out of them."""
    footprint: Footprint | None = None
    """None: as its spec says."""
    owned: bool = True
    """False: it runs elsewhere, is ready from the start, and is never started or stopped."""

    def back_s(self, rung: Rung) -> float:
        """From there to ready."""
        return self.load_s if rung == "load" else self.wake_s[rung == "level2"]


class Learner(Protocol):
    """Who learns from what happens and says what is likely. Moments are those of the rehearsal."""

    def arrived(self, model: str, now: float) -> None:
        """A request for the model came."""
        ...

    def forecast(self, model: str, now: float) -> Forecast | None:
        """How soon the model is likely wanted again."""
        ...

    def returned(self, model: str, rung: Moved, seconds: float) -> None:
        """A replica of it came back, or went down, and that is how long it took."""
        ...

    def costs(self, model: str) -> ReturnCosts | None:
        """How long bringing it back takes."""
        ...


class Hour(Protocol):
    """What schedules say at one moment."""

    @property
    def memory(self) -> MemorySpec: ...
    @property
    def pins(self) -> Mapping[str, Window]: ...
    @property
    def sleeps(self) -> Mapping[str, Window]: ...
    @property
    def budgets(self) -> Mapping[str, BudgetWindow]: ...
    @property
    def changes_at(self) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that a rehearsal depends on: same stage, same record."""

    spec: RoostSpec
    mechanics: Sequence[Mechanics]
    """One per model of the spec, in its order."""
    arrivals: Sequence[Arrival]
    """In the order of their moments, from 0 on."""
    until_s: float = 0.0
    """Play on until then at least, for the seconds awake; it never ends before the last request has."""
    learner: Learner | None = None
    hours: Callable[[float], Hour] | None = None
    """Moment -> what schedules say then, the same object until that changes; None: they are left out."""
    told: bool = False
    """Keep the story and each wait, not only the sums."""


class Scene(NamedTuple):
    """One order of the planner, as it happened."""

    at_s: float
    replica: str
    order: str
    reason: str
    evicts: bool
    """It makes room for another model."""


class Spell(NamedTuple):
    """A replica in one state."""

    replica: str
    state: State
    from_s: float
    to_s: float


class Wait(NamedTuple):
    """One request that had to wait, or was refused."""

    arrival: int
    model: str
    at_s: float
    wait_s: float
    room_s: float
    """Of it: until the load or wake was ordered."""
    rise_s: float
    """Of it: while the model loaded or woke. What is left it stood in the queue of a model that was up."""
    served: bool
    why: str
    """What the planner said meanwhile, or the refusal."""


@dataclass(slots=True)
class Record:
    """What came of it."""

    waits: "array[float]"
    """Added wait of each arrival in seconds, in their order; of a refused one until its refusal."""
    refused: list[int] = field(default_factory=list)
    """Arrivals that were not served."""
    room_s: float = 0.0
    rise_s: float = 0.0
    queue_s: float = 0.0
    """The sums of the three parts of all waits."""
    loads: int = 0
    wakes: int = 0
    evictions: int = 0
    idled: int = 0
    """Times a replica went down for idleness."""
    rounds: int = 0
    """Times the planner was asked."""
    awake_s: float = 0.0
    """Replica-seconds that hold the whole awake footprint."""
    awake_byte_s: float = 0.0
    """The same times bytes on all devices: what "GPU-seconds awake" means where models differ in size."""
    ended_s: float = 0.0
    story: list[Scene] = field(default_factory=list)
    spells: list[Spell] = field(default_factory=list)
    waited: list[Wait] = field(default_factory=list)

    @property
    def total_wait_s(self) -> float:
        """Added wait of all requests."""
        return sum(self.waits)

    def quantile(self, share: float) -> float:
        """The added wait that this share of requests does not exceed; 0 without requests."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def awake_bytes(spec: ModelSpec, mechanics: Mechanics) -> int:
    """On all its devices together while awake; 0 where nobody says."""
    claimed = spec.footprints.awake.device
    size = spec.footprint or 0 if claimed is None else claimed
    if mechanics.footprint is not None:
        size = mechanics.footprint.awake.device
    return size * (spec.device_count or 1)
