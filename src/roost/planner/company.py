"""Who may be awake beside whom: the ledger of `memory.groups` and `memory.matrix` for one planning round.

It counts models, where `room` counts bytes and places: a model is here while any replica of it that roost could take
down is up, going up or not yet down. Both ledgers must agree before anything rises. Without groups or matrix
everybody may join. Pure; belongs to `plan` alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from roost.core.matrix import Matrix, compiled
from roost.core.memory_spec import GroupSpec, MatrixSpec, MemorySpec
from roost.core.view import FleetView, ReplicaView
from roost.planner.census import Entry
from roost.planner.sets import best

Why = dict[str, str]
"""Model -> the rule that is against it, as the end of a sentence."""
_UNGROUPED = GroupSpec(members=())
"""What models in no group are in: one at a time, beside persistent groups only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The others as a newcomer finds them, each in one place, in the order of the config."""

    staying: tuple[str, ...] = ()
    """Here, and roost may take them down in their time."""
    leaving: tuple[str, ...] = ()
    """Here, and on their way down."""
    firm: tuple[str, ...] = ()
    """Here, and not to be taken down by roost: pinned, stuck."""
    promised: tuple[str, ...] = ()
    """Older wants: it is their turn first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who must be gone before the newcomer may come up, by what can be done about it."""

    victims: Why = field(default_factory=dict)
    leaving: Why = field(default_factory=dict)
    firm: Why = field(default_factory=dict)
    older: Why = field(default_factory=dict)

    @property
    def clear(self) -> bool:
        """Nobody."""
        return not (self.victims or self.leaving or self.firm or self.older)


class Rules(Protocol):
    """What the configuration says about models together."""

    def judge(self, newcomer: str, present: Present) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Groups:
    """`memory.groups`: by pairs, and one-way. What an exclusive group takes down may come up beside it later."""

    specs: Mapping[str, GroupSpec]
    home: Mapping[str, str]
    """Model -> its group; no entry: in none."""

    def judge(self, newcomer: str, present: Present) -> Verdict:
        def against(names: Iterable[str]) -> Why:
            return {name: why for name in names if (why := self._why(newcomer, name))}

        # Whom an older one would have to take down again must not slip in before it.
        slips = {name: why for name in present.promised if (why := self._why(name, newcomer))}
        older = slips | against(present.promised)
        return Verdict(against(present.staying), against(present.leaving), against(present.firm), older)

    def _why(self, newcomer: str, other: str) -> str:
        """The rule by which the newcomer takes the other one down; empty if it does not."""
        home, place = self.home.get(newcomer), self.home.get(other)
        own = _UNGROUPED if home is None else self.specs[home]
        if home == place:
            if not own.swap:
                return ""
            return (
                "models in no group run one at a time" if home is None else f'group "{home}" runs one member at a time'
            )
        if not own.exclusive or (place is not None and self.specs[place].persistent):
            return ""
        who = "models in no group run" if home is None else f'group "{home}" is exclusive and runs'
        return f"{who} beside persistent groups only"


@dataclass(frozen=True, slots=True)
class Sets:
    """`memory.matrix`: the newcomer's best set keeps, in this order, who is firm, who is promised, whose eviction
    costs most, and who is leaving anyway."""

    matrix: Matrix

    def judge(self, newcomer: str, present: Present) -> Verdict:
        choice = best(self.matrix, newcomer, self._weights(present))
        if choice is None:
            kept, why = frozenset[str](), f'"{newcomer}" is in no set of memory.matrix and runs alone'
        else:
            kept, why = choice.kept, f'set "{choice.set_name}" of memory.matrix does not allow them together'

        def lost(names: Iterable[str]) -> Why:
            return {name: why for name in names if name not in kept}

        return Verdict(lost(present.staying), lost(present.leaving), lost(present.firm), lost(present.promised))

    def _weights(self, present: Present) -> dict[str, int]:
        weights = dict.fromkeys(present.leaving, 1)
        unit = len(weights) + 1
        weights |= {name: self.matrix.costs.get(name, 1) * unit for name in present.staying}
        for tier in (present.promised, present.firm):
            weights |= dict.fromkeys(tier, sum(weights.values()) + 1)
        return weights


def rules_of(memory: MemorySpec, models: Iterable[str]) -> Rules | None:
    """The rules in force; None where any models may be awake together."""
    if memory.groups:
        home = {member: name for name, group in reversed(memory.groups.items()) for member in group.members}
        return Groups(memory.groups, home)
    return None if memory.matrix is None else Sets(_matrix(memory.matrix, tuple(models)))


def _matrix(spec: MatrixSpec, models: tuple[str, ...]) -> Matrix:
    return _compiled(tuple(spec.names.items()), tuple(spec.sets.items()), tuple(spec.evict_costs.items()), models)


@lru_cache(maxsize=4)
def _compiled(
    names: tuple[tuple[str, str], ...],
    sets: tuple[tuple[str, str], ...],
    costs: tuple[tuple[str, int], ...],
    models: tuple[str, ...],
) -> Matrix:
    return compiled(MatrixSpec(names=dict(names), sets=dict(sets), evict_costs=dict(costs)), models)


class Company:
    """Who is here and who is promised. `join` and `promise` change it while the plan grows."""

    def __init__(self, view: FleetView, known: Sequence[Entry], is_here: Callable[[ReplicaView], bool]) -> None:
        self.rules = rules_of(view.memory, (one.model.name for one in known))
        ruled = () if self.rules is None else known
        self.here = {one.model.name for one in ruled if any(map(is_here, one.model.replicas))}
        """Empty where no rule asks."""
        self.joined: set[str] = set()
        """Those of them that come up by this very plan."""
        self.promised: dict[str, None] = {}
        self._awaited_gone: set[str] = set()

    def join(self, name: str) -> None:
        """It comes up from this round on."""
        self.here.add(name)
        self.joined.add(name)

    def promise(self, name: str, verdict: Verdict) -> None:
        """It is its turn before anybody's who comes later, and these are to go for it."""
        self.promised[name] = None
        self._awaited_gone.update(verdict.victims, verdict.leaving)

    def is_awaited_gone(self, name: str) -> bool:
        """An older want waits for this model to go, so nothing more of it comes up."""
        return name in self._awaited_gone
