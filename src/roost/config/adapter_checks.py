"""Whether `adapters` can be what they say: an engine that has them, names of their own, places that its command line
gives it.

Same form as `checks`, with paths of the native tree; looks at no disk. Called by `load`.
"""

import re
from collections.abc import Iterator

from roost.config.checks import Scene, name_faults, owners_of
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec

HAVE_ADAPTERS = (EngineKind.VLLM, EngineKind.SIMULATED)
_MAX_LORAS = re.compile(r"--max[-_]loras(?:=(\d+))?")
_ENABLED = re.compile(r"--enable[-_]lora\b|--config\b")
"""In a command line that may well have them; `--config` names a file that may."""


def engines(scene: Scene) -> Iterator[Problem]:
    """Only vLLM loads adapters by a call, and only where its command line says that it may."""
    for name, model in scene.spec.models.items():
        path: ConfigPath = ("models", name)
        if not model.adapters:
            if scene.given((*path, "max_loras")) and not scene.given((*path, "adapters")):
                hint = "Add adapters, or remove it."
                message = "does nothing: the model has no adapters"
                yield Problem(path=(*path, "max_loras"), message=message, hint=hint, severity="warning")
            continue
        if model.inside is not None:
            hint = f"Give each a model of its own: NAME: {{inside: {model.inside}, weights: PATH}}."
            message = "a model inside a server of others has no adapters of its own"
            yield Problem(path=(*path, "adapters"), message=message, hint=hint)
        elif model.engine not in HAVE_ADAPTERS:
            hint = "Write engine: vllm if that is what runs there, or also_serves: [NAMES] for names it knows itself."
            message = f"roost cannot load adapters into engine {model.engine}"
            yield Problem(path=(*path, "adapters"), message=message, hint=hint)
        else:
            yield from _places(model, path)
            yield from _switched_on(model, path)
        if name in scene.spec.hosts:
            hint = "Rename one of the two."
            yield Problem(path=path, message="is the name of an entry of hosts, too, and has adapters", hint=hint)


def _places(model: ModelSpec, path: ConfigPath) -> Iterator[Problem]:
    """`max_loras` and a `--max-loras` of the command line."""
    command = (model.command,) if isinstance(model.command, str) else model.command or ()
    words = (*command, *model.args)
    for index, word in enumerate(words):
        found = _MAX_LORAS.fullmatch(word)
        said = None if found is None else found[1] or "".join(words[index + 1 : index + 2])
        if said is not None and said.isdecimal() and int(said) < model.max_loras:
            message = f"is {model.max_loras}, but the engine's own --max-loras is {said}"
            hint = f"Write max_loras: {said}, or give the engine --max-loras {model.max_loras}."
            yield Problem(path=(*path, "max_loras"), message=message, hint=hint)


def _switched_on(model: ModelSpec, path: ConfigPath) -> Iterator[Problem]:
    if model.engine is not EngineKind.VLLM or model.command is None:
        return
    words = (model.command,) if isinstance(model.command, str) else model.command
    if not any(_ENABLED.search(word) for word in (*words, *model.args)):
        message = "has no --enable-lora, and vLLM then takes no adapters"
        hint = f"Add --enable-lora --max-loras {model.max_loras} to the command line."
        yield Problem(path=(*path, "command"), message=message, hint=hint, severity="warning")


def names(scene: Scene) -> Iterator[Problem]:
    """Every name of an adapter is usable and leads to it alone; the engine must not know its base by it either."""
    owners = owners_of(scene)
    for base, model in scene.spec.models.items():
        for own, adapter in model.adapters.items():
            path: ConfigPath = ("models", base, "adapters", own)
            further = (((*path, "aliases", at), alias) for at, alias in enumerate(adapter.aliases))
            for place, name in ((path, own), *further):
                yield from name_faults(name, place)
                owner = owners.get(name) or (f'model "{base}" in its engine' if name == model.served_name else None)
                if owner is not None:
                    message = f'"{name}" already names {owner}'
                    yield Problem(path=place, message=message, hint="Choose another name.", value=name)
                owners.setdefault(name, f'adapter "{own}" of model "{base}"')


CHECKS = (engines, names)
