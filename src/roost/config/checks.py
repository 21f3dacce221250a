"""What types cannot say: names that collide, models that cannot start, budgets that cannot be met, open doors.

Each check takes the effective spec and yields problems with paths of the native tree; `load` adds lines.
Never looks at the machine: whether a file or program exists is asked when an engine starts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from roost.config.addresses import address_of, is_loopback
from roost.config.tree import Node, find, given, has_broken
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec, RoostSpec, further_names, servings
from roost.core.step import NO_HEALTH_PATH
from roost.core.units import exact_duration

MAX_NAME = 200
FORBIDDEN_IN_NAMES = "?#%"
_FITS_ONE = "Let the pattern fit one file, or rename what it clashes with."


@dataclass(frozen=True, slots=True)
class Scene:
    """What is checked: the spec (without what was faulty), and what stands in the file, faulty or not."""

    spec: RoostSpec
    tree: Node
    env: Mapping[str, str]
    faulty: frozenset[ConfigPath] = frozenset()
    """What could not be read and is not in the spec, by its path in the tree."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every name under `models`, also of models that could not be read."""
        models = self.tree.child("models")
        return tuple(models.mapping) if models is not None else ()

    def given(self, path: ConfigPath) -> bool:
        """Whether something stands at the path, be it wrong or right."""
        return given(self.tree, path)

    def is_whole(self, path: ConfigPath) -> bool:
        """Whether all that stands at the path and below it could be read."""
        node, reached = find(self.tree, path)
        broken = reached == len(path) and has_broken(node)
        return not broken and not any(one[: len(path)] == path for one in self.faulty)

    def file_of(self, model: str) -> str | None:
        """The file that a model of `models_dir` was made from; None for one that is written."""
        if find(self.tree, ("models", model))[0].path[:1] != ("models_dir",):
            return None
        return (self.spec.models[model].weights or "").rpartition("/")[2]

    def has_unknown_key(self, model: str) -> bool:
        """Whether a key of the model is misspelt: then nothing is missing for sure."""
        known = {field.name for field in fields(ModelSpec)}
        return any(key not in known for key in find(self.tree, ("models", model))[0].mapping)


def names(scene: Scene) -> Iterator[Problem]:
    """Every name of a model is usable in a URL and belongs to one model only."""
    owners: dict[str, str] = dict.fromkeys(scene.model_names, "")
    for name in scene.model_names:
        yield from name_faults(name, ("models", name))
    for model, spec in scene.spec.models.items():
        own, file = {model, *spec.aliases, *spec.also_serves}, scene.file_of(model)
        further: list[tuple[str, str | int, str]] = [("aliases", *item) for item in enumerate(spec.aliases)]
        further += [("also_serves", *item) for item in enumerate(spec.also_serves)]
        further += [("set_params_by_name", name, name) for name in spec.set_params_by_name if name not in own]
        for field, part, name in further:
            path: ConfigPath = ("models", model, field, part)
            yield from name_faults(name, path)
            if name in owners:
                owner = owners[name] or f'the model "{name}" itself'
                too = "" if file is None else f"; {file} gets it, too"
                hint = "Choose another name." if file is None else _FITS_ONE
                yield Problem(path=path, message=f'"{name}" already names {owner}{too}', hint=hint, value=name)
            whose = f'model "{model}"' if file is None else f'model "{model}" ({file})'
            owners.setdefault(name, f"something else: {field} of {whose}")


def owners_of(scene: Scene) -> dict[str, str]:
    """Whom each name of a model names, adapters aside."""
    owners = {name: f'the model "{name}" itself' for name in scene.model_names}
    for model, spec in scene.spec.models.items():
        for name in further_names(model, spec):
            owners.setdefault(name, f'something else of model "{model}"')
    return owners


def name_fault(name: str) -> str:
    """Why no model can go by it, as the end of a sentence; empty if one can."""
    if not 1 <= len(name) <= MAX_NAME:
        return f"has {len(name)} characters; a name has 1 to {MAX_NAME}"
    if name == "all":
        return '"all" is reserved: commands use it for every model'
    if bad := [sign for sign in name if sign in FORBIDDEN_IN_NAMES or not sign.isprintable()]:
        return f"holds {bad[0]!r}, which cannot stand in a URL path"
    return "begins or ends with a space" if name != name.strip() else ""


def name_faults(name: str, path: ConfigPath) -> Iterator[Problem]:
    """What is wrong with a name that clients send."""
    fault = name_fault(name)
    if fault:
        yield Problem(path=path, message=f"the name {fault}", hint="Choose another name.", value=name[:60])


def sources(scene: Scene) -> Iterator[Problem]:
    """Every model has something to start or to reach, and not two things at once."""
    models = scene.tree.child("models")
    come_later = scene.given(("models_dir",)) or scene.given(("hosts",))
    none = not scene.model_names and not scene.given(("models", 0)) and not come_later
    if none and not (models is not None and models.broken):
        hint = 'Write "models:", below it a name, and below that its weights, command or url.'
        yield Problem(path=("models",), message="there is no model to serve", hint=hint)
    for name, model in scene.spec.models.items():
        path: ConfigPath = ("models", name)
        has = {field for field in ("weights", "command", "url", "port", "stop_command") if scene.given((*path, field))}
        if scene.given((*path, "inside")):
            continue  # host_checks looks at it
        if "url" in has:
            yield from _foreign(path, model, has)
        elif _all_run_already(scene, path, model) or scene.has_unknown_key(name):
            continue
        elif model.engine is EngineKind.COMMAND and "command" not in has:
            hint = "Write command: PROGRAM ARGUMENTS, or url: http://HOST:PORT for one that runs already."
            yield Problem(path=path, message="engine command needs a command", hint=hint)
        elif not has & {"weights", "command"} and model.engine is not EngineKind.SIMULATED:
            hint = "Write weights: FILE or hub id, or command: PROGRAM, or url: http://HOST:PORT."
            yield Problem(path=path, message="has nothing to serve: no weights, command or url", hint=hint)


def _all_run_already(scene: Scene, path: ConfigPath, model: ModelSpec) -> bool:
    """Whether each replica has an address of its own; also where the list is there but could not be read."""
    if not model.replicas:
        return scene.given((*path, "replicas", 0))
    return all(own.url for own in model.replicas)


def _foreign(path: ConfigPath, model: ModelSpec, has: set[str]) -> Iterator[Problem]:
    for field in sorted(has - {"url"}):
        hint = f"Remove url or {field}; write {field}: null in the model if it comes from defaults."
        yield Problem(
            path=(*path, field), message=f"url and {field} exclude each other: roost never starts a url", hint=hint
        )
    if model.url is not None:
        yield from address(model.url, (*path, "url"))


def address(url: str, path: ConfigPath) -> Iterator[Problem]:
    """What is wrong with the address of an engine."""
    try:
        address_of(url)
    except ValueError as error:
        message, _, way_out = str(error).partition("; ")
        yield Problem(path=path, message=f"the address {message}", hint=f"{way_out[:1].upper()}{way_out[1:]}.")


def values(scene: Scene) -> Iterator[Problem]:
    """Values of one model that make sense together. The built-in sleep_after harms nobody and is not judged."""
    for name, model in scene.spec.models.items():
        path: ConfigPath = ("models", name)
        rests, ends, restart = model.sleep_after, model.unload_after, model.restart
        if rests is not None and ends is not None and rests >= ends and scene.given((*path, "sleep_after")):
            hint = "Make unload_after longer, or write sleep_after: never."
            rest, end = exact_duration(rests), exact_duration(ends)
            message = f"never sleeps: sleep_after ({rest}) is not below unload_after ({end})"
            yield Problem(path=(*path, "sleep_after"), message=message, hint=hint, severity="warning")
        if restart.backoff > restart.backoff_max:
            first, longest = exact_duration(restart.backoff), exact_duration(restart.backoff_max)
            message = f"backoff ({first}) is longer than backoff_max ({longest})"
            yield Problem(
                path=(*path, "restart", "backoff"), message=message, hint="Make it shorter, or backoff_max longer."
            )
        if model.health_path not in (None, NO_HEALTH_PATH) and not str(model.health_path).startswith("/"):
            message = f'"{model.health_path}" is not a path'
            hint = 'Begin it with "/", such as /health, or write none.'
            yield Problem(path=(*path, "health_path"), message=message, hint=hint)
        for index, own in enumerate(model.replicas):
            yield from _variables(own.env, (*path, "replicas", index, "env"))
        yield from _variables(model.env, (*path, "env"))


def _variables(env: Mapping[str, str], path: ConfigPath) -> Iterator[Problem]:
    for variable, value in env.items():
        if not variable or "=" in variable or "\0" in variable + value:
            message = "cannot be an environment variable"
            hint = 'Its name must not be empty or hold "="; neither may hold a NUL.'
            yield Problem(path=(*path, variable), message=message, hint=hint)


def access(scene: Scene) -> Iterator[Problem]:
    """Nobody serves the world by accident, and every key means something."""
    server = scene.spec.server
    may_be_open = server.open or scene.env.get("ROOST_ALLOW_OPEN") == "1"
    if not is_loopback(server.host) and not scene.given(("server", "keys", 0)) and not may_be_open:
        hint = "Add server.keys, or write server.open: true if the network itself is trusted."
        message = f'"{server.host}" can be reached from other machines, and no key protects it'
        yield Problem(path=("server", "host"), message=message, hint=hint, value=server.host)
    for index, origin in enumerate(server.cors_origins):
        if "://" not in origin or origin.count("/") != 2:
            message = f'"{origin}" is not a web origin'
            hint = "Write scheme, host and port without a path, such as https://chat.example.com."
            yield Problem(path=("server", "cors_origins", index), message=message, hint=hint)
    yield from _keys(scene)


def _keys(scene: Scene) -> Iterator[Problem]:
    server = scene.spec.server
    known = {*scene.model_names}
    for name, model in scene.spec.models.items():
        known.update((*further_names(name, model), *model.adapters))
        known.update(alias for adapter in model.adapters.values() for alias in adapter.aliases)
    by_name, by_key = Counter(key.name for key in server.keys), Counter(key.key for key in server.keys)
    for index, key in enumerate(server.keys):
        path: ConfigPath = ("server", "keys", index)
        if by_name[key.name] > 1:
            message = f'"{key.name}" names {by_name[key.name]} keys'
            yield Problem(path=(*path, "name"), message=message, hint="Give each key its own name.", value=key.name)
        if not key.key or key.key != key.key.strip():
            message = "the key is empty" if not key.key.strip() else "the key begins or ends with a space"
            yield Problem(path=(*path, "key"), message=message, hint="Write ${env:NAME} and set the variable.")
        elif by_key[key.key] > 1:
            message = f'the key of "{key.name}" is also that of another name'
            yield Problem(path=(*path, "key"), message=message, hint="Give each name its own key.")
        for place, glob in enumerate(key.models or ()):
            if not any(fnmatchcase(name, glob) for name in known):
                message = f'"{glob}" matches no model'
                hint = f"Models are: {', '.join(sorted(known)[:8])}." if known else ""
                yield Problem(path=(*path, "models", place), message=message, hint=hint, value=glob, severity="warning")


def ports_written(spec: RoostSpec) -> list[Problem]:
    """For `roost serve`, which starts nothing: every engine must have an address to be found at. A `Validator`."""
    problems: list[Problem] = []
    owners: dict[tuple[str, int], str] = {}
    for name, model in spec.models.items():
        for index, serving in enumerate(servings(model)):
            path: ConfigPath = ("models", name, *(("replicas", index) if model.replicas else ()))
            if serving.url is not None:
                continue
            if serving.port is None:
                message = "has no port, and serve starts nothing that could be given one"
                hint = "Write the port that the engine listens on, or its url."
                problems.append(Problem(path=path, message=message, hint=hint))
                continue
            owner = owners.setdefault((serving.host, serving.port), name)
            if owner != name:
                message = f'is at the port of "{owner}", and serve cannot tell which of them runs there'
                problems.append(Problem(path=path, message=message, hint="Give each a port of its own."))
    return problems


CHECKS = (names, sources, values, access)
