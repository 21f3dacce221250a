"""roost's own form: macros and environment put in, then `defaults` merged into every model.

Never validates values: that is the same for every dialect and happens after it. Pure; called by `load`.
"""

from collections.abc import Mapping
from dataclasses import replace

from roost.config.hosts import NOT_OF_FOUND
from roost.config.interpolate import Interpolator
from roost.config.models_dir import NOT_FROM_DEFAULTS
from roost.config.tree import Node, with_children
from roost.core.problems import Problem


def read(root: Node, env: Mapping[str, str]) -> tuple[Node, tuple[Problem, ...]]:
    """The tree with every text interpolated and every model complete; nothing of it is checked yet."""
    macros = root.mapping.get("macros")
    interpolator = Interpolator(macros.mapping if macros is not None else {}, env)
    root = interpolator.tree(root)
    models, defaults = root.mapping.get("models"), root.mapping.get("defaults")
    if models is not None and models.mapping and defaults is not None and defaults.mapping:
        complete = {name: merge(defaults, model) for name, model in models.mapping.items()}
        root = with_children(root, {**root.mapping, "models": with_children(models, complete)})
    if defaults is not None and defaults.mapping and "models_dir" in root.mapping:
        root = with_children(root, {**root.mapping, "models_dir": _complete(defaults, root.mapping["models_dir"])})
    if defaults is not None and defaults.mapping and "hosts" in root.mapping:
        own = root.mapping.get("discovered") or Node({}, ("discovered",), defaults.line)
        root = with_children(root, {**root.mapping, "discovered": _patterns(defaults, own, NOT_OF_FOUND)})
    return root, tuple(interpolator.problems)


def _complete(defaults: Node, section: Node) -> Node:
    """Every pattern of `models_dir.settings` over what the defaults can mean for a file; `*` stands for the rest."""
    settings = section.mapping.get("settings") or replace(section, value={})
    if not isinstance(section.value, Mapping) or not isinstance(settings.value, Mapping | None):
        return section
    patterns = _patterns(defaults, settings, NOT_FROM_DEFAULTS)
    return with_children(section, {**section.mapping, "settings": patterns})


def _patterns(defaults: Node, settings: Node, but: frozenset[str]) -> Node:
    """Every pattern over the defaults without the keys `but`; `*` stands for the rest."""
    if not isinstance(settings.value, Mapping | None):
        return settings
    fitting = with_children(defaults, {key: node for key, node in defaults.mapping.items() if key not in but})
    patterns = {pattern: merge(fitting, own) for pattern, own in settings.mapping.items()}
    patterns.setdefault("*", fitting)
    return with_children(settings, patterns)


def merge(defaults: Node, own: Node) -> Node:
    """`own` over `defaults`: mappings merge key by key at every depth, anything else of `own` replaces.

    What comes from `defaults` keeps its path and line. A model written as nothing at all is all defaults.
    """
    if not isinstance(defaults.value, Mapping) or not (isinstance(own.value, Mapping) or _is_empty_section(own)):
        return own
    merged = dict(own.mapping)
    for key, default in defaults.mapping.items():
        merged[key] = merge(default, merged[key]) if key in merged else default
    return replace(own, value=merged)


def _is_empty_section(node: Node) -> bool:
    return node.value is None and not node.broken


def merged(root: Node, key: str, derived: Node) -> Node:
    """The native section `key` of a foreign form over what that form says; a key written as null leaves it alone."""
    own = root.mapping.get(key)
    if own is None or own.value is None or own.broken:
        return derived
    if not isinstance(own.value, Mapping):
        return own
    said = {name: node for name, node in own.mapping.items() if node.value is not None}
    return merge(derived, replace(own, value=said))
