"""A loaded configuration of any form in the native form, as short as it can be said.

Paths, command lines and `${env:...}` stay as they were written. A secret that stands in the file in plain text is
left out: a variable stands in its place, so that the result cannot start with a wrong one. Pure; called by `cli`.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from roost.config import kinds
from roost.config.dump import COMMAND_LINES, Style, Writer, yaml_text
from roost.config.finish import split_words
from roost.config.interpolate import escape
from roost.config.load import Written
from roost.config.masking import MASK, mask_words
from roost.core.problems import ConfigPath

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USED = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)")
_NOT_A_NAME = re.compile(r"[^A-Z0-9]+")
_PIECE = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\(?!\r?\n).|[^\s'"\\])+""", re.S)
"""A word of a command line as it is written there."""
_QUOTES = re.compile(r"""['"\\]""")
_OWN = frozenset({"replicas", "aliases", "also_serves"})
"""Keys that never become a default of all models, even where all have the same."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A secret that the text does not hold: the variable in its place, and where it stands."""

    variable: str
    path: ConfigPath
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The native text, and what must be set in the environment for it to mean the same."""

    text: str
    left_out: tuple[LeftOut, ...]


def convert(written: Written, *, show_secrets: bool = False) -> Conversion:
    """The native form. What all models have in common becomes `defaults`."""
    named = frozenset(name for source in written.sources.values() for name in _USED.findall(source))
    writer = _Converter(Style(mask=not show_secrets, hide=written.secrets), written, named)
    data = writer.whole(written.spec)
    return Conversion(yaml_text(_hoisted(data)), tuple(writer.left_out.values()))


def _hoisted(data: dict[str, Any]) -> dict[str, Any]:
    """The same with what all of several models have alike under `defaults`."""
    models: dict[str, dict[str, Any]] = data.get("models", {})
    if len(models) < 2 or "models_dir" in data or "hosts" in data:  # new defaults would count for what is found, too
        return data
    first, *others = models.values()
    same = {
        key: value
        for key, value in first.items()
        if key not in _OWN and all(key in other and other[key] == value for other in others)
    }
    if not same:
        return data
    data["models"] = {
        name: {key: value for key, value in model.items() if key not in same} for name, model in models.items()
    }
    before = {key: value for key, value in data.items() if key == "server"}
    return {**before, "defaults": same, **{key: value for key, value in data.items() if key not in before}}


@dataclass(frozen=True, slots=True)
class _Converter(Writer):
    """Writes the texts of the file where they name variables, and remembers the secrets left out."""

    written: Written
    named: frozenset[str]
    """Variables that the file uses itself: they cannot stand for anything else."""
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    def value(self, value: Any, hint: kinds.Hint, path: ConfigPath) -> Any:
        source = self.written.sources.get(path)
        is_line = len(path) == 3 and path[2] in COMMAND_LINES
        if isinstance(value, str) and is_line:
            return self._line(source or escape(value, path), path)
        if source is not None:
            return source
        return Writer.value(self, value, hint, path)

    def _line(self, text: str, path: ConfigPath) -> str | list[str]:
        """The text as it stands. With a secret out of it, too, if its words can be told apart in it: its variables may
        come to several words, which those of a list never do."""
        words = split_words(text)
        shown = self._shown(words, path)
        pieces = list(_PIECE.finditer(text))
        changed = [index for index, word in enumerate(words) if shown[index] != word]
        if len(pieces) != len(words) or any(_QUOTES.search(words[index]) for index in changed):
            return text if shown == words else shown
        for index in reversed(changed):
            text = f"{text[: pieces[index].start()]}'{shown[index]}'{text[pieces[index].end() :]}"
        return text

    def words(self, words: tuple[str, ...], path: ConfigPath) -> list[str]:
        """Entries as they are; `args` that hold a secret word by word."""
        texts = [
            self.written.sources.get((*path, index)) or self._entry(word, (*path, index))
            for index, word in enumerate(words)
        ]
        if path[-1] != "args":
            return self._shown(texts, path)
        apart = [word for text in texts for word in split_words(text)]
        shown = self._shown(apart, path)
        return texts if shown == apart else [shlex.quote(word) for word in shown]

    def _entry(self, text: str, path: ConfigPath) -> str:
        hidden = self.style.mask and path in self.style.hide
        return str(self.concealed(text, path)) if hidden else escape(text, path)

    def _shown(self, words: Iterable[str], path: ConfigPath) -> list[str]:
        """The words with a variable in place of each secret that is not one already."""
        words = list(words)
        if not self.style.mask:
            return words
        shown = []
        for index, (word, masked) in enumerate(zip(words, mask_words(words), strict=True)):
            before = masked.removesuffix(MASK)
            secret = word.removeprefix(before)
            if masked == word or "${env:" in secret:
                shown.append(word)
            else:
                shown.append(f"{before}{self.concealed(secret, (*path, index))}")
        return shown

    def concealed(self, value: Any, path: ConfigPath) -> Any:
        """A variable in the place of the secret; the mask where it is no text and none could stand for it."""
        if not isinstance(value, str):
            return MASK
        wanted = _named(path)
        name, number = wanted, 2
        while name in self.named or (name in self.left_out and self.left_out[name].value != value):
            name, number = f"{wanted}_{number}", number + 1
        self.left_out.setdefault(name, LeftOut(name, path, value))
        return f"${{env:{name}}}"


def _named(path: ConfigPath) -> str:
    """A variable of the engine keeps its own name; anything else is named after its place."""
    own = str(path[-1])
    if "env" in path[2:-1] and _VARIABLE.fullmatch(own):
        return own
    return _NOT_A_NAME.sub("_", "_".join(("ROOST", *(str(part).upper() for part in path[1:])))).strip("_")
