"""Forms of configuration file; each turns a tree as written into the one native tree with defaults filled in.

The top-level shape decides which form a file has. Pure; called by `load`.
"""

from collections.abc import Callable, Mapping

from roost.config.dialects import native
from roost.config.tree import Node
from roost.core.problems import Problem

Dialect = Callable[[Node, Mapping[str, str]], tuple[Node, tuple[Problem, ...]]]
"""(tree as written, environment) -> (native tree: interpolated, defaults merged, both sections left out; problems)."""


def dialect_of(root: Node) -> Dialect:
    """The reader for a file of this shape; what no other form claims is native, and gets its problems there."""
    del root
    return native.read
