"""`roost down` over real processes."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import roost, write_server

CALM = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print(flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def start(children: list["subprocess.Popen[bytes]"], program: str) -> int:
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    return child.pid


def test_it_ends_the_process_and_returns_when_it_is_gone(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    write_server(tmp_path / "one", pid=start(started, CALM))
    ended = roost("down", "--state-dir", str(tmp_path / "one"))
    assert ended.code == 0
    assert ended.out.endswith("Stopped.\n")
    again = roost("down", "--state-dir", str(tmp_path / "one"))
    assert again.code == 2
    assert "No roost runs" in again.err


def test_one_that_takes_longer_is_told_and_not_killed(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    write_server(tmp_path / "one", pid=start(started, DEAF))
    ended = roost("down", "--state-dir", str(tmp_path / "one"), "--wait", "0.05")
    assert ended.code == 1
    assert "still stopping" in ended.err
    assert started[0].poll() is None


def test_a_pid_that_went_to_another_process_is_left_alone(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    write_server(tmp_path / "one", pid=start(started, CALM), started_at=1.0)
    assert roost("down", "--state-dir", str(tmp_path / "one")).code == 2
    started[0].send_signal(signal.SIGTERM)
    assert started[0].wait(10) == 0  # it had not been asked to end before
