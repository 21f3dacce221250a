"""Whether `policy.schedules` can be read, and speak of models and devices that exist.

Same form as `checks`. Time zones are the machine's to know: `control/schedule.py` checks them. Called by `load`.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene
from roost.core.footprint import HOST
from roost.core.policy_spec import ScheduleSpec
from roost.core.problems import ConfigPath, Problem
from roost.core.schedule import parse_when
from roost.core.spec import further_names
from roost.core.units import counted, format_size


def schedules(scene: Scene) -> Iterator[Problem]:
    """Problems of each schedule by itself."""
    for index, schedule in enumerate(scene.spec.policy.schedules):
        path: ConfigPath = ("policy", "schedules", index)
        yield from _when(scene, schedule, path)
        for field in ("pin", "sleep"):
            for at, name in enumerate(getattr(schedule, field)):
                yield from _name(scene, name, (*path, field, at))
        yield from _conflicts(scene, schedule, path)
        yield from _budgets(scene, schedule, path)
        yield from _places(scene, schedule, path)


def _when(scene: Scene, schedule: ScheduleSpec, path: ConfigPath) -> Iterator[Problem]:
    try:
        parse_when(schedule.when)
    except ValueError as error:
        fault, _, way_out = str(error).rpartition("; ")
        message = fault or f'"{schedule.when}" is not a time window'
        yield Problem(path=(*path, "when"), message=message, hint=_sentence(way_out), value=schedule.when)
    said = schedule.pin or schedule.sleep or schedule.devices or schedule.max_resident is not None
    if not said and scene.is_whole(path):
        hint = "Add pin, sleep, max_resident or devices, or remove it."
        yield Problem(path=path, message="does nothing", hint=hint, severity="warning")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def _name(scene: Scene, name: str, path: ConfigPath) -> Iterator[Problem]:
    if name in scene.model_names:
        return
    for model, spec in scene.spec.models.items():
        if name in further_names(model, spec):
            message = f'"{name}" is another name of "{model}"'
            yield Problem(path=path, message=message, hint=f"Write {model}.", value=name)
            return
    near = get_close_matches(name, scene.model_names, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"Models are: {', '.join(scene.model_names[:8])}."
    may_come = scene.spec.models_dir is not None or any(host.discover for host in scene.spec.hosts.values())
    if may_come:
        message = f'"{name}" is no model of this file; until a folder or host brings it, this does nothing'
        yield Problem(path=path, message=message, hint=hint, value=name, severity="warning")
    else:
        yield Problem(path=path, message=f'"{name}" is not a model', hint=hint, value=name)


def _conflicts(scene: Scene, schedule: ScheduleSpec, path: ConfigPath) -> Iterator[Problem]:
    """A pin goes before a window that sends to sleep."""
    for at, name in enumerate(schedule.sleep):
        place = (*path, "sleep", at)
        if name in schedule.pin:
            message = f'"{name}" is pinned by the same schedule'
            yield Problem(path=place, message=message, hint="Take it out of one of the two lists.", value=name)
        elif (model := scene.spec.models.get(name)) is not None and model.pin:
            message = f'"{name}" is pinned, so it never goes down'
            hint = f"Take pin out of models.{name}; another schedule may pin it at its hours."
            yield Problem(path=place, message=message, hint=hint, value=name, severity="warning")


def _budgets(scene: Scene, schedule: ScheduleSpec, path: ConfigPath) -> Iterator[Problem]:
    memory = scene.spec.memory
    for device, amount in schedule.devices.items():
        place = (*path, "devices", device)
        known = [*memory.devices, HOST]
        if device not in known and not memory.discover and not scene.given(("memory", "devices", device)):
            near = get_close_matches(device, known, n=1)
            hint = f'Did you mean "{near[0]}"?' if near else f"Add memory.devices.{device}: its budget at other hours."
            yield Problem(path=place, message=f'"{device}" is not a device of memory.devices', hint=hint, value=device)
        reserve = memory.host_reserve if device == HOST else memory.reserve
        if 0 < amount <= reserve:
            message = f"budget {format_size(amount)} leaves nothing beside the reserve of {format_size(reserve)}"
            yield Problem(path=place, message=message, hint="Raise it, or write 0.", severity="warning")


def _places(scene: Scene, schedule: ScheduleSpec, path: ConfigPath) -> Iterator[Problem]:
    """Without what other windows, open at the same time, may add."""
    usual = scene.spec.memory.max_resident
    bound = usual if schedule.max_resident is None else schedule.max_resident
    pinned = dict.fromkeys([name for name, model in scene.spec.models.items() if model.pin] + list(schedule.pin))
    if bound is None or len(pinned) <= bound or (schedule.max_resident is None and not schedule.pin):
        return
    field = "pin" if schedule.max_resident is None else "max_resident"
    said = counted(len(pinned), "model", "is", "are")
    message = f"{said} pinned at these hours ({', '.join(list(pinned)[:8])}), but max_resident is {bound}"
    hint = f"Pin fewer, or write max_resident: {len(pinned)} here."
    yield Problem(path=(*path, field), message=message, hint=hint)


CHECKS = (schedules,)
