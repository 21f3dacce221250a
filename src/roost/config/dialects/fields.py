"""What readers of foreign forms share: their keys, their plain sentences, nodes for what the file does not say.

Pure; never decides what a key means. Called by the dialects beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from roost.config.masking import shown
from roost.config.tree import Node, Scalar
from roost.core.problems import Problem

_WHOLE = re.compile(r"[-+]?\d{1,9}")
_TRUE = frozenset({"true", "yes", "on", "y", "t", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "f", "0"})


class Faults:
    """The problems found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, node: Node, message: str, hint: str = "", severity: str = "error") -> None:
        """One problem at the node's place."""
        self.problems.append(Problem(path=node.path, line=node.line, message=message, hint=hint, severity=severity))

    def keys(self, section: Node, known: tuple[str, ...], hints: Mapping[str, str]) -> None:
        """A problem for each key that is none of `known`; `hints` says where a likely one belongs."""
        for key, node in section.mapping.items():
            if key in known:
                continue
            word = key.lower().replace("-", "_")
            near = get_close_matches(word, known, n=1, cutoff=0.6)
            if word in hints:
                self.add(node, f'unknown key "{key[:60]}"', hints[word])
            elif near:
                self.add(node, f'unknown key "{key[:60]}"; did you mean "{near[0]}"?')
            else:
                self.add(node, f'unknown key "{key[:60]}"', f"Known keys here: {', '.join(known)}.")

    def section(self, above: Node, key: str) -> Node:
        """The mapping under a key; an empty one where there is nothing, or something else (a problem)."""
        node = above.mapping.get(key)
        if node is not None and node.value is not None and not isinstance(node.value, Mapping):
            self.add(node, f"{shown(node, node.path)} is not a mapping", "Write its keys below it.")
        return node if node is not None and node.mapping else made({}, node or above, key if node is None else None)

    def text(self, section: Node, key: str) -> Node | None:
        """The word under a key, as it stands in the file; None where there is none or (a problem) something else."""
        node = written(section, key)
        if node is None:
            return None
        if isinstance(node.value, tuple | Mapping):
            self.add(node, f"{shown(node, node.path)} is not a string")
            return None
        text = node.value if isinstance(node.value, str) else node.text
        if not text:
            self.add(node, "is empty", "Write something, or remove the key.")
            return None
        return replace(node, value=text, text=text)

    def whole(self, section: Node, key: str, least: int = 0) -> int | None:
        """A whole number, also as a text (a variable's value is one); else None (a problem)."""
        node = written(section, key)
        if node is None:
            return None
        text = node.value if isinstance(node.value, str) else node.text
        if isinstance(node.value, tuple | Mapping | bool) or not _WHOLE.fullmatch(text) or int(text) < least:
            self.add(node, f"{shown(node, node.path)} is not a whole number of {least} or more")
            return None
        return int(text)

    def listed(self, section: Node, key: str) -> tuple[Node, ...]:
        """The entries of a list; none where there is none, or (a problem) something else."""
        node = written(section, key)
        if node is not None and not isinstance(node.value, tuple):
            self.add(node, f"{shown(node, node.path)} is not a list", "Write each entry on its own line, after a dash.")
        return node.items if node is not None else ()

    def truth(self, section: Node, key: str, default: bool = False) -> bool:
        """A truth value, also as the words that YAML 1.1 took for one; the default where there is none."""
        node = written(section, key)
        if node is None:
            return default
        word = str(node.value).lower() if isinstance(node.value, bool | int | str) else ""
        if word not in _TRUE | _FALSE:
            self.add(node, f"{shown(node, node.path)} is not true or false")
        return word in _TRUE


def written(section: Node, key: str) -> Node | None:
    """What stands under the key; null counts as nothing."""
    node = section.mapping.get(key)
    return node if node is not None and node.value is not None and not node.broken else None


def made(value: "Scalar | tuple[Node, ...] | Mapping[str, Node]", at: Node, key: str | None = None) -> Node:
    """A value that the file does not write; a problem with it points to `at` (and to the key there)."""
    text = str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, str | int) else ""
    return Node(value, at.path if key is None else (*at.path, key), at.line, text=text)


def chosen(section: Node, key: str, default: Scalar) -> Node:
    """What is written under the key, else the default."""
    return written(section, key) or made(default, section, key)
