"""What an answer must look like, field by field, and the words for one that does not.

Pure. Every function returns None for what is right, else what came instead. Called by the checks.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = 120
"""Characters of a value that are quoted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value."""

    name: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    """Finite: `Infinity` is no JSON, though Python reads it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


TEXT = Kind("a text", lambda value: isinstance(value, str) and bool(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", _is_whole)
NUMBER = Kind("a number", _is_number)
NUMBER_OR_NULL = Kind("a number or null", lambda value: value is None or _is_number(value))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
LIST = Kind("a list", lambda value: isinstance(value, list))
TEXTS = Kind("a list of texts", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value))
FLAGS = Kind(
    "an object of true and false",
    lambda value: isinstance(value, dict) and bool(value) and all(isinstance(one, bool) for one in value.values()),
)


def shown(value: Any) -> str:
    """A value, quoted and cut."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def lacks(value: Any, fields: Mapping[str, Kind], where: str = "") -> str | None:
    """The first field that is missing or of another kind."""
    if not isinstance(value, dict):
        return f"{where or 'the answer'} that is no object: {shown(value)}"
    for name, kind in fields.items():
        path = f"{where}.{name}" if where else name
        if name not in value:
            return f"no {path}"
        if not kind.fits(value[name]):
            return f"{path} {shown(value[name])}, which is not {kind.name}"
    return None


def lacks_each(value: Mapping[str, Any], fields: Mapping[str, Kind], where: str) -> str | None:
    """As `lacks`, for every value of an object."""
    faults = (lacks(one, fields, f"{where}[{name}]") for name, one in value.items())
    return next((fault for fault in faults if fault is not None), None)


def differs(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first field that has another value."""
    for name, one in wanted.items():
        came = value.get(name)
        if came != one or isinstance(came, bool) != isinstance(one, bool):
            return f"{name} {shown(came)}"
    return None


def misses(names: Iterable[str], known: Iterable[str], where: str) -> str | None:
    """The names that are not among the known."""
    missing = sorted(set(names) - set(known))
    return f"{where} without {', '.join(missing)}" if missing else None
