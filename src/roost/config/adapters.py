"""Fine-tunes as models: each entry of a model's `adapters` as the spec of a model of its own, inside its base.

Pure. A loaded configuration keeps them where they are written; whoever serves it (`app`, `roster`) takes them apart
here. Nobody after that needs to know which of its models came from `adapters`, but for `inside`, which names the base.
"""

from collections.abc import Mapping
from dataclasses import replace

from roost.core.hosted_spec import AdapterSpec
from roost.core.memory_spec import FootprintsSpec, HeldSpec
from roost.core.spec import EngineKind, ModelSpec, ReplicaSpec, RoostSpec, servings

_NOTHING = HeldSpec(device=0, host=0)


def taken_apart(models: Mapping[str, ModelSpec]) -> dict[str, ModelSpec]:
    """All models, each followed by its adapters."""
    apart: dict[str, ModelSpec] = {}
    for name, model in models.items():
        apart[name] = model
        apart |= {own: adapter_model(name, model, adapter) for own, adapter in model.adapters.items()}
    return apart


def with_adapters(spec: RoostSpec) -> RoostSpec:
    """The same with every adapter as a model."""
    if not any(model.adapters for model in spec.models.values()):
        return spec
    return replace(spec, models=taken_apart(spec.models))


def adapter_model(name: str, base: ModelSpec, adapter: AdapterSpec) -> ModelSpec:
    """It is asked, queued and waited for as its base is; what starts, stops and measures an engine is the base's alone.
    Its memory is part of the base's."""
    return replace(
        base,
        engine=EngineKind.COMMAND,
        inside=name,
        weights=adapter.path,
        aliases=adapter.aliases,
        preload=adapter.preload,
        also_serves=(),
        served_name=None,
        display_name="",
        description="",
        unlisted=False,
        metadata={},
        set_params_by_name={},
        adapters={},
        fallback=(),
        command=None,
        url=None,
        port=None,
        args=(),
        env={},
        replicas=tuple(ReplicaSpec() for _ in servings(base)),
        stop_command=None,
        sleep_steps=(),
        wake_steps=(),
        canary=False,
        sleep_after=None,
        unload_after=None,
        pin=False,
        footprint=0,
        footprint_asleep=0,
        footprints=FootprintsSpec(awake=_NOTHING, level1=_NOTHING, level2=_NOTHING),
        devices=(),
        device_count=None,
    )
