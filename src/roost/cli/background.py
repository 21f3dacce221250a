"""`roost up` in the background: in a tmux session where the engines have theirs, else as a process of its own session.

Starts the same command once more, waits until it serves, says where to look. Called by `up_cmd` alone.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import typer
from rich.console import Console

from roost import clock
from roost.cli.client import addressed, read_server
from roost.cli.render import status_table
from roost.core.errors import StartError
from roost.core.ids import session_name
from roost.core.spec import RoostSpec
from roost.host.keepers.tmux import run_in_session
from roost.host.tmux import attach_hint, tmux_available

if TYPE_CHECKING:
    from roost.cli.up_cmd import Run

LIMIT_S = 1260.0  # the default start_timeout, and a minute
QUIET_S = 3.0
"""With nothing started for so long (and the launch delay), what is still down is not going to be started: no room."""
LOG_LINES = 12
_DOWN = frozenset({"cold"})
_SETTLED = frozenset({"ready", "asleep", "failed"})
_AT_REST = _DOWN | _SETTLED


def detach(run: "Run", arguments: Sequence[str], *, wait: bool) -> int:
    """Exit status. `wait`: return when every preloaded model is ready or has failed, else when all are started."""
    log_path = run.state_dir / "logs" / "roost.log"
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = [sys.executable, "-m", "roost", *arguments, "--foreground"]
    session = frontend_session(run.spec)
    try:
        pid = _in_session(run, session, argv) if session is not None else _as_process(log_path, argv)
    except StartError as error:
        typer.echo(str(error), err=True)
        return 2
    status = asyncio.run(_await(run, pid, _settled if wait else _started))
    if status is None:
        typer.echo(f"roost did not come up; the end of {log_path}:", err=True)
        for line in log_path.read_text().splitlines()[-LOG_LINES:]:
            typer.echo(f"  {line}", err=True)
        return 1
    Console().print(status_table(status))
    if session is not None:
        typer.echo(f"Look at roost itself:  {attach_hint(session)}")
    typer.echo(f"Running in the background (pid {pid}); log {log_path}. Stop it: roost down{addressed(run.state_dir)}")
    return 0


def frontend_session(spec: RoostSpec) -> str | None:
    """The session for roost itself: where engines have sessions, and a port is served."""
    launchers = {model.launcher for model in spec.models.values()}
    uses_tmux = "tmux" in launchers or ("auto" in launchers and tmux_available())
    return session_name(spec.server.session_prefix, "frontend") if uses_tmux and spec.server.listen else None


def _in_session(run: "Run", session: str, argv: Sequence[str]) -> int:
    return run_in_session(session, argv, os.environ, state_dir=run.state_dir)


def _as_process(log_path: Any, argv: Sequence[str]) -> int:
    with log_path.open("a") as output:
        child = subprocess.Popen(
            [*argv, "--plain"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return child.pid


async def _await(run: "Run", pid: int, is_there: Callable[[RoostSpec, dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The status once it is as wanted, or nothing more is being done about it; None if the process ended or took too
    long."""
    deadline = clock.now() + LIMIT_S
    patience, seen, since = QUIET_S + run.spec.policy.launch_delay, list[str](), clock.now()
    while clock.now() < deadline and _alive(pid):
        server = read_server(run.state_dir)
        if server is not None and server.get("pid") == pid:
            status = await _status(str(server["admin_socket"]))
            if status is not None and status["state"] == "serving":
                states = _preloaded(run.spec, status)
                if states != seen:
                    seen, since = states, clock.now()
                at_rest = _AT_REST.issuperset(states) and clock.now() - since > patience
                if is_there(run.spec, status) or at_rest:
                    return status
        await asyncio.sleep(0.1)
    return None


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


async def _status(socket_path: str) -> dict[str, Any] | None:
    transport = httpx.AsyncHTTPTransport(uds=socket_path)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://roost") as client:
            answer = await client.get("/api/v1/status")
            return dict(answer.json()) if answer.status_code == 200 else None
    except httpx.HTTPError:
        return None


def _settled(spec: RoostSpec, status: dict[str, Any]) -> bool:
    """Every replica to be preloaded is up or has failed."""
    return all(state in _SETTLED for state in _preloaded(spec, status))


def _started(spec: RoostSpec, status: dict[str, Any]) -> bool:
    """Every replica to be preloaded has been started, whatever became of it."""
    return all(state not in _DOWN for state in _preloaded(spec, status))


def _preloaded(spec: RoostSpec, status: dict[str, Any]) -> list[str]:
    wanted = {name for name, model in spec.models.items() if model.preload}
    return [replica["state"] for model in status["models"] if model["name"] in wanted for replica in model["endpoints"]]
