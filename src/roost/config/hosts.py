"""Models inside servers that someone else runs: what the entry of `hosts` lends its models, and the model of a name
that is found there.

Pure. Called by `finish`, and by whoever serves the names that a host offers.
"""

from collections.abc import Mapping
from dataclasses import replace

from roost.core.hosted_spec import HostSpec
from roost.core.spec import EngineKind, ModelSpec


def in_its_host(model: ModelSpec, hosts: Mapping[str, HostSpec]) -> ModelSpec:
    """With the address and the key of the host that it is inside; any other model as it is."""
    host = hosts.get(model.inside) if model.inside is not None else None
    if host is None:
        return model
    return replace(model, url=host.url, api_key=model.api_key or host.api_key)


def spec_for(host_name: str, host: HostSpec, name: str, defaults: ModelSpec | None = None) -> ModelSpec:
    """The model of a name that the host lists or may be able to load. `name` is as the host spells it: a model that is
    to have another name to clients needs no other spec, only `served_name`."""
    base = defaults or ModelSpec()
    model = replace(base, engine=EngineKind.COMMAND, inside=host_name, served_name=name)
    return in_its_host(model, {host_name: host})
