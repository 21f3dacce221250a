"""What each model's engine will hold before any of them has run: as the config says, else as its arguments tell.

Looks at the weights' files and, with `memory.discover`, at this machine's GPUs; starts and measures nothing. Called by
the commands that judge or rehearse a configuration without running it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from roost.core.footprint import Footprint, Held, Source
from roost.core.ids import replica_id
from roost.core.memory_spec import FootprintsSpec, HeldSpec
from roost.core.problems import Problem
from roost.core.spec import ModelSpec, RoostSpec, servings
from roost.host.devices import named
from roost.host.devices_read import read_gpus
from roost.host.footprints import Footprints


@dataclass(frozen=True, slots=True)
class _Whose:
    id: str
    model: str
    spec: ModelSpec


def claims(spec: RoostSpec, measured: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Footprint]:
    """Model -> what counts of it until it has been measured; source UNKNOWN where nobody can say. `measured`: what an
    earlier run has kept of its measurements."""
    return _claims(spec, _sizes(spec)[0], measured)


def with_claims(spec: RoostSpec) -> RoostSpec:
    """The same with everything that is known written into `footprints`, for engines that will not say it themselves."""
    known = claims(spec)
    return replace(spec, models={name: _written(model, known[name]) for name, model in spec.models.items()})


def validate(spec: RoostSpec) -> list[Problem]:
    """Budgets that nothing will be held to. A `Validator`; all of it are warnings: it may run elsewhere, and what is
    not known yet may be measured already."""
    sizes, why = _sizes(spec)
    problems = []
    if why:
        message = f"finds no GPU on this machine: {why}"
        hint = "Write the devices of another machine under memory.devices; here nothing is bound on one."
        problems.append(Problem(path=("memory", "discover"), message=message, hint=hint, severity="warning"))
    for name, known in _claims(spec, sizes).items() if sizes else ():
        own = spec.models[name].inside is None and any(one.url is None for one in servings(spec.models[name]))
        if own and known.awake.source is Source.UNKNOWN:
            message = "what it holds of a device is not known: it counts nothing against the budgets until measured"
            problems.append(Problem(path=("models", name), message=message, hint="Set footprint.", severity="warning"))
    return problems


def _sizes(spec: RoostSpec) -> tuple[dict[str, int], str]:
    """Device -> bytes, and why none was found where some were to be."""
    memory, why = spec.memory, ""
    sizes = dict(memory.devices)
    if memory.discover:
        found, why = read_gpus((), os.environ)
        sizes = {**{name: gpu.size for name, gpu in named(found).items()}, **sizes}
    return sizes, why


def _claims(
    spec: RoostSpec, sizes: Mapping[str, int], measured: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Footprint]:
    def smallest(model: ModelSpec) -> int | None:
        return min((size for name, size in sizes.items() if name in (model.devices or sizes)), default=None)

    book = Footprints(smallest, has_gpu=bool(sizes))
    book.restore(measured)
    return {name: book.footprint(_Whose(replica_id(name, 0), name, model)) for name, model in spec.models.items()}


def _written(model: ModelSpec, known: Footprint) -> ModelSpec:
    told = FootprintsSpec(awake=_told(known.awake), level1=_told(known.level1), level2=_told(known.level2))
    return replace(model, footprints=told)


def _told(held: Held) -> HeldSpec:
    return HeldSpec() if held.source is Source.UNKNOWN else HeldSpec(device=held.device, host=held.host)
