"""The command line as a user meets it: arguments in; exit status, stdout and stderr out.

`serving` puts the real API over a fake console on a Unix socket, with the `server.json` by which the CLI finds it.
"""

import asyncio
import contextlib
import io
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.admin import api
from roost.admin.server import AdminServer
from roost.cli import main
from tests.support.console import FakeConsole, entry


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


def roost(*args: str) -> Ended:
    """Run a command to its end. Not for two at once: stdout is everybody's."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(args))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(code, out.getvalue(), err.getvalue())


async def beside(*args: str) -> Ended:
    """The same in a thread, while the server that it talks to runs in this loop."""
    return await asyncio.to_thread(roost, *args)


def model(name: str, state: str = "ready", **more: Any) -> dict[str, Any]:
    """All that the tables read of a model."""
    known: dict[str, Any] = {"level": None, "pinned": False, "in_flight": 0, "queue_depth": 0, "memory_bytes": None}
    known |= {"blocked": None, "since_s": 12.0, "idle_s": None, "reason": None, "pid": 4123, "port": 9001}
    return entry(name, state=state, owned=True) | known | more


class FullConsole(FakeConsole):
    """A fake console whose status has everything that the real one's has."""

    def status(self) -> dict[str, Any]:
        memory = {"max_resident": 2, "resident": 1, "devices": {}}
        head = {"version": "1", "pid": 1, "uptime_s": 725.0, "instance": "one", "address": "127.0.0.1:8080"}
        return head | {"state": "serving", "config_hash": "", "models": self.models(), "memory": memory}


def write_server(folder: Path, *, pid: int | None = None, started_at: float | None = None) -> None:
    """The record of a running roost; of this very process if nothing else is said."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "pid": os.getpid() if pid is None else pid,
        "address": "127.0.0.1:8080",
        "admin_socket": str(folder / "admin.sock"),
        "config": "roost.yaml",
        "started_at": time.time() if started_at is None else started_at,  # noqa: TID251 - as a roost writes it
        "instance": folder.name,
    }
    (folder / "server.json").write_text(json.dumps(facts))


@contextlib.asynccontextmanager
async def serving(folder: Path, console: FakeConsole) -> AsyncIterator[None]:
    write_server(folder)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(folder / "admin.sock"))
    sock.listen()
    server = AdminServer(api.build(console), sock)
    await server.start()
    try:
        yield
    finally:
        await server.stop()
