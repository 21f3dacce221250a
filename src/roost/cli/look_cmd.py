"""Looking at a running roost: status, logs, requests, events. Changes nothing."""

import json
import threading
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from roost.cli.client import InstanceOpt, KeyOpt, StateOpt, UrlOpt, connect
from roost.cli.render import requests_table, status_table
from roost.cli.render_steps import model_view, sequence_line

JsonOpt = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
WATCH_S = 1.0


def status(
    model: Annotated[
        str | None, typer.Argument(help="Only this model, with its last sleeps and wakes step by step.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    as_json: JsonOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Who is awake, who sleeps, who waits, and why."""
    with connect(instance, state_dir, url, api_key) as api:

        def look() -> tuple[dict[str, Any], RenderableType]:
            if model is None:
                facts = api.get("/api/v1/status", has="models")
                return facts, status_table(facts)
            facts = api.get(f"/api/v1/models/{quote(model)}", has="sequences")
            return facts, model_view(facts)

        facts, shown = look()
        if as_json:
            typer.echo(json.dumps(facts, indent=1))
        elif not watch:
            Console().print(shown)
        else:
            _refreshed(shown, lambda: look()[1])


def _refreshed(shown: RenderableType, look: Callable[[], RenderableType]) -> None:
    with Live(shown, console=Console(), auto_refresh=False) as live:
        try:
            while not threading.Event().wait(WATCH_S):
                live.update(look(), refresh=True)
        except KeyboardInterrupt:
            return


def logs(
    model: Annotated[str, typer.Argument(help="The model's name or alias.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=1, max=10_000)] = 50,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """What the model's engine printed."""
    with connect(instance, state_dir, url, api_key) as api:
        try:
            for line in api.lines(f"/api/v1/models/{quote(model)}/logs", lines=lines, follow=int(follow)):
                typer.echo(line)
        except KeyboardInterrupt:
            return


def requests(
    recent: Annotated[bool, typer.Option("--recent", help="The last settled ones instead.")] = False,
    as_json: JsonOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Requests in flight, or the recent ones."""
    with connect(instance, state_dir, url, api_key) as api:
        rows = api.get("/api/v1/requests/recent" if recent else "/api/v1/requests", has="requests")["requests"]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif rows:
        table: Table = requests_table(rows)
        Console().print(table)
    else:
        typer.echo("None.")


def events(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """What happens, as it happens, one line each, until Ctrl-C."""
    with connect(instance, state_dir, url, api_key) as api:
        try:
            for line in api.lines("/api/v1/events"):
                if line.startswith("data:"):
                    typer.echo(line[5:].strip() if as_json else _event_line(json.loads(line[5:])))
        except KeyboardInterrupt:
            return


def _event_line(event: dict[str, Any]) -> str:
    match event.get("type"):
        case "state":
            return f"{event['replica']}: {event['before']} -> {event['after']} ({event['reason']})"
        case "sequence":
            return f"{event['replica']}: {sequence_line(event)}"
        case "plan":
            parts = [f"{action['action']} {action['replica']}: {action['reason']}" for action in event["actions"]]
            parts += [f"blocked {blocked['model']}: {blocked['sentence']}" for blocked in event["blocked"]]
            return "plan: " + "; ".join(parts)
        case "order":
            return f"{event['by']} asked for {event['model']} to be {event['goal']}: {event['message']}"
        case _:
            return json.dumps(event)
