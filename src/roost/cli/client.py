"""Talks to a running roost: by its admin socket on this machine, or by URL and key.

Finds local ones through `server.json` in their state directories. Every error that a user can cause ends in one
sentence on stderr and exit status 1 (refused) or 2 (nobody there).
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import psutil
import typer

from roost.host.keepers.identity import matches
from roost.host.store import Store, state_home

ORDER_LIMIT_S = 1260.0
START_SLACK_S = 10.0

InstanceOpt = Annotated[str | None, typer.Option("--instance", "-i", help="Which roost, if several run here.")]
UrlOpt = Annotated[str | None, typer.Option(envvar="ROOST_URL", help="A roost elsewhere: http://host:port.")]
KeyOpt = Annotated[str | None, typer.Option(envvar="ROOST_API_KEY", help="API key for --url.")]
StateOpt = Annotated[Path | None, typer.Option("--state-dir", help="The instance's state directory.")]


def fail(message: str, code: int) -> NoReturn:
    """One sentence on stderr, and out."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def read_server(state_dir: Path) -> dict[str, Any] | None:
    """The facts a running roost wrote down, if it is alive."""
    try:
        facts = json.loads((state_dir / "server.json").read_text())
        return facts if is_roost(int(facts["pid"]), float(facts["started_at"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_roost(pid: int, started_at: float) -> bool:
    """True if this pid is still the process that wrote `started_at`: pids are reused, and a clock set back makes
    any process look old enough, so its command line must be Python's, too."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or process.create_time() > started_at + START_SLACK_S:
            return False
        return any("python" in word or "roost" in word for word in process.cmdline()[:2])
    except psutil.Error:
        return False


def running() -> dict[str, dict[str, Any]]:
    """All running instances of this user, by name, with their `state_dir`."""
    found = {}
    home = state_home(os.environ)
    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        facts = read_server(folder)
        if facts is not None:
            found[folder.name] = {**facts, "state_dir": str(folder)}
    return found


def living(instance: str | None, state_dir: Path | None) -> bool:
    """Whether any roost runs that could be meant."""
    if state_dir is not None:
        return read_server(state_dir) is not None
    found = running()
    return bool(found) if instance is None else instance in found


def left_behind(instance: str | None, state_dir: Path | None) -> Path | None:
    """The state directory of a roost that ended without its engines; ends the program if several could be meant."""
    home = state_home(os.environ)
    folders = [state_dir] if state_dir is not None else sorted(home.iterdir()) if home.is_dir() else []
    if instance is not None:
        folders = [home / instance]
    found = [folder for folder in folders if any(_runs(record) for record in Store(folder).records())]
    if len(found) > 1:
        rows = "\n".join(f"  {folder.name}" for folder in found)
        fail(f"No roost runs here, but engines of several do; say which with --instance:\n{rows}", 2)
    return found[0] if found else None


def addressed(state_dir: Path) -> str:
    """The option by which a command reaches the instance of this directory, with a space before it."""
    home = state_home(os.environ)
    if state_dir.parent == home:
        return f" --instance {shlex.quote(state_dir.name)}"
    return f" --state-dir {shlex.quote(str(state_dir))}"


def _orphans(state_dir: Path) -> str:
    """What a roost that was killed left running there and how to go on, in one sentence; empty if nothing."""
    names = [str(record.get("replica")) for record in Store(state_dir).records() if _runs(record)]
    if not names:
        return ""
    own = addressed(state_dir)
    up = f"roost up {_of_killed(state_dir)}{own if '--state-dir' in own else ''}"
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"engines of an earlier one do ({shown}): `{up}` takes them up, `roost down{own}` stops them."


def _of_killed(state_dir: Path) -> str:
    """The config it was started with, as words of a command line."""
    try:
        facts = json.loads((state_dir / "server.json").read_text())
        return f"{'--simulate ' if facts.get('simulated') else ''}{shlex.quote(str(facts['config']))}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "CONFIG"


def _runs(record: dict[str, Any]) -> bool:
    return matches(record, str(record.get("replica")))


def choose(instance: str | None, state_dir: Path | None) -> dict[str, Any]:
    """The one that is meant; ends the program with a list or a hint where that is not clear."""
    if state_dir is not None:
        facts = read_server(state_dir)
        if facts is None:
            orphans = _orphans(state_dir)
            fail(f"No roost runs on {state_dir}{f', but {orphans}' if orphans else '.'}", 2)
        return {**facts, "state_dir": str(state_dir)}
    found = running()
    if instance is not None:
        if instance not in found:
            if orphans := _orphans(state_home(os.environ) / instance):
                fail(f"No roost called {instance!r} runs here, but {orphans}", 2)
            fail(f"No roost called {instance!r} runs here. Running: {', '.join(found) or 'none'}.", 2)
        return found[instance]
    if not found:
        left = left_behind(None, None)
        if left is not None:
            fail(f"No roost runs here, but {_orphans(left)}", 2)
        fail("No roost runs here. Start one with `roost up CONFIG`, or name one elsewhere with --url.", 2)
    if len(found) > 1:
        rows = "\n".join(
            f"  {name}  {facts['address'] or 'no port'}  {facts['config']}" for name, facts in found.items()
        )
        fail(f"Several run here; say which with --instance:\n{rows}", 2)
    return next(iter(found.values()))


class Api:
    """The REST API of one roost."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, has: str) -> dict[str, Any]:
        """The decoded answer, in which every roost puts `has`; ends the program with the server's sentence if it
        refuses."""
        return _decoded(self._answer(self._client.get(path)), {has})

    def look(self, path: str) -> dict[str, Any]:
        """The same where it is only of interest: empty where the server refuses or cannot be reached."""
        try:
            facts = self._client.get(path).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """(status, decoded answer) of an order; refusals come back to be shown."""
        answer = self._client.request(method, path, json=body, timeout=ORDER_LIMIT_S)
        if answer.status_code >= 400:
            return answer.status_code, {"message": sentence(answer)}
        return answer.status_code, _decoded(answer, {"success", "cancelled"})

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """A text stream, line by line."""
        with self._client.stream("GET", path, params=query, timeout=httpx.Timeout(10.0, read=None)) as answer:
            if answer.status_code >= 400:
                answer.read()
                self._answer(answer)
            yield from answer.iter_lines()

    def _answer(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code >= 400:
            fail(sentence(answer), 1)
        return answer


def _decoded(answer: httpx.Response, one_of: set[str]) -> dict[str, Any]:
    """The JSON of a roost's answer. Another server's 200 must not pass for an order obeyed."""
    try:
        facts = answer.json()
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or one_of.isdisjoint(facts):
        fail(f"What answers at {answer.url} is no roost; look at --url or ROOST_URL.", 2)
    return facts


def sentence(answer: httpx.Response) -> str:
    """The message of an error answer."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code}: {answer.text[:300]}"


@contextmanager
def connect(instance: str | None, state_dir: Path | None, url: str | None, key: str | None) -> Iterator[Api]:
    """The API of the roost that is meant. Ends the program where it cannot be reached.

    `--instance` and `--state-dir` mean this machine, also where ROOST_URL is set.
    """
    if url is not None and instance is None and state_dir is None:
        place, client = url, _remote(url, key)
    else:
        facts = choose(instance, state_dir)
        place = str(facts["admin_socket"])
        client = httpx.Client(transport=httpx.HTTPTransport(uds=place), base_url="http://localhost", timeout=30.0)
    try:
        with client:
            yield Api(client)
    except httpx.HTTPError as error:
        fail(f"The roost at {place} cannot be reached: {error or type(error).__name__}.", 2)


def _remote(url: str, key: str | None) -> httpx.Client:
    try:
        base = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL as error:
        fail(f"{url!r} is not a URL ({error}); write it like http://host:8080.", 2)
    if base.scheme not in ("http", "https") or not base.host:
        fail(f"{url!r} is not a URL of a roost; write it like http://host:8080.", 2)
    if key is not None and not (key.isascii() and key.isprintable()):
        fail("The API key has characters that no key can have; look at --api-key or ROOST_API_KEY.", 2)
    return httpx.Client(base_url=base, headers={"authorization": f"Bearer {key}"} if key else {}, timeout=30.0)
