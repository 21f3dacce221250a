"""Forms of configuration file; each turns a tree as written into the one native tree with defaults filled in.

The top-level shape decides which form a file has. Pure; called by `load`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roost.config.dialects import kvcached, llama_swap, native
from roost.config.tree import Node
from roost.core.problems import Problem


@dataclass(frozen=True, slots=True)
class Dialect:
    """A form of file. `read`: (tree as written, environment) -> (native tree: interpolated, complete; problems)."""

    name: str
    read: Callable[[Node, Mapping[str, str]], tuple[Node, tuple[Problem, ...]]]


NATIVE = Dialect("native", native.read)
LLAMA_SWAP = Dialect("llama_swap", llama_swap.read)
KVCACHED = Dialect("kvcached", kvcached.read)


def dialect_of(root: Node) -> Dialect:
    """The reader for a file of this shape; what no other form claims is native, and gets its problems there."""
    instances = root.mapping.get("instances")
    if instances is not None and (isinstance(instances.value, tuple) or "models" not in root.mapping):
        return KVCACHED
    if llama_swap.is_llama_swap(root):
        return LLAMA_SWAP
    return NATIVE
