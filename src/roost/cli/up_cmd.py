"""`roost up` and `roost serve`: load a config, run it until a signal, end in order.

Owns the terminal and the signals; everything else is `app`'s.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.live import Live

from roost import logs
from roost.app import App, Options, as_router
from roost.cli import background
from roost.cli.client import read_server
from roost.cli.config_cmd import check_file, folder_of, given
from roost.cli.environment import environment_spec
from roost.cli.models_dir import folder_of_models, without
from roost.cli.render import live_view
from roost.config.checks import ports_written
from roost.config.load import Loaded, Validator, check_further
from roost.control import schedule
from roost.core.errors import RoostError
from roost.core.spec import RoostSpec
from roost.engines.registry import validate
from roost.engines.simulated import simulate
from roost.folder import Folder
from roost.host import claims
from roost.host.machine import find_machine
from roost.host.store import instance_name, state_home
from roost.host.tmux import tmux_available
from roost.logs import log

REFRESH_S = 0.5
HAND_OVER_LIMIT_S = 60.0
HAND_OVER = signal.SIGUSR1
"""Tells a roost to end and leave its engines running."""
RECENT_SHOWN = 6

ConfigArg = Annotated[Path | None, typer.Argument(help="The config file.", metavar="CONFIG")]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="The config file (same as the argument).")]
ConfigDirOpt = Annotated[
    Path | None, typer.Option("--config-dir", metavar="DIR", help="All *.yaml and *.yml of a folder as one config.")
]
StateDirOpt = Annotated[Path | None, typer.Option("--state-dir", help="This instance's directory for state and logs.")]
PlainOpt = Annotated[bool, typer.Option("--plain", help="Log lines instead of the live table.")]
LevelOpt = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
PortOpt = Annotated[int | None, typer.Option("--port", help="Port to serve on, instead of the config's.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the command line asked for."""

    config: Path | None
    """None: the environment was all there was."""
    spec: RoostSpec
    state_dir: Path
    instance: str
    plain: bool
    level: str
    auto: bool = True
    simulated: bool = False
    route_only: bool = False
    keep_engines: bool = False
    folder: Folder | None = None


def up(
    config: ConfigArg = None,
    config_option: ConfigOpt = None,
    config_dir: ConfigDirOpt = None,
    simulate_all: Annotated[
        bool, typer.Option("--simulate", help="Replace every engine by a simulated one, with a state of its own.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="In the background; returns when ready.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, although the config says detach.")] = False,
    wait: Annotated[
        bool | None, typer.Option("--wait/--no-wait", help="In the background: return when ready, or when started.")
    ] = None,
    keep_engines: Annotated[bool, typer.Option(help="Leave engines running at the end, to be adopted.")] = False,
    state_dir: StateDirOpt = None,
    port: PortOpt = None,
    plain: PlainOpt = False,
    level: LevelOpt = "info",
) -> None:
    """Start the models of a config as they are needed, and serve them on one port until Ctrl-C."""
    path = _config_path(config, config_option, config_dir)
    loaded, spec = _load(path, (schedule.validate, *(() if simulate_all else (validate, claims.validate))))
    fit = _simulated if simulate_all else _as_it_is
    spec = fit(spec)
    run = _run(path, _with_port(spec, port), state_dir, plain=plain or not sys.stdout.isatty(), level=level)
    run = replace(run, simulated=simulate_all, folder=folder_of_models(loaded, str(path), fit))
    if simulate_all and state_dir is None:
        run = _apart(run)
    _check_tmux(run.spec)
    if not foreground and (detach or spec.server.detach):
        _check_free(run)
        arguments = [word for word in sys.argv[1:] if word not in ("--detach", "-d", "--wait", "--no-wait")]
        raise typer.Exit(background.detach(run, arguments, wait=detach if wait is None else wait))
    _main(replace(run, keep_engines=keep_engines))


def serve(
    config: ConfigArg = None,
    config_option: ConfigOpt = None,
    config_dir: ConfigDirOpt = None,
    state_dir: StateDirOpt = None,
    port: PortOpt = None,
    plain: PlainOpt = False,
    level: LevelOpt = "info",
) -> None:
    """Only route: to engines that run already. Those that `roost up` started are supervised again, all others are
    looked for at the ports the config names. Nothing is started, and nothing stopped at the end.

    Without a config the environment says it all: one server that holds several models (VLLM_BASE_URL, MAX_RESIDENT,
    PORT), in which they are loaded and unloaded as requests come. `roost config environment` prints what it comes to.
    """
    if config is None and config_option is None and config_dir is None:
        _main(_run(None, _with_port(environment_spec(), port), state_dir, plain=True, level=level))
        return
    path = _config_path(config, config_option, config_dir)
    loaded, spec = _load(path, (schedule.validate,), written=(ports_written,))
    run = _run(path, _with_port(as_router(spec), port), state_dir, plain=plain or not sys.stdout.isatty(), level=level)
    run = replace(run, folder=folder_of_models(loaded, str(path), as_router))
    _take_over(run)
    _main(replace(run, route_only=True, keep_engines=True))


def _config_path(argument: Path | None, option: Path | None, folder: Path | None) -> Path:
    path = argument or option
    if path is None and folder is None:
        typer.echo("Which config? Try: roost up roost.yaml (examples/minimal.yaml shows the three lines).", err=True)
        raise typer.Exit(2)
    return Path(given(None if path is None else str(path), folder))


def _simulated(spec: RoostSpec) -> RoostSpec:
    """Planned with what the real engines would hold."""
    return simulate(claims.with_claims(spec))


def _apart(run: Run) -> Run:
    """A simulation learns nothing of the real models, and never meets their engines."""
    instance = f"{run.instance}-simulated"
    return replace(run, instance=instance, state_dir=run.state_dir.with_name(instance))


def _as_it_is(spec: RoostSpec) -> RoostSpec:
    return spec


def _load(path: Path, validators: Sequence[Validator], written: Sequence[Validator] = ()) -> tuple[Loaded, RoostSpec]:
    """`written`: validators that only the models of the configuration itself must please."""
    try:
        loaded = check_file(str(path), validators)
    except OSError as error:
        typer.echo(f"{path} cannot be read: {error.strerror}.", err=True)
        raise typer.Exit(2) from None
    loaded = check_further(loaded, [without(loaded.found, one) for one in written])
    for problem in loaded.problems:
        typer.echo(problem.render(str(path)), err=True)
    if loaded.spec is None:
        typer.echo(f"{path}: nothing was started. `roost config check {path}` says this again.", err=True)
        raise typer.Exit(2)
    return loaded, loaded.spec


def _with_port(spec: RoostSpec, port: int | None) -> RoostSpec:
    return spec if port is None else replace(spec, server=replace(spec.server, port=port))


def _run(path: Path | None, spec: RoostSpec, state_dir: Path | None, *, plain: bool, level: str) -> Run:
    instance = "environment" if path is None else instance_name(spec.server.name, str(path.resolve()))
    root = state_dir or state_home(os.environ) / instance
    return Run(config=path, spec=spec, state_dir=root, instance=instance, plain=plain, level=level)


def _check_tmux(spec: RoostSpec) -> None:
    """Without tmux: an error where it is demanded, a warning where it would be used if it were there."""
    if tmux_available():
        return
    wanting = [name for name, model in spec.models.items() if model.launcher == "tmux"]
    if any(model.launcher == "auto" for model in spec.models.values()):
        typer.echo("tmux is not on the PATH: engines run as plain processes. For sessions: apt install tmux", err=True)
    if wanting:
        typer.echo(
            f"launcher: tmux of {wanting[0]!r} needs tmux, which is not on the PATH. Install it (apt install tmux), or "
            "write launcher: process.",
            err=True,
        )
        raise typer.Exit(2)


def _check_free(run: Run) -> None:
    """Say at once what the one in the background could only write to its log."""
    facts = read_server(run.state_dir)
    if facts is not None:
        typer.echo(
            f"This config is up already (pid {facts['pid']}): roost status shows it, roost down ends it.", err=True
        )
        raise typer.Exit(2)


def _take_over(run: Run) -> None:
    """A supervisor without a port gives its engines to us; one that serves keeps them, and we are refused later."""
    facts = read_server(run.state_dir)
    if facts is None or facts.get("address") is not None:
        return
    typer.echo(f"Taking over the engines of the roost that runs without a port (pid {facts['pid']}) ...")
    try:
        other = psutil.Process(int(facts["pid"]))
        other.send_signal(HAND_OVER)
        other.wait(HAND_OVER_LIMIT_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        typer.echo(f"It did not let go within {HAND_OVER_LIMIT_S:g} s; its log says why.", err=True)
        raise typer.Exit(2) from None


# in the foreground


def _main(run: Run) -> None:
    if run.config is None:
        logs.to_stdout(run.level)
    elif run.plain:
        logs.to_stderr(run.level)
    else:
        logs.to_file(run.state_dir / "logs" / "roost.log", run.level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(run))
    except (RoostError, OSError) as error:
        typer.echo(_start_error(run, error), err=True)
        raise typer.Exit(2) from None


def _start_error(run: Run, error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, RoostError):
        server = run.spec.server
        reason = error.strerror or str(error)
        return f"Cannot serve on {server.host}:{server.port}: {reason}. Set server.port or --port to another one."
    return str(error)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        log.warning("uvloop is not installed: the standard event loop serves, more slowly")
        return None
    return uvloop.new_event_loop


async def _serve(run: Run) -> None:
    app = App(
        run.spec,
        Options(
            state_dir=run.state_dir,
            instance=run.instance,
            base_dir=str(Path.cwd() if run.config is None else folder_of(run.config.resolve())),
            machine=find_machine(),
            config_path=None if run.config is None else str(run.config.resolve()),
            auto=run.auto,
            simulated=run.simulated,
            route_only=run.route_only,
            write_access_log=logs.write,
            folder=run.folder,
        ),
    )
    await app.start()
    signals = _Signals(app)
    if run.plain:
        await signals.ended.wait()
    else:
        await _show(app, run, signals.ended)
    log.info("shutting down; a second Ctrl-C cuts running answers")
    await app.stop(keep_engines=run.keep_engines or signals.hand_over)


class _Signals:
    """First signal: end in order; second: cut answers; third: kill the engines. HAND_OVER: end, engines run on."""

    def __init__(self, app: App) -> None:
        self.ended = asyncio.Event()
        self.hand_over = False
        self._app = app
        self._count = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._heard)
        loop.add_signal_handler(HAND_OVER, self._give)

    def _heard(self) -> None:
        self._count += 1
        if self._count == 1:
            self.ended.set()
        elif self._count == 2:
            self._app.hurry()
        else:
            self._app.kill()

    def _give(self) -> None:
        self.hand_over = True
        self.ended.set()


async def _show(app: App, run: Run, ended: asyncio.Event) -> None:
    """The live table until the end."""
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while not ended.is_set():
            live.update(live_view(app.console.status(), app.console.recent()[:RECENT_SHOWN]), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await ended.wait()
    typer.echo(f"Shutting down. The log is {run.state_dir / 'logs' / 'roost.log'}.")
