"""YAML text to a tree with lines. Bounded: size, depth, and the number of values after aliases are expanded.

Never raises and never builds anything but plain values: no tags, no dates, no `yes` for true (YAML 1.2's rules).
Composes from PyYAML's events with its own stack, so that no nesting can exhaust the interpreter's. Called by `load`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import yaml

from roost.config.tree import Node, Scalar
from roost.core.problems import ConfigPath, Problem

MAX_CHARS = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 100_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads a large file 20 times as fast
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_KINDS = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
_TAG = "tag:yaml.org,2002:"
_HINTS = (
    ("cannot start any token", "Indent with spaces, not tabs, and quote values that begin with @ ` or %."),
    ("mapping values are not allowed", 'Check the indentation; a value that holds ": " needs quotes.'),
    (
        "did not find expected ',' or",
        "Inside [ ] and { } quote a value that holds ${...}, or put each on its own line.",
    ),
    ("did not find expected", "Check the indentation, and that every quote and bracket is closed."),
    ("could not find expected ':'", 'Write a space after the colon: "key: value".'),
    ("undefined alias", "Define it before with &NAME."),
)


class _Refused(Exception):
    """The text ends here: one problem instead of a tree."""

    def __init__(self, line: int | None, message: str, hint: str = "", path: ConfigPath = ()) -> None:
        super().__init__(message)
        self.problem = Problem(path=path, message=message, hint=hint, line=line)


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read."""

    is_mapping: bool
    path: ConfigPath
    line: int
    anchor: str | None
    size: int = 1
    key: str | None = None
    key_line: int = 0
    merging: bool = False
    merges: list[Node] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)


def parse(text: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The tree of a YAML text. A syntax error is one problem and no tree; duplicate keys leave the first one."""
    if len(text) > MAX_CHARS:
        return None, (Problem(path=(), message=f"has {len(text):,} characters; at most {MAX_CHARS:,} are read"),)
    composer = _Composer()
    try:
        for event in yaml.parse(text.removeprefix("\ufeff"), Loader=_Loader):
            composer.take(event)
    except _Refused as refused:
        return None, (*composer.problems, refused.problem)
    except yaml.MarkedYAMLError as error:
        return None, (*composer.problems, _syntax(error))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())
        return None, (Problem(path=(), message=f"is not text that YAML allows: {said}", hint="Save it as UTF-8."),)
    return composer.root, tuple(composer.problems)


def scalar(text: str) -> Scalar:
    """What an unquoted word means by YAML 1.2's core rules; a number beyond 60 signs stays text."""
    if len(text) > 60:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text) and isfinite(float(text)):
        return float(text)
    return text  # also .inf and .nan: no key takes them, and JSON has no word for them


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    said = str(error.problem or error.context or "unreadable")
    hint = next((hint for part, hint in _HINTS if part in said), "")
    mark = error.problem_mark or error.context_mark
    begun = error.context_mark
    where = f" (in what begins at line {begun.line + 1})" if begun and mark and begun.line < mark.line else ""
    return Problem(
        path=(), message=f"is not valid YAML: {said}{where}", hint=hint, line=mark.line + 1 if mark else None
    )


class _Composer:
    """Builds the tree from events, innermost frame last."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """One event of PyYAML's."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _Refused(line, "a second document begins here", "Remove the line with ---.")
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()

    def _scalar(self, event: Any, line: int) -> None:
        top = self._frames[-1] if self._frames else None
        if top is not None and top.is_mapping and top.key is None:
            top.key, top.key_line = str(event.value), line
            top.merging = event.value == "<<" and event.implicit[0]  # a quoted "<<" is an ordinary key
            return
        node = Node(_typed(event, line, self._path()), self._path(), self._line(line), text=event.value)
        self._add(node, 1, event.anchor)

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            inside = any(frame.anchor == anchor for frame in self._frames)
            fault = "refers to the value that it is part of" if inside else "is not defined before this line"
            hint = "Remove it." if inside else f"Define it above with &{anchor}."
            raise _Refused(line, f"alias *{_short(anchor)} {fault}", hint, self._path())
        node, size = self._anchors[anchor]
        self._refuse_key(line)
        self._add(replace(node, path=self._path(), line=self._line(line)), size, None)

    def _open(self, event: Any, line: int) -> None:
        self._refuse_key(line)
        if event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            raise _Refused(line, f"tag {_short(event.tag)} is not supported", "Remove it.", self._path())
        if len(self._frames) >= MAX_DEPTH:
            raise _Refused(line, f"is nested deeper than {MAX_DEPTH} levels", path=self._path()[:4])
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._frames.append(_Frame(is_mapping, self._path(), self._line(line), event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        for base in frame.merges:  # an earlier source wins over a later one, and own keys over both
            frame.children = {**base.mapping, **frame.children}
        node = Node(frame.children if frame.is_mapping else tuple(frame.items), frame.path, frame.line)
        self._add(node, frame.size, frame.anchor)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise _Refused(
                node.line,
                f"holds more than {MAX_NODES:,} values once its aliases are expanded",
                "Split it.",
                node.path[:4],
            )
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._frames:
            self.root = node
            return
        top = self._frames[-1]
        top.size += size
        if top.is_mapping:
            self._put(top, node)
        else:
            top.items.append(node)

    def _put(self, top: _Frame, node: Node) -> None:
        key, top.key = top.key, None
        assert key is not None
        if top.merging:
            top.merges.extend(_merge_sources(node))
            return
        if key in top.children:
            first = top.children[key].line
            message = f'key "{_short(key)}" is written twice; the first is on line {first}'
            hint = "Keep one of them."
            self.problems.append(Problem(path=node.path, message=message, hint=hint, line=node.line))
            return
        top.children[key] = node

    def _path(self) -> ConfigPath:
        if not self._frames:
            return ()
        top = self._frames[-1]
        return (*top.path, top.key or "" if top.is_mapping else len(top.items))

    def _line(self, line: int) -> int:
        top = self._frames[-1] if self._frames else None
        return top.key_line if top is not None and top.is_mapping else line

    def _refuse_key(self, line: int) -> None:
        top = self._frames[-1] if self._frames else None
        if top is not None and top.is_mapping and top.key is None:
            raise _Refused(line, "a key must be plain text", 'Quote it if it holds brackets: "key".', top.path)


def _merge_sources(node: Node) -> Iterator[Node]:
    """The mappings behind `<<`: one, or a list of them."""
    for source in node.items or (node,):
        if not source.mapping and source.value != {}:
            raise _Refused(node.line, "<< takes a mapping or a list of mappings", "Write <<: *NAME.", node.path)
        yield source


def _typed(event: Any, line: int, path: ConfigPath) -> Scalar:
    if event.tag in (None, "!"):
        return scalar(event.value) if event.implicit[0] else str(event.value)
    kind = str(event.tag).removeprefix(_TAG)
    if kind == "str":
        return str(event.value)
    value = scalar(event.value)
    if kind not in _KINDS:
        raise _Refused(line, f"tag {_short(event.tag)} is not supported", "Remove it.", path)
    if not isinstance(value, _KINDS[kind]):  # type: ignore[arg-type]
        raise _Refused(line, f"{_short(event.value)} is not of the kind its tag !!{kind} says", "Remove it.", path)
    return value


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
