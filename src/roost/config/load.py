"""The one door of the room: a configuration's text in, the effective spec and every problem with its line out.

Touches nothing of the world: environment, home and the file's folder are arguments. Never raises.
Called by `app` and `cli`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from roost.config import (
    adapter_checks,
    device_checks,
    fallback_checks,
    host_checks,
    models_dir,
    replicas,
    schedule_checks,
    step_checks,
    step_order,
    step_sense,
    step_vllm,
    yamltext,
)
from roost.config.budgets import budgets
from roost.config.checks import CHECKS, Scene
from roost.config.coexist_checks import coexistence
from roost.config.dialects import dialect_of
from roost.config.finish import Finished, Folders, finish
from roost.config.masking import is_secret_path
from roost.config.merge import File, Merged, at_home, merge
from roost.config.models_dir import Look, put_in
from roost.config.tree import Node, lines, placed, secrets, sources
from roost.config.validate import validate
from roost.core.problems import ConfigPath, Problem, has_errors
from roost.core.spec import RoostSpec

MAX_PROBLEMS = 200
_CHECKS = (
    *CHECKS,
    *replicas.CHECKS,
    *models_dir.CHECKS,
    *host_checks.CHECKS,
    *adapter_checks.CHECKS,
    *device_checks.CHECKS,
    *step_checks.CHECKS,
    *step_order.CHECKS,
    *step_sense.CHECKS,
    *step_vllm.CHECKS,
    *fallback_checks.CHECKS,
    *schedule_checks.CHECKS,
    budgets,
    coexistence,
)

Validator = Callable[[RoostSpec], Sequence[Problem]]
"""A further check of a whole spec, such as the engines' own; paths are those of the spec."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a configuration. `spec` is None as soon as one problem is an error.

    In `spec`, defaults, macros and variables are used up: each model is complete, its engine decided, its paths
    absolute, its `args` and commands split into words. `lines` gives the line of each value by its path in `spec`.
    """

    spec: RoostSpec | None
    problems: tuple[Problem, ...] = ()
    lines: Mapping[ConfigPath, int] = field(default_factory=dict)
    secrets: frozenset[ConfigPath] = frozenset()
    """Paths in `spec` whose value came from a secret variable, besides those whose name tells."""
    dialect: str = "native"
    """The form of file that it was."""
    written: "Written | None" = None
    """The same before it was made effective: what `convert` starts from."""
    files: tuple[File, ...] = ()
    """Where it has several files: which lines of `lines` belong to which."""
    found: Mapping[str, str] = field(default_factory=dict)
    """Those of `spec.models` that stand in no file of the configuration: name -> their file in `models_dir`."""
    again: "Callable[[Look], Loaded] | None" = field(default=None, compare=False, repr=False)
    """The same configuration with another look at `models_dir`; nothing of it is read anew."""


@dataclass(frozen=True, slots=True)
class Written:
    """A spec with paths and command lines as the file has them, defaults and macros put in."""

    spec: RoostSpec
    sources: Mapping[ConfigPath, str]
    """Texts that still name environment variables, by their path in `spec`."""
    secrets: frozenset[ConfigPath]
    """As in `Loaded`, for this spec."""


def load(text: str, *, file: str, env: Mapping[str, str], home: str, base_dir: str, look: Look | None = None) -> Loaded:
    """Read a configuration. `file` is only its name in messages; `home` and `base_dir` are absolute folders; `look`
    tells which files are in `models_dir`, and without it there are none."""
    root, problems = yamltext.parse(text)
    if root is None:
        return Loaded(None, problems or (_no_mapping(file, "is empty"),))
    if not isinstance(root.value, Mapping):
        fault = "is empty" if root.value is None else "is not a mapping of keys to values"
        return Loaded(None, (*problems, _no_mapping(file, fault)))
    return _read(root, problems, World(env, Folders(base_dir, home), look))


def load_files(
    texts: Mapping[str, str], *, env: Mapping[str, str], home: str, base_dir: str, look: Look | None = None
) -> Loaded:
    """Several files of the folder `base_dir` as one configuration; each problem names its file."""
    merged = merge(texts)
    if merged.root is None:
        return Loaded(None, merged.problems or (_no_mapping(base_dir, "has only empty files"),))
    return _of_files(_read(merged.root, (), World(env, Folders(base_dir, home), look)), merged)


def _of_files(loaded: Loaded, merged: Merged) -> Loaded:
    """The same with each problem in the file that it is a problem of."""
    found = [*merged.problems, *(at_home(problem, merged.files) for problem in loaded.problems)]
    spec, again = None if has_errors(found) else loaded.spec, loaded.again
    return replace(
        loaded,
        spec=spec,
        problems=_tidy(found),
        files=merged.files,
        again=None if again is None else lambda look: _of_files(again(look), merged),
    )


@dataclass(frozen=True, slots=True)
class World:
    """What a configuration is read with."""

    env: Mapping[str, str]
    folders: Folders
    look: Look | None


def _read(root: Node, problems: Sequence[Problem], world: World) -> Loaded:
    dialect = dialect_of(root)
    tree, said = dialect.read(root, world.env)

    def judged(look: Look | None) -> Loaded:
        put = put_in(tree, world.folders, look)
        loaded = _judge(put.tree, [*problems, *said, *put.problems], world, frozenset(put.found))
        return replace(loaded, dialect=dialect.name, found=put.found, again=judged)

    return judged(world.look)


def check_further(loaded: Loaded, validators: Iterable[Validator]) -> Loaded:
    """The same with what other rooms find in the spec; their problems get lines. Without a spec nothing is asked."""
    if loaded.spec is None:
        return loaded
    validators, again = tuple(validators), loaded.again
    found = [problem for validator in validators for problem in validator(loaded.spec)]
    lined = (replace(one, line=_line(one, loaded.lines)) for one in found)
    problems = _tidy([*loaded.problems, *(at_home(one, loaded.files) for one in lined)])
    return replace(
        loaded,
        spec=None if has_errors(problems) else loaded.spec,
        problems=problems,
        again=None if again is None else lambda look: check_further(again(look), validators),
    )


def _line(problem: Problem, known: Mapping[ConfigPath, int]) -> int | None:
    """The line of the value, or of the nearest thing around it."""
    if problem.line is not None:
        return problem.line
    above = (problem.path[:length] for length in range(len(problem.path), 0, -1))
    return next((known[path] for path in above if path in known), None)


def _judge(tree: Node, problems: list[Problem], world: World, found_models: frozenset[str]) -> Loaded:
    validated = validate(tree)
    problems += validated.problems
    if validated.spec is None:
        return Loaded(None, _tidy(problems), lines(tree))
    finished = finish(validated.spec, world.folders)
    scene = Scene(finished.spec, tree, world.env, validated.faulty)
    found = [
        *finished.problems,
        *(problem for check in _CHECKS for problem in check(scene)),
    ]
    problems += (_discreet(placed(problem, tree)) for problem in found)
    tidy = _tidy(problems)
    if has_errors(tidy):
        return Loaded(None, tidy, _moved(lines(tree), finished))
    hidden = frozenset(secrets(tree))
    return Loaded(
        finished.spec,
        tidy,
        _moved(lines(tree), finished),
        frozenset(_moved(dict.fromkeys(hidden, 0), finished)),
        written=Written(_written(validated.spec, found_models), sources(tree), hidden),
    )


def _written(spec: RoostSpec, found: frozenset[str]) -> RoostSpec:
    """Without the models that stand in no file of the configuration."""
    models = {name: model for name, model in spec.models.items() if name not in found}
    return replace(spec, models=models)


def _moved(by_path: dict[ConfigPath, int], finished: Finished) -> dict[ConfigPath, int]:
    """Paths of the file's args to paths of the split ones."""
    moved = {path: number for path, number in by_path.items() if not (path[2:3] == ("args",) and len(path) == 4)}
    return moved | {path: by_path[source] for path, source in finished.sources.items() if source in by_path}


def _discreet(problem: Problem) -> Problem:
    return replace(problem, value=None) if is_secret_path(problem.path) else problem


def _no_mapping(file: str, fault: str) -> Problem:
    hint = 'The smallest one: "models:", below it "my-model:", below that "weights: ./model.gguf".'
    return Problem(path=(), message=f"{file} {fault}", hint=hint, line=1)


def _tidy(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, in the order of the file, and no more of them than anyone reads."""
    once: dict[tuple[ConfigPath, str], Problem] = {}
    for problem in problems:
        once.setdefault((problem.path, problem.message), problem)
    ordered = sorted(once.values(), key=lambda problem: (problem.file, problem.line or 0))
    if len(ordered) <= MAX_PROBLEMS:
        return tuple(ordered)
    errors = [problem for problem in ordered if problem.severity == "error"] or ordered
    more = Problem(
        path=(), message=f"{len(ordered) - MAX_PROBLEMS} more problems are not shown", severity=errors[0].severity
    )
    return (*errors[:MAX_PROBLEMS], more)
