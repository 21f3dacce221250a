"""A valid spec to the effective one: engine decided, command lines split into words, paths absolute.

Pure text work on paths, nothing is looked up on disk. After it no reader needs `defaults`, `macros`, the home folder
or the config's own folder. Called by `load`.
"""

import posixpath
import re
import shlex
from dataclasses import dataclass, replace

from roost.config.hosts import in_its_host
from roost.config.parallel import devices_taken
from roost.core.hosted_spec import AdapterSpec
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec, RoostSpec

_SHELL_PIECE = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|(\\\r?\n)|\\.""", re.S)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where relative paths start: the config file's folder, and the user's home. Both absolute."""

    base: str
    home: str

    def absolute(self, path: str) -> str:
        """`path` from the base folder, with `~` replaced and dots resolved by name alone."""
        return posixpath.normpath(posixpath.join(self.base, self.expanded(path)))

    def expanded(self, word: str) -> str:
        """A leading `~/` replaced as a shell would."""
        return posixpath.join(self.home, word[2:]) if word.startswith("~/") else self.home if word == "~" else word


@dataclass(frozen=True, slots=True)
class Finished:
    """The effective spec; `sources` tells for each word of a model's args which entry of the file it came from."""

    spec: RoostSpec
    problems: tuple[Problem, ...]
    sources: dict[ConfigPath, ConfigPath]


def finish(spec: RoostSpec, folders: Folders) -> Finished:
    """Every model made effective; `defaults` and `macros` are empty afterwards, for they are used up."""
    problems: list[Problem] = []
    sources: dict[ConfigPath, ConfigPath] = {}
    models: dict[str, ModelSpec] = {}
    for name, model in spec.models.items():
        worker = _Worker(("models", name), folders, problems)
        args = worker.split_args(model.args, sources)
        finished = in_its_host(worker.finished(replace(model, args=args)), spec.hosts)
        if finished.engine is EngineKind.LLAMACPP and not spec.policy.auto_sleep:
            finished = replace(finished, sleep_after=None)  # it sleeps by itself if it is given a time
        if finished.device_count is None:
            finished = replace(finished, device_count=devices_taken(finished))
        models[name] = finished
    folder = spec.models_dir
    if folder is not None:
        folder = replace(folder, path=folders.absolute(folder.path))
    done = replace(spec, models=models, models_dir=folder, defaults=ModelSpec(), macros={})
    return Finished(done, tuple(problems), sources)


def infer_engine(model: ModelSpec) -> EngineKind:
    """The engine of a model that names none, as `ModelSpec.engine` says."""
    if model.inside is not None:
        return EngineKind.COMMAND
    if model.engine is not None:
        return model.engine
    runs_elsewhere = model.weights is None and bool(model.replicas) and all(own.url for own in model.replicas)
    if model.command is not None or model.url is not None or runs_elsewhere:
        return EngineKind.COMMAND
    is_gguf = model.weights is not None and model.weights.lower().endswith(".gguf")
    return EngineKind.LLAMACPP if is_gguf else EngineKind.VLLM


def split_words(text: str) -> list[str]:
    """Words as a shell would split them, a backslash at a line's end joining two lines. Raises ValueError."""
    return shlex.split(_SHELL_PIECE.sub(lambda found: " " if found[1] else found[0], text))


def split_fault(path: ConfigPath, error: ValueError) -> Problem:
    """What `split_words` could not take, in a sentence."""
    fault = "a quote is not closed" if "quotation" in str(error) else "a backslash stands at its end"
    hint = "Close it, or put a backslash before a quote or backslash that is meant as text."
    return Problem(path=path, message=f"cannot be split into words: {fault}", hint=hint)


def looks_like_path(weights: str) -> bool:
    """Whether weights name a file or folder and not a model on a hub."""
    return (
        weights.startswith(("./", "../", "~/", "/")) or weights.lower().endswith(".gguf") or weights in (".", "..", "~")
    )


@dataclass(frozen=True, slots=True)
class _Worker:
    """One model's path, the folders, and where its problems go."""

    path: ConfigPath
    folders: Folders
    problems: list[Problem]

    def finished(self, model: ModelSpec) -> ModelSpec:
        is_path = model.weights is not None and looks_like_path(model.weights)
        return replace(
            model,
            engine=infer_engine(model),
            weights=self.folders.absolute(model.weights) if model.weights and is_path else model.weights,
            venv=self.folders.absolute(model.venv) if model.venv else None,
            cwd=self.folders.absolute(model.cwd or ".") if model.url is None or model.cwd else None,
            command=self._command(model.command, "command"),
            stop_command=self._command(model.stop_command, "stop_command"),
            adapters={name: self._adapter(adapter) for name, adapter in model.adapters.items()},
        )

    def _adapter(self, adapter: AdapterSpec) -> AdapterSpec:
        return replace(adapter, path=self.folders.absolute(adapter.path)) if looks_like_path(adapter.path) else adapter

    def split_args(self, args: tuple[str, ...], sources: dict[ConfigPath, ConfigPath]) -> tuple[str, ...]:
        words: list[str] = []
        for index, entry in enumerate(args):
            path = (*self.path, "args", index)
            for word in self._words(entry, path):
                sources[(*self.path, "args", len(words))] = path
                words.append(word)
        return tuple(words)

    def _command(self, command: str | tuple[str, ...] | None, field: str) -> tuple[str, ...] | None:
        if command is None:
            return None
        path = (*self.path, field)
        words = self._words(command, path) if isinstance(command, str) else self._checked(list(command), path)
        if not words:
            self.problems.append(Problem(path=path, message="is empty", hint="Write the program to run first."))
        return tuple(words)

    def _words(self, text: str, path: ConfigPath) -> list[str]:
        try:
            words = split_words(text)
        except ValueError as error:
            self.problems.append(split_fault(path, error))
            return []
        return self._checked(words, path)

    def _checked(self, words: list[str], path: ConfigPath) -> list[str]:
        if any("\0" in word for word in words):
            self.problems.append(
                Problem(path=path, message="holds a NUL character", hint="No program can be given one.")
            )
        return [self.folders.expanded(word) for word in words]
