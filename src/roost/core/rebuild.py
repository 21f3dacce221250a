"""Dataclasses out of JSON trees, by their annotations: what an older or newer roost wrote is read as far as it goes.

Pure. A key that the class does not know is left out, a field that is not there has its default. Called by `snapshot`.
It checks no values: what it reads was written by roost itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from roost.core import reason

Build = Callable[[Any], Any]
_NAMES = {"Reason": reason.Reason}
"""Names that `core.view` imports for type checkers only."""


class Unreadable(ValueError):
    """Nothing can be made of it: the sentence says of what."""


@cache
def builder(kind: Any) -> Build:
    """What makes a value of this type out of its JSON form. The function raises Unreadable."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _either(tuple(one for one in get_args(kind) if one is not NoneType))
    if origin in (tuple, frozenset):
        return _many(origin, builder(get_args(kind)[0]))
    if origin in (dict, Mapping):
        return _mapping(builder(get_args(kind)[1]))
    if isinstance(kind, type) and origin is None:
        if is_dataclass(kind):
            return _dataclass(kind)
        if issubclass(kind, Enum):
            return _guarded(kind, kind)
        if kind is float:
            return _guarded(kind, float)
    return _same


def _same(value: Any) -> Any:
    return value


def _guarded(kind: type, make: Build) -> Build:
    def build(value: Any) -> Any:
        try:
            return make(value)
        except (TypeError, ValueError):
            raise Unreadable(f"{value!r} is no {kind.__name__}") from None

    return build


def _many(make: Callable[[Any], Any], item: Build) -> Build:
    return lambda value: make([item(one) for one in _of(list, value)])


def _mapping(item: Build) -> Build:
    return lambda value: {key: item(one) for key, one in _of(dict, value).items()}


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Unreadable(f"{str(value)[:80]!r} is no {kind.__name__}")
    return value


def _either(kinds: tuple[Any, ...]) -> Build:
    """By the form of the value; of several dataclasses by their `kind`."""
    if len(kinds) == 1:
        only = builder(kinds[0])
        return lambda value: None if value is None else only(value)
    tagged = _tagged(kinds)
    lists = [one for one in kinds if get_origin(one) in (tuple, frozenset)]

    def build(value: Any) -> Any:
        if isinstance(value, list) and lists:
            return builder(lists[0])(value)
        if isinstance(value, dict) and tagged:
            known = tagged.get(str(value.get("kind")))
            if known is None:
                raise Unreadable(f"this version knows nothing of the kind {value.get('kind')!r}")
            return builder(known)(value)
        return value

    return build


def _tagged(kinds: tuple[Any, ...]) -> dict[str, Any]:
    """`kind` -> dataclass."""
    defaults = ((one, _defaults(one)) for one in kinds if isinstance(one, type) and is_dataclass(one))
    return {str(found["kind"]): one for one, found in defaults if "kind" in found}


def _defaults(kind: Any) -> dict[str, Any]:
    return {one.name: one.default for one in fields(kind)}


def _dataclass(kind: Any) -> Build:
    # The types are asked for at the first value: classes may refer to one another.
    found: list[tuple[str, Build]] = []
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}

    def build(value: Any) -> Any:
        if not found:
            hints = get_type_hints(kind, localns=_NAMES)
            found.extend((one.name, builder(hints[one.name])) for one in fields(kind))
        given = _of(dict, value)
        if not needed <= given.keys():
            raise Unreadable(f"{kind.__name__} without {', '.join(sorted(needed - given.keys()))}")
        return kind(**{name: make(given[name]) for name, make in found if name in given})

    return build
