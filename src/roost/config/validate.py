"""A native tree to a spec: pydantic finds the faults, this module says them in plain sentences with their places.

Every fault is reported at once; what is faulty is then left out, so that the checks of meaning can still run on the
rest. Never raises, never prints a secret. Called by `load`.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from roost.config import kinds
from roost.config.masking import shown
from roost.config.tree import Node, find, given, placed
from roost.core.hosted_spec import AdapterSpec
from roost.core.problems import STEP_LISTS, ConfigPath, Problem
from roost.core.spec import RoostSpec
from roost.core.units import ReplicaCount

_ROUNDS = 8
_UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_SYNONYMS = {
    "model": "weights",
    "model_path": "weights",
    "path": "weights",
    "cmd": "command",
    "extra_args": "args",
    "environment": "env",
    "base_url": "url",
    "proxy": "url",
    "ttl": "unload_after",
    "idle_timeout": "sleep_after",
    "pinned": "pin",
    "max_loaded": "max_resident",
    "max_models": "max_resident",
    "api_keys": "keys",
    "cors": "cors_origins",
    "gpus": "devices",
    "memory": "footprint",
    "backend": "engine",
}
_OF_AN_ADAPTER = {"weights": "path", "model": "path", "model_path": "path", "lora": "path", "adapter": "path"}
_IN_A_STEP = {"path": "endpoint", "url": "endpoint", "expectedbody": "expect", "condition": "if"}
_STAY = {"schedules": ("when", "mon-sun"), **dict.fromkeys(STEP_LISTS, ("endpoint", "/"))}
"""Lists whose items stay where they are when one is faulty, so that it hides no fault of the others: what each must
have, and what says least."""
_AS_STEP = (("timeouts", "sleep"), ("timeouts", "wake"))
_LLAMA_SWAP = re.compile(r"(sleep|wake)(Endpoints?|Method|Body|Timeout)")


@dataclass(frozen=True, slots=True)
class Validated:
    """What could be made of a tree. `spec` lacks whatever was faulty; None where nothing could be made."""

    spec: RoostSpec | None
    problems: tuple[Problem, ...]
    faulty: frozenset[ConfigPath] = frozenset()
    """What is left out of `spec`, by its path in the tree."""


@cache
def adapter() -> TypeAdapter[RoostSpec]:
    """The specs as pydantic sees them; built once, at the first use."""
    return TypeAdapter(RoostSpec)


def validate(root: Node) -> Validated:
    """The spec of a native tree, and every fault in it."""
    data = to_data(root, RoostSpec)
    problems: list[Problem] = []
    faulty: set[ConfigPath] = set()
    for _ in range(_ROUNDS):
        try:
            return Validated(adapter().validate_python(data), tuple(problems), frozenset(faulty))
        except ValidationError as error:
            faults = _deepest({_path(root, fault): fault for fault in error.errors(include_url=False)})
        for path, fault in faults.items():
            is_told = given(root, path) or _is_misspelt(root, path)  # broken, or called otherwise: reported already
            if not (fault["type"] in _MISSING and is_told):
                problems.append(placed(_said(root, path, fault), root))
            faulty.add(path)
            _prune(data, path[:-1] if fault["type"] in _MISSING else path)
    return Validated(None, tuple(problems))


def to_data(node: Node, hint: kinds.Hint | None) -> Any:
    """Plain data for pydantic: broken values left out, and text wherever text is wanted (`env: {N: 0}`)."""
    if isinstance(node.value, tuple):
        return [to_data(item, _step(hint, index)) for index, item in enumerate(node.items)]
    if not isinstance(node.value, dict):
        return _leaf(node, hint)
    kept = {key: below for key, below in node.mapping.items() if not _is_broken(below)}
    return {key: to_data(below, _step(hint, key)) for key, below in kept.items()}


def _is_broken(node: Node) -> bool:
    """A list with a broken item is left out whole: what is left would have other indices than the file."""
    return node.broken or any(_is_broken(item) for item in node.items)


def _step(hint: kinds.Hint | None, part: str | int) -> kinds.Hint | None:
    return kinds.step(hint, part) if hint is not None else None


def _leaf(node: Node, hint: kinds.Hint | None) -> Any:
    alternatives = [kinds.base(part) for part in kinds.members(hint)] if hint is not None else []
    if node.value is None:
        is_section = any(kinds.section_of(part) or kinds.origin(part) is dict for part in alternatives)
        return {} if is_section and not kinds.takes_none(hint) else None
    is_own_kind = isinstance(node.value, bool) and bool in alternatives
    if str in alternatives and not isinstance(node.value, str) and not is_own_kind:
        return node.text
    if isinstance(node.value, bool) and bool not in alternatives and Any not in alternatives:
        return node.text  # pydantic would take true for the number 1
    for part in alternatives:
        if kinds.origin(part) is Literal:
            return next((option for option in get_args(part) if str(option) == node.text), node.value)
    return node.value


def _path(root: Node, fault: Any) -> ConfigPath:
    """pydantic's location without the names of union members that it mixes in."""
    path: ConfigPath = ()
    for part in fault["loc"]:
        if find(root, (*path, part))[1] == len(path) + 1:
            path = (*path, part)
    return (*path, fault["loc"][-1]) if fault["type"] in _MISSING and path[-1:] != fault["loc"][-1:] else path


def _deepest(faults: dict[ConfigPath, Any]) -> dict[ConfigPath, Any]:
    """Without the faults that only say that another alternative did not fit either."""
    above = {path[:length] for path in faults for length in range(len(path))}
    return {path: fault for path, fault in faults.items() if path not in above}


def _prune(data: Any, path: ConfigPath) -> None:
    """Leave the faulty value out; a list goes as a whole, so that no index shifts, but for those whose items stay."""
    at = next((at for at, part in enumerate(path[:-1]) if part in _STAY and isinstance(path[at + 1], int)), None)
    if at is not None:
        _prune_item(_inner(data, path[: at + 1]), path[at + 1 :], _STAY[str(path[at])])
        return
    cut = next((index for index, part in enumerate(path) if isinstance(part, int)), len(path))
    if cut == 0:
        return
    around = _inner(data, path[: cut - 1])
    if isinstance(around, dict):
        around.pop(path[cut - 1], None)


def _inner(data: Any, path: ConfigPath) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _prune_item(items: Any, path: ConfigPath, least: tuple[str, str]) -> None:
    """`path` begins with the item's index. What is none, or lacks what it must have, becomes one that says nothing."""
    number, *below = path
    if not isinstance(items, list) or not isinstance(number, int):
        return
    if below:
        _prune(items[number], tuple(below))
    else:
        given_keys = items[number] if isinstance(items[number], dict) else {}
        items[number] = given_keys | dict([least])


def _said(root: Node, path: ConfigPath, fault: Any) -> Problem:
    node, _ = find(root, path)
    if fault["type"] in _UNKNOWN:
        return _unknown_key(path)
    if fault["type"] in _MISSING:
        return Problem(path=path[:-1], message=f'"{path[-1]}" is missing', hint=f"Add {path[-1]}: ... to it.")
    hint = kinds.hint_at(path)
    if hint is None:
        return Problem(path=path, message=f"{shown(node, path)} cannot be read: {fault['msg']}")
    if node.value is None:
        return Problem(path=path, message="has no value", hint=_for_nothing(hint))
    noun = kinds.noun(hint)
    if fault["type"] == "value_error":  # not even a size or duration, whatever its bounds
        noun = noun.removesuffix(" above zero")
    value = shown(node, path)
    return Problem(path=path, message=f"{value} is not {noun}", hint=_way_out(node, path, hint), value=value)


def _for_nothing(hint: kinds.Hint) -> str:
    empty = ' ("" for an empty one)' if str in kinds.members(hint) else ""
    return f"Write {kinds.noun(hint)}{empty}, or remove the key."


def _way_out(node: Node, path: ConfigPath, hint: kinds.Hint) -> str:
    match path, node.value:
        case ("models",), tuple():
            name = _first_name(node)
            return f'Make each name a key instead of an entry: "models:", below it "{name}:", below that its settings.'
        case (*_, "env"), tuple():
            return 'Write "NAME: value" lines instead of "- NAME=value".'
        case ("memory", "devices"), tuple():
            return 'Write "gpu0: 80GiB" lines.'
    if kinds.is_duration(hint) and str(node.value).strip().lower() == "never":
        otherwise = ", or leave it out: timeouts.step counts then" if path[-2:] in _AS_STEP else ""
        return f"This wait is always bounded; write a long one, such as 24h{otherwise}."
    wants = [kinds.origin(part) for part in kinds.members(hint)]
    may_be_list = tuple in wants and ReplicaCount not in kinds.members(hint)
    if may_be_list and isinstance(node.value, str | int) and _is_quotable(path, node):
        return f"Write it as a list: [{shown(node, path)}]."
    if isinstance(node.value, str) and (near := get_close_matches(node.value, kinds.choices(hint), n=1)):
        return f'Did you mean "{near[0]}"?'
    if (section := kinds.section_of(hint)) is not None:
        if isinstance(node.value, str) and (key := kinds.only_required(section)) and _is_quotable(path, node):
            return f"Write it as {{{key}: {shown(node, path)}}}."
        keys = ", ".join(list(kinds.section_fields(section))[:4])
        return f"Write its keys below it, such as {keys}."
    return kinds.way_out(hint)


def _is_quotable(path: ConfigPath, node: Node) -> bool:
    """Whether the value can be quoted in a hint."""
    return shown(node, path) != "the value"


def _first_name(models: Node) -> str:
    for item in models.items:
        for key in ("name", "id", "model"):
            if (named := item.mapping.get(key)) is not None and named.text:
                return named.text[:60]
    return "my-model"


def _unknown_key(path: ConfigPath) -> Problem:
    key = str(path[-1])
    section = kinds.section_of(kinds.hint_at(path[:-1]))
    known = list(kinds.section_fields(section)) if section is not None else []
    message = f'unknown key "{key[:60]}"'
    if (theirs := _LLAMA_SWAP.fullmatch(key)) and "sleep_steps" in known:
        hint = f"Write {theirs[1]}_steps: [{{endpoint: ..., method: ..., body: ..., timeout: ...}}]; see docs/sleep.md."
        return Problem(path=path, message=message, hint=hint)
    wanted = _synonyms(section).get(key.lower().replace("-", "_"))
    near = get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.7)
    if near or wanted in known:
        hint = "cmd is a key of llama-swap's form, and this file is in roost's own." if key == "cmd" else ""
        return Problem(path=path, message=f'{message}; did you mean "{near[0] if near else wanted}"?', hint=hint)
    if homes := kinds.homes(key) or (kinds.homes(wanted) if wanted else ()):
        return Problem(path=path, message=message, hint=f"Write it as {_spelled(homes[0], path)}.")
    return Problem(path=path, message=message, hint=f"Known keys here: {', '.join(known)}.")


def _synonyms(section: type | None) -> dict[str, str]:
    """What one may have meant where this section stands."""
    if section is AdapterSpec:
        return _OF_AN_ADAPTER
    return _IN_A_STEP if section is not None and "endpoint" in kinds.section_fields(section) else _SYNONYMS


def _is_misspelt(root: Node, path: ConfigPath) -> bool:
    """Whether a key beside what is missing at the path means it: then its own problem says so."""
    section = kinds.section_of(kinds.hint_at(path[:-1]))
    meant = _synonyms(section)
    return any(meant.get(key.lower().replace("-", "_")) == path[-1] for key in find(root, path[:-1])[0].mapping)


def _spelled(home: ConfigPath, path: ConfigPath) -> str:
    """`models.a.queue.max_wait`, in the model at hand if there is one."""
    if home[:1] == ("models",):
        if path[0] == "defaults":
            home = ("defaults", *home[2:])
        elif path[0] == "models" and len(path) > 2:
            home = ("models", path[1], *home[2:])
        else:
            return f"{'.'.join(str(part) for part in ('models', 'NAME', *home[2:]))} or under defaults"
    return ".".join("[]" if part == 0 else str(part) for part in home)
