"""Places in a JSON body: `status`, `a.b`, `results[0].ok`, `data[id=llama].status.value`.

Pure. `config` asks `parse` whether a place can be read, `host/steps.py` asks `find` what stands there. Never evaluates
anything: names, positions and one equality are all there is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

_NAME = re.compile(r"[^.\[\]]+")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Key:
    """The value of an object's key."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """An entry of a list by its position, from 0 on."""

    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The first entry of a list whose `key` has this value, compared as text."""

    key: str
    value: str


Part = Key | Index | Entry


@lru_cache(maxsize=256)
def parse(place: str) -> tuple[Part, ...]:
    """The parts of a place, from the outside in. Raises ValueError with a sentence."""
    parts: list[Part] = []
    at = 0
    while at < len(place):
        part, at = _next(place, at, first=not parts)
        parts.append(part)
    if not parts:
        raise ValueError(f"{_quoted(place)} names no place; write it like status, a.b or results[0].ok")
    return tuple(parts)


def find(body: object, place: str) -> tuple[bool, object]:
    """(whether the place is there, what stands there). Raises ValueError for a place that cannot be read."""
    value = body
    for part in parse(place):
        found, value = _step(value, part)
        if not found:
            return False, None
    return True, value


def _next(place: str, at: int, *, first: bool) -> tuple[Part, int]:
    if place[at] == "[":
        return _bracket(place, at)
    if place[at] == "." and not first:
        at += 1
    elif not first:
        raise ValueError(f"{_quoted(place)} lacks a dot before {_quoted(place[at:])}")
    name = _NAME.match(place, at)
    if name is None:
        raise ValueError(f"{_quoted(place)} has no name at character {at + 1}; write it like a.b or results[0].ok")
    return Key(name[0]), name.end()


def _bracket(place: str, at: int) -> tuple[Part, int]:
    found = _BRACKET.match(place, at)
    if found is None:
        raise ValueError(f'{_quoted(place)} has a "[" at character {at + 1} that is not closed')
    inner, (key, sign, value) = found[1], found[1].partition("=")
    if inner.isdecimal() and inner.isascii():
        return Index(int(inner)), found.end()
    if not key or not sign:
        raise ValueError(f"{_quoted(place)}: in [ ] stands a position from 0 on or key=value, not {_quoted(inner)}")
    return Entry(key, value), found.end()


def _step(value: object, part: Part) -> tuple[bool, object]:
    match part:
        case Key(name):
            return (True, value[name]) if isinstance(value, Mapping) and name in value else (False, None)
        case Index(number):
            return (True, value[number]) if _is_list(value) and number < len(value) else (False, None)
        case Entry(key, wanted):
            entries = value if _is_list(value) else ()
            hits = (entry for entry in entries if isinstance(entry, Mapping) and key in entry)
            return next(((True, entry) for entry in hits if _text(entry[key]) == wanted), (False, None))


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _quoted(text: str) -> str:
    return f'"{text}"'
