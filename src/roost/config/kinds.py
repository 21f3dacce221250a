"""What the specs' types mean to a reader: which type stands at a path, its plain name, how it is written.

Pure; reads the type hints of `core/spec.py`, so that messages, reference page and dump follow the specs by themselves.
Called by `validate`, `dump` and `reference`.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from roost.core.problems import ConfigPath
from roost.core.spec import RoostSpec
from roost.core.units import (
    MAX_REPLICAS,
    BindPort,
    Count,
    Duration,
    MaybeDuration,
    Natural,
    Port,
    PositiveDuration,
    ReplicaCount,
    Share,
    Size,
)

Hint = Any
"""A type hint, as `typing.get_type_hints(..., include_extras=True)` gives it."""

_NAMED: tuple[tuple[Hint, str, str], ...] = (
    (Size, "a size", "Write it like 80GiB, 512MB or a number of bytes."),
    (Duration, "a duration", "Write it like 30s, 5m or 1h30m."),
    (PositiveDuration, "a duration above zero", "Write it like 30s, 5m or 1h30m."),
    (MaybeDuration, "a duration above zero", "Write it like 30s, 5m or 1h30m, or never for no limit."),
    (Share, "a number above zero", ""),
    (Count, "a whole number of 1 or more", ""),
    (Natural, "a whole number of 0 or more", ""),
    (ReplicaCount, f"a whole number from 1 to {MAX_REPLICAS}", ""),
    (Port, "a port number", "Write one from 1 to 65535."),
    (BindPort, "a port number", "Write one from 1 to 65535, or 0 to have a free one picked."),
)
_PLAIN: dict[Hint, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "anything",
}


def origin(hint: Hint) -> Any:
    """`tuple` of `tuple[str, ...]`; None for a plain type."""
    return get_origin(hint)


@cache
def section_fields(section: type) -> dict[str, Hint]:
    """The keys of a spec's dataclass, as the file spells them, with their types."""
    hints = get_type_hints(section, include_extras=True)
    return {_spelled(name, hint): _bare(hint) for name, hint in hints.items()}


@cache
def attribute(section: type, key: str) -> str:
    """The name of the attribute behind a key: `condition` of `if`."""
    hints = get_type_hints(section, include_extras=True)
    return next(name for name, hint in hints.items() if _spelled(name, hint) == key)


def _spelled(name: str, hint: Hint) -> str:
    known = [extra.alias for extra in _extras(hint) if isinstance(extra, FieldInfo) and extra.alias]
    return known[0] if known else name


def _bare(hint: Hint) -> Hint:
    """Without what only renames a key or reads a word in another case; where more may be written than is kept, what
    may be written."""
    is_named = any(hint == named for named, _, _ in _NAMED)
    if is_named or origin(hint) is not Annotated:
        return hint
    written = (getattr(extra, "json_schema_input_type", PydanticUndefined) for extra in _extras(hint))
    return next((one for one in written if one is not PydanticUndefined), get_args(hint)[0])


def _extras(hint: Hint) -> tuple[Any, ...]:
    return get_args(hint)[1:] if origin(hint) is Annotated else ()


def members(hint: Hint) -> tuple[Hint, ...]:
    """The alternatives of a type without None; a named unit (Size, Port) stays whole."""
    if any(hint == named for named, _, _ in _NAMED):
        return (hint,)
    if origin(hint) in (Union, UnionType):
        return tuple(
            part for alternative in get_args(hint) if alternative is not NoneType for part in members(alternative)
        )
    return (hint,)


def takes_none(hint: Hint) -> bool:
    """Whether null is a value of this type (no limit, not set)."""
    return hint == MaybeDuration or (origin(hint) in (Union, UnionType) and NoneType in get_args(hint))


def is_duration(hint: Hint) -> bool:
    """Whether its values are seconds, written as `5m`."""
    return any(part in (Duration, PositiveDuration, MaybeDuration) for part in members(hint))


def base(hint: Hint) -> Hint:
    """`int` of Port, `float` of Duration; any other type as it is."""
    if origin(hint) is not Annotated:
        return hint
    inner = get_args(hint)[0]
    return base(members(inner)[0]) if members(inner) else inner


def section_of(hint: Hint) -> type | None:
    """The dataclass among a type's alternatives."""
    return next((part for part in members(hint) if isinstance(part, type) and is_dataclass(part)), None)


def step(hint: Hint, part: str | int) -> Hint | None:
    """The type below `hint` under a key or index, anything below anything; None where none is set down."""
    for alternative in members(hint):
        arguments = get_args(alternative)
        if alternative is Any:
            return Any
        if isinstance(alternative, type) and is_dataclass(alternative) and isinstance(part, str):
            return section_fields(alternative).get(part)
        if origin(alternative) is dict and isinstance(part, str):
            return arguments[1]
        if origin(alternative) is tuple and isinstance(part, int):
            return arguments[0]
    return None


def hint_at(path: ConfigPath) -> Hint | None:
    """The type that a configuration path must have; None for a path that does not exist."""
    hint: Hint | None = RoostSpec
    for part in path:
        hint = step(hint, part) if hint is not None else None
    return hint


def choices(hint: Hint) -> tuple[str, ...]:
    """The words or numbers that an enumerated type allows; empty for any other."""
    for alternative in members(hint):
        if isinstance(alternative, type) and issubclass(alternative, StrEnum):
            return tuple(alternative)
        if origin(alternative) is Literal:
            return tuple(str(option) for option in get_args(alternative))
    return ()


def noun(hint: Hint) -> str:
    """What a value of this type is called: `a duration`, `a list of strings`, `one of stop, leave`."""
    return " or ".join(dict.fromkeys(_noun(part) for part in members(hint)))


def way_out(hint: Hint) -> str:
    """How to write a value of this type; empty where the noun says it."""
    return next((said for part in members(hint) for named, _, said in _NAMED if part == named and said), "")


def _noun(hint: Hint) -> str:
    for named, name, _ in _NAMED:
        if hint == named:
            return name
    if words := choices(hint):
        return f"one of {', '.join(words)}"
    if origin(hint) is tuple:
        return f"a list of {_plural(get_args(hint)[0])}"
    if origin(hint) is dict:
        return f"a mapping of names to {_plural(get_args(hint)[1])}"
    return _PLAIN.get(hint, "a mapping")


def _plural(hint: Hint) -> str:
    if hint == Size:
        return "sizes"
    if words := choices(hint):
        return ", ".join(words)
    return {str: "strings", int: "whole numbers", Any: "values"}.get(hint, "settings")


def only_required(section: type) -> str | None:
    """The key that must be written, where there is exactly one."""
    required = [key for key in section_fields(section) if default_of(section, key) is MISSING]
    return required[0] if len(required) == 1 else None


def default_of(section: type, name: str) -> Any:
    """The default of a key; `dataclasses.MISSING` for a required one."""
    wanted = attribute(section, name)
    made = next(field for field in fields(section) if field.name == wanted)
    return _default(made)


def _default(made: Field[Any]) -> Any:
    return made.default_factory() if made.default_factory is not MISSING else made.default


@cache
def homes(key: str) -> tuple[ConfigPath, ...]:
    """Every place of the configuration that has a key of this name (`*` stands for a name, 0 for an entry)."""
    return tuple(path for path in _all_paths(RoostSpec, ()) if path[-1] == key)


def _all_paths(section: type, above: ConfigPath) -> Iterator[ConfigPath]:
    for name in section_fields(section):
        if above == () and name == "defaults":
            continue  # the same keys as in a model
        yield (*above, name)
        for part in (name, "*"), (name, 0), (name,):
            below = hint_at((*_concrete(above), *_concrete(part)))
            if below is not None and (inner := section_of(below)) is not None:
                yield from _all_paths(inner, (*above, *part))


def _concrete(path: ConfigPath) -> ConfigPath:
    return tuple("x" if part == "*" else part for part in path)
