"""llama-swap's macros: `${name}`, `${env.NAME}`, `${MODEL_ID}`, `${PORT}` and `${PID}` in the texts of such a file.

A macro may use those written before it, and a model's own win over the file's. A value that is exactly one macro has
the macro's type. A name that no macro can have, as in `${X:-y}`, is plain text. Bounded in what macros may grow to.
Pure; called by `llama_swap` and `llama_swap_model`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from roost.config.dialects.fields import Faults
from roost.config.masking import is_secret_name, is_secret_path, shown
from roost.config.tree import Node

MAX_CHARS = 1024 * 1024
MAX_CHAIN = 32
_USE = re.compile(r"\$\{([^{}]*)\}")
_LIKE_A_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_VARIABLE = re.compile(r"env\.([A-Za-z_][A-Za-z0-9_]*)")
_NATIVE_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*).*", re.S)
_RESERVED = {
    "PORT": "It is known in a model whose cmd uses it.",
    "MODEL_ID": "It is known in a model.",
    "PID": "It is known in cmdStop.",
}
_KEYS_TOO = "setParamsByID"


class _TooMuch(Exception):
    """Macros grow beyond what a file can mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Macros:
    """What may be written at one place. `defined` are checked, in the order in which they may use each other."""

    faults: Faults
    env: Mapping[str, str]
    defined: Mapping[str, Node] = field(default_factory=dict)
    known: Mapping[str, Node] = field(default_factory=dict)
    """Those of the reserved names that mean something here."""
    spent: list[int] = field(default_factory=lambda: [0])
    """Characters put in so far, in the whole file."""
    _values: dict[str, Node] = field(default_factory=dict)
    """What the macros come to here, as far as they were asked for."""

    def having(self, section: Node) -> "Macros":
        """With the macros under `macros` of a section, which win; one that takes an earlier one's place keeps it."""
        own = self.faults.section(section, "macros").mapping
        sound = {name: node for name, node in own.items() if self._is_sound(name, node)}
        return replace(self, defined={**self.defined, **sound}, _values={})

    def knowing(self, **values: str | int) -> "Macros":
        """With a meaning for reserved names. A text that begins with `${` stays for the launch to replace."""
        nodes = {name: _fact(value) for name, value in values.items()}
        return replace(self, known={**self.known, **nodes}, _values={})

    def put(self, node: Node) -> Node:
        """The tree with every text's macros replaced; what is wrong with one is reported and marked as broken."""
        try:
            return self._put(node)
        except _TooMuch:
            hint = f"At most {MAX_CHARS:,} characters may come out of them."
            self.faults.add(
                replace(node, path=("macros",)), "macros grow too large when they are put into each other", hint
            )
            return replace(node, value=None, broken=True)

    def _is_sound(self, name: str, node: Node) -> bool:
        if name in _RESERVED:
            self.faults.add(node, f'"{name}" cannot be a macro', f"Choose another name. {_RESERVED[name]}")
        elif not _NAME.fullmatch(name):
            hint = "Use up to 63 letters, digits, _ and -."
            self.faults.add(node, f'"{name[:80]}" cannot be a macro\'s name', hint)
        elif isinstance(node.value, tuple | Mapping):
            self.faults.add(
                node, f"{shown(node, node.path)} cannot be a macro", "A macro is one text, number or truth."
            )
        else:
            return True
        return False

    def _put(self, node: Node) -> Node:
        match node.value:
            case str() as text:
                return self._text(node, text, len(self.defined), 0) if "${" in text else node
            case tuple() as items:
                return replace(node, value=tuple(self._put(item) for item in items))
            case Mapping() as mapping:
                return replace(node, value={self._key(node, key): self._put(one) for key, one in mapping.items()})
        return node

    def _key(self, above: Node, key: str) -> str:
        if above.path[-1:] != (_KEYS_TOO,) or "${" not in key:
            return key
        return str(self._text(replace(above, value=key, text=key), key, len(self.defined), 0).text)

    def _text(self, node: Node, text: str, usable: int, depth: int) -> Node:
        """`usable`: how many of the macros, from the first on, may be used here."""
        if depth > MAX_CHAIN:
            return self._broken(node, f"macros use each other more than {MAX_CHAIN} deep", "Flatten them.")
        whole = _USE.fullmatch(text)
        if whole is not None:
            return replace(self._piece(whole, node, usable, depth), path=node.path, line=node.line)
        pieces: list[str] = []
        sources: list[str] = []
        end, secret, broken = 0, node.secret, False
        for found in _USE.finditer(text):
            piece = self._piece(found, node, usable, depth)
            before, put = text[end : found.start()], _as_text(piece)
            pieces += (before, put)
            sources += (_plain(before), piece.source or _plain(put))
            secret, broken, end = secret or piece.secret, broken or piece.broken, found.end()
        result = "".join((*pieces, text[end:]))
        source = "".join((*sources, _plain(text[end:])))
        kept = source if "${env:" in source else ""
        return replace(node, value=result, text=result, source=kept, secret=secret, broken=node.broken or broken)

    def _piece(self, found: re.Match[str], node: Node, usable: int, depth: int) -> Node:
        name = found[1]
        piece = self._meant(name, node, usable, depth)
        if piece is None:
            piece = replace(node, value=found[0], text=found[0], source="")
        self.spent[0] += len(piece.text) + 1
        if self.spent[0] > MAX_CHARS:
            raise _TooMuch
        return piece

    def _meant(self, name: str, node: Node, usable: int, depth: int) -> Node | None:
        """None for plain text."""
        if (variable := _VARIABLE.fullmatch(name)) is not None:
            return self._variable(variable[1], node)
        if (native := _NATIVE_VARIABLE.fullmatch(name)) is not None:
            return self._broken(node, f"${{{name}}} is roost's own form", f"Write ${{env.{native[1]}}} in this file.")
        if not _LIKE_A_NAME.fullmatch(name):
            return None
        if name in self.known:
            return self.known[name]
        if name in _RESERVED:
            return self._broken(node, f"${{{name}}} means nothing here", _RESERVED[name])
        position = list(self.defined).index(name) if name in self.defined else usable
        if position >= usable:
            return self._unknown(name, node)
        if name not in self._values:
            self._values[name] = self._macro(self.defined[name], position, depth)
        return self._values[name]

    def _macro(self, macro: Node, position: int, depth: int) -> Node:
        if not isinstance(macro.value, str) or "${" not in macro.value:
            value = macro if macro.value is not None else replace(macro, value="", text="")
        else:
            value = self._text(macro, macro.value, position, depth + 1)
        return replace(value, secret=value.secret or is_secret_path(macro.path))

    def _variable(self, name: str, node: Node) -> Node:
        value = self.env.get(name)
        if value is None:
            return self._broken(node, f"environment variable {name} is not set", "Set it.")
        secret = node.secret or is_secret_name(name)
        return replace(node, value=value, text=value, secret=secret, source=f"${{env:{name}}}")

    def _unknown(self, name: str, node: Node) -> Node:
        if name in self.defined:
            hint = "It is written after this macro; a macro may use only those before it."
        elif name in self.env:
            hint = f"Write ${{env.{name}}} for the environment variable."
        elif near := get_close_matches(name, [*self.defined, *_RESERVED], n=1):
            hint = f"Did you mean ${{{near[0]}}}?"
        else:
            hint = "Define it under macros; write ${env.NAME} for an environment variable."
        return self._broken(node, f"unknown macro ${{{name}}}", hint)

    def _broken(self, node: Node, message: str, hint: str) -> Node:
        self.faults.add(node, message, hint)
        return replace(node, value="", text="", source="", broken=True)


def _fact(value: str | int) -> Node:
    text = str(value)
    return Node(value, (), 0, text=text, source=text if text.startswith("${") else "")


def _as_text(node: Node) -> str:
    return node.value if isinstance(node.value, str) else node.text


def _plain(text: str) -> str:
    """A text in the native form that means itself."""
    return text.replace("$", "$$")
