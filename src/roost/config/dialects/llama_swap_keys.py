"""The keys of llama-swap's form: which are read, which only concern its own insides, which ask for what roost has not.

Tables and the one function that goes through them. Pure; called by the modules of the dialect beside it.
"""

from collections.abc import Mapping

from roost.config.dialects.fields import Faults
from roost.config.tree import Node

NATIVE = ("server", "memory", "policy")
"""Sections of roost's own form that may stand beside the others."""
TOP = (
    "models",
    "macros",
    "groups",
    "matrix",
    "routing",
    "peers",
    "hooks",
    "apiKeys",
    "startPort",
    "healthCheckTimeout",
    "globalTTL",
    "unloadTimeout",
    "sendLoadingState",
    "sleepRequestTimeout",
    "wakeRequestTimeout",
    "retries",
    "retryDelay",
    *NATIVE,
)
ADDITIONS = (
    "engine",
    "task",
    "pin",
    "footprint",
    "footprint_asleep",
    "devices",
    "also_serves",
    "api_key",
    "canary",
    "concurrency",
    "queue",
    "cwd",
    "venv",
)
"""Keys of a native model that a model of this form may have as they are."""
MODEL = (
    "cmd",
    "cmdStop",
    "proxy",
    "checkEndpoint",
    "env",
    "aliases",
    "ttl",
    "unloadAfter",
    "unloadTimeout",
    "concurrencyLimit",
    "useModelName",
    "name",
    "description",
    "metadata",
    "unlisted",
    "filters",
    "macros",
    "sendLoadingState",
    "timeouts",
    "capabilities",
    "sleepMode",
    "sleepEndpoints",
    "wakeEndpoints",
    "retries",
    "retryDelay",
    *ADDITIONS,
)
OLD_STEPS = tuple(f"{word}{part}" for word in ("sleep", "wake") for part in ("Endpoint", "Method", "Body", "Timeout"))
"""Keys of the first form of sleep and wake, one call each."""
ONLY_HERE = frozenset({*TOP, "profiles", "selectors", "includeAliasesInList", "tailcat"}) - {
    "models",
    "macros",
    *NATIVE,
}
"""Top-level keys that no other form has."""
ONLY_IN_MODELS = frozenset({*MODEL, *OLD_STEPS}) - frozenset(
    {*ADDITIONS, "env", "aliases", "name", "description", "metadata", "unlisted", "proxy", "ttl", "macros", "timeouts"}
)
"""Keys of a model that no other form has."""
NOT_IN_MODELS = frozenset({"command", "weights", "url", "args"})
"""Keys of a native model that none of this form can have."""

_COSMETIC_TOP: Mapping[str, str] = {
    "logLevel": "roost up --log-level says it.",
    "logTimeFormat": "roost's log has one form of time.",
    "logToStdout": "roost logs MODEL shows what an engine prints.",
    "logRequests": "Write server: request_log.",
    "store": "roost keeps no database of requests; its log and /metrics have them.",
    "metricsMaxInMemory": "roost requests shows the recent ones.",
    "captureBuffer": "roost keeps no bodies.",
    "ui": "roost has its own views: roost up, roost status.",
    "performance": "/metrics has what roost measures.",
    "includeAliasesInList": "Aliases answer, and stand in the entry of their model in /v1/models.",
}
_COSMETIC_MODEL: Mapping[str, str] = {
    "compat": "roost forwards WebSockets; their handshake loads no model.",
    "healthCheckTimeout": "The one at the top of the file counts, as it does in llama-swap.",
}
_MISSING_TOP: Mapping[str, str] = {
    "profiles": "Give the models aliases, or start roost with another file.",
    "selectors": "Name the models themselves; several engines for one model are replicas in roost's own form.",
    "tailcat": "Reach the other machine by its address: peers, proxy: http://HOST:PORT.",
}
_HINTS = {
    "command": "Write it as cmd.",
    "url": "Write it as a peer: peers, below it a name, below that proxy: URL and models: [...].",
    "weights": "Write the whole command line as cmd.",
    "args": "Write the whole command line as cmd.",
    "health_path": "Write it as checkEndpoint.",
    "sleep_after": "Write it as ttl, in seconds.",
    "unload_after": "Write it as unloadAfter, in seconds.",
    "sleep_steps": "Write it as sleepEndpoints.",
    "wake_steps": "Write it as wakeEndpoints.",
    "preload": "Write hooks: on_startup: preload: [...] at the top of the file.",
    "defaults": "roost config convert prints the native form, which has this key.",
    "keys": "Write it as apiKeys, or as server: keys.",
    "max_resident": "Write it under memory.",
}


def check_top(faults: Faults, root: Node) -> None:
    """Every top-level key; those that begin with `x-` hold anchors and are nobody's."""
    own = {key: node for key, node in root.mapping.items() if not key.startswith("x-")}
    _check(faults, own, TOP, _COSMETIC_TOP, _MISSING_TOP)
    upstream = faults.section(root, "upstream")
    if (paths := upstream.mapping.get("ignorePaths")) is not None and not is_empty(paths):
        hint = "Remove it; below /upstream/MODEL/ a GET loads the model only for its first page."
        faults.add(paths, "no paths can be set apart under /upstream", hint)
    faults.keys(upstream, ("ignorePaths",), {})


def check_model(faults: Faults, node: Node) -> None:
    """Every key of a model."""
    own = {key: below for key, below in node.mapping.items() if key not in OLD_STEPS}
    _check(faults, own, MODEL, _COSMETIC_MODEL, {})


def is_empty(node: Node) -> bool:
    """Whether the key says nothing: null, an empty text, list or mapping, or false."""
    return node.value is None or node.value in ("", (), {}, False)


def _check(
    faults: Faults,
    own: Mapping[str, Node],
    known: tuple[str, ...],
    cosmetic: Mapping[str, str],
    missing: Mapping[str, str],
) -> None:
    others = {key: node for key, node in own.items() if key not in known}
    for key, node in others.items():
        if key in cosmetic and not is_empty(node):
            faults.add(node, "roost has no use for this key", cosmetic[key], severity="warning")
        elif key in missing and not is_empty(node):
            faults.add(node, "is not supported", missing[key])
    read = {*cosmetic, *missing, "upstream"}
    unread = {key: node for key, node in others.items() if key not in read}
    faults.keys(Node(unread, (), 1), known, _HINTS)
