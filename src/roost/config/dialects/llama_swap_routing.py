"""Groups, matrix and scheduler of llama-swap's form as the native `memory` section.

Where a file says nothing of them, one model runs at a time, as there. Whether members exist and sets can be read is
checked after it, for every form. Pure; called by `llama_swap`.
"""

from collections.abc import Mapping

from roost.config.dialects.fields import Faults, made, written
from roost.config.dialects.llama_swap_keys import is_empty
from roost.config.masking import shown
from roost.config.tree import Node

_GROUP = ("members", "swap", "exclusive", "persistent")
_MATRIX = {"vars": "names", "sets": "sets", "evict_costs": "evict_costs"}
_ROUTERS = ("group", "matrix")


def memory(faults: Faults, root: Node) -> Node:
    """What may be awake together."""
    _scheduler(faults, root)
    found = {**_old(root), **_routed(faults, root)}
    if (groups := found.get("groups")) is not None and (matrix := found.get("matrix")) is not None:
        hint = "Keep one; a matrix can say what groups say."
        faults.add(matrix, f"matrix and groups (line {groups.line}) exclude each other", hint)
    tree: dict[str, Node] = {}
    if (groups := found.get("groups")) is not None:
        tree["groups"] = _groups(faults, groups)
    if (matrix := found.get("matrix")) is not None:
        faults.keys(matrix, tuple(_MATRIX), {})
        tree["matrix"] = made({_MATRIX[key]: node for key, node in matrix.mapping.items() if key in _MATRIX}, matrix)
    if not tree and written(root, "memory") is None:
        tree["max_resident"] = made(1, root)
    return made(tree, root)


def _old(root: Node) -> dict[str, Node]:
    """Where older files have them: at the top."""
    return {
        key: node for key in ("groups", "matrix") if (node := written(root, key)) is not None and not is_empty(node)
    }


def _routed(faults: Faults, root: Node) -> dict[str, Node]:
    routing = faults.section(root, "routing")
    faults.keys(routing, ("router", "scheduler"), {})
    router = faults.section(routing, "router")
    faults.keys(router, ("use", "settings"), {})
    use = faults.text(router, "use")
    settings = faults.section(router, "settings")
    faults.keys(settings, ("groups", "matrix"), {})
    chosen = use.text if use is not None else _ROUTERS[0]
    if use is not None and chosen not in _ROUTERS:
        hint = "Write group or matrix; budgets of memory are memory: devices, with a footprint in each model."
        faults.add(use, f"{shown(use, use.path)} is not a router of this form", hint)
    key = "matrix" if chosen == "matrix" else "groups"
    node = written(settings, key)
    if node is None or is_empty(node):
        return {}
    for old in _old(root).values():
        faults.add(old, f"exclude each other: this and routing.router (line {router.line})", "Keep one of them.")
    return {key: node}


def _groups(faults: Faults, groups: Node) -> Node:
    for group in groups.mapping.values():
        faults.keys(group, _GROUP, {})
        if isinstance(group.value, Mapping) and "members" not in group.mapping:
            faults.add(group, '"members" is missing', "Add members: [MODEL, ...].")
    made_of = {name: _group(faults, group) for name, group in groups.mapping.items()}
    return made(made_of, groups) if made_of else groups


def _group(faults: Faults, group: Node) -> Node:
    if not isinstance(group.value, Mapping):
        return group
    tree = {"members": written(group, "members") or made((), group)}
    for key, default in (("swap", True), ("exclusive", True), ("persistent", False)):
        if written(group, key) is not None:
            tree[key] = made(faults.truth(group, key, default), group, key)
    return made(tree, group)


def _scheduler(faults: Faults, root: Node) -> None:
    """Requests are served in their order, in each model's own queue; nothing else is offered."""
    scheduler = faults.section(faults.section(root, "routing"), "scheduler")
    faults.keys(scheduler, ("use", "settings"), {})
    use = faults.text(scheduler, "use")
    if use is not None and use.text != "fifo":
        faults.add(use, f"{shown(use, use.path)} is not a scheduler of this form", "Write fifo, or remove it.")
    settings = faults.section(scheduler, "settings")
    faults.keys(settings, ("fifo",), {})
    fifo = faults.section(settings, "fifo")
    faults.keys(fifo, ("priority",), {})
    if (priority := written(fifo, "priority")) is not None and not is_empty(priority):
        hint = "Remove it; requests that wait are served in their order. pin: true keeps a model from yielding."
        faults.add(priority, "models have no priorities", hint)
