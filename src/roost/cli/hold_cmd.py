"""Giving a device back to its owner for a while, and taking it back: hold, release."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from roost.cli.client import Api, InstanceOpt, KeyOpt, StateOpt, UrlOpt, connect, fail
from roost.core.units import format_size

DeviceArg = Annotated[str, typer.Argument(help="As `roost status` shows it: gpu0, host.", metavar="DEVICE")]
MaybeDeviceArg = Annotated[
    str | None, typer.Argument(help="As `roost status` shows it: gpu0, host; left out: list.", metavar="[DEVICE]")
]


def hold(
    device: MaybeDeviceArg = None,
    amount: Annotated[str | None, typer.Option("--amount", help="How much: 20GiB; left out: all of it.")] = None,
    length: Annotated[
        str | None, typer.Option("--for", help="How long: 30m, 2h; left out: until `roost release`.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="For those who wonder.")] = "",
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Keep models off a device, or off a part of it. Without a device: what is held now."""
    with connect(instance, state_dir, url, api_key) as api:
        if device is None:
            _listed(api)
        else:
            body = {"device": device, "amount": amount, "for": length, "reason": reason or None}
            _said(*api.send("POST", "/api/v1/holds", body))


def release(
    device: DeviceArg,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    url: UrlOpt = None,
    api_key: KeyOpt = None,
) -> None:
    """Let models use a held device again."""
    with connect(instance, state_dir, url, api_key) as api:
        _said(*api.send("DELETE", f"/api/v1/holds/{quote(device)}"))


def _said(status: int, answer: dict[str, Any]) -> None:
    if status >= 400:
        fail(str(answer["message"]), 1)
    typer.echo(str(answer["message"]))


def _listed(api: Api) -> None:
    held = api.get("/api/v1/holds", has="holds")["holds"]
    for one in held:
        what = f"{format_size(one['amount_bytes'])} of {one['device']}" if one["amount_bytes"] else one["device"]
        ends = f"until {one['until']}" if one["until"] else "until it is released"
        typer.echo(f"{what} {ends}, by {one['by']}{': ' + one['reason'] if one['reason'] else ''}")
    if not held:
        typer.echo("Nothing is held.")
