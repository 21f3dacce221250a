"""The backend and the proxies while they run.

Owns starting the fake backend and each proxy before it, waiting until a proxy answers, its settings and counters
over HTTP, and ending everything. Called by cells.py, proxies.py and check.py. Never measures.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parts import home, machine
from parts.peers import DIRECT, Maker, Peer, Place

HELLO = json.dumps({"model": "m1", "messages": [{"role": "user", "content": "hello"}], "stream": False}).encode()
CHAT = "/v1/chat/completions"


def call(port: int, method: str, path: str, body: bytes | None = None, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """One request on a connection of its own; gives status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


class Backend:
    """The fake engine as a child process."""

    def __init__(self, pinning: machine.Pinning) -> None:
        self.port = machine.free_port()
        command = [*pinning.prefix("load"), str(home.compiled("backend")), "--port", str(self.port)]
        self.child = machine.spawn(command, home.RUN / "backend.log")
        if not machine.wait_for(self._answers, 5):
            raise SystemExit(f"The backend does not answer; see {home.RUN / 'backend.log'}.")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return call(self.port, "GET", "/health", timeout_s=1)[0] == 200
        return False

    def set(self, **settings: int) -> None:
        """Changes chunks, gap_us, delay_us or digest; holds for requests from now on."""
        query = "&".join(f"{k}={v}" for k, v in settings.items())
        call(self.port, "POST", f"/bench/settings?{query}", b"{}")

    def stats(self) -> dict[str, Any]:
        """Its counters."""
        stats: dict[str, Any] = json.loads(call(self.port, "GET", "/bench/stats")[1])
        return stats

    def idle(self) -> bool:
        """Whether it owes no answer."""
        return bool(self.stats()["active"] == 0)


@dataclass(slots=True)
class Running:
    """One proxy that answers, or `direct` (no process, the backend's own port)."""

    name: str
    peer: Peer
    child: subprocess.Popen[bytes] | None = None
    pids: list[int] = field(default_factory=list)
    idle_mb: float = 0.0


class Fleet:
    """The backend and the proxies of one round; a context manager that ends them all."""

    def __init__(self, pinning: machine.Pinning, makers: dict[str, Maker]) -> None:
        self.pinning, self.makers = pinning, makers
        home.tidy()
        self.backend = Backend(pinning)
        self.running: dict[str, Running] = {}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.end_proxies()
        machine.end(self.backend.child)

    def start(self, name: str) -> Running:
        """Starts a proxy and waits for its first answer; raises Unavailable with the last line of its log."""
        if name == DIRECT:
            self.running[name] = Running(name, Peer([], self.backend.port))
            return self.running[name]
        folder = home.RUN / name.replace("/", "_")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        place = Place(machine.free_port(), machine.free_port(), self.backend.port, folder)
        peer = self.makers[name](place)
        log = folder / "output.log"
        child = machine.spawn(self.pinning.prefix("proxy") + peer.command, log, peer.env, peer.cwd)
        one = Running(name, peer, child)
        if not machine.wait_for(lambda: child.poll() is not None or self._answers(peer), peer.start_timeout_s, 0.2):
            machine.end(child)
            raise home.Unavailable(f"{name} did not answer within {peer.start_timeout_s:.0f} s; see {log}")
        if child.poll() is not None:
            raise home.Unavailable(f"{name} ended with {child.returncode} at start: {_last_line(log)}")
        one.pids = machine.tree(child.pid)
        one.idle_mb = machine.pss_mb(one.pids)
        self.running[name] = one
        return one

    def _answers(self, peer: Peer) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return call(peer.port, "POST", CHAT, HELLO, timeout_s=5)[0] == 200
        return False

    def settle(self, one: Running) -> None:
        """Waits until nothing of the last load is left; a proxy that still works on it after 5 s is started anew."""
        if machine.wait_for(self.backend.idle, 5) or one.child is None:
            return
        machine.end(one.child)
        self.start(one.name)

    def end_proxies(self) -> None:
        """Ends every proxy, not the backend."""
        for one in self.running.values():
            if one.child is not None:
                machine.end(one.child)
        self.running.clear()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"
