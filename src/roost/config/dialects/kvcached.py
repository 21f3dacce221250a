"""The form of kvcached's controller: a list of `instances` with their engines' arguments, beside a few settings.

Gives the native tree with every value at the place it was written, so that problems point into the user's file.
Only `${env:NAME}` means anything in it; every other `$` is plain text. Pure; called by `load`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from roost.config.addresses import is_loopback
from roost.config.dialects.fields import Faults, chosen, made, written
from roost.config.dialects.instances import Instance, warn_if_sleepless
from roost.config.dialects.instances import read as read_instance
from roost.config.dialects.native import merged
from roost.config.interpolate import Interpolator
from roost.config.tree import Node
from roost.core.policy_spec import PolicySpec
from roost.core.problems import Problem
from roost.core.spec import EngineKind

_NATIVE = ("memory", "server", "policy")
KEYS = ("kvcached", "router", "sleep_manager", "launch_delay_seconds", "instances", *_NATIVE)
ROUTER_KEYS = ("enable_router", "router_port", "router_host")
SLEEP_KEYS = (
    "idle_threshold_seconds",
    "check_interval_seconds",
    "auto_sleep_enabled",
    "wakeup_on_request",
    "min_sleep_duration",
    "vllm_sleep_mode",
    "vllm_sleep_timeout_seconds",
)
_HINTS = {
    "models": "In this form each model is an entry of instances; roost config convert prints the native form.",
    "defaults": "roost config convert prints the native form, which has this key.",
    "macros": "Write ${env:NAME} for an environment variable; the native form has macros.",
}
_ROUTER_HINTS = {"host": 'Did you mean "router_host"?', "port": 'Did you mean "router_port"?'}


def read(root: Node, env: Mapping[str, str]) -> tuple[Node, tuple[Problem, ...]]:
    """The native tree. Built-in defaults of this form are filled in; the native sections win over them."""
    interpolator = Interpolator({}, env, only_env=True)
    root = interpolator.tree(root)
    faults = Faults()
    faults.keys(root, KEYS, _HINTS)
    instances = _instances(faults, root)
    sleep = faults.section(root, "sleep_manager")
    faults.keys(sleep, SLEEP_KEYS, {})
    if faults.truth(sleep, "auto_sleep_enabled"):
        for instance in instances:
            warn_if_sleepless(faults, instance)
    tree = {
        "server": merged(root, "server", _server(faults, root)),
        "policy": merged(root, "policy", _policy(root, sleep, len(instances))),
        "defaults": made(_rests(sleep, EngineKind.VLLM), root),  # checks these keys also where no model has them
        "models": _models(faults, root, instances, sleep),
    }
    if (memory := written(root, "memory")) is not None:
        tree["memory"] = memory
    return replace(root, value=tree), (*interpolator.problems, *faults.problems)


def _server(faults: Faults, root: Node) -> Node:
    router = faults.section(root, "router")
    faults.keys(router, ROUTER_KEYS, _ROUTER_HINTS)
    server = {
        "listen": chosen(router, "enable_router", False),
        "port": chosen(router, "router_port", 8080),
        "host": chosen(router, "router_host", "127.0.0.1"),
        "detach": made(True, root),
        "session_prefix": made("kvcached-", root),
    }
    host, own = faults.text(router, "router_host"), root.mapping.get("server")
    decided = own is not None and any(written(own, key) for key in ("host", "open", "keys"))
    if host is not None and not is_loopback(host.text) and not decided:
        server["open"] = made(True, host)
        message = f'"{host.text}" can be reached from other machines; whoever reaches it may use and control all models'
        faults.add(host, message, "Write 127.0.0.1, or add server: keys.", severity="warning")
    return made(server, router)


def _policy(root: Node, sleep: Node, instances: int) -> Node:
    policy = {
        "idle_threshold": chosen(sleep, "idle_threshold_seconds", 300),
        "check_interval": chosen(sleep, "check_interval_seconds", 60),
        "auto_sleep": chosen(sleep, "auto_sleep_enabled", False),
        "launch_delay": chosen(root, "launch_delay_seconds", 0),
        "max_starts": made(max(PolicySpec().max_starts, instances), root),
    }
    return made(policy, root)


def _rests(sleep: Node, engine: EngineKind | None) -> dict[str, Node]:
    """What every model has from `sleep_manager`."""
    rests = {
        "sleep_after": chosen(sleep, "idle_threshold_seconds", 300),
        "wake_on_request": chosen(sleep, "wakeup_on_request", True),
        "min_sleep_duration": chosen(sleep, "min_sleep_duration", 60),
    }
    if engine is EngineKind.VLLM:
        limit = chosen(sleep, "vllm_sleep_timeout_seconds", 30)
        rests["sleep_mode"] = chosen(sleep, "vllm_sleep_mode", "abort")
        rests["timeouts"] = made({"sleep": limit}, sleep)
    return rests


def _instances(faults: Faults, root: Node) -> list[Instance]:
    node = root.mapping["instances"]
    if not isinstance(node.value, tuple) or not node.items:
        fault = "is empty" if node.value is None or node.value == () else "is not a list"
        faults.add(node, fault, 'Write "- model: NAME" and below it "engine: vllm" for each engine.')
        return []
    shared = _shared_env(faults, root)
    found = (read_instance(faults, item, shared) for item in node.items)
    return [instance for instance in found if instance is not None]


def _shared_env(faults: Faults, root: Node) -> dict[str, Node]:
    """The section `kvcached` as variables: names in capitals, values as Python prints them."""
    variables: dict[str, Node] = {}
    section = faults.section(root, "kvcached")
    for key, node in section.mapping.items():
        if isinstance(node.value, tuple | Mapping):
            faults.add(node, "is not a single value", "An environment variable holds one text.")
        elif node.value is not None:
            text = str(node.value)
            variables[key.upper()] = replace(node, value=text, text=text)
    return variables


def _models(faults: Faults, root: Node, instances: list[Instance], sleep: Node) -> Node:
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.model.text, []).append(instance)
    names = dict(zip(map(id, instances), _names(instances), strict=True))
    models = {}
    for model, members in groups.items():
        _compare(faults, model, members)
        first = next((one for one in members if one.words.host is not None), members[0])
        replicas = tuple(one.replica(names[id(one)]) for one in members)
        models[model] = _model(root, members[0], first, sleep, made(replicas, members[0].node))
    return replace(made(models, root.mapping["instances"]), broken=not models)


def _model(root: Node, first: Instance, speaker: Instance, sleep: Node, replicas: Node) -> Node:
    """`speaker` is the replica whose command line all use: the one that says where it listens, if any does."""
    always = {"preload": made(True, first.node), "launcher": made("auto", first.node)}
    fields, rests = first.fields(), _rests(sleep, first.engine)
    command = speaker.fields()["command"]
    return made({**rests, **fields, **always, "command": command, "replicas": replicas}, first.node)


def _compare(faults: Faults, model: str, members: list[Instance]) -> None:
    known = [one for one in members if one.engine is not None]
    for other in known[1:]:
        if different := known[0].differences(other):
            what = f"{', '.join(different[:-1])} and {different[-1]}" if different[1:] else different[0]
            message = f'the instance on line {known[0].node.line} serves "{model}" too, but not with the same {what}'
            hint = (
                "Replicas of one model may differ in name, host, port and device variables (CUDA_VISIBLE_DEVICES); "
                "make the rest equal."
            )
            faults.add(other.node, message, hint)


def _names(instances: list[Instance]) -> Iterator[Node]:
    """The written names; for the others the last part of the model, with a number where it is taken."""
    taken = {instance.name.text for instance in instances if instance.name is not None}
    for instance in instances:
        if instance.name is not None:
            yield instance.name
            continue
        base = instance.model.text.rstrip("/").rpartition("/")[2] or instance.model.text
        numbered = (f"{base}-{number}" for number in range(2, len(instances) + len(taken) + 3))
        name = base if base not in taken else next(one for one in numbered if one not in taken)
        taken.add(name)
        yield made(name, instance.node, "name")
