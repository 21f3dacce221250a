"""The command line as its user types it: real processes, a state home of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from roost.host.ports import PortPicker
from tests.support.roost import SRC

LIMIT_S = 60


@dataclass
class Shell:
    """Runs `roost` with a state home in a temporary folder."""

    home: Path

    def __call__(self, *args: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XDG_STATE_HOME": str(self.home / "state"), "PYTHONPATH": SRC, "COLUMNS": "80"}
        done = subprocess.run(
            [sys.executable, "-m", "roost", *args],
            env=env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def roost(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def running(roost: Shell) -> Iterator[Shell]:
    """Two simulated models in the background."""
    port = PortPicker().pick("127.0.0.1")
    config = roost.home / "roost.yaml"
    config.write_text(
        f"server: {{name: test, port: {port}}}\n"
        "models:\n"
        "  team/a: {engine: simulated, preload: true, aliases: [nick], args: ['--log-lines 3']}\n"
        "  b: {engine: simulated}\n"
    )
    up = roost("up", "roost.yaml", "--detach")
    try:
        assert "team/a" in up.stdout
        assert "ready" in up.stdout
        yield roost
    finally:
        roost("down", ok=False)


def test_orders_and_looks(running: Shell) -> None:
    status = json.loads(running("status", "--json").stdout)
    assert [(model["name"], model["state"]) for model in status["models"]] == [("team/a", "ready"), ("b", "cold")]
    table = running("status").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "team/a" in table
    assert running("sleep", "nick", "--level", "2").stdout == 'Model "team/a" is asleep.\n'
    assert "asleep 2" in running("status").stdout
    assert running("wake", "team/a").stdout == 'Model "team/a" is ready.\n'
    assert running("load", "b").stdout == 'Model "b" is ready.\n'
    assert "ready" in running("restart", "b").stdout
    assert "pinned" in running("pin", "b").stdout
    assert "(pinned)" in running("status").stdout
    assert "not pinned" in running("unpin", "b").stdout
    assert "cold" in running("unload", "b").stdout
    assert "Next look" in running("plan").stdout or "Nothing to do" in running("plan").stdout
    assert running("requests").stdout == "None.\n"
    assert "listening http" in running("logs", "team/a", "-n", "20").stdout
    assert running("unload", "--all").returncode == 0


def test_refusals_are_sentences(running: Shell) -> None:
    for args, words in (
        (("load", "nope"), "nope"),
        (("logs", "nope"), "nope"),
        (("cancel", "none"), "none"),
        (("unload",), "--all"),
        (("status", "--instance", "other"), "Running: test"),
    ):
        done = running(*args, ok=False)
        assert done.returncode in (1, 2)
        assert words in done.stderr
        assert done.stdout == ""
    again = running("up", "roost.yaml", "--plain", ok=False)
    assert again.returncode == 2
    assert "roost down" in again.stderr


def has_ended(pid: int) -> bool:
    """Gone, or a zombie: that holds no lock, socket or memory, and only waits for a container's init to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_down_leaves_nothing(running: Shell) -> None:
    status = json.loads(running("status", "--json").stdout)
    engine = status["models"][0]["pid"]
    assert "Stopped." in running("down").stdout
    assert has_ended(status["pid"])
    assert has_ended(engine)
    nobody = running("status", ok=False)
    assert nobody.returncode == 2
    assert "No roost runs here" in nobody.stderr


@pytest.mark.parametrize("simulate", [(), ("--simulate",)])
def test_after_a_kill_status_names_what_still_runs_and_the_whole_commands(
    roost: Shell, simulate: tuple[str, ...]
) -> None:
    """An engine of a simulation is no other's, so `--simulate` is part of the command."""
    state, config = str(roost.home / "my state"), roost.home / "roost.yaml"
    config.write_text("server: {port: 0}\nmodels:\n  a: {engine: simulated, preload: true}\n")
    down = f"roost down --state-dir '{state}'"
    up = roost("up", "roost.yaml", *simulate, "--detach", "--state-dir", state)
    try:
        assert up.stdout.rstrip().endswith(f"Stop it: {down}")
        killed = psutil.Process(json.loads(roost("status", "--json", "--state-dir", state).stdout)["pid"])
        killed.kill()
        psutil.wait_procs([killed], 10)
        left = roost("status", "--state-dir", state, ok=False)
        assert left.returncode == 2
        assert left.stderr == (
            f"No roost runs on {state}, but engines of an earlier one do (a/0): "
            f"`{' '.join(('roost up', *simulate))} {config} --state-dir '{state}'` takes them up, "
            f"`{down}` stops them.\n"
        )
    finally:
        ended = roost("down", "--state-dir", state, ok=False)
    assert "Stopped." in ended.stdout
    assert roost("status", "--state-dir", state, ok=False).stderr == f"No roost runs on {state}.\n"


def test_broken_config_starts_nothing_and_names_every_line(roost: Shell) -> None:
    (roost.home / "bad.yaml").write_text("models:\n  a: {engin: vllm}\n  b: {engine: vllm, sleep_after: soon}\n")
    for command in (("up", "bad.yaml"), ("config", "check", "bad.yaml")):
        done = roost(*command, ok=False)
        assert done.returncode == 2
        assert "bad.yaml:2" in done.stderr
        assert "engine" in done.stderr
        assert "bad.yaml:3" in done.stderr
    missing = roost("up", "none.yaml", ok=False)
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    assert roost("up", ok=False).returncode == 2


def test_simulate_runs_a_production_config_anywhere(roost: Shell) -> None:
    config = Path(SRC).parent / "examples" / "vllm-pair.yaml"
    port = str(PortPicker().pick("127.0.0.1"))
    roost("up", str(config), "--simulate", "--detach", "--port", port)
    try:
        facts = json.loads(roost("status", "--json").stdout)
        models = facts["models"]
        assert facts["instance"].endswith("-simulated")
        assert {model["engine"] for model in models} == {"simulated"}
        assert "ready" in roost("load", models[0]["name"]).stdout
    finally:
        roost("down")


def test_serve_routes_and_starts_nothing(roost: Shell) -> None:
    (roost.home / "r.yaml").write_text("models:\n  a: {engine: simulated}\n")
    done = roost("serve", "r.yaml", ok=False)
    assert done.returncode == 2
    assert "port" in done.stderr


def test_overview_and_version_are_quick_and_light(roost: Shell) -> None:
    assert roost("--version").stdout.startswith("roost 0.")
    overview = roost("--help").stdout
    for name in ("up", "serve", "down", "status", "demo", "bench", "sim-engine", "config"):
        assert f"  {name} " in overview
    script = "import sys; from roost.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    script += "print(sorted({'httpx', 'starlette', 'pydantic', 'psutil', 'uvicorn'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": SRC}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["up", "status", "config", "bench", "demo", "sim-engine", "logs", "unload"])
def test_every_command_has_help(roost: Shell, name: str) -> None:
    assert "Usage" in roost(name, "--help").stdout or "usage" in roost(name, "--help").stdout
