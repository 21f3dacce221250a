"""`roost config`: check a configuration, show what it comes to, print its schema and its reference page.

Reads files, the environment and the home folder and hands them to `roost.config` as values. Starts nothing.
The command's root adds the group made by `build_config_app`, with the validators of other rooms.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NoReturn

import typer

from roost.config.convert import Conversion, convert
from roost.config.dump import Style, effective_yaml
from roost.config.load import Loaded, Validator, check_further, load, load_files
from roost.config.reference import reference_markdown
from roost.config.schema import json_schema
from roost.config.yamltext import MAX_CHARS
from roost.core.problems import Problem
from roost.core.spec import RoostSpec
from roost.core.units import exact_duration
from roost.engines.registry import adapter_for
from roost.host.models_dir import resting

_BROKEN = 2

FileArgument = Annotated[
    str | None, typer.Argument(metavar="FILE", help="The configuration; - reads standard input.", show_default=False)
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--config-dir", metavar="DIR", help="All *.yaml and *.yml of a folder as one configuration."),
]
MAX_FILES = 1000
_SUFFIXES = (".yaml", ".yml")


def check_text(
    text: str,
    *,
    file: str,
    base_dir: Path,
    validators: Iterable[Validator] = (),
    env: Mapping[str, str] = MappingProxyType({}),
) -> Loaded:
    """Load a configuration with this process's environment (and `env` over it) and home, then ask the validators."""
    home = str(Path("~").expanduser())
    loaded = load(
        text, file=file, env={**os.environ, **env}, home=home, base_dir=str(base_dir.absolute()), look=resting
    )
    return check_further(loaded, validators)


def check_file(file: str, validators: Iterable[Validator] = ()) -> Loaded:
    """The same for a file, a folder of files or, for `-`, standard input. Raises OSError where it cannot be read."""
    if file != "-" and Path(file).is_dir():
        return _check_folder(Path(file), validators)
    text = _text_of(file)
    if isinstance(text, Problem):
        return Loaded(None, (text,))
    return check_text(text, file=named(file), base_dir=_folder(file), validators=validators)


def _check_folder(folder: Path, validators: Iterable[Validator]) -> Loaded:
    """All its `*.yaml` and `*.yml` as one configuration."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    if len(files) > MAX_FILES:
        message = f"has {len(files)} files of configuration; at most {MAX_FILES} are read"
        return Loaded(None, (Problem(path=(), message=message, hint="Put several into one."),))
    if not files:
        message, hint = "has no file of configuration", "Put files that end in .yaml or .yml into it."
        return Loaded(None, (Problem(path=(), message=message, hint=hint),))
    texts = {str(path): _text_of(str(path)) for path in files}
    wrong = tuple(replace(text, file=name) for name, text in texts.items() if isinstance(text, Problem))
    if wrong:
        return Loaded(None, wrong)
    known = {name: text for name, text in texts.items() if isinstance(text, str)}
    home, base_dir = str(Path("~").expanduser()), str(folder.absolute())
    return check_further(load_files(known, env=os.environ, home=home, base_dir=base_dir, look=resting), validators)


def _text_of(file: str) -> str | Problem:
    if file == "-":
        raw = sys.stdin.buffer.read(4 * MAX_CHARS + 1)
    else:
        with Path(file).open("rb") as stream:
            raw = stream.read(4 * MAX_CHARS + 1)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Problem(path=(), message="is not UTF-8 text", hint="Save it as UTF-8.", line=line)


def _folder(file: str) -> Path:
    """Where the file's relative paths start."""
    return Path.cwd() if file == "-" else folder_of(Path(file).absolute())


def folder_of(path: Path) -> Path:
    """The folder of a file, or the folder of files itself."""
    return path if path.is_dir() else path.parent


def named(file: str) -> str:
    """What messages call the file."""
    return "standard input" if file == "-" else file


def build_config_app(*validators: Validator) -> typer.Typer:
    """The command group; `validators` are further checks of a whole spec, such as the engines' own."""
    app = typer.Typer(no_args_is_help=True, help="Check and show configurations.")

    @app.command()
    def check(file: FileArgument = None, config_dir: FolderOption = None) -> None:
        """List every problem with its line; exit status 0 or 2."""
        file = given(file, config_dir)
        loaded = _loaded(file, validators)
        if loaded.spec is None:
            typer.echo(_counted(file, loaded.problems), err=True)
            raise typer.Exit(_BROKEN)
        form = "" if loaded.dialect == "native" else f" in the {loaded.dialect} dialect"
        names = ", ".join(list(loaded.spec.models)[:8]) + (", ..." if len(loaded.spec.models) > 8 else "")
        warned = f" ({_plural(len(loaded.problems), 'warning')})" if loaded.problems else ""
        found = f" ({len(loaded.found)} of models_dir)" if loaded.found else ""
        typer.echo(f"{named(file)}: fine{form}{warned}; {_plural(len(loaded.spec.models), 'model')}{found}: {names}")
        for line in idle_lines(loaded.spec) if loaded.dialect == "llama_swap" else ():
            typer.echo(line)

    @app.command()
    def show(
        file: FileArgument = None,
        config_dir: FolderOption = None,
        everything: Annotated[bool, typer.Option("--all", help="Also what has its built-in default.")] = False,
    ) -> None:
        """Print the effective configuration after defaults and variables, secrets masked."""
        file = given(file, config_dir)
        loaded = _loaded(file, validators)
        if loaded.spec is None:
            typer.echo(_counted(file, loaded.problems), err=True)
            raise typer.Exit(_BROKEN)
        typer.echo(effective_yaml(loaded.spec, Style(full=everything, hide=loaded.secrets)), nl=False)

    @app.command("convert")
    def convert_(
        file: FileArgument = None,
        config_dir: FolderOption = None,
        show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Also print keys and tokens.")] = False,
    ) -> None:
        """Print the configuration in roost's own form, to be put beside the file it came from."""
        typer.echo(_native(given(file, config_dir), validators, show_secrets=show_secrets), nl=False)

    app.command()(environment)

    @app.command()
    def schema() -> None:
        """Print the JSON Schema of a configuration file."""
        typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))

    @app.command()
    def reference() -> None:
        """Print the reference page as Markdown."""
        typer.echo(reference_markdown(), nl=False)

    return app


def environment() -> None:
    """Print the configuration that `roost serve` without a file has from the environment alone."""
    from roost.cli.environment import environment_text

    typer.echo(environment_text(), nl=False)


def given(file: str | None, folder: Path | None) -> str:
    """The file or the folder that the command line names; one of them, or it ends here."""
    if (file is None) == (folder is None):
        _refuse("Which configuration? Name one file, or one folder of files with --config-dir.")
    if folder is not None and not folder.is_dir():
        _refuse(f"{folder}: is not a folder. A single file is named without --config-dir.")
    return str(folder) if folder is not None else str(file)


def idle_lines(spec: RoostSpec) -> Iterator[str]:
    """What becomes of each model when it is idle: a form that has one time for sleep and stop does not show which."""
    width = max((len(name) for name in spec.models), default=0)
    for name, model in spec.models.items():
        sleeps = model.sleep_after if adapter_for(model).sleep_levels(model) and model.can_sleep else None
        does = [f"sleeps after {exact_duration(sleeps)} idle"] if sleeps is not None else []
        if model.unload_after is not None:
            does.append(f"is stopped after {exact_duration(model.unload_after)} idle")
        text = "runs elsewhere" if model.url is not None else ", ".join(does) or "stays until its place is needed"
        yield f"  {name:{width}}  {text}"


config_app = build_config_app()
"""The group without further validators."""


def _loaded(file: str, validators: Iterable[Validator]) -> Loaded:
    """Load and print every problem to stderr."""
    try:
        loaded = check_file(file, validators)
    except OSError as error:
        _refuse(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}")
    for problem in loaded.problems:
        typer.echo(problem.render(named(file)), err=True)
    return loaded


def _native(file: str, validators: Iterable[Validator], *, show_secrets: bool) -> str:
    """The file in the native form; says on stderr which secrets it leaves out. Refuses what would mean another."""
    loaded = _loaded(file, validators)
    if loaded.spec is None or loaded.written is None:
        _refuse(_counted(file, loaded.problems))
    made = convert(loaded.written, show_secrets=show_secrets)
    if not _means_the_same(made, loaded, file):
        _refuse(f"{named(file)}: the native form without its secrets would not mean the same; add --show-secrets")
    for left in made.left_out:
        place = ".".join(str(part) for part in left.path)
        typer.echo(f"{named(file)}: {place} is a secret and not printed: set {left.variable} to it", err=True)
    return made.text


def _means_the_same(made: Conversion, loaded: Loaded, file: str) -> bool:
    """Whether the text, read with its variables set, gives the very same spec."""
    env = {left.variable: left.value for left in made.left_out}
    again = check_text(made.text, file=named(file), base_dir=_folder(file), env=env)
    return again.spec == loaded.spec


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(_BROKEN)


def _counted(file: str, problems: tuple[Problem, ...]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    return f"{named(file)}: {_plural(errors, 'error')}" + (f", {_plural(warnings, 'warning')}" if warnings else "")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
