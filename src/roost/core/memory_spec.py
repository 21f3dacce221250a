"""What may be awake together, as the configuration has it: `memory`, and a model's `footprints`. See `spec`. Pure."""

from dataclasses import dataclass, field

from roost.core.units import STRICT, Count, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSpec:
    """What a replica holds in one state; what is left out is not known and is estimated or learned."""

    __pydantic_config__ = STRICT

    device: Size | None = None
    """Bytes on each of its devices."""
    host: Size | None = None
    """Bytes of host memory, shared memory included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintsSpec:
    """What a replica holds, state by state."""

    __pydantic_config__ = STRICT

    awake: HeldSpec = field(default_factory=HeldSpec)
    """While it starts, wakes and serves."""
    level1: HeldSpec = field(default_factory=HeldSpec)
    """Asleep at level 1, which keeps the weights in host memory; also where the engine sleeps in a way of its own."""
    level2: HeldSpec = field(default_factory=HeldSpec)
    """Asleep at level 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """Models that are swapped as one. A model is in one group at most."""

    __pydantic_config__ = STRICT

    members: tuple[str, ...]
    """Names of models."""
    swap: bool = True
    """One member awake at a time; false: they may all be awake together."""
    exclusive: bool = True
    """Whoever of it becomes awake takes down the models of all other groups that are not persistent. One-way: a model
    of a group that is not exclusive may then become awake beside it."""
    persistent: bool = False
    """Its members are never taken down for a model of another group; with `swap` they are for one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixSpec:
    """The sets of models that may be awake together. A model in none of them is awake alone."""

    __pydantic_config__ = STRICT

    names: dict[str, str] = field(default_factory=dict)
    """Short names for models, used in `sets` and `evict_costs`; a short name wins over a model's own."""
    sets: dict[str, str] = field(default_factory=dict)
    """`a & b`: together; `a | b`: one of them; `&` binds closer; `( )`; `+other`: what that set allows. Any part of
    what a set allows is allowed, too. A model whose name holds spaces or these signs needs a short name."""
    evict_costs: dict[str, Count] = field(default_factory=dict)
    """What it costs to take a model down, 1 when left out. The cheapest way is taken; of equals the set that is written
    first, and in it the alternative that is written first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySpec:
    """What may be awake together. Without any of these nothing is ever evicted."""

    __pydantic_config__ = STRICT

    max_resident: Count | None = None
    """Engines awake at once; each replica of a model counts."""
    devices: dict[str, Size] = field(default_factory=dict)
    """Budget per device: `gpu0: 80GiB`."""
    reserve: Size = 0
    """Kept free on each device."""
    discover: bool = False
    """The GPUs of this machine are devices (`gpu0`, `gpu1`, …) with all their memory as budget, and its memory (a
    container's limit counts) is the budget of `host`; what is written under `devices` and `host` wins."""
    host: Size | None = None
    """Budget of host memory: engines asleep at level 1 keep their weights there, engines on the CPU live there."""
    host_reserve: Size = 0
    """Kept free of host memory."""
    groups: dict[str, GroupSpec] = field(default_factory=dict)
    """Groups of models that are swapped; models in none of them are a group of their own, with `swap` and `exclusive`.
    Asleep models do not count, and the budgets above hold besides."""
    matrix: MatrixSpec | None = None
    """The allowed sets of models; not together with `groups`. The budgets above hold besides."""
