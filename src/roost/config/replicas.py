"""Whether the replicas of all models can stand side by side: ports, addresses, sessions.

Same form as `checks`, with paths of the native tree; looks at no machine. A model without `replicas` has one.
"""

from collections.abc import Iterator

from roost.config.addresses import address_of, is_loopback, may_clash
from roost.config.checks import Scene, address
from roost.config.tree import find
from roost.core.problems import ConfigPath, Problem
from roost.core.server_spec import ServerSpec
from roost.core.spec import EngineKind, ModelSpec, ReplicaSpec, RoostSpec, servings

ROUTER_SESSION = "frontend"


def ports(scene: Scene) -> Iterator[Problem]:
    """No two servers on one port at once, and no model that leads back to roost itself."""
    server = scene.spec.server
    itself = f"roost itself ({_written(scene, ('server', 'port'))})"
    taken: list[tuple[str | None, str, str, int]] = [(None, itself, server.host, server.port)]
    for name, model in scene.spec.models.items():
        for index, serving in enumerate(servings(model)):
            path = _place(name, model, index, "url" if serving.url is not None else "port")
            if serving.url is not None:
                yield from _back(serving.url, server, path)
            if serving.port is None or serving.url is not None:
                continue
            for other, owner, host, port in taken:
                clash = port == serving.port and may_clash(host, serving.host)
                if clash and (other is None or not _take_turns(scene.spec, name, other)):
                    hint = "Choose another port, or leave it out to have a free one picked."
                    message = f"port {port} is already that of {owner}"
                    yield Problem(path=path, message=message, hint=hint, value=str(port))
                    break
            taken.append((name, _called(name, model, index), serving.host, serving.port))


def _take_turns(spec: RoostSpec, one: str, other: str) -> bool:
    """Whether only one of the two ever has a process, so that both may listen on one port."""
    memory = spec.memory
    swapped = any(group.swap and {one, other} <= {*group.members} for group in memory.groups.values())
    stay = any(_stays_asleep(spec.models[name]) for name in (one, other))
    return one != other and not stay and (swapped or memory.max_resident == 1)


def _stays_asleep(model: ModelSpec) -> bool:
    """Whether its process lives on while its memory is wanted elsewhere."""
    if not model.can_sleep:
        return False
    if model.engine is EngineKind.LLAMACPP and not model.sleep_steps:
        return model.sleep_after is not None
    return bool(model.sleep_steps) or model.engine is not EngineKind.COMMAND


def _written(scene: Scene, path: ConfigPath) -> str:
    """What the file calls the value."""
    node, reached = find(scene.tree, path)
    return ".".join(str(part) for part in (node.path if reached == len(path) else path))


def _place(name: str, model: ModelSpec, index: int, key: str) -> ConfigPath:
    """Where a replica's value stands: with the replica, else with the model."""
    path: ConfigPath = ("models", name)
    is_own = bool(model.replicas) and getattr(model.replicas[index], key) is not None
    return (*path, "replicas", index, key) if is_own else (*path, key)


def _called(name: str, model: ModelSpec, index: int) -> str:
    if len(model.replicas) < 2:
        return f'model "{name}"'
    own = model.replicas[index].name
    return f'replica {index} of model "{name}"' if own is None else f'"{own}" of model "{name}"'


def _back(url: str, server: ServerSpec, path: ConfigPath) -> Iterator[Problem]:
    try:
        address = address_of(url)
    except ValueError:
        return
    host, port = address.host, address.port
    if port == server.port and (host == server.host or (is_loopback(host) and may_clash(host, server.host))):
        hint = "Write the engine's own address."
        yield Problem(path=path, message=f"leads back to roost's own port {server.port}", hint=hint)


def sources(scene: Scene) -> Iterator[Problem]:
    """Every replica is either started or reached, and each is a server of its own."""
    for name, model in scene.spec.models.items():
        if model.inside is not None:
            continue  # host_checks says that it has no replicas of its own
        seen: dict[str, int] = {}
        for index, (own, serving) in enumerate(zip(model.replicas, servings(model), strict=False)):
            path: ConfigPath = ("models", name, "replicas", index)
            if serving.url is None:
                continue
            if own.url is not None:
                yield from address(own.url, (*path, "url"))
            for key in ("host", "port"):
                if getattr(own, key) is not None:
                    message = f"url and {key} exclude each other: the address says where a running engine listens"
                    yield Problem(path=(*path, key), message=message, hint=f"Remove url or {key}.")
            if serving.url in seen:
                message = f"reaches the same engine as replica {seen[serving.url]}"
                yield Problem(path=_place(name, model, index, "url"), message=message, hint="Give each its own url.")
            seen.setdefault(serving.url, index)
        yield from _one_command(name, model)


def _one_command(name: str, model: ModelSpec) -> Iterator[Problem]:
    """A whole command line that several replicas share must be able to tell them apart."""
    if model.command is None or sum(serving.url is None for serving in servings(model)) < 2:
        return
    words = (model.command,) if isinstance(model.command, str) else model.command
    told = [*words, *model.args, *model.env.values()]
    if any("${PORT}" in text for text in told) or any(own.env for own in model.replicas):
        return
    message = f"starts {len(model.replicas)} replicas with the same words, so all would listen on one port"
    yield Problem(path=("models", name, "command"), message=message, hint="Put ${PORT} where it takes its port.")


def sessions(scene: Scene) -> Iterator[Problem]:
    """Every replica has a session name of its own; those that are made up come first, the written ones must fit in."""
    taken: dict[str, str] = {}
    every = [
        (name, model, index, own)
        for name, model in scene.spec.models.items()
        for index, own in enumerate(model.replicas or (ReplicaSpec(),))
    ]
    for name, model, index, own in sorted(every, key=lambda one: one[3].name is not None):
        session = own.name if own.name is not None else f"{name}-{index + 1}" if index else name
        path: ConfigPath = ("models", name, "replicas", index) if model.replicas else ("models", name)
        place = (*path, "name") if own.name is not None else path
        fault = ""
        if own.name == "":
            fault = "the name is empty"
        elif session in taken:
            fault = f'"{session}" is also the name of {taken[session]}'
        elif session == ROUTER_SESSION and model.launcher != "process":
            fault = f'"{session}" is the name of the session in which roost itself runs'
        if fault:
            yield Problem(path=place, message=fault, hint="Give it a name of its own.", value=session)
        taken.setdefault(session, f"{_called(name, model, index)} (line {find(scene.tree, path)[0].line})")


CHECKS = (ports, sources, sessions)
