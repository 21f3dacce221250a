"""`models_dir`: the GGUF files of a folder as models of the tree, before anything of it is checked, so that they are
checked like written ones; what is wrong with them is said at the settings they got.

Looks at no disk: which files there are is asked of `look`. Pure. Called by `load`; `host/models_dir.py` asks `grouped`.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from roost.config.checks import FORBIDDEN_IN_NAMES, MAX_NAME, Scene
from roost.config.finish import Folders
from roost.config.tree import Node, with_children
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind

Look = Callable[[str], Sequence[str]]
"""An absolute folder -> the first file of each model in it, relative to the folder. Raises OSError."""

MAX_MODELS = 2000
_SUFFIX = ".gguf"
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_ENGINES = (EngineKind.LLAMACPP.value, EngineKind.SIMULATED.value)
NOT_FROM_DEFAULTS = frozenset({"engine", "weights", "command", "url", "port", "inside", "replicas", "aliases"})
"""What `defaults` say of other models and cannot mean for a file."""
_FORBIDDEN = frozenset({"weights", "command", "url", "inside"})
"""What a file has already, or what would need none."""


@dataclass(frozen=True, slots=True)
class Put:
    """The tree with the files' models in it."""

    tree: Node
    found: Mapping[str, str] = field(default_factory=dict)
    """Name -> its first file, absolute."""
    problems: tuple[Problem, ...] = ()


def grouped(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The models among files: the first file of each -> all its files. Projectors (mmproj), hidden files, other files
    and split ones of which a part is missing are none."""
    ours = [path for path in paths if _is_weights(path)]
    models: dict[str, tuple[str, ...]] = {path: (path,) for path in ours if _PART.fullmatch(path) is None}
    parts: dict[tuple[str, int], dict[int, str]] = {}
    for path in ours:
        if (part := _PART.fullmatch(path)) is not None:
            parts.setdefault((part["stem"], int(part["count"])), {})[int(part["number"])] = path
    for (_, count), known in parts.items():
        if sorted(known) == list(range(1, count + 1)):
            models[known[1]] = tuple(known[number] for number in sorted(known))
    return models


def _is_weights(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    hidden = any(part.startswith(".") for part in path.split("/"))
    return name.endswith(_SUFFIX) and name != _SUFFIX and "mmproj" not in name and not hidden


def put_in(root: Node, folders: Folders, look: Look | None) -> Put:
    """The models of the folder beside the written ones. Without `look` nobody is asked."""
    section = root.mapping.get("models_dir")
    path = section.mapping.get("path") if section is not None else None
    if section is None or path is None or not path.text or path.broken or look is None:
        return Put(root)
    folder = folders.absolute(path.text)
    try:
        files = look(folder)
    except OSError as error:
        message = f"{folder} cannot be read: {(error.strerror or str(error)).lower()}"
        hint = "Make the folder, or write the path of another one."
        return Put(root, problems=(Problem(path=path.path, message=message, hint=hint, line=path.line),))
    models = root.mapping.get("models") or Node({}, ("models",), section.line)
    if not isinstance(models.value, Mapping | None) or models.broken:
        return Put(root)
    named, problems = _named(files[:MAX_MODELS], _taken(models), section)
    found = {name: posixpath.join(folder, file) for name, file in named.items()}
    nodes = {name: _model(section, path, name, file) for name, file in found.items()}
    tree = with_children(root, {**root.mapping, "models": with_children(models, {**models.mapping, **nodes})})
    if not files:
        problems.append(_at(path, f"no GGUF file rests in {folder} yet", "Files that come are noticed."))
    if len(files) > MAX_MODELS:
        problems.append(_at(path, f"{folder} has {len(files)} models, of which {MAX_MODELS} are served"))
    return Put(tree if nodes else root, found, tuple(problems))


def _at(path: Node, message: str, hint: str = "") -> Problem:
    return Problem(path=path.path, message=message, hint=hint, line=path.line, severity="warning")


def _taken(models: Node) -> set[str]:
    """Every name that a written model answers to."""
    names = set(models.mapping)
    for model in models.mapping.values():
        for key in ("aliases", "also_serves"):
            node = model.mapping.get(key)
            names.update(item.text for item in (node.items if node is not None else ()))
        for key in ("set_params_by_name", "adapters"):
            node = model.mapping.get(key)
            names.update(node.mapping if node is not None else ())
    return names


def _named(files: Iterable[str], taken: set[str], section: Node) -> tuple[dict[str, str], list[Problem]]:
    """Each file under its own name; of several with one name the first by depth and path has it, and the others are
    called by their folder as well. Written names win without a word."""
    before = section.mapping.get("prefix")
    prefix = before.text if before is not None and isinstance(before.value, str) else ""
    names: dict[str, str] = {}
    problems = []
    for file in sorted(files, key=lambda one: (one.count("/"), one)):
        whole = _bare(file)
        short = valid_name(prefix + whole.rpartition("/")[2])
        name = valid_name(prefix + whole) if short in names else short
        if name in names:
            message = f'{file} is not served: "{name}" already names {names[name]}'
            problems.append(_at(section, message, "Rename one of the files."))
        elif name not in taken:
            names[name] = file
    return dict(sorted(names.items())), problems


def _bare(file: str) -> str:
    """Without its ending and, of a split file, its number."""
    part = _PART.fullmatch(file)
    return part["stem"] if part is not None else file[: -len(_SUFFIX)]


def valid_name(text: str) -> str:
    """The text as a model's name: what cannot stand in one becomes a dash."""
    kept = "".join("-" if sign in FORBIDDEN_IN_NAMES or not sign.isprintable() else sign for sign in text)
    name = kept[:MAX_NAME].strip().strip("/") or "model"
    return f"{name}.gguf" if name == "all" else name


def _model(section: Node, path: Node, name: str, file: str) -> Node:
    """The settings of the first pattern that fits, with the file as weights."""
    patterns = section.mapping.get("settings")
    every = patterns.mapping if patterns is not None else {}
    called = (name, name.rpartition("/")[2])  # what stands before a slash is the prefix's or a folder's
    fitting = (node for pattern, node in every.items() if any(fnmatchcase(one, pattern) for one in called))
    settings = next(fitting, replace(path, value={}))
    kept = {key: node for key, node in settings.mapping.items() if key not in _FORBIDDEN}
    kept["weights"] = replace(path, value=file, text=file, source="", secret=False)
    engine = kept.get("engine")
    if engine is None or engine.text not in _ENGINES:
        kept["engine"] = replace(path, value=_ENGINES[0], text=_ENGINES[0], source="", secret=False)
    return replace(settings, value=kept)


def settings(scene: Scene) -> Iterator[Problem]:
    """Settings that could not be those of a file. What `defaults` say has been left out where it does not fit."""
    section = scene.tree.mapping.get("models_dir")
    patterns = section.mapping.get("settings") if section is not None else None
    for pattern, node in (patterns.mapping if patterns is not None else {}).items():
        path: ConfigPath = ("models_dir", "settings", pattern)
        for key in sorted(_FORBIDDEN & {*node.mapping}):
            message = f"the models of models_dir are served from their files, and {key} says otherwise"
            hint = f"Remove {key}, or write the model under models."
            yield Problem(path=(*path, key), message=message, hint=hint)
        engine = node.mapping.get("engine")
        if engine is not None and engine.value is not None and engine.text not in _ENGINES:
            message = f"models_dir serves GGUF files by llama.cpp, not by {engine.text}"
            hint = "Remove engine, or write the model under models."
            yield Problem(path=(*path, "engine"), message=message, hint=hint)


CHECKS = (settings,)
