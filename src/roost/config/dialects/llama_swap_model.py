"""One entry of `models` of llama-swap's form as a native model.

Each value keeps the place it was written at. Engine, task and served name are read from the command line, as far as it
says them. Pure; called by `llama_swap`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from roost.config.addresses import is_loopback
from roost.config.dialects import llama_swap_command as command
from roost.config.dialects import llama_swap_requests as requests
from roost.config.dialects import llama_swap_steps as steps
from roost.config.dialects.fields import Faults, made, written
from roost.config.dialects.instances import variables
from roost.config.dialects.llama_swap_keys import ADDITIONS, check_model
from roost.config.dialects.llama_swap_macros import Macros
from roost.config.masking import shown
from roost.config.tree import Node
from roost.core.spec import EngineKind, Task

_AS_THEY_ARE = {
    "cmdStop": "stop_command",
    "useModelName": "served_name",
    "name": "display_name",
    "description": "description",
    "metadata": "metadata",
    **{key: key for key in ADDITIONS},
}
_CAPABILITIES = ("in", "out", "tools", "reranker", "context")
_MANY = 10
"""`concurrencyLimit` where it is left out or 0."""
_CANNOT_ORDER = frozenset({EngineKind.COMMAND, EngineKind.LLAMACPP, EngineKind.SIMULATED})
"""Kinds that roost cannot put to sleep without steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the whole file says to each of its models. Times are whole seconds; None is never."""

    faults: Faults
    ttl: int | None
    unload_timeout: int
    start_timeout: int
    loading: bool
    limits: Mapping[str, Node]
    """Of the time for sleep and wake, natively."""
    retries: Mapping[str, Node]
    """Of steps, natively."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A model whose command line is known, and nothing else yet."""

    name: str
    node: Node
    macros: Macros
    cmd: Node | None

    @property
    def uses_port(self) -> bool:
        """Whether it wants one of the ports that the file hands out."""
        return self.cmd is not None and isinstance(self.cmd.value, str) and "${PORT}" in self.cmd.value


def drafted(faults: Faults, name: str, node: Node, macros: Macros) -> Draft:
    """The command line with its macros in it; `${PORT}` stays, for the launch to replace."""
    if not isinstance(node.value, Mapping):
        faults.add(node, f"{shown(node, node.path)} is not a mapping", 'Write "cmd: PROGRAM ARGUMENTS" below it.')
        return Draft(name, made({}, node), macros, None)
    check_model(faults, node)
    own = macros.having(node).knowing(MODEL_ID=name)
    cmd = node.mapping.get("cmd")
    if cmd is None or (cmd.value in (None, "") and not cmd.broken):
        faults.add(cmd or node, '"cmd" is missing or empty', "Write cmd: PROGRAM ARGUMENTS --port ${PORT}.")
        return Draft(name, node, own, None)
    put = own.knowing(PORT="${PORT}").put(command.without_comments(cmd))
    return Draft(name, node, own, command.without_comments(put))


def read(draft: Draft, port: int | None, shared: Shared) -> Node:
    """The native model. `port`: the one handed out to it, if its command line wants one."""
    node = _put(draft, port)
    return _Reader(shared.faults, shared, draft, node, port).model()


def _put(draft: Draft, port: int | None) -> Node:
    """The model with all macros replaced."""
    macros = draft.macros if port is None else draft.macros.knowing(PORT=port)
    stop = macros.knowing(PID="${PID}") if port is None else macros.knowing(PID="${PID}", PORT="${PORT}")
    tree = {}
    for key, below in draft.node.mapping.items():
        if key == "cmdStop":
            tree[key] = stop.put(below)
        elif key not in ("cmd", "macros"):
            tree[key] = macros.put(below)
    return replace(draft.node, value=tree)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One model on its way; each method gives native keys."""

    faults: Faults
    shared: Shared
    draft: Draft
    node: Node
    port: int | None

    def model(self) -> Node:
        kind = self._kind()
        found = steps.read(self.faults, self.node, kind)
        env = variables(self.faults, self.node, "env")
        if found.sleep and self.draft.cmd is not None:
            command.warn_if_sleepless(self.faults, self.draft.cmd, kind, env)
        tree = {
            "engine": made(kind.value, self.node),
            "command": self.draft.cmd or replace(made("", self.node, "cmd"), broken=True),
            **self._address(),
            **({"env": made(env, self.node, "env")} if env else {}),
            **self._names(kind),
            **self._health(kind),
            **self._rests(kind, found),
            **self._requests(),
            **self._capabilities(kind),
        }
        if self.draft.cmd is not None and (key := command.api_key_of(self.draft.cmd, kind, env)) is not None:
            tree["api_key"] = key
        tree |= {name: node for key, name in _AS_THEY_ARE.items() if (node := written(self.node, key)) is not None}
        return made(tree, self.node)

    def _kind(self) -> EngineKind:
        told = written(self.node, "engine")
        if told is not None and told.text in tuple(EngineKind):
            return EngineKind(told.text)
        return command.engine_of(self._line())

    def _line(self) -> str:
        cmd = self.draft.cmd
        return cmd.value if cmd is not None and isinstance(cmd.value, str) else ""

    def _address(self) -> dict[str, Node]:
        """Where the engine listens: `proxy`, else the port handed out."""
        proxy = self.faults.text(self.node, "proxy")
        if proxy is None:
            if self.port is not None and self.draft.cmd is not None:
                return {"port": made(self.port, self.draft.cmd)}
            if self.draft.cmd is not None and not self.draft.cmd.broken and not self._tells("proxy"):
                hint = "Put ${PORT} where cmd takes its port, or write proxy: http://127.0.0.1:PORT."
                self.faults.add(self.draft.cmd, "nothing says which port it listens on", hint)
            return {}
        try:
            parts = urlsplit(proxy.text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.username:
            hint = "Write it like http://127.0.0.1:5800; what runs elsewhere behind https or a path is a peer."
            self.faults.add(proxy, f"{_public(proxy)} is not the address of an engine that cmd starts", hint)
            return {}
        if not is_loopback(host):
            hint = "Publish a container's port, such as docker run -p 127.0.0.1:${PORT}:8080, and leave proxy out."
            message = f'"{host}" must be an address of this machine: the engine is started here, on a port that is free'
            self.faults.add(proxy, message, hint, severity="warning")
        return {"host": made(host, proxy), "port": made(port or 80, proxy)}

    def _tells(self, key: str) -> bool:
        """Whether something stands there, be it wrong or right."""
        node = self.node.mapping.get(key)
        return node is not None and (node.value is not None or node.broken)

    def _names(self, kind: EngineKind) -> dict[str, Node]:
        names: dict[str, Node] = {}
        aliases = tuple(alias for item in self.faults.listed(self.node, "aliases") if (alias := self._alias(item)))
        if aliases:
            names["aliases"] = made(aliases, self.node, "aliases")
        if self.faults.truth(self.node, "unlisted"):
            names["unlisted"] = made(True, self.node, "unlisted")
        served = command.served_name_of(self._line(), kind, self.draft.name)
        if served is not None:
            names["served_name"] = made(served, self.node, "cmd")
        return names

    def _alias(self, item: Node) -> Node | None:
        if not isinstance(item.value, Mapping):
            return item
        self.faults.keys(item, ("id", "name", "unlisted"), {})
        known = self.faults.text(item, "id")
        if known is None and written(item, "id") is None:
            self.faults.add(item, '"id" is missing', "Add id: NAME.")
        if any(written(item, key) is not None for key in ("name", "unlisted")):
            message = "roost has no use for name and unlisted of an alias"
            hint = "Aliases stand in the entry of their model in /v1/models."
            self.faults.add(item, message, hint, severity="warning")
        return known

    def _health(self, kind: EngineKind) -> dict[str, Node]:
        health = {"start_timeout": made(self.shared.start_timeout, self.node)}
        path = self.faults.text(self.node, "checkEndpoint")
        if path is not None and (path.text != "none" or kind is EngineKind.COMMAND):
            health["health_path"] = path
        return health

    def _rests(self, kind: EngineKind, found: steps.Steps) -> dict[str, Node]:
        """What becomes of it when it is idle, and how it is put to sleep."""
        ttl = self._seconds("ttl", self.shared.ttl)
        ends = self._seconds("unloadAfter", None)
        rests = {key: made("never", self.node) for key in ("sleep_after", "unload_after")}
        if found.sleep and found.wake:
            rests["sleep_steps"] = made(found.sleep, self.node, steps.SLEEP)
            rests["wake_steps"] = made(found.wake, self.node, steps.WAKE)
            rests["sleep_after"] = self._after(ttl, "ttl")
            rests["unload_after"] = self._after(ends, "unloadAfter")
            if found.level is not None:
                rests["sleep_level"] = found.level
        else:
            ends = min((one for one in (ttl, ends) if one is not None), default=None)
            rests["unload_after"] = self._after(ends, "ttl")
            if kind not in _CANNOT_ORDER:
                rests["can_sleep"] = made(False, self.node)
        return rests

    def _seconds(self, key: str, default: int | None) -> int | None:
        """None is never; -1 and nothing are the default."""
        seconds = self.faults.whole(self.node, key, -1 if key == "ttl" else 0)
        return default if seconds in (None, -1) else seconds or None

    def _after(self, seconds: int | None, key: str) -> Node:
        return made("never" if seconds is None else seconds, self.node.mapping.get(key) or self.node)

    def _requests(self) -> dict[str, Node]:
        faults, node = self.faults, self.node
        most = faults.whole(node, "concurrencyLimit") or _MANY
        grace = faults.whole(node, "unloadTimeout") or self.shared.unload_timeout
        tree = {
            "max_requests": made(most, node, "concurrencyLimit"),
            "stop_grace": made(grace, node, "unloadTimeout"),
            **requests.filters(faults, node),
            **self._retries(),
        }
        if limits := {**self.shared.limits, **requests.timeouts(faults, node)}:
            tree["timeouts"] = made(limits, node, "timeouts")
        if faults.truth(node, "sendLoadingState", self.shared.loading):
            tree["loading_state"] = made(True, node, "sendLoadingState")
        return tree

    def _retries(self) -> dict[str, Node]:
        return {**self.shared.retries, **retries(self.node)}

    def _capabilities(self, kind: EngineKind) -> dict[str, Node]:
        node = self.faults.section(self.node, "capabilities")
        self.faults.keys(node, _CAPABILITIES, {})
        both = {item.text: item for key in ("in", "out") for item in self.faults.listed(node, key)}
        found: dict[str, Node] = {}
        if both:
            found["modalities"] = made(tuple(both.values()), node)
        if written(node, "tools") is not None:
            found["tools"] = made(self.faults.truth(node, "tools"), node, "tools")
        if self.faults.whole(node, "context"):
            found["context_length"] = node.mapping["context"]
        task = command.task_of(self._line(), kind)
        task = Task.RERANK if self.faults.truth(node, "reranker") else task
        if task is not None:
            found["task"] = made(task.value, self.node)
        return found


def retries(section: Node) -> dict[str, Node]:
    """`retries` and `retryDelay`, natively."""
    keys = {"retries": "step_retries", "retryDelay": "step_retry_delay"}
    return {name: node for key, name in keys.items() if (node := written(section, key)) is not None}


def _public(proxy: Node) -> str:
    """The address, unless it may hold a password."""
    return "this" if "@" in proxy.text else shown(proxy, proxy.path)
