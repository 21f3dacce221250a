"""Orders to a running roost: load, wake, sleep, unload, restart, pin, unpin, cancel."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Event, Thread
from typing import Annotated, Any
from urllib.parse import quote

import typer

from roost.cli.client import Api, InstanceOpt, KeyOpt, StateOpt, UrlOpt, connect, fail
from roost.cli.durations import seconds
from roost.core.units import format_duration

ModelArg = Annotated[str, typer.Argument(help="The model's name or alias.")]


def wait_for(text: str) -> float:
    """Seconds of a wait that the API takes; typer's error for anything else."""
    value = seconds(text)
    if value > MOST_S:
        raise typer.BadParameter(f"{text!r} is longer than {format_duration(MOST_S)}, the longest wait")
    return value


_WAIT_HELP = "How long to wait for it: 30s, 2m; 10m if left out; 0 returns at once."
WaitOpt = Annotated[float, typer.Option("--wait", parser=wait_for, help=_WAIT_HELP, show_default=False)]
NoWaitOpt = Annotated[bool, typer.Option("--no-wait", help="Return at once, as --wait 0 does.")]
ForceOpt = Annotated[bool, typer.Option("--force", help="Do not wait for running requests.")]
WAIT_S, MOST_S = 600.0, 1200.0
SILENT_S = 3.0
"""Who still waits after this is told for what, once, as soon as that is known."""


def order(api: Api, model: str, action: str, **body: Any) -> None:
    """Send an order for one model and say what came of it."""
    path = f"/api/v1/models/{quote(model)}"
    with _told_why(api, path, float(body.get("wait") or 0.0)):
        _send(api, f"{path}/{action}", body)


@contextmanager
def _told_why(api: Api, path: str, wait_s: float) -> Iterator[None]:
    """Meanwhile say on stderr what the order for the model waits for."""
    over = Event()

    def tell() -> None:
        while not over.wait(SILENT_S):
            why = api.look(path).get("blocked")
            if why and not over.is_set():
                typer.echo(f"{why} Waiting up to {format_duration(wait_s)}; Ctrl-C ends the wait only.", err=True)
                return

    if wait_s > SILENT_S:
        Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _send(api: Api, path: str, body: dict[str, Any]) -> None:
    """Ends the program with status 1 if the order was refused, or was waited for in vain."""
    status, answer = api.send("POST", path, body)
    message = str(answer.get("message") or f"The server answered {status}.")
    if status >= 400 or (status == HTTPStatus.ACCEPTED and body.get("wait")):
        fail(message, 1)
    typer.echo(message)


def load(
    model: ModelArg,
    wait: WaitOpt = WAIT_S,
    no_wait: NoWaitOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Start a model, or wake it if it sleeps."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "load", wait=0.0 if no_wait else wait)


def wake(
    model: ModelArg,
    wait: WaitOpt = WAIT_S,
    no_wait: NoWaitOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Wake a sleeping model (and start one that is not loaded)."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "wake", wait=0.0 if no_wait else wait)


def sleep(
    model: ModelArg,
    level: Annotated[int | None, typer.Option(help="1 keeps the weights in host memory, 2 keeps nothing.")] = None,
    wait: WaitOpt = WAIT_S,
    no_wait: NoWaitOpt = False,
    force: ForceOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Put a model to sleep, once its running requests have ended."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "sleep", wait=0.0 if no_wait else wait, force=force, level=level)


def unload(
    model: Annotated[str | None, typer.Argument(help="The model's name or alias.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models.")] = False,
    wait: WaitOpt = WAIT_S,
    no_wait: NoWaitOpt = False,
    force: ForceOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Stop a model's engine, once its running requests have ended."""
    if (model is None) != everything:
        fail("Name one model, or say --all.", 2)
    with connect(instance, state_dir, url, api_key) as api:
        if model is not None:
            order(api, model, "unload", wait=0.0 if no_wait else wait, force=force)
        else:
            _send(api, "/api/v1/unload-all", {"wait": 0.0 if no_wait else wait, "force": force})


def restart(
    model: ModelArg,
    wait: WaitOpt = WAIT_S,
    no_wait: NoWaitOpt = False,
    force: ForceOpt = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Stop a model's engine and start it again; new requests wait meanwhile."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "restart", wait=0.0 if no_wait else wait, force=force)


def pin(
    model: ModelArg,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Keep a model from being put to sleep, unloaded or evicted, until roost ends or `unpin`."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "pin")


def unpin(
    model: ModelArg,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Take a pin back."""
    with connect(instance, state_dir, url, api_key) as api:
        order(api, model, "unpin")


def cancel(
    request_id: Annotated[str, typer.Argument(help="As `roost requests` shows it.")],
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Cut a request in flight."""
    with connect(instance, state_dir, url, api_key) as api:
        status, answer = api.send("DELETE", f"/api/v1/requests/{quote(request_id, safe='')}")
        if status >= 400:
            fail(str(answer["message"]), 1)
        typer.echo(f"Cancelled {request_id}.")
