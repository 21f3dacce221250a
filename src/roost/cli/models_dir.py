"""From a loaded configuration with `models_dir` to what a running roost needs to look at the folder again.

Reads nothing itself. Called by `up_cmd`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from os.path import relpath

from roost.config.load import Loaded, Validator
from roost.core.problems import Problem
from roost.core.spec import RoostSpec
from roost.folder import Finding, Folder


def folder_of_models(loaded: Loaded, file: str, fit: Callable[[RoostSpec], RoostSpec]) -> Folder | None:
    """None where the configuration has no `models_dir`. `file`: its name in messages; `fit`: what this command makes of
    a spec, such as simulating it."""
    section = loaded.spec.models_dir if loaded.spec is not None else None
    if section is None or loaded.again is None:
        return None
    again, path = loaded.again, section.path

    def find(files: Sequence[str]) -> Finding:
        now = again(lambda _: files)
        problems = tuple(problem.render(file) for problem in now.problems if problem not in loaded.problems)
        if now.spec is None:
            return Finding(models={}, files={}, problems=problems, usable=False)
        models = fit(now.spec).models
        return Finding(models={name: models[name] for name in now.found}, files=_below(path, now), problems=problems)

    return Folder(path=path, rescan_s=section.rescan, files=_below(path, loaded), find=find)


def _below(path: str, loaded: Loaded) -> dict[str, str]:
    return {name: relpath(file, path) for name, file in loaded.found.items()}


def without(found: Collection[str], validator: Validator) -> Validator:
    """The same check of a spec without the models that were found in the folder."""

    def check(spec: RoostSpec) -> Sequence[Problem]:
        return validator(replace(spec, models={n: model for n, model in spec.models.items() if n not in found}))

    return check
