"""Whether `hosts` and the models inside them make sense: addresses, calls in pairs, names, places that suffice.

Same form as `checks`, with paths of the native tree; asks no server. Called by `load`.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene, address
from roost.config.hosts import ENGINES_OWN
from roost.config.step_checks import Entry, alone
from roost.config.tree import find
from roost.core.hosted_spec import HostSpec, Preset
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import ModelSpec

_NOT_INSIDE = ("command", "port", "launcher", "args", "venv", "cwd", "stop_command", "sleep_steps", "wake_steps")
"""Fields of an engine that roost starts, or that sleeps."""


def hosts(scene: Scene) -> Iterator[Problem]:
    """Each server can be reached and told what to do."""
    owners: dict[str, str] = {}
    for name, host in scene.spec.hosts.items():
        path: ConfigPath = ("hosts", name)
        yield from address(host.url, (*path, "url"))
        same = owners.setdefault(host.url.rstrip("/"), name)
        if same != name:
            hint = "Keep one of the two; its models all stand inside that one."
            yield Problem(path=(*path, "url"), message=f'is the server of "{same}", too', hint=hint, value=host.url)
        yield from _calls(scene, path, host)
        yield from _places(scene, name, host)


def _calls(scene: Scene, path: ConfigPath, host: HostSpec) -> Iterator[Problem]:
    for key, other in (("load_steps", "unload_steps"), ("unload_steps", "load_steps")):
        if scene.given((*path, key, 0)) and not scene.given((*path, other, 0)):
            hint = f"Add {other}: roost makes room only where it can undo what it does."
            yield Problem(path=(*path, key), message=f"{other} is required beside {key}, and is missing", hint=hint)
        for index, step in enumerate(getattr(host, key)):
            yield from alone(Entry(scene, (*path, key, index), step))
    if host.preset is Preset.FIXED and scene.given((*path, "load_steps", 0)):
        message = "preset fixed means a server without a load call, and load_steps is one"
        yield Problem(path=(*path, "preset"), message=message, hint="Write preset: generic, or take the steps out.")
    if host.list_path is not None and not host.list_path.startswith("/"):
        hint = 'Begin it with "/", such as /v1/models.'
        yield Problem(path=(*path, "list_path"), message=f'"{host.list_path}" is not a path', hint=hint)


def _places(scene: Scene, name: str, host: HostSpec) -> Iterator[Problem]:
    pinned = [model for model, spec in scene.spec.models.items() if spec.inside == name and spec.pin]
    if host.max_resident is not None and len(pinned) > host.max_resident:
        message = f"is {host.max_resident}, but {len(pinned)} models inside it are pinned ({', '.join(pinned[:8])})"
        hint = f"Write {len(pinned)} or more, or pin fewer."
        yield Problem(path=("hosts", name, "max_resident"), message=message, hint=hint)


def inside(scene: Scene) -> Iterator[Problem]:
    """Each model inside a host names one that is there, and nothing that only an engine of roost's own has."""
    taken: dict[tuple[str, str], str] = {}
    for name, model in scene.spec.models.items():
        if model.inside is None:
            continue
        path: ConfigPath = ("models", name)
        yield from _known(scene, model.inside, (*path, "inside"))
        yield from _foreign_fields(scene, model, path)
        owner = taken.setdefault((model.inside, model.served_name or name), name)
        if owner != name:
            message = f'is the same model of host "{model.inside}" as "{owner}"'
            hint = "Make it an alias of the other, or give it the served_name of another."
            yield Problem(path=path, message=message, hint=hint)


def _known(scene: Scene, host: str, path: ConfigPath) -> Iterator[Problem]:
    known = list(scene.spec.hosts)
    if host in known or scene.given(("hosts", host)):
        return
    near = get_close_matches(host, known, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"Known: {', '.join(known)}." if known else "Add it under hosts."
    yield Problem(path=path, message=f'"{host}" is not an entry of hosts', hint=hint, value=host)


def _foreign_fields(scene: Scene, model: ModelSpec, path: ConfigPath) -> Iterator[Problem]:
    host = scene.spec.hosts.get(model.inside or "")
    for field in _NOT_INSIDE:
        if scene.given((*path, field)) and getattr(model, field) != getattr(ModelSpec(), field):
            message = f"{field} is for an engine of its own, and this model lives inside a server that runs already"
            hint = f"Remove inside or {field}; write {field}: null in the model if it comes from defaults."
            yield Problem(path=(*path, field), message=message, hint=hint)
    if len(model.replicas) > 1:
        message = "has several replicas, and a server holds a model once"
        yield Problem(path=(*path, "replicas"), message=message, hint="Name further servers as models of their own.")
    written = find(scene.tree, (*path, "url"))[0].value
    if host is not None and scene.given((*path, "url")) and written != host.url:
        message = "url and inside exclude each other: the host has the address"
        yield Problem(path=(*path, "url"), message=message, hint="Remove one of the two.")


def discovered(scene: Scene) -> Iterator[Problem]:
    """Settings of models that are found say nothing that only a written model can have."""
    written = scene.tree.mapping.get("discovered")
    for pattern, node in (written.mapping if written is not None else {}).items():
        path: ConfigPath = ("discovered", pattern)
        for key in sorted(ENGINES_OWN & {*node.mapping}):
            message = f"{key} is for a model with an entry of its own, and these are found in their servers"
            hint = f"Remove {key}, or write the model under models."
            yield Problem(path=(*path, key), message=message, hint=hint)
    if written is not None and written.mapping and not scene.given(("hosts",)):
        hint = "Add hosts, or remove it."
        yield Problem(path=("discovered",), message="there are no hosts in which models could be found", hint=hint)


CHECKS = (hosts, inside, discovered)
