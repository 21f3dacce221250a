"""What a roost knows of the time before its start: totals, who was used last, and every plan with its reasons."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from roost.core.lifecycle import State
from tests.support.command_line import beside
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

CONFIG = """
memory: {max_resident: 2}
policy: {eviction: lru}
models:
  a: {engine: simulated}
  b: {engine: simulated}
  c: {engine: simulated}
"""


async def model(roost: RunningRoost, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = (await roost.client.get(f"/api/v1/models/{name}")).json()
    return facts


@live
@pytest.mark.slow
async def test_totals_go_on_and_the_journal_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_roost(CONFIG, tmp_path) as roost:
        for _ in range(2):
            assert (await roost.chat("a")).status_code == 200
        assert (await model(roost, "a"))["totals"]["requests"] == 2
        since = (await model(roost, "a"))["totals"]["since"]
    async with running_roost(CONFIG, tmp_path) as roost:
        before = (await model(roost, "a"))["totals"]
        assert (before["requests"], before["successful"], before["since"]) == (2, 2, since)
        assert before["last_used"] is not None
        assert before["completion_tokens"] > 0
        assert (await model(roost, "b"))["totals"]["requests"] == 0
        assert (await roost.chat("a")).status_code == 200
        after = (await model(roost, "a"))["totals"]
        assert after["requests"] == 3
        assert after["completion_tokens"] > before["completion_tokens"]
        plans = await _journal(roost)
        loads = [action for plan in plans for action in plan["actions"] if action["action"] == "load"]
        assert [load["replica"] for load in loads] == ["a/0", "a/0"], "one of each run"
        assert loads[0]["reason_kind"] == "demand"
        assert "request waits" in loads[0]["reason"]
        assert (await roost.client.get("/api/v1/journal?limit=1")).json()["plans"] == plans[:1]
        replayed = await beside("replay", "--state-dir", str(tmp_path / "state"))
        assert replayed.code == 0, replayed.out + replayed.err
        assert f"{len(plans)} plans: {len(plans)} the same" in replayed.out
    ended = await beside("replay", "--state-dir", str(tmp_path / "state"))
    assert (ended.code, ended.out) == (0, replayed.out)


async def _journal(roost: RunningRoost) -> list[dict[str, Any]]:
    """Once the writer has written both loads: it does so within a second."""
    async with asyncio.timeout(20):
        while True:
            plans: list[dict[str, Any]] = (await roost.client.get("/api/v1/journal?since=1h")).json()["plans"]
            if sum(action["action"] == "load" for plan in plans for action in plan["actions"]) >= 2:
                return plans


@live
@pytest.mark.slow
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_who_was_used_last_before_the_restart_stays(tmp_path: Path, order: str) -> None:
    """Both engines go on without roost; the next one has room for one of them beside the newcomer."""
    async with running_roost(CONFIG, tmp_path, keep_engines=True) as roost:
        for name in ("a", "b", *order):
            assert (await roost.chat(name)).status_code == 200
    async with running_roost(CONFIG, tmp_path) as roost:
        assert (roost.state("a"), roost.state("b")) == (State.READY, State.READY)
        assert (await roost.chat("c")).status_code == 200
        assert roost.state(order[1]) is State.READY
        assert roost.state(order[0]) is not State.READY


@live
async def test_a_state_directory_whose_memory_is_no_file_changes_nothing_for_clients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state" / "memory.db").mkdir(parents=True)
    async with running_roost(CONFIG, tmp_path) as roost:
        assert (await roost.chat("a")).status_code == 200
        assert (await model(roost, "a"))["totals"]["requests"] == 1
        assert (await roost.client.get("/api/v1/journal")).json() == {"plans": []}
    assert sum("cannot be written" in record.getMessage() for record in caplog.records) == 1
