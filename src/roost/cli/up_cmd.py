"""`roost up` and `roost serve`: load a config, run it until a signal, end in order.

Owns the terminal and the signals; everything else is `app`'s.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.live import Live

from roost import clock, logs
from roost.app import App, Options, as_router
from roost.cli.config_cmd import check_file
from roost.cli.render import live_view, status_table
from roost.config.checks import ports_written
from roost.config.load import Validator
from roost.core.errors import RoostError
from roost.core.spec import RoostSpec
from roost.engines.registry import validate
from roost.engines.simulated import simulate
from roost.host.machine import find_machine
from roost.host.store import instance_name, state_home
from roost.logs import log

REFRESH_S = 0.5
DETACH_LIMIT_S = 1260.0  # the default start_timeout, and a minute
RECENT_SHOWN = 6

ConfigArg = Annotated[Path | None, typer.Argument(help="The config file.", metavar="CONFIG")]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="The config file (same as the argument).")]
StateDirOpt = Annotated[Path | None, typer.Option("--state-dir", help="This instance's directory for state and logs.")]
PlainOpt = Annotated[bool, typer.Option("--plain", help="Log lines instead of the live table.")]
LevelOpt = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
PortOpt = Annotated[int | None, typer.Option("--port", help="Port to serve on, instead of the config's.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the command line asked for."""

    config: Path
    spec: RoostSpec
    state_dir: Path
    instance: str
    plain: bool
    level: str
    auto: bool = True
    keep_engines: bool = False


def up(
    config: ConfigArg = None,
    config_option: ConfigOpt = None,
    simulate_all: Annotated[bool, typer.Option("--simulate", help="Replace every engine by a simulated one.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="In the background; returns when ready.")] = False,
    keep_engines: Annotated[bool, typer.Option(help="Leave engines running at the end, to be adopted.")] = False,
    state_dir: StateDirOpt = None,
    port: PortOpt = None,
    plain: PlainOpt = False,
    level: LevelOpt = "info",
) -> None:
    """Start the models of a config as they are needed, and serve them on one port until Ctrl-C."""
    path = _config_path(config, config_option)
    spec = _load(path, (validate,) if not simulate_all else ())
    spec = simulate(spec) if simulate_all else spec
    run = _run(path, _with_port(spec, port), state_dir, plain=plain or not sys.stdout.isatty(), level=level)
    if detach:
        raise typer.Exit(_detach(run, [a for a in sys.argv[1:] if a not in ("--detach", "-d")]))
    _main(_replace(run, keep_engines=keep_engines))


def serve(
    config: ConfigArg = None,
    config_option: ConfigOpt = None,
    state_dir: StateDirOpt = None,
    port: PortOpt = None,
    plain: PlainOpt = False,
    level: LevelOpt = "info",
) -> None:
    """Only route: to engines that run already at the ports the config names. Starts and stops nothing."""
    path = _config_path(config, config_option)
    spec = as_router(_load(path, (ports_written,)))
    run = _run(path, _with_port(spec, port), state_dir, plain=plain or not sys.stdout.isatty(), level=level)
    _main(run)


def _config_path(argument: Path | None, option: Path | None) -> Path:
    path = argument or option
    if path is None:
        typer.echo("Which config? Try: roost up roost.yaml (examples/minimal.yaml shows the three lines).", err=True)
        raise typer.Exit(2)
    return path


def _load(path: Path, validators: Sequence[Validator]) -> RoostSpec:
    try:
        loaded = check_file(str(path), validators)
    except OSError as error:
        typer.echo(f"{path} cannot be read: {error.strerror}.", err=True)
        raise typer.Exit(2) from None
    for problem in loaded.problems:
        typer.echo(problem.render(str(path)), err=True)
    if loaded.spec is None:
        typer.echo(f"{path}: nothing was started. `roost config check {path}` says this again.", err=True)
        raise typer.Exit(2)
    return loaded.spec


def _with_port(spec: RoostSpec, port: int | None) -> RoostSpec:
    return spec if port is None else _replace(spec, server=_replace(spec.server, port=port))


def _replace(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


def _run(path: Path, spec: RoostSpec, state_dir: Path | None, *, plain: bool, level: str) -> Run:
    instance = instance_name(spec.server.name, str(path.resolve()))
    root = state_dir or state_home(os.environ) / instance
    return Run(config=path, spec=spec, state_dir=root, instance=instance, plain=plain, level=level)


# in the foreground


def _main(run: Run) -> None:
    if run.plain:
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
            base_dir=str(run.config.resolve().parent),
            machine=find_machine(),
            config_path=str(run.config.resolve()),
            auto=run.auto,
            write_access_log=logs.write,
        ),
    )
    await app.start()
    ended = _watch_signals(app)
    if run.plain:
        await ended.wait()
    else:
        await _show(app, run, ended)
    log.info("shutting down; a second Ctrl-C cuts running answers")
    await app.stop(keep_engines=run.keep_engines)


def _watch_signals(app: App) -> asyncio.Event:
    """First signal: end in order; second: cut answers; third: kill the engines."""
    ended = asyncio.Event()
    count = 0

    def heard() -> None:
        nonlocal count
        count += 1
        if count == 1:
            ended.set()
        elif count == 2:
            app.hurry()
        else:
            app.kill()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard)
    return ended


async def _show(app: App, run: Run, ended: asyncio.Event) -> None:
    """The live table until the end."""
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while not ended.is_set():
            live.update(live_view(app.console.status(), app.console.recent()[:RECENT_SHOWN]), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await ended.wait()
    typer.echo(f"Shutting down. The log is {run.state_dir / 'logs' / 'roost.log'}.")


# in the background


def _detach(run: Run, arguments: Sequence[str]) -> int:
    """Start the same command in a session of its own, wait until it is ready, show the table."""
    log_path = run.state_dir / "logs" / "roost.log"
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log_path.open("a") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "roost", *arguments, "--plain"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    status = asyncio.run(_await_ready(run, child))
    if status is None:
        typer.echo(f"roost did not come up; the end of {log_path}:", err=True)
        for line in log_path.read_text().splitlines()[-12:]:
            typer.echo(f"  {line}", err=True)
        return 1
    Console().print(status_table(status))
    typer.echo(f"Running in the background (pid {child.pid}); log {log_path}. Stop it: roost down")
    return 0


async def _await_ready(run: Run, child: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
    """The status once it serves and every preloaded model is up or has failed; None if it ended or took too long."""
    from roost.cli.client import read_server

    deadline = clock.now() + DETACH_LIMIT_S
    while clock.now() < deadline and child.poll() is None:
        server = read_server(run.state_dir)
        if server is not None and server.get("pid") == child.pid:
            status = await _status(str(server["admin_socket"]))
            if status is not None and status["state"] == "serving" and _preloaded(run, status):
                return status
        await asyncio.sleep(0.1)
    return None


async def _status(socket_path: str) -> dict[str, Any] | None:
    transport = httpx.AsyncHTTPTransport(uds=socket_path)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://roost") as client:
            answer = await client.get("/api/v1/status")
            return dict(answer.json()) if answer.status_code == 200 else None
    except httpx.HTTPError:
        return None


def _preloaded(run: Run, status: dict[str, Any]) -> bool:
    wanted = {name for name, model in run.spec.models.items() if model.preload}
    settled = ("ready", "asleep", "failed")
    return all(model["state"] in settled for model in status["models"] if model["name"] in wanted)
