"""Several files of one configuration as one tree, whatever their form.

Mappings are put together, lists follow each other in the order of the files' names; one name with two meanings is a
problem. Lines are numbered through all files while the tree is read; `at_home` gives a problem its file and line
back. Pure; called by `load`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from roost.config import yamltext
from roost.config.masking import shown
from roost.config.tree import Node
from roost.core.problems import ConfigPath, Problem

_ONCE: tuple[ConfigPath, ...] = (
    ("models",),
    ("peers",),
    ("groups",),
    ("profiles",),
    ("selectors",),
    ("memory", "groups"),
    ("routing", "router", "settings", "groups"),
)
"""What stands below these is a whole: its parts cannot come from two files."""
_LINE = re.compile(r"\bline (\d+)")


@dataclass(frozen=True, slots=True)
class File:
    """One file, and how many lines come before its first one."""

    name: str
    before: int


@dataclass(frozen=True, slots=True)
class Merged:
    """`root` is None where nothing could be read. `problems` name their files already."""

    root: Node | None
    problems: tuple[Problem, ...]
    files: tuple[File, ...]


def merge(texts: Mapping[str, str]) -> Merged:
    """The files by their names. One that cannot be read keeps the whole from being read."""
    merger = _Merger()
    before = 0
    for name in sorted(texts):
        merger.files.append(File(name, before))
        merger.take(texts[name])
        before += texts[name].count("\n") + 2
    return Merged(merger.root, tuple(merger.problems), tuple(merger.files))


def at_home(problem: Problem, files: tuple[File, ...]) -> Problem:
    """The problem with its own file and line there; as it is where there is one file only, or it has them."""
    if not files or problem.file:
        return problem
    message = _LINE.sub(lambda found: _place(int(found[1]), files), problem.message)
    if problem.line is None:
        return replace(problem, message=message)
    home = _home(problem.line, files)
    return replace(problem, message=message, file=home.name, line=problem.line - home.before)


def _home(line: int, files: tuple[File, ...]) -> File:
    return next((file for file in reversed(files) if file.before < line), files[0])


def _place(line: int, files: tuple[File, ...]) -> str:
    home = _home(line, files)
    return f"line {line - home.before} of {home.name}"


@dataclass(slots=True)
class _Merger:
    """What the files so far come to."""

    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    _broken: bool = False

    def take(self, text: str) -> None:
        """The next file, which is the last of `files`."""
        file = self.files[-1]
        tree, problems = yamltext.parse(text)
        self.problems += (replace(problem, file=file.name) for problem in problems)
        if not problems and (tree is None or tree.value is None):
            return  # nothing but comments
        if tree is None or not isinstance(tree.value, Mapping):
            if tree is not None:
                message, hint = "is not a mapping of keys to values", "Write keys such as models: in it."
                self.problems.append(Problem(path=(), message=message, hint=hint, line=1, file=file.name))
            self.root, self._broken = None, True
        elif not self._broken:
            tree = _shifted(tree, file.before)
            self.root = tree if self.root is None else self._both(self.root, tree)

    def _both(self, one: Node, other: Node) -> Node:
        """`other` is of the later file."""
        if one.value is None or other.value is None:
            return other if one.value is None else one
        if isinstance(one.value, Mapping) and isinstance(other.value, Mapping):
            return replace(one, value=dict(self._children(one, other)))
        if isinstance(one.value, tuple) and isinstance(other.value, tuple):
            return replace(one, value=(*one.value, *other.value))
        if one.value != other.value or isinstance(one.value, bool) is not isinstance(other.value, bool):
            self._conflict(one, other, f"is {shown(other, other.path)} here, and {shown(one, one.path)} in")
        return one

    def _children(self, one: Node, other: Node) -> Iterator[tuple[str, Node]]:
        for key, node in one.mapping.items():
            later = other.mapping.get(key)
            if later is None:
                yield key, node
            elif one.path in _ONCE:
                self._conflict(node, later, f'"{key[:60]}" is already in')
                yield key, node
            else:
                yield key, self._both(node, later)
        yield from ((key, node) for key, node in other.mapping.items() if key not in one.mapping)

    def _conflict(self, one: Node, other: Node, words: str) -> None:
        files = tuple(self.files)
        first, second = _home(one.line, files), _home(other.line, files)
        message = f"{words} {first.name} (line {one.line - first.before})"
        line = other.line - second.before
        self.problems.append(
            Problem(path=other.path, message=message, hint="Keep one of them.", line=line, file=second.name)
        )


def _shifted(node: Node, by: int) -> Node:
    """The tree with all its lines moved down."""
    value = node.value
    if isinstance(value, tuple):
        value = tuple(_shifted(item, by) for item in value)
    elif isinstance(value, Mapping):
        value = {key: _shifted(below, by) for key, below in value.items()}
    return replace(node, value=value, line=node.line + by)
