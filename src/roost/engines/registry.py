"""All adapters by kind: which one serves a model, and what they say of a whole configuration.

Pure. Called by `app`, `control` and `cli`; the adapters do not know each other.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, RoostSpec
from roost.engines.base import Adapter
from roost.engines.command import COMMAND
from roost.engines.llamacpp import LLAMACPP
from roost.engines.sglang import SGLANG
from roost.engines.simulated import SIMULATED
from roost.engines.vllm import VLLM

ADAPTERS: Mapping[EngineKind, Adapter] = MappingProxyType(
    {
        EngineKind.LLAMACPP: LLAMACPP,
        EngineKind.VLLM: VLLM,
        EngineKind.SGLANG: SGLANG,
        EngineKind.COMMAND: COMMAND,
        EngineKind.SIMULATED: SIMULATED,
    }
)


def kind_of(spec: ModelSpec) -> EngineKind:
    """The written kind; else `command` for a command or url, `llamacpp` for a .gguf file, `vllm` for the rest."""
    if spec.engine is not None:
        return spec.engine
    if spec.command or spec.url:
        return EngineKind.COMMAND
    if spec.weights is not None and spec.weights.endswith(".gguf"):
        return EngineKind.LLAMACPP
    return EngineKind.VLLM


def adapter_for(spec: ModelSpec) -> Adapter:
    """The adapter of the model's engine kind."""
    return ADAPTERS[kind_of(spec)]


def validate(spec: RoostSpec) -> Sequence[Problem]:
    """What the engines have to say of every model, in the order of the config."""
    found: list[Problem] = []
    for name, model in spec.models.items():
        found += _url_problems(name, model)
        found += adapter_for(model).validate(name, model)
    return found


def _url_problems(name: str, spec: ModelSpec) -> Sequence[Problem]:
    """Addresses are host and port of plain HTTP: no TLS, no path, no credentials."""
    if spec.url is None:
        return ()
    at: dict[str, Any] = {"path": ("models", name, "url"), "value": spec.url}
    hint = "Write it like http://127.0.0.1:8000"
    try:
        parts = urlsplit(spec.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return (Problem(message=f"is not an address ({error})", hint=hint, **at),)
    if parts.scheme != "http":
        message = f"engines are reached by plain http, not by {parts.scheme or 'an address without http://'}"
        return (Problem(message=message, hint=hint, **at),)
    if not host or parts.path not in ("", "/") or parts.query or parts.username is not None:
        return (Problem(message="has more or less than a host and a port", hint=hint, **at),)
    return ()
