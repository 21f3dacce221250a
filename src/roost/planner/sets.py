"""Which set of `memory.matrix` a newcomer runs in: the one that keeps most of what it weighs, the first of equals.

Walks the trees of `core/matrix.py` with the few models at hand as bits; parts of a set that share none of them are
chosen by themselves, so the work grows with the models that run and not with the combinations that a set allows.
Pure. Called by `company`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import assert_never

from roost.core.matrix import All, Either, Matrix, One, Tree

MAX_OPTIONS = 256
"""Combinations looked at where parts of a set name the same models. Finding the best of those is as hard as covering
a set; past this many the answer is one that is allowed, though maybe not the best."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A set by its name, and what of the weighed models may stay."""

    set_name: str
    kept: frozenset[str]


def best(matrix: Matrix, newcomer: str, weights: Mapping[str, int]) -> Choice | None:
    """The heaviest choice that has the newcomer; weights are above zero. None if it stands in no set: it runs
    alone."""
    own = matrix.bits.get(newcomer)
    if own is None:
        return None
    names = {bit: name for name, bit in matrix.bits.items() if name in weights or name == newcomer}
    heavy = {bit: weights.get(name, 0) for bit, name in names.items()}
    heavy[own] = sum(weights.values()) + 1
    scale = _Scale(heavy)
    masks = [(scale.best(tree), name) for name, tree in matrix.sets if tree.mask & own]
    if not masks:
        return None
    mask, set_name = max(masks, key=lambda found: scale.weight(found[0]))
    return Choice(set_name, frozenset(name for bit, name in names.items() if mask & bit))


class _Scale:
    """Weighs combinations of the models at hand."""

    def __init__(self, heavy: Mapping[int, int]) -> None:
        self._heavy = heavy
        self._at_hand = _joint(heavy)
        self._best: dict[Tree, int] = {}
        self._options: dict[Tree, list[int]] = {}

    def weight(self, mask: int) -> int:
        total = 0
        while mask:
            bit = mask & -mask
            total += self._heavy[bit]
            mask ^= bit
        return total

    def best(self, tree: Tree) -> int:
        """The heaviest that the tree allows, the first written of equals, as the bits at hand."""
        if tree not in self._best:
            self._best[tree] = self._found(tree)
        return self._best[tree]

    def _found(self, tree: Tree) -> int:
        match tree:
            case One(mask=mask):
                return mask & self._at_hand
            case Either(parts=parts):
                return max((self.best(part) for part in parts), key=self.weight)
            case All(parts=parts):
                return _joint(self._of_kin(kin) for kin in self._kindred(parts))
            case _ as never:
                assert_never(never)

    def _of_kin(self, kin: list[Tree]) -> int:
        return self.best(kin[0]) if len(kin) == 1 else max(self._together(kin), key=self.weight)

    def _kindred(self, parts: Sequence[Tree]) -> list[list[Tree]]:
        """The parts, those together that share a model at hand; without those that have none."""
        found: list[tuple[int, list[int]]] = []
        for place, part in enumerate(parts):
            mask, kin = part.mask & self._at_hand, [place]
            if not mask:
                continue
            akin = [other for other in found if other[0] & mask]
            found = [other for other in found if other not in akin]
            for other_mask, others in akin:
                mask, kin = mask | other_mask, others + kin
            found.append((mask, kin))
        return [[parts[place] for place in sorted(kin)] for _, kin in found]

    def _all_of(self, tree: Tree) -> list[int]:
        """Everything that the tree allows, as the bits at hand, in the order written, each once."""
        if tree not in self._options:
            match tree:
                case One(mask=mask):
                    found = [mask & self._at_hand]
                case Either(parts=parts):
                    found = list(dict.fromkeys(mask for part in parts for mask in self._all_of(part)))
                case All(parts=parts):
                    found = self._together(parts)
                case _ as never:
                    assert_never(never)
            self._options[tree] = self._bounded(found)
        return self._options[tree]

    def _together(self, parts: Iterable[Tree]) -> list[int]:
        masks = [0]
        for part in parts:
            if part.mask & self._at_hand:
                pairs = product(masks, self._all_of(part))
                masks = self._bounded(list(dict.fromkeys(one | other for one, other in pairs)))
        return masks

    def _bounded(self, masks: list[int]) -> list[int]:
        if len(masks) <= MAX_OPTIONS:
            return masks
        kept = set(sorted(masks, key=self.weight, reverse=True)[:MAX_OPTIONS])
        return [mask for mask in masks if mask in kept]


def _joint(masks: Iterable[int]) -> int:
    whole = 0
    for mask in masks:
        whole |= mask
    return whole
