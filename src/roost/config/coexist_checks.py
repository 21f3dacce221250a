"""Whether groups and matrix speak of models that exist, and can be kept to.

Same form as `checks`. How a set is read is `core/matrix.py`'s; here its faults get their places.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene
from roost.core.matrix import compiled
from roost.core.memory_spec import GroupSpec
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import further_names

_GROUPS: ConfigPath = ("memory", "groups")
_MATRIX: ConfigPath = ("memory", "matrix")


def coexistence(scene: Scene) -> Iterator[Problem]:
    """Problems of `memory.groups` and of `memory.matrix`."""
    memory = scene.spec.memory
    if scene.given(_MATRIX) and any(scene.given((*_GROUPS, name)) for name in memory.groups):
        message = "groups and matrix exclude each other"
        yield Problem(path=_MATRIX, message=message, hint="Keep one; a matrix can say what groups say.")
    yield from _groups(scene)
    if memory.matrix is not None:
        for fault in compiled(memory.matrix, scene.model_names).faults:
            yield Problem(path=(*_MATRIX, *fault.place), message=fault.message, hint=fault.hint)


def _groups(scene: Scene) -> Iterator[Problem]:
    home: dict[str, str] = {}
    for name, group in scene.spec.memory.groups.items():
        path = (*_GROUPS, name)
        if not group.members:
            message = "has no members, so it does nothing"
            yield Problem(path=path, message=message, hint="Add members, or remove it.", severity="warning")
        for index, member in enumerate(group.members):
            yield from _member(scene, member, (*path, "members", index), home.get(member))
            home.setdefault(member, name)
        yield from _pinned(scene, group, path)


def _member(scene: Scene, member: str, path: ConfigPath, home: str | None) -> Iterator[Problem]:
    if member not in scene.model_names:
        message = f'"{member}" is not a model'
        yield Problem(path=path, message=message, hint=_meant(scene, member), value=member)
    elif home is not None:
        message = f'"{member}" is in group "{home}" already'
        hint = "A model is in one group at most; a matrix allows more."
        yield Problem(path=path, message=message, hint=hint, value=member)


def _meant(scene: Scene, member: str) -> str:
    for name, model in scene.spec.models.items():
        if member in further_names(name, model):
            return f'It is another name of "{name}"; write that.'
    near = get_close_matches(member, scene.model_names, n=1)
    return f'Did you mean "{near[0]}"?' if near else f"Models are: {', '.join(scene.model_names[:8])}."


def _pinned(scene: Scene, group: GroupSpec, path: ConfigPath) -> Iterator[Problem]:
    models = scene.spec.models
    pinned = [member for member in dict.fromkeys(group.members) if member in models and models[member].pin]
    if group.swap and len(pinned) > 1:
        message = f"runs one member at a time, but {len(pinned)} are pinned ({', '.join(pinned[:8])})"
        yield Problem(path=path, message=message, hint="Pin one at most, or write swap: false.")
