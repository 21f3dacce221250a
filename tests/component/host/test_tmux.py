"""What only the tmux keeper has: sessions, their names, what stays in them, and whose they are."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from roost.core.errors import StartError
from roost.core.ids import session_name
from roost.core.request import Address
from roost.host import tmux as sessions
from roost.host.keepers.base import Start
from roost.host.keepers.identity import start_time
from roost.host.keepers.tmux import TmuxKeeper, run_in_session
from roost.host.output import Output
from roost.host.ports import PortPicker
from roost.tasks import spawn
from tests.support.live import live
from tests.support.tmux import needs_tmux, own_tmux, tmux

CHILD = str(Path(__file__).parents[2] / "support" / "child.py")
pytestmark = needs_tmux


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TMUX", raising=False)
    with own_tmux() as variables:
        monkeypatch.setenv("TMUX_TMPDIR", variables["TMUX_TMPDIR"])
        yield


class Kept:
    def __init__(self, folder: Path, name: str = "m1", replica: str = "a/0") -> None:
        self.output = Output(folder / "logs" / "a.log")
        self.output.path.parent.mkdir(exist_ok=True)
        self.session = session_name("roost-", name)
        self.keeper = TmuxKeeper(replica, self.output, session=self.session)
        self.port = PortPicker().pick("127.0.0.1")
        self.heard = asyncio.Event()
        self.keeper.on_gone(lambda note: self.heard.set())

    def start(self, *args: str, env: dict[str, str] | None = None) -> Start:
        argv = (sys.executable, CHILD, str(self.port), *args)
        return Start(argv=argv, env=env or {}, address=Address("127.0.0.1", self.port), header="test child")

    async def until_gone(self) -> None:
        async with asyncio.timeout(10):
            await self.heard.wait()

    async def until_line(self, line: str) -> None:
        async with asyncio.timeout(10):
            while line not in self.output.tail(50):
                await asyncio.sleep(0)

    def option(self, name: str) -> str:
        return tmux("show-options", "-v", "-t", f"={self.session}:", name).strip()


@live
async def test_a_session_has_its_size_history_and_mouse_and_the_user_keeps_his_own(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    tmux("new-session", "-d", "-s", "mine", "sleep 1000")
    before = tmux("show-options", "-g")
    await kept.keeper.start(kept.start("--say", "hello"))
    await kept.until_line("hello")
    assert tmux("show-options", "-g") == before
    assert (kept.option("history-limit"), kept.option("mouse")) == ("999999", "on")
    (pane,) = [pane for pane in sessions.panes() if pane.session == kept.session]
    assert pane.pid == kept.keeper.pid
    assert "hello" in tmux("capture-pane", "-p", "-t", pane.id)
    assert tmux("list-windows", "-t", f"={kept.session}:", "-F", "#{history_limit} #{window_width}").strip()
    await kept.keeper.stop(5)
    await kept.keeper.clear()
    assert tmux("list-sessions", "-F", "#{session_name}").split() == ["mine"]


@live
async def test_the_pane_stays_with_its_exit_status_and_the_next_start_uses_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.start(kept.start("--say", "first", "--exit", "3"))
    await kept.until_gone()
    (dead,) = sessions.panes()
    assert (dead.dead, dead.exit_status) == (True, 3)
    assert "first" in tmux("capture-pane", "-p", "-S", "-", "-t", dead.id)
    await kept.keeper.start(kept.start("--say", "second"))
    await kept.until_line("second")
    (pane,) = sessions.panes()
    assert not pane.dead
    assert await kept.keeper.stop(5)


@live
async def test_names_with_dots_and_prefixes_of_each_other_are_told_apart(tmp_path: Path) -> None:
    names = ["m1", "m10", "Llama-3.2-1B", "org/a:b", "é"]
    kept = [Kept(tmp_path, name, f"{name}/0") for name in names]
    for one in reversed(kept):
        await one.keeper.start(one.start())
    assert len({one.session for one in kept}) == len(names)
    assert not any(set(one.session) & set(".:/ ") for one in kept)
    assert [one.session for one in kept[:2]] == ["roost-m1", "roost-m10"]
    assert await kept[0].keeper.stop(5)
    await kept[0].keeper.clear()
    assert {pane.session for pane in sessions.panes()} == {one.session for one in kept[1:]}
    for one in kept[1:]:
        assert await one.keeper.stop(5)


@live
async def test_no_variable_stands_on_a_command_line_or_in_the_session(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.start(kept.start("--say", "up", env={"HF_TOKEN": "sesame"}))
    await kept.until_line("up")
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not any("sesame" in line for line in lines)
    assert "sesame" not in tmux("show-environment", "-t", f"={kept.session}:")
    assert "sesame" not in tmux("show-environment", "-g")
    assert b"HF_TOKEN=sesame" in Path(f"/proc/{kept.keeper.pid}/environ").read_bytes()
    assert list((tmp_path / "run").iterdir()) == []
    assert await kept.keeper.stop(5)


@live
async def test_somebody_elses_session_is_left_alone_and_named(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    tmux("new-session", "-d", "-s", kept.session, "sleep 1000")
    with pytest.raises(StartError, match=rf"{kept.session}.*exists already.*kill-session -t ={kept.session}"):
        await kept.keeper.start(kept.start())
    (pane,) = sessions.panes()
    assert not pane.dead
    other = Kept(tmp_path, replica="b/0")  # the same name, wanted by two
    tmux("kill-session", "-t", f"={kept.session}")
    await kept.keeper.start(kept.start())
    with pytest.raises(StartError, match="exists already"):
        await other.keeper.start(other.start())
    assert kept.keeper.running
    assert await kept.keeper.stop(5)


@live
async def test_our_engine_is_taken_up_also_without_a_record_and_ended_if_it_is_another_one(tmp_path: Path) -> None:
    first, second, third = Kept(tmp_path), Kept(tmp_path), Kept(tmp_path)
    wanted = first.start("--say", "up")
    await first.keeper.start(wanted)
    await first.until_line("up")
    pid = first.keeper.pid
    await second.keeper.start(wanted)
    assert second.keeper.pid == pid
    await third.keeper.start(third.start("--say", "changed"))
    await third.until_line("changed")
    assert third.keeper.pid != pid
    await first.until_gone()
    assert await third.keeper.stop(5)


@live
async def test_a_killed_server_ends_the_engine_and_the_next_start_makes_another(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.start(kept.start("--say", "up"))
    await kept.until_line("up")
    tmux("kill-server")
    await kept.until_gone()
    await kept.keeper.start(kept.start("--say", "again"))
    await kept.until_line("again")
    assert await kept.keeper.stop(5)


@live
async def test_without_tmux_the_word_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(StartError, match="apt install tmux"):
        await kept.keeper.start(kept.start())
    assert sessions.panes() == []
    await kept.keeper.clear()


@live
async def test_roost_itself_runs_in_a_session_and_a_living_one_is_not_replaced(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(1000)"]
    pid = run_in_session("roost-frontend", argv, os.environ, state_dir=tmp_path)
    with pytest.raises(StartError, match="roost-frontend"):
        run_in_session("roost-frontend", argv, os.environ, state_dir=tmp_path)
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(10):
        while start_time(pid) is not None:  # a zombie has ended too: tmux may be late to reap it
            await asyncio.sleep(0)


@live
async def test_engines_that_start_together_share_one_server(tmp_path: Path) -> None:
    kept = [Kept(tmp_path, f"m{number}", f"m{number}/0") for number in range(6)]
    await asyncio.gather(*(one.keeper.start(one.start()) for one in kept))
    assert {pane.session for pane in sessions.panes()} == {one.session for one in kept}
    assert all(await asyncio.gather(*(one.keeper.stop(5) for one in kept)))


@live
async def test_start_that_is_given_up_half_way_leaves_no_engine(tmp_path: Path) -> None:
    """A stop, or the end of roost, that comes while tmux still makes the session must end what comes of it."""
    kept = Kept(tmp_path)
    starting = spawn(kept.keeper.start(kept.start()), "start")
    async with asyncio.timeout(10):
        while not sessions.panes():
            await asyncio.sleep(0)
    assert not starting.done()
    starting.cancel()
    assert kept.keeper.running
    assert await kept.keeper.stop(5)
    assert kept.keeper.pid is None
    assert all(pane.dead for pane in sessions.panes())
