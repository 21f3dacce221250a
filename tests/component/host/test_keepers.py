"""The keepers with real children: starts, ends, groups, adoption. Process and tmux must behave alike."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.core.errors import StartError
from roost.core.request import Address
from roost.host.keepers.base import Start
from roost.host.keepers.identity import group_members
from roost.host.keepers.process import ProcessKeeper
from roost.host.keepers.tmux import TmuxKeeper
from roost.host.output import Output
from roost.host.ports import PortPicker, is_free
from tests.support.live import live
from tests.support.tmux import needs_tmux, own_tmux

CHILD = str(Path(__file__).parents[2] / "support" / "child.py")


def start(port: int, *args: str, env: dict[str, str] | None = None) -> Start:
    argv = (sys.executable, CHILD, str(port), *args)
    return Start(argv=argv, env=env or {}, address=Address("127.0.0.1", port), header="test child")


Kind = type[ProcessKeeper]


@pytest.fixture(params=[ProcessKeeper, pytest.param(TmuxKeeper, marks=needs_tmux)], ids=["process", "tmux"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    if request.param is ProcessKeeper:
        yield ProcessKeeper
        return
    monkeypatch.delenv("TMUX", raising=False)
    with own_tmux() as variables:
        monkeypatch.setenv("TMUX_TMPDIR", variables["TMUX_TMPDIR"])
        yield TmuxKeeper


class Kept:
    """A keeper, its file and what it heard."""

    def __init__(
        self, folder: Path, replica: str = "a/0", stop: tuple[str, ...] | None = None, kind: Kind = ProcessKeeper
    ) -> None:
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        self.output = Output(logs / f"{replica[0]}.log")
        self.keeper = (
            TmuxKeeper(replica, self.output, stop, session=f"roost-{replica[0]}")
            if kind is TmuxKeeper
            else ProcessKeeper(replica, self.output, stop)
        )
        self.port = PortPicker().pick("127.0.0.1")
        self.notes: list[str] = []
        self.heard = asyncio.Event()
        self.keeper.on_gone(self.tell)

    def tell(self, note: str) -> None:
        self.notes.append(note)
        self.heard.set()

    async def until_gone(self) -> str:
        async with asyncio.timeout(10):
            await self.heard.wait()
        return self.notes[0]

    async def until_line(self, begin: str) -> str:
        async with asyncio.timeout(10):
            while True:
                for line in self.output.tail(50):
                    if line.startswith(begin):
                        return line
                await asyncio.sleep(0)


@live
async def test_early_exit_is_seen_at_once_with_status_and_last_lines(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    said = "\x1b[31mweights not found:\x1b[0m x.gguf"
    await kept.keeper.start(start(kept.port, "--say", said, "--exit", "3"))
    note = await kept.until_gone()
    assert "exit status 3" in note
    assert "weights not found: x.gguf" in note
    assert not kept.keeper.running


@live
async def test_stop_ends_the_whole_group_and_frees_the_port(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    await kept.keeper.start(start(kept.port, "--grandchild"))
    await kept.until_line("grandchild")
    pid = kept.keeper.pid
    assert pid is not None
    assert len(group_members(pid)) == 2
    assert await kept.keeper.stop(5)
    assert group_members(pid) == []
    assert is_free("127.0.0.1", kept.port)


@live
async def test_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    await kept.keeper.start(start(kept.port, "--ignore-term", "--say", "up"))
    await kept.until_line("up")
    assert await kept.keeper.stop(0.2)
    assert "SIGKILL" in await kept.until_gone()


@live
async def test_stop_command_is_used_with_pid_and_port(tmp_path: Path, kind: Kind) -> None:
    mark = tmp_path / "mark"
    kept = Kept(tmp_path, kind=kind, stop=("sh", "-c", f"echo ${{PORT}} > {mark}; kill -USR1 ${{PID}}"))
    await kept.keeper.start(start(kept.port, "--say", "up"))
    await kept.until_line("up")
    assert await kept.keeper.stop(5)
    assert mark.read_text().strip() == str(kept.port)
    assert "SIGUSR1" in await kept.until_gone()


@live
async def test_missing_program_taken_port_and_missing_folder_say_so(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    with pytest.raises(StartError, match=r"no-such-program.*PATH"):
        await kept.keeper.start(Start(argv=("no-such-program",), address=Address("127.0.0.1", kept.port)))
    with pytest.raises(StartError, match=r"does not exist"):
        await kept.keeper.start(Start(argv=("/no/such/file",), address=Address("127.0.0.1", kept.port)))
    missing = Start(argv=("sh",), cwd="/no/such/folder", address=Address("127.0.0.1", kept.port))
    with pytest.raises(StartError, match="/no/such/folder"):
        await kept.keeper.start(missing)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} is taken by pid {os.getpid()}"):
            await kept.keeper.start(start(port))


@live
async def test_gone_is_told_only_when_the_whole_group_is(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    await kept.keeper.start(start(kept.port, "--grandchild"))
    await kept.until_line("grandchild")
    pid = kept.keeper.pid
    assert pid is not None
    left: list[list[int]] = []

    def gone(note: str) -> None:
        left.append(group_members(pid))
        kept.tell(note)

    kept.keeper.on_gone(gone)
    os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in await kept.until_gone()
    assert left == [[]]
    assert kept.keeper.pid is None


@live
async def test_grandchild_gets_the_grace_that_its_leader_did_not_need(tmp_path: Path) -> None:
    """Under tmux the terminal hangs up on what the leader leaves behind."""
    mark = tmp_path / "mark"
    script = f"trap 'echo done > {mark}; exit' TERM; echo up; while :; do read -t 0.05 < /dev/zero; done"
    leader = f"import subprocess; subprocess.Popen(['bash', '-c', {script!r}]).wait()"
    kept = Kept(tmp_path)
    argv = (sys.executable, "-c", leader)
    await kept.keeper.start(Start(argv=argv, address=Address("127.0.0.1", kept.port)))
    await kept.until_line("up")
    assert await kept.keeper.stop(10)
    assert mark.read_text() == "done\n"


@live
async def test_failed_stop_command_is_followed_by_sigterm(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind, stop=("sh", "-c", "echo cannot; exit 4"))
    await kept.keeper.start(start(kept.port, "--say", "up"))
    await kept.until_line("up")
    assert await kept.keeper.stop(30)
    assert "SIGTERM" in await kept.until_gone()
    assert "cannot" in kept.output.tail(9)


@live
async def test_address_of_another_machine_is_told_from_a_taken_port(tmp_path: Path, kind: Kind) -> None:
    kept = Kept(tmp_path, kind=kind)
    with pytest.raises(StartError, match=r"cannot listen on host '192.0.2.1'"):
        await kept.keeper.start(Start(argv=("sh",), address=Address("192.0.2.1", kept.port)))


@live
async def test_exit_is_seen_without_pidfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr("roost.host.keepers.exits.LOOK_S", 0.01)
    kept = Kept(tmp_path)
    await kept.keeper.start(start(kept.port, "--exit", "3"))
    assert "exit status 3" in await kept.until_gone()


@live
async def test_orphan_is_adopted_by_its_identity_and_only_by_it(tmp_path: Path, kind: Kind) -> None:
    first = Kept(tmp_path, kind=kind)
    await first.keeper.start(start(first.port, "--say", "up"))
    await first.until_line("up")
    identity = first.keeper.identity()
    second, stranger = Kept(tmp_path, kind=kind), Kept(tmp_path, replica="b/0", kind=kind)
    assert not stranger.keeper.adopt(identity)
    assert not second.keeper.adopt({**identity, "start_time": 1.0})
    assert not second.keeper.adopt({**identity, "boot_id": "another"})
    assert not second.keeper.adopt({**identity, "pid": os.getpid()})
    assert second.keeper.adopt(identity)
    assert (second.keeper.memory_bytes() or 0) > 1 << 20
    os.kill(int(identity["pid"]), signal.SIGKILL)
    assert ("SIGKILL" if kind is TmuxKeeper else "not our child") in await second.until_gone()
    assert await second.keeper.stop(1)
    await first.until_gone()


@live
async def test_environment_reaches_the_engine_and_its_log_grows_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    kept = Kept(tmp_path, kind=kind)
    await kept.keeper.start(start(kept.port, "--say", "x" * 1000, env={"GREETING": "hi"}))
    await kept.until_line("xxx")
    environ = Path(f"/proc/{kept.keeper.pid}/environ").read_bytes()
    assert b"ROOST_REPLICA=a/0\x00" in environ
    assert b"GREETING=hi\x00" in environ
    monkeypatch.setattr("roost.host.output.MAX_BYTES", 500)
    kept.output.bound()
    assert kept.output.path.stat().st_size == 0
    assert kept.output.tail(1) == ["x" * 1000]
    assert (tmp_path / "logs" / "a.log.1").read_text().startswith("--- test child\n")
    assert await kept.keeper.stop(5)


@live
async def test_a_machine_short_of_processes_is_no_fault_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)

    def fork(*args: object, **more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fork)
    with pytest.raises(OSError, match="temporarily"):
        await kept.keeper.start(start(kept.port))
    assert not kept.keeper.running
