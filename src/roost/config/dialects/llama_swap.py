"""The form of llama-swap's files, of its fork llmsnap, and of the sleep and wake lists that were proposed for it.

Gives the native tree with every value at the place it was written, so that problems point into the user's file. The
native sections `server`, `memory` and `policy` may stand beside the others. Pure; called by `load`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from roost.config.dialects import llama_swap_model as model
from roost.config.dialects.fields import Faults, made, written
from roost.config.dialects.llama_swap_keys import NOT_IN_MODELS, ONLY_HERE, ONLY_IN_MODELS, check_top
from roost.config.dialects.llama_swap_macros import Macros
from roost.config.dialects.llama_swap_peers import peers
from roost.config.dialects.llama_swap_routing import memory
from roost.config.dialects.native import merged
from roost.config.tree import Node
from roost.core.problems import Problem

_FIRST_PORT = 5800
_HEALTH_S, _LEAST_HEALTH_S = 120, 15
_UNLOAD_S = 10
_SCOPES = ("infer", "read", "admin")
_APART = ("models", "macros")
"""Top-level keys whose macros are replaced model by model, or where they are used."""


def is_llama_swap(root: Node) -> bool:
    """Whether the file has keys that only this form has."""
    if "defaults" in root.mapping:
        return False
    models = root.mapping.get("models")
    entries = [entry.mapping.keys() for entry in models.mapping.values()] if models is not None else []
    told = any("cmd" in keys or (keys & ONLY_IN_MODELS and not keys & NOT_IN_MODELS) for keys in entries)
    return told or bool(ONLY_HERE & root.mapping.keys())


def read(root: Node, env: Mapping[str, str]) -> tuple[Node, tuple[Problem, ...]]:
    """The native tree, with what this form has as built-in defaults."""
    faults = Faults()
    macros = Macros(faults=faults, env=env).having(root)
    read_here = {key: node for key, node in root.mapping.items() if not key.startswith("x-")}
    top = {key: node if key in _APART else macros.put(node) for key, node in read_here.items()}
    root = replace(root, value=top)
    check_top(faults, root)
    models = _models(faults, root, macros)
    _preload(faults, root, models)
    tree = {
        "server": merged(root, "server", _server(faults, root)),
        "memory": merged(root, "memory", memory(faults, root)),
        "models": replace(root.mapping.get("models") or made({}, root, "models"), value=models),
    }
    if (policy := written(root, "policy")) is not None:
        tree["policy"] = policy
    return replace(root, value=tree), tuple(faults.problems)


def _models(faults: Faults, root: Node, macros: Macros) -> dict[str, Node]:
    """The models of the file and of its peers. Ports are handed out in the order of the names."""
    written_here = faults.section(root, "models").mapping
    drafts = [model.drafted(faults, name, node, macros) for name, node in written_here.items()]
    first = faults.whole(root, "startPort", 1) or _FIRST_PORT
    wanting = sorted(draft.name for draft in drafts if draft.uses_port)
    ports = {name: first + index for index, name in enumerate(wanting)}
    shared = _shared(faults, root)
    models = {draft.name: model.read(draft, ports.get(draft.name), shared) for draft in drafts}
    return models | peers(faults, root, {*models, *_further(models)})


def _further(models: Mapping[str, Node]) -> Iterator[str]:
    """The other names of the models."""
    for node in models.values():
        if (aliases := node.mapping.get("aliases")) is not None:
            yield from (alias.text for alias in aliases.items)
        if (named := node.mapping.get("set_params_by_name")) is not None:
            yield from named.mapping


def _shared(faults: Faults, root: Node) -> model.Shared:
    health = faults.whole(root, "healthCheckTimeout")
    limits = {}
    for key, name in (("sleepRequestTimeout", "sleep"), ("wakeRequestTimeout", "wake")):
        if seconds := faults.whole(root, key):
            limits[name] = made(seconds, root, key)
    return model.Shared(
        faults=faults,
        ttl=faults.whole(root, "globalTTL") or None,
        unload_timeout=faults.whole(root, "unloadTimeout") or _UNLOAD_S,
        start_timeout=_HEALTH_S if health is None else max(health, _LEAST_HEALTH_S),
        loading=faults.truth(root, "sendLoadingState"),
        limits=limits,
        retries=model.retries(root),
    )


def _preload(faults: Faults, root: Node, models: dict[str, Node]) -> None:
    """Mark the models of `hooks.on_startup.preload`, by any of their names."""
    hooks = faults.section(root, "hooks")
    faults.keys(hooks, ("on_startup",), {})
    startup = faults.section(hooks, "on_startup")
    faults.keys(startup, ("preload",), {"profile": "roost has no profiles; start it with another file."})
    homes = {other: name for name, node in models.items() for other in (name, *_further({name: node}))}
    for item in faults.listed(startup, "preload"):
        name = homes.get(item.text)
        if name is None:
            faults.add(item, f'"{item.text[:60]}" is not a model', f"Models are: {', '.join(list(models)[:8])}.")
        elif "url" not in models[name].mapping:
            models[name] = replace(models[name], value={**models[name].mapping, "preload": made(True, item)})


def _server(faults: Faults, root: Node) -> Node:
    """All keys of this form may do everything."""
    keys = []
    for index, item in enumerate(faults.listed(root, "apiKeys")):
        scopes = made(tuple(made(scope, item) for scope in _SCOPES), item)
        keys.append(made({"name": made(f"key-{index + 1}", item), "key": item, "scopes": scopes}, item))
    return made({"keys": made(tuple(keys), root, "apiKeys")} if keys else {}, root)
