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

COUNTING = """
import signal, sys
last, seen = int(sys.argv[1]), 0
def count(*_):
    global seen
    seen += 1
    print(seen, flush=True)
    if seen == last:
        sys.exit(0)
signal.signal(signal.SIGTERM, count)
print(flush=True)
while True:
    signal.pause()
"""
"""Tells of every SIGTERM and ends at the one whose number it is given; the test reaps it only later."""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def start(children: list["subprocess.Popen[bytes]"], program: str, *args: str) -> int:
    child = subprocess.Popen([sys.executable, "-c", program, *args], stdout=subprocess.PIPE)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends_at", "interrupts", "code", "said"), [(3, 2, 0, "Stopped."), (4, 3, 1, "Left alone while it still stops")]
)
def test_every_ctrl_c_passes_the_signal_on_until_the_last_leaves(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"], ends_at: int, interrupts: int, code: int, said: str
) -> None:
    write_server(tmp_path / "one", pid=start(started, COUNTING, str(ends_at)))
    heard = started[0].stdout
    assert heard is not None
    command = [sys.executable, "-m", "roost", "down", "--state-dir", str(tmp_path / "one")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as down:
        try:
            for number in range(1, interrupts + 1):
                assert heard.readline() == b"%d\n" % number
                down.send_signal(signal.SIGINT)
            out, _ = down.communicate(timeout=30)
        finally:
            down.kill()
    assert (down.returncode, said in out) == (code, True), out
    if code == 0:
        assert started[0].wait(10) == 0
    else:
        assert started[0].poll() is None


def test_a_process_that_cannot_be_a_roost_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        write_server(tmp_path / "one", pid=other.pid)
        assert roost("down", "--state-dir", str(tmp_path / "one")).code == 2
        assert other.poll() is None
