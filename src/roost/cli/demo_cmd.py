"""`roost demo`: several real models behind one port in one command, then a tour of them, then they stay up for you.

Owns the demo's files (models, config, log) and the roost it starts as a child with that config; the tour itself is
`demo_tour`. Never touches the user's own configuration.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Annotated, Any, NoReturn

import httpx
import typer
import yaml
from rich.console import Console

from roost import clock
from roost.cli.demo_tour import CHAT, EMBED, TINY, Tour, UpstreamTrouble
from roost.core.errors import RoostError
from roost.host.fetch import cache_dir, smollm2

INSTALL = "pip install xllamacpp gguf numpy"
PORT = 8080
READY_LIMIT_S = 60.0
STOP_LIMIT_S = 45.0
LOG_LINES = 12


def demo(
    port: Annotated[int | None, typer.Option(help="Port to serve on; 8080 or a free one when left out.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A GGUF chat model of your own instead of SmolLM2.", exists=True, dir_okay=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", "--exit", help="End after the tour instead of staying up.")] = False,
) -> None:
    """Serve three real models on this machine's CPU, show them working, and stay up until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        _demo(console, port or _free_port(), model, once)
    except (RoostError, UpstreamTrouble) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None


def _demo(console: Console, port: int, model: Path | None, once: bool) -> None:
    _need_llamacpp()
    folder = cache_dir() / "demo"
    config = write_demo(folder, port, model, lambda line: console.print(f"[dim]{line}[/dim]"))
    log = folder / "roost.log"
    with serving(config, log) as process:
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=httpx.Timeout(120.0), trust_env=False) as client:
            _await_ready(client, process, log)
            tour = Tour(console=console, client=client, wait=lambda seconds: _wait(process, log, seconds))
            tour.run()
            tour.farewell(address, config, staying=not once)
        if not once:
            _stay(process)


def _need_llamacpp() -> None:
    engine = shutil.which("llama-server") or importlib.util.find_spec("xllamacpp")
    missing = [name for name in ("numpy", "gguf") if importlib.util.find_spec(name) is None]
    if not engine:
        missing.insert(0, "llama.cpp (no llama-server on the PATH, no Python package xllamacpp)")
    if missing:
        raise RoostError(f"The demo runs llama.cpp and lacks {', '.join(missing)}. Run: {INSTALL}")


def _free_port() -> int:
    """8080 if nobody has it, else any free port."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", PORT))
        except OSError:
            trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def write_demo(folder: Path, port: int, model: Path | None, report: Any) -> Path:
    """Bring the models together and write the config that serves them; its path. Raises RoostError."""
    from roost.host.tiny_model import write_tiny_model  # numpy and gguf may be missing until `_need_llamacpp` spoke

    folder.mkdir(parents=True, exist_ok=True)
    tiny = write_tiny_model(folder / "tiny.gguf", seed=1, name=TINY)
    weights = model.resolve() if model is not None else smollm2(report)
    config = folder / "roost.yaml"
    text = yaml.safe_dump(demo_config(port, weights, tiny, own=model is not None), sort_keys=False, width=110)
    config.write_text(f"# Written by `roost demo`, anew at each run.\n{text}", encoding="utf-8")
    return config


def demo_config(port: int, weights: Path, tiny: Path, *, own: bool) -> dict[str, Any]:
    """The config as data. `own`: the chat model is the user's, so its own chat template is left alone."""
    threads = f"--threads {_threads()}"
    template = [] if own else ["--chat-template chatml"]  # the file's own adds a system prompt that confuses it
    return {
        "server": {"name": "demo", "port": port},
        "defaults": {"engine": "llamacpp", "sleep_after": "1m"},
        "models": {
            CHAT: {
                "weights": str(weights),
                "args": ["--ctx-size 2048", threads, *template],
                "sleep_after": "4s",
                "preload": True,
                "description": "chat: the large one of the three; sleeps after 4 s without a request",
            },
            TINY: {
                "weights": str(tiny),
                "args": ["--ctx-size 1024", threads],
                "description": "chat: random weights, fast and meaningless",
            },
            EMBED: {
                "weights": str(weights),
                "task": "embed",
                "args": ["--ctx-size 1024", threads],
                "description": "embeddings: the chat model's file once more, with mean pooling",
            },
        },
    }


def _threads() -> int:
    """Half the cores, at most four: llama.cpp's threads wait for each other by spinning, so on a machine whose cores
    are all taken one thread too many makes an answer a hundred times slower."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


def _command(config: Path) -> Sequence[str]:
    return [sys.executable, "-m", "roost", "up", str(config)]


@contextmanager
def serving(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A roost of its own, its output in `log`; ended on the way out, however that is reached.

    It has its own process group, so that a Ctrl-C comes to it once and by us: a second one would cut its drain short.
    """
    before = {number: signal.signal(number, _terminated) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with log.open("wb") as out, _started(config, out) as process:
            try:
                yield process
            finally:
                _end(process)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _started(config: Path, out: IO[bytes]) -> subprocess.Popen[bytes]:
    where: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
    return subprocess.Popen(_command(config), process_group=0, **where)


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, which ends its engines too; again for each further Ctrl-C, which hurries it; SIGKILL past the limit."""
    process.terminate()
    limit = clock.now() + STOP_LIMIT_S
    while process.poll() is None and clock.now() < limit:
        try:
            process.wait(max(0.01, limit - clock.now()))
        except KeyboardInterrupt:
            process.terminate()
        except subprocess.TimeoutExpired:
            process.kill()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = clock.now() + READY_LIMIT_S
    while clock.now() < limit:
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        _wait(process, log, 0.05)
    raise RoostError(f"roost did not become ready within {READY_LIMIT_S:.0f} s; its log is {log}")


def _wait(process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait, but at most until roost ends: then raise with the last lines it wrote."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    last = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise RoostError(f"roost ended with status {status}; the last lines of {log}:\n{last}")


def _stay(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        pass
