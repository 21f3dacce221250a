"""The sets of `memory.matrix`: from text to a small tree of bit masks, with every fault and its place.

A set is never expanded into all the combinations that it allows; `planner/sets.py` walks the tree. What is faulty is
left out and said. Pure. Called by `planner/company.py`, and by `config/coexist_checks.py`, which shows the faults.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from roost.core.memory_spec import MatrixSpec

MAX_DEPTH = 50
"""Of parentheses, and of sets that refer to sets."""
_TOKEN = re.compile(r"\s*([&|()]|[^\s&|()]+)")
_SIGNS = "&|()"


@dataclass(frozen=True, slots=True, eq=False)
class One:
    """A single model; `mask` is its bit."""

    mask: int


@dataclass(frozen=True, slots=True, eq=False)
class All:
    """Everything that its parts allow, together. `mask` has the bits of all models in it."""

    parts: "tuple[Tree, ...]"
    mask: int


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    """What one of its parts allows."""

    parts: "tuple[Tree, ...]"
    mask: int


Tree = One | All | Either


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong below `memory.matrix`: where, what, and what to write instead."""

    place: tuple[str, ...]
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The compiled form. `bits` holds the models that stand in a set; `costs` those whose cost is not 1."""

    bits: Mapping[str, int]
    sets: tuple[tuple[str, Tree], ...]
    costs: Mapping[str, int]
    faults: tuple[Fault, ...] = ()


def compiled(spec: MatrixSpec, models: Collection[str]) -> Matrix:
    """The matrix over these models. Never raises: a set with a fault is left out, as is a cost of nobody."""
    compiler = _Compiler(spec, list(models))
    trees = [(name, compiler.tree_of(name, ())) for name in spec.sets]
    costs = compiler.costs()
    sets = tuple((name, tree) for name, tree in trees if tree is not None)
    return Matrix(compiler.bits, sets, costs, tuple(compiler.faults))


class _Wrong(Exception):
    """A set cannot be read: message and hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message, self.hint = message, hint


class _Compiler:
    """Compiles each set once, referred ones first."""

    def __init__(self, spec: MatrixSpec, models: list[str]) -> None:
        self.spec = spec
        self.models = models
        self.bits: dict[str, int] = {}
        self.faults: list[Fault] = []
        self._trees: dict[str, Tree | None] = {}
        for short, model in spec.names.items():
            self._check_name(short, model)

    def _check_name(self, short: str, model: str) -> None:
        if model not in self.models:
            self.faults.append(Fault(("names", short), f'"{model}" is not a model', _near(model, self.models)))
        if not short or short.startswith("+") or any(sign.isspace() or sign in _SIGNS for sign in short):
            hint = 'A short name is one word without spaces, "&", "|" and parentheses, and does not begin with "+".'
            self.faults.append(Fault(("names", short), f'"{short}" cannot stand in a set', hint))

    def tree_of(self, name: str, above: tuple[str, ...]) -> Tree | None:
        """The set's tree, None if it has a fault. `above`: the sets whose reference led here."""
        if name not in self._trees:
            try:
                self._trees[name] = _Parser(self, name, above).parse()
            except _Wrong as wrong:
                self._trees[name] = None
                self.faults.append(Fault(("sets", name), wrong.message, wrong.hint))
        return self._trees[name]

    def model_of(self, word: str) -> str | None:
        """A short name wins over a model's own."""
        return self.spec.names.get(word, word if word in self.models else None)

    def bit(self, model: str) -> int:
        """The model's bit, a new one at its first use."""
        return self.bits.setdefault(model, 1 << len(self.bits))

    def costs(self) -> dict[str, int]:
        """By model. A cost under both its names is one too many."""
        found: dict[str, int] = {}
        for word, cost in self.spec.evict_costs.items():
            model = self.model_of(word)
            if model is None:
                known = [*self.spec.names, *self.models]
                self.faults.append(
                    Fault(("evict_costs", word), f'"{word}" is neither a name nor a model', _near(word, known))
                )
            elif model in found:
                self.faults.append(
                    Fault(("evict_costs", word), f'"{model}" has a cost already', "Keep one of the two.")
                )
            else:
                found[model] = cost
        return found


class _Parser:
    """Recursive descent over one set; `&` binds closer than `|`."""

    def __init__(self, compiler: _Compiler, name: str, above: tuple[str, ...]) -> None:
        self._compiler = compiler
        self._above = (*above, name)
        text = compiler.spec.sets[name].rstrip()
        self._tokens = [(found[1], found.start(1) + 1) for found in _TOKEN.finditer(text)]
        self._end = len(text) + 1
        self._next = 0

    def parse(self) -> Tree:
        if not self._tokens:
            raise _Wrong("is empty", "Write names of models, such as a & (b | c).")
        tree = self._either(0)
        if self._next < len(self._tokens):
            raise self._unexpected('"&", "|" or the end')
        return tree

    def _either(self, depth: int) -> Tree:
        parts = [self._all(depth)]
        while self._take("|"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts), _joint(parts))

    def _all(self, depth: int) -> Tree:
        parts = [self._item(depth)]
        while self._take("&"):
            parts.append(self._item(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts), _joint(parts))

    def _item(self, depth: int) -> Tree:
        if self._take("("):
            if depth >= MAX_DEPTH:
                raise _Wrong(f"has parentheses more than {MAX_DEPTH} deep", "Give a part of it a set of its own.")
            tree = self._either(depth + 1)
            if not self._take(")"):
                raise self._unexpected('")"')
            return tree
        word, place = self._peek()
        if not word or word in _SIGNS:
            raise self._unexpected('a name, "(" or "+" with the name of a set')
        self._next += 1
        return self._referred(word[1:], place) if word.startswith("+") else self._model(word, place)

    def _model(self, word: str, place: int) -> Tree:
        model = self._compiler.model_of(word)
        if model is None:
            known = [*self._compiler.spec.names, *self._compiler.models]
            raise _Wrong(f'at character {place}: "{word}" is neither a name nor a model', _near(word, known))
        return One(self._compiler.bit(model))

    def _referred(self, name: str, place: int) -> Tree:
        sets = self._compiler.spec.sets
        if name not in sets:
            raise _Wrong(f'at character {place}: there is no set "{name}"', _near(name, list(sets)))
        if name in self._above:
            circle = " -> ".join((*self._above[self._above.index(name) :], name))
            raise _Wrong(f"at character {place}: refers to itself ({circle})", "Write out what one of them allows.")
        if len(self._above) >= MAX_DEPTH:
            raise _Wrong(f"refers to sets more than {MAX_DEPTH} deep", "Write out what one of them allows.")
        tree = self._compiler.tree_of(name, self._above)
        if tree is None:
            raise _Wrong(f'at character {place}: the set "{name}" cannot be read', "Mend that one first.")
        return tree

    def _peek(self) -> tuple[str, int]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", self._end)

    def _take(self, sign: str) -> bool:
        if self._peek()[0] != sign:
            return False
        self._next += 1
        return True

    def _unexpected(self, wanted: str) -> _Wrong:
        word, place = self._peek()
        found = f'"{word}"' if word else "the end"
        return _Wrong(f"at character {place}: expected {wanted}, found {found}")


def _joint(parts: list[Tree]) -> int:
    mask = 0
    for part in parts:
        mask |= part.mask
    return mask


def _near(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(known[:8])}." if known else ""
