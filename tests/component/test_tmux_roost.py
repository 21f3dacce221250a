"""A whole roost whose engines run under tmux: supervision holds, sessions come and go, serve takes over."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import running_roost
from tests.support.tmux import needs_tmux, own_tmux, tmux

pytestmark = needs_tmux
ONE = "defaults: {launcher: tmux, restart: {backoff: 50ms}}\nmodels:\n  org/a.1: {engine: simulated, preload: true}\n"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TMUX", raising=False)
    with own_tmux() as variables:
        monkeypatch.setenv("TMUX_TMPDIR", variables["TMUX_TMPDIR"])
        yield


def sessions() -> list[str]:
    return tmux("list-sessions", "-F", "#{session_name}").split()


@live
async def test_a_killed_engine_comes_back_in_its_session_and_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.until("org/a.1", State.READY)
        facts = (await roost.client.get("/api/v1/models/org/a.1")).json()
        (session,) = sessions()
        assert facts["endpoints"][0]["session"] == session
        os.kill(facts["pid"], signal.SIGKILL)
        await roost.until("org/a.1", State.BACKOFF)
        await roost.until("org/a.1", State.READY)
        assert (await roost.chat("org/a.1")).status_code == 200
        assert sessions() == [session]
        history = (await roost.client.get("/api/v1/models/org/a.1")).json()["history"]
        assert any("SIGKILL" in change["reason"] for change in history)
        log = await roost.client.get("/api/v1/models/org/a.1/logs")
        assert "listening" in log.text
        answer = await roost.client.post("/api/v1/models/org/a.1/sleep", json={"level": 2})
        assert answer.json()["state"] == "asleep"
        assert (await roost.chat("org/a.1")).status_code == 200
    with pytest.raises(Exception, match="list-sessions"):
        sessions()


@live
async def test_an_engine_that_cannot_start_leaves_its_end_to_be_read_and_is_told(tmp_path: Path) -> None:
    text = "models:\n  a: {command: \"sh -c 'echo no weights; exit 7' ${PORT}\", launcher: tmux, restart: {tries: 1}}\n"
    async with running_roost(text, tmp_path) as roost:
        answer = await roost.chat("a")
        assert answer.status_code == 503
        assert "exit status 7" in answer.text
        assert "no weights" in answer.text
        assert sessions() == ["roost-a"]
        assert "no weights" in tmux("capture-pane", "-p", "-S", "-", "-t", "=roost-a:")


@live
async def test_the_servers_end_is_the_engines_end_and_the_next_request_starts_both(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.until("org/a.1", State.READY)
        await asyncio.to_thread(tmux, "kill-server")
        await roost.until("org/a.1", State.BACKOFF)
        assert (await roost.chat("org/a.1")).status_code == 200
        assert len(sessions()) == 1
