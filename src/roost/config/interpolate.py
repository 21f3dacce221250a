"""`${env:NAME}`, `${env:NAME:-fallback}` and `${macro}` in every text of the tree; `$$` is a plain `$`.

`${PORT}`, `${HOST}`, `${MODEL}` and `${PID}` stay where a launch will replace them and are a problem elsewhere.
In forms of file that know no variables of their own, only `${env:...}` means anything and all else is plain text.
Never raises; bounded in the number of values and characters that macros may grow to. Called by the dialects.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from roost.config.masking import is_secret_name, is_secret_path
from roost.config.tree import Node
from roost.core.problems import ConfigPath, Problem

_LAUNCH = frozenset({"PORT", "MODEL"})
LAUNCH_FIELDS: Mapping[str, frozenset[str]] = {
    "command": _LAUNCH | {"HOST"},
    "args": _LAUNCH | {"HOST"},
    "env": _LAUNCH,
    "health_path": _LAUNCH,
    "stop_command": _LAUNCH | {"PID"},
    "sleep_steps": _LAUNCH | {"HOST"},
    "wake_steps": _LAUNCH | {"HOST"},
}
"""Fields of a model in which a launch replaces variables, and which."""
_HOST_STEPS = frozenset({"load_steps", "unload_steps"})
LAUNCH_NAMES = _LAUNCH | {"HOST", "PID"}

MAX_VALUES = 20_000
MAX_CHARS = 1024 * 1024
MAX_CHAIN = 16
MAX_DEPTH = 80

_PIECE = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_WHOLE = re.compile(r"\$\{([^{}]*)\}")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.S)
_MACRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def allowed_at(path: ConfigPath) -> frozenset[str]:
    """The launch variables that may stand at a path."""
    match path:
        case ("models", _, "replicas", int(), str(name), *_) | ("defaults", "replicas", int(), str(name), *_):
            return LAUNCH_FIELDS[name] if name == "env" else frozenset()
        case ("models_dir", "settings", str(pattern), *below) | ("discovered", str(pattern), *below):
            return allowed_at(("models", pattern, *below))
        case ("models", _, str(name), *_) | ("defaults", str(name), *_):
            return LAUNCH_FIELDS.get(name, frozenset())
        case ("hosts", _, str(name), *_) if name in _HOST_STEPS:
            return frozenset({"MODEL"})  # the server's address is known, and its own
        case ("macros", *_):
            return LAUNCH_NAMES  # judged where the macro is used
    return frozenset()


def escape(text: str, path: ConfigPath) -> str:
    """The text that interpolation at `path` turns into this one: for writing a configuration out again."""
    if "$$" not in text and "${" not in text:
        return text
    kept = "|".join(sorted(allowed_at(path)))
    return re.sub(rf"\$\{{(?:{kept})\}}|\$" if kept else r"\$", lambda m: "$$" if m[0] == "$" else m[0], text)


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a value will stand: its path in the tree, and the macros it came through."""

    path: ConfigPath
    line: int
    chain: tuple[str, ...] = ()

    def into(self, part: str | int, line: int) -> "_Use":
        return _Use((*self.path, part), line if not self.chain else self.line, self.chain)


class _TooMuch(Exception):
    """Macros grow beyond what a configuration can mean."""


class Interpolator:
    """One configuration's macros and environment; collects problems on the way."""

    def __init__(self, macros: Mapping[str, Node], env: Mapping[str, str], *, only_env: bool = False) -> None:
        self.problems: list[Problem] = []
        self._only_env = only_env
        self._macros = macros
        self._env = env
        self._values = 0
        self._chars = 0
        self._circles: set[frozenset[str]] = set()
        for name, node in macros.items():
            self._check_name(name, node)

    def tree(self, root: Node) -> Node:
        """The whole tree with every text interpolated; on runaway macros the tree as it was, and a problem."""
        try:
            return self._expand(root, _Use((), root.line))
        except _TooMuch:
            hint = (
                f"At most {MAX_VALUES:,} values, {MAX_CHARS:,} characters and {MAX_DEPTH} levels may come out of them."
            )
            self._report(("macros",), None, "macros grow too large when they are put into each other", hint)
            return root

    def _check_name(self, name: str, node: Node) -> None:
        if name in LAUNCH_NAMES:
            hint = "Choose another name; PORT, HOST, MODEL and PID are filled in when an engine starts."
            self._report(node.path, node.line, f'"{name}" cannot be a macro', hint)
        elif not _MACRO_NAME.fullmatch(name):
            hint = "Use up to 64 letters, digits, _, - and dots, beginning with a letter."
            self._report(node.path, node.line, f'"{name}" cannot be a macro\'s name', hint)

    def _report(
        self, path: ConfigPath, line: int | None, message: str, hint: str = "", value: str | None = None
    ) -> None:
        self.problems.append(Problem(path=path, line=line, message=message, hint=hint, value=value))

    def _spend(self, use: _Use, chars: int = 0) -> None:
        """Count a value that came out of a macro; what stands in the file itself is bounded already."""
        if not use.chain:
            return
        self._values += 1
        self._chars += chars
        if self._values > MAX_VALUES or self._chars > MAX_CHARS:
            raise _TooMuch

    def _expand(self, node: Node, use: _Use) -> Node:
        if len(use.path) + len(use.chain) > MAX_DEPTH:
            raise _TooMuch
        match node.value:
            case str() as text:
                return self._text(node, text, use) if "$" in text else node
            case tuple() as items:
                return replace(node, value=self._list(items, use))
            case Mapping() as mapping:
                self._spend(use)
                return replace(
                    node, value={k: self._expand(below, use.into(k, below.line)) for k, below in mapping.items()}
                )
        return node

    def _list(self, items: tuple[Node, ...], use: _Use) -> tuple[Node, ...]:
        made: list[Node] = []
        for index, item in enumerate(items):
            self._spend(use)
            below = self._expand(item, use.into(index, item.line))
            spliced = isinstance(item.value, str) and isinstance(below.value, tuple)
            made.extend(below.items if spliced else (below,))
        return tuple(made)

    def _text(self, node: Node, text: str, use: _Use) -> Node:
        whole = _WHOLE.fullmatch(text)
        if whole is not None and whole[1] in self._macros:
            return self._macro(whole[1], node, use) or replace(node, broken=True)
        pieces: list[str] = []
        sources: list[str] = []
        end = 0
        state = node
        for found in _PIECE.finditer(text):
            piece = self._piece(found, state, use)
            pieces += (text[end : found.start()], str(piece.value))
            sources += (text[end : found.start()], piece.source or escape(str(piece.value), use.path))
            state = replace(state, secret=state.secret or piece.secret, broken=state.broken or piece.broken)
            end = found.end()
        result = "".join((*pieces, text[end:]))
        self._spend(use, len(result))
        source = "".join((*sources, text[end:]))
        return replace(state, value=result, text=result, source=source if "${env:" in source else "")

    def _piece(self, found: re.Match[str], node: Node, use: _Use) -> Node:
        name = found[1]
        variable = _ENV.fullmatch(name or "")
        if self._only_env and variable is None:
            return replace(node, value=found[0], source="")
        if found[0] == "$$":
            return replace(node, value="$", source="$$")
        if name is None:
            return self._broken(node, '"${" is not closed', "Write ${name}, or $${ for the two characters.")
        if name in LAUNCH_NAMES:
            return self._launch(found[0], name, node, use)
        if variable is not None:
            return self._variable(variable, node)
        if name in self._macros:
            return self._spliced(name, node, use)
        return self._unknown(name, node)

    def _broken(self, node: Node, message: str, hint: str) -> Node:
        hidden = node.secret or is_secret_path(node.path)
        self._report(node.path, node.line, message, hint, value=None if hidden else node.text)
        return replace(node, value="", broken=True)

    def _launch(self, written: str, name: str, node: Node, use: _Use) -> Node:
        allowed = allowed_at(use.path)
        if name in allowed:
            return replace(node, value=written, source=written)
        fields = [field for field, names in LAUNCH_FIELDS.items() if name in names]
        message = f"{written} is only known when an engine starts"
        of_host = " or a host's load_steps and unload_steps" if name == "MODEL" else ""
        listed = " and ".join((", ".join(fields[:-1]), fields[-1]) if fields[1:] else fields)
        hint = f"It may stand in a model's {listed}{',' if of_host else ''}{of_host}."
        self._report(use.path, use.line, message, hint)
        return replace(node, value="", broken=True)

    def _variable(self, found: re.Match[str], node: Node) -> Node:
        name, fallback = found[1], found[2]
        value = self._env.get(name)
        if value is None and fallback is None:
            hint = f"Set it, or write ${{env:{name}:-fallback}}."
            return self._broken(node, f"environment variable {name} is not set", hint)
        secret = node.secret or is_secret_name(name)
        return replace(node, value=value or fallback or "", secret=secret, source=f"${{{found[0]}}}")

    def _spliced(self, name: str, node: Node, use: _Use) -> Node:
        macro = self._macro(name, node, use)
        if macro is None:
            return replace(node, value="", broken=True)
        if isinstance(macro.value, tuple | Mapping):
            kind = "a list" if isinstance(macro.value, tuple) else "a mapping"
            return self._broken(
                node, f"macro {name} is {kind} and cannot be part of a text", f"Write ${{{name}}} alone."
            )
        return replace(macro, value=str(macro.value) if isinstance(macro.value, str) else macro.text)

    def _macro(self, name: str, node: Node, use: _Use) -> Node | None:
        """The macro's value standing at `node`'s place; None (and a problem) in a circle or too long a chain."""
        if name in use.chain:
            self._circle((*use.chain[use.chain.index(name) :], name))
            return None
        if len(use.chain) >= MAX_CHAIN:
            self._report(node.path, node.line, f"macros use each other more than {MAX_CHAIN} deep", "Flatten them.")
            return None
        written = self._macros[name]
        inner = _Use(use.path, use.line, (*use.chain, name))
        self._spend(inner, len(written.text))
        value = self._expand(written, inner)
        secret = node.secret or value.secret or is_secret_path(written.path)
        return replace(value, path=node.path, line=node.line, secret=secret)

    def _circle(self, chain: tuple[str, ...]) -> None:
        if frozenset(chain) in self._circles:
            return
        self._circles.add(frozenset(chain))
        first = next(name for name in self._macros if name in chain)
        start = chain.index(first)
        turned = (*chain[start:-1], *chain[:start], first)
        message = f"macros refer to each other in a circle: {' -> '.join(turned)}"
        self._report(self._macros[first].path, self._macros[first].line, message, "Write one of them out.")

    def _unknown(self, name: str, node: Node) -> Node:
        written = f"${{{name}}}"
        if name in self._env:
            hint = f"Write ${{env:{name}}} for the environment variable, or $${{{name}}} for the text itself."
        elif near := get_close_matches(name, [*self._macros, *LAUNCH_NAMES], n=1):
            hint = f"Did you mean ${{{near[0]}}}?"
        else:
            hint = (
                f"Define it under macros; write ${{env:NAME}} for an environment variable, $${{{name}}} for the text."
            )
        return self._broken(node, f"unknown macro {written}", hint)
