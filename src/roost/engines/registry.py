"""All adapters by kind: which one serves a model, and what they say of a whole configuration.

Pure. Called by `app`, `control` and `cli`; the adapters do not know each other.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, RoostSpec, servings
from roost.engines.base import Adapter
from roost.engines.command import COMMAND
from roost.engines.hosted import HOSTED
from roost.engines.llamacpp import LLAMACPP
from roost.engines.own import with_own_steps
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


def adapter_for(spec: ModelSpec) -> Adapter:
    """The adapter of the model's engine kind (the config has set it), with the model's own steps where it has any; of
    one that lives inside a server that holds several, always the same."""
    if spec.server is not None:
        return HOSTED
    return with_own_steps(spec, ADAPTERS[spec.engine or EngineKind.COMMAND])


def validate(spec: RoostSpec) -> Sequence[Problem]:
    """What the engines have to say of every model, in the order of the config; the same of all replicas once."""
    found: dict[Problem, None] = {}
    for name, model in spec.models.items():
        for serving in servings(model):
            found.update(dict.fromkeys(adapter_for(model).validate(name, serving)))
    return list(found)
