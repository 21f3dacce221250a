"""`roost demo` as a stranger runs it, with a model of one's own so that no network is needed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("roost.__main__") is None, reason="the roost command is not there yet"
)


def test_the_tour_ends_well_and_leaves_nothing_running(large_model: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "roost", "demo", "--once", "--port", str(free_port()), "--model", str(large_model)]
    homes = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(argv, env={**os.environ, **homes}, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("3 vectors of 512 numbers", "free for others", "from asleep to the first token"):
        assert words in done.stdout
    assert _running_with(str(tmp_path)) == []


def _running_with(folder: str) -> list[str]:
    """Command lines of processes that still use the demo's folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in line:
            found.append(line)
    return found
