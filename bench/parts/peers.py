"""Each peer as a value: its command line, its files, its environment, and what is said about its setting.

Owns the peers' configurations, each set up as its makers would for speed on one core: no access log where it can be
switched off, limits out of the way, answers passed on as they come. Called by fleet.py. Starts nothing.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from parts import home

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer must know: the port it serves on, a second free one, the backend's port, a folder of its own."""

    port: int
    spare_port: int
    backend_port: int
    folder: Path

    @property
    def backend(self) -> str:
        """The backend's base address."""
        return f"http://127.0.0.1:{self.backend_port}"

    def write(self, name: str, text: str) -> str:
        """Writes a configuration file into the peer's folder; gives its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Peer:
    """How to start one proxy. `cells`: the only ones it can take; None: all."""

    command: list[str]
    port: int
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    headers: list[str] = field(default_factory=list)
    start_timeout_s: float = 60.0
    version: str = ""
    cells: tuple[str, ...] | None = None


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
{user}
events {{ worker_connections 8192; }}
http {{
  access_log {access_log};
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 64m; keepalive_requests 100000000; keepalive_timeout 75s; tcp_nodelay on;
  upstream engine {{
    server 127.0.0.1:{backend}; keepalive 2048; keepalive_requests 100000000; keepalive_timeout 60s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option http-no-delay
  option abortonclose
  http-reuse always
  timeout connect 2s
  timeout client 600s
  timeout server 600s
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend engine
backend engine
  server e1 127.0.0.1:{backend} maxconn 8192
"""

LITELLM = """
model_list:
  - model_name: m1
    litellm_params: {{model: openai/m1, api_base: "{backend}/v1", api_key: none}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""

ROOST = """
server: {{port: {port}}}
models:
  m1: {{engine: command, url: "{backend}"}}
"""


def _nginx(place: Place, access_log: str) -> Peer:
    text = NGINX.format(
        folder=place.folder,
        port=place.port,
        backend=place.backend_port,
        access_log=access_log,
        user="user root;" if os.geteuid() == 0 else "",
    )
    command = [home.program_of("nginx"), "-p", str(place.folder), "-c", place.write("nginx.conf", text)]
    return Peer(command, place.port, version=home.version_of("nginx"))


def nginx(place: Place) -> Peer:
    """One worker, no access log."""
    return _nginx(place, "off")


def nginx_log(place: Place) -> Peer:
    """One worker, a buffered access log."""
    return _nginx(place, f"{place.folder}/access.log combined buffer=64k flush=1s")


def haproxy(place: Place) -> Peer:
    """One thread, no log."""
    text = HAPROXY.format(port=place.port, backend=place.backend_port)
    command = [home.program_of("haproxy"), "-db", "-f", place.write("haproxy.cfg", text)]
    return Peer(command, place.port, version=home.version_of("haproxy"))


def _rust_router(name: str, place: Place, first: list[str], log_level: str) -> Peer:
    command = [home.program_of(name), *first, "--worker-urls", place.backend, "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--policy", "round_robin", "--log-level", log_level]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.spare_port)]
    command += ["--max-concurrent-requests", "16384", "--queue-size", "16384"]
    return Peer(command, place.port, cwd=place.folder, version=home.version_of(name))


def vllm_router(place: Place) -> Peer:
    """Round robin, log level warning, limits raised."""
    return _rust_router("vllm-router", place, [], "warning")


def sglang_router(place: Place) -> Peer:
    """Round robin, log level warn, limits raised."""
    return _rust_router("sglang-router", place, ["launch"], "warn")


def litellm(place: Place) -> Peer:
    """One worker, no database, no key, log level error; only the cells whose load it can take."""
    config = place.write("litellm.yaml", LITELLM.format(backend=place.backend))
    command = [home.program_of("litellm"), "--config", config, "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--num_workers", "1"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    version = home.version_of("litellm")
    return Peer(
        command,
        place.port,
        env=env,
        cwd=place.folder,
        version=version,
        cells=("c1", "c32", "p100k"),
        start_timeout_s=120,
    )


def roost(place: Place) -> Peer:
    """This checkout, with its defaults: every feature on, one log line for each request, written to a file."""
    config = place.write("roost.yaml", ROOST.format(port=place.port, backend=place.backend))
    source = str(home.REPO / "src")
    env = {"PYTHONPATH": source, "XDG_STATE_HOME": str(place.folder / "state"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "roost", "serve", "--config", config]
    return Peer(command, place.port, env=env, cwd=place.folder, version="this checkout")


Maker = Callable[[Place], Peer]
BUILT_IN: dict[str, Maker] = {
    "nginx": nginx,
    "nginx-log": nginx_log,
    "haproxy": haproxy,
    "vllm-router": vllm_router,
    "sglang-router": sglang_router,
    "litellm": litellm,
    "roost": roost,
}
USUAL = (DIRECT, "nginx", "haproxy", "vllm-router", "sglang-router", "litellm", "roost")


def _filled(text: str, place: Place) -> str:
    for name, value in {"port": place.port, "backend": place.backend_port, "folder": place.folder}.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def _from_file(entry: dict[str, object], place: Place) -> Peer:
    """A peer of a --peers file: `cmd`, and if wanted `port`, `env`, `cwd`, `headers`, `cells`, `start_timeout_s`."""
    command, env, cells = entry["cmd"], entry.get("env", {}), entry.get("cells")
    assert isinstance(command, list) and isinstance(env, dict)
    return Peer(
        command=[_filled(str(word), place) for word in command],
        port=int(str(entry.get("port", place.port))),
        env={k: _filled(str(v), place) for k, v in env.items()},
        cwd=Path(str(entry["cwd"])) if "cwd" in entry else None,
        headers=[str(h) for h in entry.get("headers", [])],  # type: ignore[attr-defined]
        start_timeout_s=float(str(entry.get("start_timeout_s", 60))),
        version=str(entry.get("version", "")),
        cells=tuple(str(c) for c in cells) if isinstance(cells, list) else None,
    )


def makers(file: Path | None) -> dict[str, Maker]:
    """The built-in peers, with those of a --peers file added or put in their place."""
    extra = json.loads(file.read_text()) if file else {}
    own: dict[str, Maker] = {name: lambda place, e=entry: _from_file(e, place) for name, entry in extra.items()}  # type: ignore[misc]
    return BUILT_IN | own
