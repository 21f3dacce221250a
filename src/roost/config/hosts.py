"""Models inside servers that someone else runs: what the entry of `hosts` lends its models, and the model of a name
that is found there.

Pure. Called by `finish`, and by whoever serves the names that a host offers.
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from roost.config.checks import name_fault
from roost.core.hosted_spec import HostSpec
from roost.core.spec import EngineKind, ModelSpec, Task


def in_its_host(model: ModelSpec, hosts: Mapping[str, HostSpec]) -> ModelSpec:
    """With the address and the key of the host that it is inside; any other model as it is."""
    host = hosts.get(model.inside) if model.inside is not None else None
    if host is None:
        return model
    return replace(model, url=host.url, api_key=model.api_key or host.api_key)


ENGINES_OWN = frozenset(
    {
        *("engine", "weights", "command", "url", "host", "port", "args", "env", "replicas", "launcher", "venv", "cwd"),
        *("stop_command", "aliases", "also_serves", "served_name", "set_params_by_name", "adapters", "inside"),
        *("sleep_steps", "wake_steps"),
    }
)
"""What only a model with an entry of its own can have."""
NOT_OF_FOUND = ENGINES_OWN | {"preload", "pin"}
"""What `defaults` do not say of models that are found: how many there are is their server's choice."""


def spec_for(host_name: str, host: HostSpec, name: str, settings: Mapping[str, ModelSpec]) -> ModelSpec:
    """The model of a name that the host lists or may be able to load, as the host spells it, with the first of the
    settings (`discovered`) whose pattern fits. Nobody says what it is for, so the request that it was loaded for is the
    first one it gets, unless the settings say a task."""
    fitting = (one for pattern, one in settings.items() if fnmatchcase(name, pattern))
    base = next(fitting, ModelSpec())
    task = Task.OTHER if base.task is Task.GENERATE else base.task
    model = replace(base, engine=EngineKind.COMMAND, inside=host_name, served_name=name, task=task)
    return in_its_host(model, {host_name: host})


def may_be_offered(name: str) -> bool:
    """Whether a name that a client made up may be handed to a server's load call: one that a model could have, and no
    path, for some servers take a name for a folder."""
    if name_fault(name) or "\\" in name or "://" in name or name.startswith(("/", "~")):
        return False
    return not any(part in ("", ".", "..") for part in name.split("/"))
