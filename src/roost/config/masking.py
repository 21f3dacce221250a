"""What must not be shown: keys, and whatever a name marks as a secret. Pure.

Called wherever a configured value could be printed or hashed. When in doubt it hides.
"""

import re
from collections.abc import Iterable

from roost.config.tree import Node
from roost.core.problems import ConfigPath

MASK = "***"
_NAME = re.compile(
    r"secret|passwo?r?d|credential|authorization$|cookie$|api_?keys?$|(^|[^a-z])(key|token|auth|bearer)$", re.I
)
_FLAG = re.compile(r"(--?[\w-]*(?:key|token|secret|password))(=.*)?", re.I | re.S)
_SHOWN = 60


def is_secret_name(name: str) -> bool:
    """Whether a variable's or key's name says that its value is a secret: `HF_TOKEN`, `apiKey`."""
    return _NAME.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", name)) is not None


def is_secret_path(path: ConfigPath) -> bool:
    """Whether the value at this path must not be printed; everything under `server.keys` but names counts."""
    match path:
        case (
            "server",
            "keys",
            int(),
            ("name" | "scopes" | "models" | "may_wake" | "counts" | "requests_per_minute" | "priority" | "weight"),
            *_,
        ):
            return False
        case ("server", "keys", _, *_):
            return True
        case ("server", "keys"):
            return False
        case ("models", _, *below) | ("models_dir", "settings", _, *below) | ("discovered", _, *below):
            names = below
        case _:
            names = list(path)
    return any(isinstance(name, str) and is_secret_name(name) for name in names)


def mask_words(words: Iterable[str]) -> tuple[str, ...]:
    """A command line with the values of `--api-key X` and `--token=X` hidden."""
    masked: list[str] = []
    hide = False
    for word in words:
        flag = _FLAG.fullmatch(word)
        if hide:
            masked.append(MASK)
        elif flag is not None and flag[2]:
            masked.append(f"{flag[1]}={MASK}")
        else:
            masked.append(word)
        hide = not hide and flag is not None and not flag[2]
    return tuple(masked)


def shown(node: Node, path: ConfigPath) -> str:
    """The offending value as a problem prints it: short, quoted if it is text, never a secret."""
    if node.secret or is_secret_path(path) or is_secret_path(node.path):
        return "the value"
    match node.value:
        case None:
            return "nothing"
        case bool() | int() | float():
            return node.text or str(node.value)
        case str() as text:
            one_line = " ".join(text.split()) if "\n" in text else text
            return f'"{one_line}"' if len(one_line) <= _SHOWN else f'"{one_line[: _SHOWN - 3]}..."'
        case tuple():
            return "a list"
        case _:
            return "a mapping"
