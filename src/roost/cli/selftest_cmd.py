"""`roost selftest`: asks a live router everything that it promises, one line per check.

Talks to the port as any client does, so that it tests a roost elsewhere as well. The checks are `roost.selftest`'s.
"""

import json
import threading
from pathlib import Path
from typing import Annotated

import httpx
import typer

from roost.cli.client import InstanceOpt, StateOpt, choose, fail
from roost.cli.durations import some_seconds
from roost.loadgen.plan import PlanError, server
from roost.selftest.lines import Line, Report
from roost.selftest.run import Nobody, run

_DEFAULT_URL = "http://127.0.0.1:8080"
_INTERRUPTED = 130


def selftest(
    url: Annotated[
        str | None,
        typer.Argument(
            envvar="ROOST_URL", help=f"Address of the router; {_DEFAULT_URL} when left out.", metavar="[URL]"
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="ROOST_API_KEY", help="An admin key tests everything, another one less.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeat for several.")] = None,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON report instead of lines.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=some_seconds, help="Longest wait for one answer, loading and waking included.")
    ] = "10m",  # type: ignore[assignment]
) -> None:
    """Health, models, answers, statistics, sleep and wake: ask a live router all of it.

    One line a check: ✓ as expected, ✗ not, - could not be made. Each model is put to sleep and woken twice, and left
    as it was found. Exit status: 0 all is well, 1 something is not, 2 nobody is there.
    """
    client = _client(_place(url, instance, state_dir), api_key)
    with client:
        try:
            report = run(
                client,
                models=model or (),
                limit_s=timeout,
                hear=(lambda line: None) if as_json else say,
                pause=_pause,
            )
        except Nobody as nobody:
            fail(str(nobody), 2)
        except KeyboardInterrupt:
            fail("Interrupted.", _INTERRUPTED)
    _end(report, as_json=as_json)


def _place(url: str | None, instance: str | None, state_dir: Path | None) -> str:
    """The address that is meant. A roost on this machine that is named goes before ROOST_URL."""
    if instance is None and state_dir is None:
        return url or _DEFAULT_URL
    facts = choose(instance, state_dir)
    if not facts["address"]:
        fail("That roost serves no port (listen: false), so nothing can be asked of it; `roost serve` opens one.", 2)
    return f"http://{facts['address']}"


def _client(url: str, api_key: str | None) -> httpx.Client:
    try:
        place = server(url)
    except PlanError as error:
        fail(str(error), 2)
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        fail("The API key has characters that no key can have; look at --api-key or ROOST_API_KEY.", 2)
    base = f"{'https' if place.tls else 'http'}://{place.authority}{place.prefix}"
    return httpx.Client(base_url=base, headers={"authorization": f"Bearer {api_key}"} if api_key else {})


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def say(line: Line) -> None:
    typer.echo(str(line))


def _end(report: Report, *, as_json: bool) -> None:
    typer.echo(json.dumps(report.to_dict(), indent=1) if as_json else f"\n{report.summary}")
    raise typer.Exit(0 if report.good else 1)
