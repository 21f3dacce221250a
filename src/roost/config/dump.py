"""A spec back to YAML and to a hash: what `show` prints and what tells whether two configurations mean the same.

Written out and loaded again, an unmasked spec is the same spec. Secrets are masked unless the caller asks for them.
Pure; called by `cli` and `app`.
"""

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, is_dataclass
from enum import StrEnum
from typing import Any

import yaml

from roost.config import kinds
from roost.config.interpolate import escape
from roost.config.masking import MASK, is_secret_path, mask_words
from roost.config.yamltext import scalar
from roost.core.problems import ConfigPath
from roost.core.spec import ReplicaSpec, RoostSpec
from roost.core.units import MaybeDuration, Size, exact_duration, exact_size

COMMAND_LINES = frozenset({"args", "command", "stop_command"})
"""Keys of a model that hold the words of a command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a spec is written out."""

    full: bool = False
    """Also what only has its built-in default."""
    mask: bool = True
    hide: Collection[ConfigPath] = frozenset()
    """Further paths to mask: `Loaded.secrets`."""


def effective_yaml(spec: RoostSpec, style: Style = Style()) -> str:
    """The effective configuration as YAML that `load` reads; secrets become `***`."""
    return yaml_text(to_plain(spec, style))


def yaml_text(data: dict[str, Any]) -> str:
    """Mappings, lists and scalars as YAML that `load` reads."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def config_hash(spec: RoostSpec) -> str:
    """16 hex digits over everything in the effective spec but its secrets; the same for the same meaning."""
    text = json.dumps(to_plain(spec, Style(full=True)), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_plain(spec: RoostSpec, style: Style) -> dict[str, Any]:
    """The spec as mappings, lists and scalars, in the specs' own order."""
    return Writer(style).whole(spec)


@dataclass(frozen=True, slots=True)
class Writer:
    """One pass over a spec."""

    style: Style

    def whole(self, spec: RoostSpec) -> dict[str, Any]:
        """The spec without what is used up in it."""
        data = self.section(spec, ())
        return {name: value for name, value in data.items() if name not in ("defaults", "macros")}

    def section(self, section: Any, path: ConfigPath) -> dict[str, Any]:
        written: dict[str, Any] = {}
        kind: type = type(section)
        for name, hint in kinds.section_fields(kind).items():
            value, default = getattr(section, kinds.attribute(kind, name)), kinds.default_of(kind, name)
            unsaid = value is None and hint is Any  # null cannot be said there
            if (self.style.full and not unsaid) or default is MISSING or value != default:
                written[name] = self.value(value, hint, (*path, name))
        return written

    def value(self, value: Any, hint: kinds.Hint, path: ConfigPath) -> Any:
        if self._is_hidden(value, path):
            return self.concealed(value, path)
        match value:
            case _ if is_dataclass(value):
                return self.section(value, path)
            case Mapping():
                return {
                    str(key): self.value(below, kinds.step(hint, key), (*path, key)) for key, below in value.items()
                }
            case tuple() | list():
                return self._list(value, hint, path)
            case StrEnum():
                return value.value
            case str():
                return escape(value, path)
        return _scalar(value, hint)

    def _list(self, values: Any, hint: kinds.Hint, path: ConfigPath) -> list[Any] | int:
        if path[-1] == "replicas" and values and all(value == ReplicaSpec() for value in values):
            return len(values)
        if path[2:3] and path[2] in COMMAND_LINES and len(path) == 3:
            return self.words(tuple(values), path)
        return [self.value(value, kinds.step(hint, index), (*path, index)) for index, value in enumerate(values)]

    def concealed(self, value: Any, path: ConfigPath) -> Any:
        """What stands in place of a secret."""
        del value, path
        return MASK

    def words(self, words: tuple[str, ...], path: ConfigPath) -> list[str]:
        """`args` are split again when they are read, so each word is quoted for that."""
        if self.style.mask:
            words = tuple(MASK if (*path, i) in self.style.hide else word for i, word in enumerate(mask_words(words)))
        return [escape(shlex.quote(word) if path[-1] == "args" else word, path) for word in words]

    def _is_hidden(self, value: Any, path: ConfigPath) -> bool:
        if not self.style.mask or is_dataclass(value) or value is None or value in ("", (), {}):
            return False
        return path in self.style.hide or is_secret_path(path)


def _scalar(value: Any, hint: kinds.Hint) -> Any:
    if value is not None and Size in kinds.members(hint):
        text = exact_size(value)
    elif hint == MaybeDuration or (value is not None and kinds.is_duration(hint)):
        text = exact_duration(value)
    else:
        return value
    return text if isinstance(scalar(text), str) else scalar(text)


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader would take for a number or a null; writes texts of several lines as such; repeats values
    instead of writing aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None if isinstance(scalar(value), str) and value != "<<" else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
