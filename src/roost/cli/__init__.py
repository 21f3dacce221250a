"""The command line. Each command's module is imported only when it is used, so that every command starts quickly."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from roost import __version__

COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("roost.cli.up_cmd", "up", "Start the models of a config and serve them on one port."),
    "serve": ("roost.cli.up_cmd", "serve", "Only route, to engines that run already."),
    "down": ("roost.cli.down_cmd", "down", "Stop a running roost and its engines."),
    "status": ("roost.cli.look_cmd", "status", "Who is awake, and why."),
    "load": ("roost.cli.order_cmd", "load", "Start a model."),
    "wake": ("roost.cli.order_cmd", "wake", "Wake a sleeping model."),
    "sleep": ("roost.cli.order_cmd", "sleep", "Put a model to sleep."),
    "unload": ("roost.cli.order_cmd", "unload", "Stop a model's engine, or all of them."),
    "restart": ("roost.cli.order_cmd", "restart", "Stop a model's engine and start it again."),
    "pin": ("roost.cli.order_cmd", "pin", "Keep a model from being put to sleep or evicted."),
    "unpin": ("roost.cli.order_cmd", "unpin", "Take a pin back."),
    "hold": ("roost.cli.hold_cmd", "hold", "Give a device back to its owner for a while."),
    "release": ("roost.cli.hold_cmd", "release", "Take a held device back."),
    "logs": ("roost.cli.look_cmd", "logs", "The last lines of an engine's log."),
    "plan": ("roost.cli.plan_cmd", "plan", "What roost would do: now, or with a config by a trace."),
    "replay": ("roost.cli.replay_cmd", "replay", "Where this version decides otherwise than the journal."),
    "requests": ("roost.cli.look_cmd", "requests", "Requests in flight, or the recent ones."),
    "cancel": ("roost.cli.order_cmd", "cancel", "Cut a request in flight."),
    "events": ("roost.cli.look_cmd", "events", "What happens, as it happens."),
    "config": ("roost.cli.config_cmd", "", "Check and show configurations."),
    "bench": ("roost.cli.bench_cmd", "bench", "Load a server and measure what it answers."),
    "selftest": ("roost.cli.selftest_cmd", "selftest", "Ask a live router everything that it promises."),
    "demo": ("roost.cli.demo_cmd", "demo", "Three real models on this machine's CPU, shown working."),
    "sim-engine": ("roost.cli.sim_cmd", "sim_engine", "Run a simulated engine."),
}
"""Name -> module, function in it, line for the overview."""


def load_command(name: str) -> Any:
    """The command as typer compiles it (its click types moved between versions, hence Any); imports its module."""
    module_name, function, _ = COMMANDS[name]
    module = importlib.import_module(module_name)
    if name == "config":
        from roost.control import schedule
        from roost.engines.registry import validate
        from roost.host import claims

        return typer.main.get_command(module.build_config_app(validate, schedule.validate, claims.validate))
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, context_settings=getattr(module, "CONTEXT_SETTINGS", None))(getattr(module, function))
    return typer.main.get_command(app)


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and imports them one at a time."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roost {__version__}")
        raise typer.Exit


def _make_app() -> typer.Typer:
    app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    ) -> None:
        """Many LLMs behind one OpenAI-compatible port, on fewer GPUs than they need together."""

    return app


def main(args: list[str] | None = None) -> Any:
    """The console script."""
    if sys.platform == "win32":
        sys.exit("roost runs on Linux (and on macOS with best effort). On Windows, use it inside WSL.")
    return _make_app()(args=args, prog_name="roost")
