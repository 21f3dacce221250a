"""What a user of kvcached's controller has: its YAML, its environments, its curl commands. And roost in place of its
programs, as commands in a home of their own.

The engines of that YAML need GPUs. In their environments stands a `python` that takes the command lines of vLLM and
SGLang as they are and starts an engine with the same HTTP: a real llama.cpp behind their control endpoints
(`real_engine.py`) where it is given a model file, else a simulated one.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from roost import clock
from tests.support.roost import SRC

COMMAND_LIMIT_S = 90.0
SETTING = ("ROOST_", "TMUX", "XDG_", "LLAMA_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")

REAL = str(Path(__file__).with_name("real_engine.py"))
ENGINE = f"""#!{sys.executable}
import argparse, json, os, sys
from pathlib import Path

flag, module, *words = sys.argv[1:]
kind = {{"vllm.entrypoints.openai.api_server": "vllm", "sglang.launch_server": "sglang"}}[module]
assert flag == "-m"
parser = argparse.ArgumentParser()
parser.add_argument("--model", "--model-path", dest="model", required=True)
parser.add_argument("--served-model-name")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", required=True)
known, others = parser.parse_known_args(words)
facts = {{"module": module, "words": words, "env": dict(os.environ)}}
(Path(__file__).parents[1] / "started.json").write_text(json.dumps(facts))
print("started", module, "for", known.model, flush=True)
os.environ["PYTHONPATH"] = {SRC!r}
host = known.host.replace("localhost", "127.0.0.1")
names = ["--served-model-name", known.served_model_name] if known.served_model_name else []
argv = ["-m", "roost.sim", "--kind", kind, f"--model={{known.model}}", *names, "--host", host, "--port", known.port]
gguf = Path(__file__).with_name("model.gguf")
if gguf.exists():
    name = known.served_model_name or known.model
    argv = [{REAL!r}, "--kind", kind, "--gguf", str(gguf), "--name", name, "--host", host, "--port", known.port]
os.execv({sys.executable!r}, [{sys.executable!r}, *argv])
"""


def write_environment(folder: Path, gguf: Path | None = None) -> None:
    """An environment as `python -m venv` makes one, as far as the controller looks at it. With a model file its engine
    is a real one."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(ENGINE)
    (programs / "python").chmod(0o755)
    if gguf is not None:
        (programs / "model.gguf").symlink_to(gguf)
    (programs / "activate").write_text(f'VIRTUAL_ENV="{folder}"; PATH="{programs}:$PATH"; export VIRTUAL_ENV PATH\n')


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def ok(self) -> "Ended":
        assert self.code == 0, f"status {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass(slots=True)
class Home:
    """A user's machine: a home, a state directory and a tmux server that are nobody else's."""

    folder: Path
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(SETTING)}
        for name, place in (("HOME", "."), ("XDG_STATE_HOME", "s"), ("TMUX_TMPDIR", "t")):
            path = self.folder / place
            path.mkdir(exist_ok=True)
            self.env[name] = str(path)
        self.env |= {"PYTHONPATH": SRC, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "xterm", "SHELL": "/bin/sh"}

    def run(self, *words: str, cwd: Path | None = None) -> Ended:
        done = subprocess.run(
            words,
            env=self.env,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def roost(self, *words: str) -> Ended:
        return self.run(sys.executable, "-m", "roost", *words)

    @contextmanager
    def running(self, *words: str, url: str) -> Iterator[None]:
        """A command of roost that stays, while the block runs; it begins when the router is ready."""
        with (self.folder / "running.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "roost", *words, "--plain"], env=self.env, stdout=log, stderr=log
            )
        try:
            deadline = clock.now() + COMMAND_LIMIT_S
            while not _is_ready(url):
                assert process.poll() is None, (self.folder / "running.log").read_text()
                assert clock.now() < deadline, "not ready in time"
            yield
        finally:
            process.terminate()
            process.wait(COMMAND_LIMIT_S)

    def sessions(self) -> set[str]:
        """The names of all tmux sessions; none where no server runs."""
        return set(self.run("tmux", "list-sessions", "-F", "#{session_name}").out.split())

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.roost("status", "--json").ok().out)
        return facts

    def pids(self) -> set[int]:
        """All processes of this home: they carry its HOME."""
        found = set()
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HOME") == self.env["HOME"]:
                    found.add(process.pid)
            except psutil.Error:
                continue
        return found

    def clean_up(self) -> None:
        """Whatever a failed test left."""
        self.run("tmux", "kill-server")
        left = [psutil.Process(pid) for pid in self.pids() if psutil.pid_exists(pid)]
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(left, timeout=10)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def own_home() -> Iterator[Home]:
    """Short, as a Unix socket's path has 107 bytes at most. Needs tmux."""
    require_tmux()
    folder = Path(tempfile.mkdtemp(prefix="mig-", dir="/tmp"))
    home = Home(folder)
    try:
        yield home
    finally:
        home.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def require_tmux() -> None:
    """Skips where there is no tmux, unless it is said that there must be."""
    if shutil.which("tmux") is None and not os.environ.get("ROOST_REQUIRE_TMUX"):
        pytest.skip("tmux is not on the PATH")


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl would show, and the status."""

    status: int
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


def curl(command: str, home: Home) -> Answer:
    """Run a command line of the README: with curl, else what curl would do."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    if shutil.which("curl") is None:
        return _like_curl(words[1:])
    done = home.run(*words, "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}").ok()
    text, _, status = done.out.rpartition("\n")
    return Answer(int(status), text)


def _like_curl(words: list[str]) -> Answer:
    method, url, headers, data = "", "", dict[str, str](), None
    rest = iter(words)
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                headers[name] = value.strip()
            case "-d":
                data = next(rest)
            case _:
                url = word
    answer = httpx.request(
        method or ("GET" if data is None else "POST"), url, headers=headers, content=data, timeout=60, trust_env=False
    )
    return Answer(answer.status_code, answer.text)


def started(environment: Path) -> Mapping[str, Any]:
    """What the stand-in of an environment was started with: module, words, env."""
    facts: Mapping[str, Any] = json.loads((environment / "started.json").read_text())
    return facts
