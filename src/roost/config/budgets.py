"""Whether the models can ever meet the memory section: devices that exist, footprints that fit, pins that leave room.

Same form as `checks`; never guesses a footprint that is not written.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import ModelSpec
from roost.core.units import format_size


def budgets(scene: Scene) -> Iterator[Problem]:
    """Problems of single models, then those of the pinned ones together."""
    memory = scene.spec.memory
    for device, budget in memory.devices.items():
        if budget <= memory.reserve:
            message = f"budget {format_size(budget)} leaves nothing beside the reserve of {format_size(memory.reserve)}"
            yield Problem(
                path=("memory", "devices", device), message=message, hint="Raise it, or lower memory.reserve."
            )
    for name, model in scene.spec.models.items():
        yield from _devices(scene, name, model)
        yield from _footprint(scene, name, model)
    yield from _pinned(scene)
    yield from _resident(scene)


def _devices(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    known = list(scene.spec.memory.devices)
    for index, device in enumerate(model.devices):
        path: ConfigPath = ("models", name, "devices", index)
        if device in known or scene.given(("memory", "devices", device)):
            continue
        near = get_close_matches(device, known, n=1)
        hint = (
            f'Did you mean "{near[0]}"?' if near else f"Known: {', '.join(known)}." if known else "Add memory.devices."
        )
        yield Problem(path=path, message=f'"{device}" is not a device of memory.devices', hint=hint, value=device)


def _taken_from(scene: Scene, model: ModelSpec) -> tuple[str, ...]:
    """The devices whose budget a model counts against."""
    known = scene.spec.memory.devices
    return tuple(device for device in (model.devices or tuple(known)[:1]) if device in known)


def _footprint(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    need, memory = model.footprint, scene.spec.memory
    if need is None:
        return
    path: ConfigPath = ("models", name, "footprint")
    if model.footprint_asleep > need:
        message = f"takes more asleep ({format_size(model.footprint_asleep)}) than awake ({format_size(need)})"
        hint = "Swap the two, or measure them again."
        yield Problem(path=(*path[:-1], "footprint_asleep"), message=message, hint=hint, severity="warning")
    for device in _taken_from(scene, model):
        room = memory.devices[device] - memory.reserve
        if need > room:
            roomy = [other for other, budget in memory.devices.items() if budget - memory.reserve >= need]
            message = f"needs {format_size(need)} on {device}, which has {format_size(max(room, 0))}"
            message += f" ({format_size(memory.devices[device])} less the reserve)" if memory.reserve else ""
            hint = (
                f"Write devices: [{roomy[0]}]."
                if roomy
                else "Lower the footprint or raise the budget; no device has it."
            )
            yield Problem(path=path, message=message, hint=hint, value=format_size(need))
            return


def _pinned(scene: Scene) -> Iterator[Problem]:
    memory = scene.spec.memory
    pinned = [(name, model) for name, model in scene.spec.models.items() if model.pin]
    if memory.max_resident is not None and len(pinned) > memory.max_resident:
        named = ", ".join(name for name, _ in pinned[:8])
        message = f"is {memory.max_resident}, but {len(pinned)} models are pinned ({named})"
        hint = f"Write {len(pinned)} or more, or pin fewer."
        yield Problem(path=("memory", "max_resident"), message=message, hint=hint, value=str(memory.max_resident))
    for device, budget in memory.devices.items():
        takers = [(name, model.footprint or 0) for name, model in pinned if device in _taken_from(scene, model)]
        total, room = sum(need for _, need in takers), max(budget - memory.reserve, 0)
        if total > room and all(need <= room for _, need in takers):
            named = ", ".join(name for name, _ in takers[:8])
            message = f"the pinned models ({named}) need {format_size(total)} together; there are {format_size(room)}"
            yield Problem(path=("memory", "devices", device), message=message, hint="Pin fewer, or raise the budget.")


def _resident(scene: Scene) -> Iterator[Problem]:
    bound = scene.spec.memory.max_resident
    kept = [name for name, model in scene.spec.models.items() if model.preload or model.pin]
    if bound is not None and len(kept) > bound and any(scene.spec.models[name].preload for name in kept):
        message = f"is {bound}, but {len(kept)} models are preloaded or pinned ({', '.join(kept[:8])})"
        hint = "Those over it yield as soon as they stand; preload fewer."
        yield Problem(path=("memory", "max_resident"), message=message, hint=hint, severity="warning")
