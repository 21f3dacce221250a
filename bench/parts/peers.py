"""Each peer as a value: its command line, its files, its environment, and what is said about its setting.

Owns the peers' configurations, each set up as its makers would for speed on one core: limits out of the way, answers
passed on as they come. What is unequal (who writes a request log) is said in `setting`, and the report prints it.
Called by fleet.py. Starts nothing.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

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
    setting: str = ""
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


def _nginx(place: Place, access_log: str, setting: str) -> Peer:
    text = NGINX.format(
        folder=place.folder,
        port=place.port,
        backend=place.backend_port,
        access_log=access_log,
        user="user root;" if os.geteuid() == 0 else "",
    )
    command = [home.program_of("nginx"), "-p", str(place.folder), "-c", place.write("nginx.conf", text)]
    return Peer(command, place.port, version=home.version_of("nginx"), setting=setting)


def nginx(place: Place) -> Peer:
    """One worker that logs each request, as roost does."""
    log = f"{place.folder}/access.log combined buffer=64k flush=1s"
    return _nginx(place, log, "1 worker, pooled upstream, buffering off, a line for each request to a file")


def nginx_nolog(place: Place) -> Peer:
    """The same without the log: the floor."""
    return _nginx(place, "off", "1 worker, pooled upstream, buffering off, no request log")


def haproxy(place: Place) -> Peer:
    """One thread, no log."""
    text = HAPROXY.format(port=place.port, backend=place.backend_port)
    command = [home.program_of("haproxy"), "-db", "-f", place.write("haproxy.cfg", text)]
    return Peer(command, place.port, version=home.version_of("haproxy"), setting="1 thread, no request log")


def _rust_router(name: str, place: Place, first: list[str], log_level: str) -> Peer:
    command = [home.program_of(name), *first, "--worker-urls", place.backend, "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--policy", "round_robin", "--log-level", log_level]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.spare_port)]
    command += ["--max-concurrent-requests", "16384", "--queue-size", "16384"]
    setting = "round robin, limits raised, log at warning: no request log"
    return Peer(command, place.port, cwd=place.folder, version=home.version_of(name), setting=setting)


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
        setting="1 worker, no database, no key, log at error: no request log",
        cells=("c1", "c32", "p100k"),
        start_timeout_s=120,
    )


def roost(place: Place) -> Peer:
    """This checkout with its defaults: limits, leases, metrics, one log line for each request, to a file."""
    config = place.write("roost.yaml", ROOST.format(port=place.port, backend=place.backend))
    command = [sys.executable, "-m", "roost", "serve", "--config", config, "--plain"]
    command += ["--state-dir", str(place.folder / "state")]
    env = {"PYTHONPATH": str(home.REPO / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    setting = f"all features on, a line for each request to a file, Python {sys.version.split()[0]}"
    return Peer(command, place.port, env=env, cwd=place.folder, version=home.checkout(), setting=setting)


Maker = Callable[[Place], Peer]
BUILT_IN: dict[str, Maker] = {
    "nginx": nginx,
    "nginx-nolog": nginx_nolog,
    "haproxy": haproxy,
    "vllm-router": vllm_router,
    "sglang-router": sglang_router,
    "litellm": litellm,
    "roost": roost,
}
USUAL = (DIRECT, "nginx", "haproxy", "vllm-router", "sglang-router", "litellm", "roost")


FIELDS = {"cmd", "port", "env", "cwd", "headers", "cells", "start_timeout_s", "version", "setting"}


def _filled(text: str, place: Place) -> str:
    for name, value in {"port": place.port, "backend": place.backend_port, "folder": place.folder}.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def _from_file(name: str, entry: dict[str, Any], place: Place) -> Peer:
    """The peer that a --peers entry describes: what it does not say stays as built in, or at the usual."""
    peer = BUILT_IN[name](place) if name in BUILT_IN and "cmd" not in entry else Peer([], place.port)
    if "cmd" in entry:
        peer = replace(peer, command=[_filled(word, place) for word in entry["cmd"]])
    env = {key: _filled(value, place) for key, value in entry.get("env", {}).items()}
    plain: dict[str, Any] = {
        key: entry[key] for key in ("port", "headers", "start_timeout_s", "version", "setting") if key in entry
    }
    if "cwd" in entry:
        plain["cwd"] = Path(entry["cwd"])
    if "cells" in entry:
        plain["cells"] = tuple(entry["cells"])
    return replace(peer, env=peer.env | env, **plain)


def _problem(name: str, entry: object) -> str:
    if not isinstance(entry, dict):
        return f"{name}: expected an object with any of {', '.join(sorted(FIELDS))}"
    unknown = sorted(set(entry) - FIELDS)
    if unknown:
        return f"{name}: unknown key {unknown[0]!r}; there are {', '.join(sorted(FIELDS))}"
    if "cmd" not in entry and name not in BUILT_IN:
        return f"{name}: needs `cmd`, a list of words (only a built-in proxy can do without)"
    return ""


def makers(file: Path | None) -> dict[str, Maker]:
    """The built-in peers, with those of a --peers file added or changed; ends the run if the file is wrong."""
    extra = json.loads(file.read_text()) if file else {}
    for name, entry in extra.items():
        if problem := _problem(name, entry):
            raise SystemExit(f"{file}: {problem}.")
    return BUILT_IN | {name: partial(_from_file, name, entry) for name, entry in extra.items()}
