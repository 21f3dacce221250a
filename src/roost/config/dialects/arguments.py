"""An engine's arguments as people write them: split into words, host, port and served name read from them.

Where host and port stand, `${HOST}` and `${PORT}` are put, so that replicas of a model share one command line; all
other words stay as they are. Pure; called by `instances`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from roost.config.dialects.fields import Faults, made
from roost.config.finish import split_fault, split_words
from roost.config.tree import Node

_PLACEHOLDERS = {"--host": "${HOST}", "--port": "${PORT}"}
_SERVED = "--served-model-name"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What an engine's arguments come to."""

    words: tuple[Node, ...]
    others: tuple[str, ...]
    """The words without host and port: what replicas of one model must have in common."""
    host: Node | None
    port: Node | None
    served: Node | None

    def has(self, flag: str) -> bool:
        """Whether the flag is among them."""
        return any(_flag(word) == flag for word in self.others)


def split(faults: Faults, node: Node | None) -> tuple[Node, ...]:
    """The words of a text, or of a list of texts and further lists; each keeps the place of its entry."""
    if node is None:
        return ()
    if isinstance(node.value, tuple):
        return tuple(word for item in node.items for word in split(faults, item))
    if isinstance(node.value, Mapping) or node.value is None:
        fault = "has no value" if node.value is None else "is not a text"
        faults.add(node, fault, 'Write each entry as one text: "--max-model-len 8192".')
        return ()
    return _words(faults, node)


def _words(faults: Faults, node: Node) -> tuple[Node, ...]:
    try:
        words = split_words(str(node.value) if isinstance(node.value, str) else node.text)
    except ValueError as error:
        fault = split_fault(node.path, error)
        faults.add(node, fault.message, fault.hint)
        return ()
    pairs = zip(words, _named(node, words), strict=True)
    return tuple(replace(node, value=word, text=word, source=source) for word, source in pairs)


def _named(node: Node, words: list[str]) -> list[str]:
    """The words of the text that still names variables; empty ones where a variable holds several words."""
    try:
        named = split_words(node.source)
    except ValueError:
        named = []
    kept = named if len(named) == len(words) else [""] * len(words)
    return [word if "${env:" in word else "" for word in kept]


def read(faults: Faults, words: tuple[Node, ...]) -> Arguments:
    """Host, port and served name from the words; the last one counts, as it does for the engines."""
    kept: list[Node] = []
    others: list[str] = []
    found: dict[str, Node] = {}
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        flag, has_value = _flag(word.text), "=" in word.text
        if flag == _SERVED and (has_value or (rest and not rest[-1].text.startswith("-"))):
            found[flag] = _after_equals(word) if has_value else rest[-1]
        if flag not in _PLACEHOLDERS:
            kept.append(word)
            others.append(word.text)
            continue
        if not has_value and not rest:
            faults.add(word, f"{flag} has no value", f'Write it as "{flag} VALUE".')
            continue
        value = _after_equals(word) if has_value else rest.pop()
        kept += _replaced(word, value, flag, has_value)
        found[flag] = value
    return Arguments(tuple(kept), tuple(others), *(_fixed(found.get(flag)) for flag in ("--host", "--port", _SERVED)))


def _flag(word: str) -> str:
    """The flag's name; vLLM takes underscores in it too."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else ""


def _after_equals(word: Node) -> Node:
    text, source = (written.partition("=")[2] for written in (word.text, word.source))
    return replace(word, value=text, text=text, source=source)


def _replaced(word: Node, value: Node, flag: str, has_value: bool) -> tuple[Node, ...]:
    placeholder = _PLACEHOLDERS[flag]
    if has_value:
        return (made(f"{word.text.partition('=')[0]}={placeholder}", word),)
    return (word, made(placeholder, value))


def _fixed(value: Node | None) -> Node | None:
    """None also where roost itself is to fill the value in."""
    return None if value is None or value.value in ("${HOST}", "${PORT}", "${MODEL}") else value
