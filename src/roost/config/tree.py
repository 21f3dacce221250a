"""The configuration as written: a tree in which every value knows its line and the path it was written at.

Pure values. Made by `yamltext`, reshaped by the dialects, read by everything that has to say where a problem is.
A merged default keeps the path and line it has under `defaults`; that is how it is reported once, at its own place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from roost.core.problems import ConfigPath, Problem

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """One value. `line` is 1-based and that of the value's key, where it has one."""

    value: "Scalar | tuple[Node, ...] | Mapping[str, Node]"
    path: ConfigPath
    line: int
    text: str = ""
    """A scalar as it stands in the file: `01` is a number to YAML, and a model's name to its owner."""
    secret: bool = False
    """Comes from a variable whose name says that it must not be shown."""
    source: str = ""
    """A text in the native form that still names the variables its value came from; empty where there are none."""
    broken: bool = False
    """A problem with it is already reported; it takes no part in what follows."""

    @property
    def mapping(self) -> "Mapping[str, Node]":
        """Its children by key; empty for anything but a mapping."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> "tuple[Node, ...]":
        """Its children in order; empty for anything but a list."""
        return self.value if isinstance(self.value, tuple) else ()

    def child(self, part: str | int) -> "Node | None":
        """The child under a key or at an index; None if there is none."""
        if isinstance(part, str):
            return self.mapping.get(part)
        return self.items[part] if 0 <= part < len(self.items) else None


def find(root: Node, path: ConfigPath) -> tuple[Node, int]:
    """The node at `path`, or its nearest ancestor, and how many parts of the path lead to it."""
    node = root
    for reached, part in enumerate(path):
        below = node.child(part)
        if below is None:
            return node, reached
        node = below
    return node, len(path)


def given(root: Node, path: ConfigPath) -> bool:
    """Whether something stands at `path`, be it wrong or right; null does not count."""
    node, reached = find(root, path)
    return reached == len(path) and node.value is not None


def has_broken(node: Node) -> bool:
    """Whether it, or anything below it, is broken."""
    return any(below.broken for _, below in _walk(node, ()))


def lines(root: Node) -> dict[ConfigPath, int]:
    """The line of every value by its path in this tree (not the path it was written at)."""
    return {path: node.line for path, node in _walk(root, ())}


def secrets(root: Node) -> set[ConfigPath]:
    """The paths whose value came from a variable with a secret's name."""
    return {path for path, node in _walk(root, ()) if node.secret}


def sources(root: Node) -> dict[ConfigPath, str]:
    """The texts that still name variables, by their path in this tree."""
    return {path: node.source for path, node in _walk(root, ()) if node.source}


def _walk(node: Node, path: ConfigPath) -> Iterator[tuple[ConfigPath, Node]]:
    yield path, node
    for key, below in node.mapping.items():
        yield from _walk(below, (*path, key))
    for index, below in enumerate(node.items):
        yield from _walk(below, (*path, index))


def placed(problem: Problem, root: Node) -> Problem:
    """The problem with the line and path its value was written at; `problem.path` is a path of `root`."""
    node, reached = find(root, problem.path)
    return replace(problem, path=node.path + problem.path[reached:], line=problem.line or node.line)


def with_children(node: Node, children: Mapping[str, Node]) -> Node:
    """The mapping with these children instead of its own."""
    return replace(node, value=dict(children))
