"""What groups and matrix allow, worked out the slow and plain way: every combination of every set is written out.

The oracle of the planner's properties. A set's text happens to be a Python expression, so Python reads it.
"""

from collections.abc import Collection

from hypothesis import strategies as st

from roost.core.memory_spec import GroupSpec, MatrixSpec, MemorySpec


class Family:
    """Combinations of models, in the order written."""

    def __init__(self, *combinations: frozenset[str]) -> None:
        self.combinations = tuple(dict.fromkeys(combinations))

    def __and__(self, other: "Family") -> "Family":
        return Family(*(one | two for one in self.combinations for two in other.combinations))

    def __or__(self, other: "Family") -> "Family":
        return Family(*self.combinations, *other.combinations)

    def __pos__(self) -> "Family":
        return self


def written_out(matrix: MatrixSpec, models: Collection[str]) -> list[frozenset[str]]:
    """Every combination, sets in order. References lead back only."""
    known = {name: Family(frozenset({name})) for name in models}
    known |= {short: Family(frozenset({model})) for short, model in matrix.names.items()}
    found: list[frozenset[str]] = []
    for name, text in matrix.sets.items():
        known[name] = eval(text, {"__builtins__": {}}, known)
        found += known[name].combinations
    return found


def cheapest(matrix: MatrixSpec, newcomer: str, running: Collection[str], models: Collection[str]) -> frozenset[str]:
    """Who goes for the newcomer: the lowest sum of costs, the combination written first of equals."""
    costs = {matrix.names.get(name, name): cost for name, cost in matrix.evict_costs.items()}
    ways = [frozenset(running) - one for one in written_out(matrix, models) if newcomer in one]
    return min(ways, key=lambda gone: sum(costs.get(name, 1) for name in gone), default=frozenset(running))


def against(memory: MemorySpec, newcomer: str, present: Collection[str], models: Collection[str]) -> set[str]:
    """Of those present, some without whom the newcomer might come up; empty if it may now."""
    others = set(present) - {newcomer}
    if memory.matrix is not None:
        whole = others | {newcomer}
        fits = not others or any(whole <= one for one in written_out(memory.matrix, models))
        return set() if fits else others
    if not memory.groups:
        return set()
    return {other for other in others if _yields(memory.groups, newcomer, other)}


def _yields(groups: dict[str, GroupSpec], newcomer: str, other: str) -> bool:
    alone = GroupSpec(members=())
    own = next((group for group in groups.values() if newcomer in group.members), alone)
    its = next((group for group in groups.values() if other in group.members), alone)
    return own.swap if own is its else own.exclusive and not its.persistent


@st.composite
def group_specs(draw: st.DrawFn, models: list[str]) -> dict[str, GroupSpec]:
    """Up to two groups; the models in neither are a group of their own."""
    homes = {model: draw(st.sampled_from(["big", "small", ""])) for model in models}
    return {
        name: GroupSpec(
            members=tuple(model for model, home in homes.items() if home == name),
            swap=draw(st.booleans()),
            exclusive=draw(st.booleans()),
            persistent=draw(st.booleans()),
        )
        for name in ("big", "small")
    }


@st.composite
def matrix_specs(draw: st.DrawFn, models: list[str]) -> MatrixSpec:
    """Up to four sets that may refer to earlier ones: some of any shape, some of alternatives side by side. The first
    model has a short name."""
    words = ["short", *models[:-1]] if draw(st.booleans()) else models
    sets: dict[str, str] = {}
    for number in range(draw(st.integers(1, 4))):
        leaves = st.sampled_from([*words, *(f"+{name}" for name in sets)])
        either = st.lists(leaves, min_size=1, max_size=4).map(lambda parts: f"({' | '.join(parts)})")
        rows = st.lists(either, min_size=1, max_size=4).map(" & ".join)
        sets[f"s{number}"] = draw(st.one_of(st.recursive(leaves, _grown, max_leaves=6), rows, rows))
    costs = draw(st.dictionaries(st.sampled_from(models), st.integers(1, 4)))
    return MatrixSpec(names={"short": models[0]}, sets=sets, evict_costs=costs)


def _grown(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from([" & ", " | ", "&", "|"])
    return st.tuples(parts, signs, parts, st.booleans()).map(
        lambda drawn: f"({drawn[0]}{drawn[1]}{drawn[2]})" if drawn[3] else f"{drawn[0]}{drawn[1]}{drawn[2]}"
    )
