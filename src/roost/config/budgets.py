"""Whether the models can ever meet the memory section: devices that exist, footprints that fit, pins that leave room.

Same form as `checks`; never guesses a footprint that is not written. With `memory.discover` the machine may have
devices that are not written here, so nothing is said of what is missing.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene
from roost.config.packing import Item, can_pack
from roost.core.footprint import HOST
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import ModelSpec, servings
from roost.core.too_large import need_of, remedy, too_many
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
    if memory.host is not None and memory.host <= memory.host_reserve:
        message = f"{format_size(memory.host)} leaves nothing beside the host_reserve of "
        message += format_size(memory.host_reserve)
        yield Problem(path=("memory", "host"), message=message, hint="Raise it, or lower memory.host_reserve.")
    if HOST in memory.devices:
        message = f'"{HOST}" is the name of host memory'
        yield Problem(path=("memory", "devices", HOST), message=message, hint="Write memory.host.")
    for name, model in scene.spec.models.items():
        yield from _devices(scene, name, model)
        yield from _count(scene, name, model)
        yield from _footprint(scene, name, model)
        yield from _host(scene, name, model)
    yield from _pinned(scene)
    yield from _resident(scene)


def _devices(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    known = list(scene.spec.memory.devices)
    for index, device in enumerate(model.devices):
        path: ConfigPath = ("models", name, "devices", index)
        if device in known or scene.spec.memory.discover or scene.given(("memory", "devices", device)):
            continue
        near = get_close_matches(device, known, n=1)
        hint = (
            f'Did you mean "{near[0]}"?' if near else f"Known: {', '.join(known)}." if known else "Add memory.devices."
        )
        yield Problem(path=path, message=f'"{device}" is not a device of memory.devices', hint=hint, value=device)


def _rooms(scene: Scene, model: ModelSpec) -> dict[str, int]:
    """What each device that the model may use has for it."""
    memory = scene.spec.memory
    named = model.devices or tuple(memory.devices)
    return {device: max(0, size - memory.reserve) for device, size in memory.devices.items() if device in named}


def _awake(model: ModelSpec) -> int | None:
    """Bytes on each of its devices, where they are written."""
    said = model.footprints.awake.device
    return model.footprint if said is None else said


def _count(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    """More devices at once than it may use."""
    count, rooms, memory = model.device_count or 1, _rooms(scene, model), scene.spec.memory
    if not memory.devices or memory.discover or not rooms or count <= len(rooms) or model.url is not None:
        return
    path: ConfigPath = ("models", name, "device_count")
    by_args = "" if scene.given(path) else " (its arguments say so)"
    hint = "Lower it, or allow it more devices." if not by_args else "Correct args, or allow it more devices."
    yield Problem(path=path, message=too_many(count, tuple(rooms)) + by_args, hint=hint)


def _footprint(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    need, memory = _awake(model), scene.spec.memory
    if need is None:
        return
    own: ConfigPath = ("models", name, "footprint")
    if model.footprint is not None and model.footprint_asleep > model.footprint:
        asleep, awake = format_size(model.footprint_asleep), format_size(model.footprint)
        message = f"takes more asleep ({asleep}) than awake ({awake})"
        hint = "Swap the two, or measure them again."
        yield Problem(path=(*own[:-1], "footprint_asleep"), message=message, hint=hint, severity="warning")
    rooms, count = _rooms(scene, model), model.device_count or 1
    fit = [device for device, room in rooms.items() if need <= room]
    if not rooms or memory.discover or len(fit) >= count or len(rooms) < count:
        return
    largest = max(rooms.values())
    message, hint = need_of(need, count, largest), remedy(model, need, count, largest)
    if len(rooms) == 1:
        ((device, room),) = rooms.items()
        message = f"needs {format_size(need)} on {device}, which has {format_size(room)}"
    message += _less(scene, rooms)
    roomy = [device for device, size in memory.devices.items() if size - memory.reserve >= need]
    if model.devices and len(roomy) >= count:
        hint = f"Write devices: [{', '.join(roomy[:count])}]."
    path = own if model.footprints.awake.device is None else ("models", name, "footprints", "awake", "device")
    yield Problem(path=path, message=message, hint=hint, value=format_size(need))


def _less(scene: Scene, rooms: dict[str, int]) -> str:
    memory = scene.spec.memory
    if not memory.reserve:
        return ""
    largest = max(rooms, key=lambda device: rooms[device])
    return f" ({format_size(memory.devices[largest])} less the reserve)"


def _host(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    """Host memory that it can never have: awake nothing helps, asleep at level 1 it goes deeper or is stopped."""
    memory, footprints = scene.spec.memory, model.footprints
    if memory.host is None or model.url is not None:
        return
    room = max(0, memory.host - memory.host_reserve)
    there = f"there are {format_size(room)}"
    if memory.host_reserve:
        there += f" ({format_size(memory.host)} less the host_reserve of {format_size(memory.host_reserve)})"
    remedy = "raise memory.host" + (", or lower memory.host_reserve" if memory.host_reserve else "")
    awake, asleep = footprints.awake.host or 0, footprints.level1.host or 0
    path: ConfigPath = ("models", name, "footprints")
    if awake > room:
        message = f"needs {format_size(awake)} of host memory; {there}"
        yield Problem(path=(*path, "awake", "host"), message=message, hint=f"{remedy[:1].upper()}{remedy[1:]}.")
    elif asleep > room:
        message = f"keeps {format_size(asleep)} of host memory asleep; {there}"
        hint = f"It never sleeps at level 1: {remedy}, or write sleep_level: 2."
        yield Problem(path=(*path, "level1", "host"), message=message, hint=hint, severity="warning")


def _pinned(scene: Scene) -> Iterator[Problem]:
    memory = scene.spec.memory
    pinned = [(name, model) for name, model in scene.spec.models.items() if model.pin]
    if memory.max_resident is not None and len(pinned) > memory.max_resident:
        named = ", ".join(name for name, _ in pinned[:8])
        message = f"is {memory.max_resident}, but {len(pinned)} models are pinned ({named})"
        hint = f"Write {len(pinned)} or more, or pin fewer."
        yield Problem(path=("memory", "max_resident"), message=message, hint=hint, value=str(memory.max_resident))
    yield from _crowded(scene, [(name, model) for name, model in pinned if model.url is None])


def _crowded(scene: Scene, pinned: list[tuple[str, ModelSpec]]) -> Iterator[Problem]:
    """Pinned models that cannot all be up at once, on whatever devices each may use. Who is too large by itself has
    been told so."""
    memory = scene.spec.memory
    if memory.discover or not memory.devices:
        return
    items = [
        Item(need, model.device_count or 1, frozenset(rooms))
        for _, model in pinned
        for _ in servings(model)
        if (need := _awake(model)) and len(rooms := _rooms(scene, model)) >= (model.device_count or 1)
        if sum(room >= need for room in rooms.values()) >= (model.device_count or 1)
    ]
    rooms = {device: max(0, size - memory.reserve) for device, size in memory.devices.items()}
    if can_pack(items, rooms) is not False:
        return
    named = ", ".join(name for name, model in pinned if _awake(model))
    total, room = sum(item.each * item.count for item in items), sum(rooms.values())
    message = f"the pinned models ({named}) need {format_size(total)} together; there are {format_size(room)}"
    message += "" if total > room else ", and no way to share out the devices fits them all"
    only = next(iter(rooms)) if len(rooms) == 1 else None
    path: ConfigPath = ("memory", "devices") if only is None else ("memory", "devices", only)
    yield Problem(path=path, message=message, hint="Pin fewer, or raise the budget.")


def _resident(scene: Scene) -> Iterator[Problem]:
    bound = scene.spec.memory.max_resident
    kept = [name for name, model in scene.spec.models.items() if model.preload or model.pin]
    if bound is not None and len(kept) > bound and any(scene.spec.models[name].preload for name in kept):
        message = f"is {bound}, but {len(kept)} models are preloaded or pinned ({', '.join(kept[:8])})"
        hint = "Those over it yield as soon as they stand; preload fewer."
        yield Problem(path=("memory", "max_resident"), message=message, hint=hint, severity="warning")
