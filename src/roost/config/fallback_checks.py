"""Whether fallbacks lead somewhere, and weights and classes of keys can have an effect. Same form as `checks`."""

from collections.abc import Iterator
from difflib import get_close_matches

from roost.config.checks import Scene
from roost.core.problems import ConfigPath, Problem
from roost.core.server_spec import Scope
from roost.core.spec import further_names


def fallbacks(scene: Scene) -> Iterator[Problem]:
    """Every fallback is another model that does the same kind of work."""
    owners = {name: name for name in scene.model_names}
    for name, model in scene.spec.models.items():
        owners.update(dict.fromkeys((*further_names(name, model), *model.adapters), name))
        owners.update((alias, name) for adapter in model.adapters.values() for alias in adapter.aliases)
    for name, model in scene.spec.models.items():
        for index, other in enumerate(model.fallback):
            path: ConfigPath = ("models", name, "fallback", index)
            owner = owners.get(other)
            if owner is None:
                yield _unknown(scene, other, owners, path)
            elif owner == name:
                message = f'"{other}" is the model itself'
                yield Problem(path=path, message=message, hint="Name another model, or remove it.", value=other)
            elif other in model.fallback[:index]:
                message, hint = f'"{other}" stands here twice', "Once is enough: each is asked once."
                yield Problem(path=path, message=message, hint=hint, value=other, severity="warning")
            else:
                yield from _other_task(scene, name, other, owner, path)


def _unknown(scene: Scene, other: str, owners: dict[str, str], path: ConfigPath) -> Problem:
    near = get_close_matches(other, owners, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"Models are: {', '.join(scene.model_names[:8])}."
    may_come = scene.spec.models_dir is not None or any(host.discover for host in scene.spec.hosts.values())
    if may_come:
        message = f'"{other}" is no model of this file; until a folder or host brings it, nothing falls back on it'
        return Problem(path=path, message=message, hint=hint, value=other, severity="warning")
    return Problem(path=path, message=f'"{other}" is not a model', hint=hint, value=other)


def _other_task(scene: Scene, name: str, other: str, owner: str, path: ConfigPath) -> Iterator[Problem]:
    models = scene.spec.models
    if owner in models and models[owner].task is not models[name].task:
        message = f'"{other}" has task {models[owner].task} and never answers for a model with task {models[name].task}'
        yield Problem(path=path, message=message, hint="Name a model with the same task.", value=other)


def shares(scene: Scene) -> Iterator[Problem]:
    """A weight or a class of a key that never asks for a model does nothing."""
    for index, key in enumerate(scene.spec.server.keys):
        if {Scope.INFER, Scope.ADMIN} & set(key.scopes):
            continue
        for field in ("priority", "weight"):
            path: ConfigPath = ("server", "keys", index, field)
            if scene.given(path):
                message = f'does nothing: the key "{key.name}" may not infer'
                hint = f"Add infer to its scopes, or remove {field}."
                yield Problem(path=path, message=message, hint=hint, severity="warning")


CHECKS = (fallbacks, shares)
