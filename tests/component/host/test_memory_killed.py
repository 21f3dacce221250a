"""kill -9 of whoever writes what roost remembers: at most the last second is lost, and nothing is broken."""

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from roost import clock
from roost.host.database import Database
from roost.host.database_read import Reader
from tests.support.live import live
from tests.support.roost import SRC

SCRIPT = str(Path(__file__).parents[2] / "support" / "remembering.py")
LOST_S = 1.0
SLOW_S = 1.0
"""What a busy machine may add between a writing and our hearing of its number."""


@pytest.mark.slow
@live
async def test_a_kill_loses_the_last_second_at_most_and_breaks_nothing(tmp_path: Path) -> None:
    path, written, safe = tmp_path / "memory.db", 0, [0]
    for wrote_s in (0.2, 0.9, 1.2, 2.7):
        heard = await _killed_after(path, wrote_s)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        reader = Reader(path)
        last = reader.load("n").get("k", 0)
        safe = [number for at, number in heard if at < heard[-1][0] - LOST_S - SLOW_S]
        assert last >= max(safe, default=0)
        if last:
            assert reader.usage()["a"].requests == last, "one transaction holds all that belongs together"
            assert f'{{"plan": {last}}}' in [plan for _, _, plan in reader.plans(0.0, 5)]
        kept = len(list(reader.entries(0.0)))
        assert kept >= written, "what was written before is still there"
        written = kept
        memory = Database(path, journal_bytes=1 << 20, journal_age_s=1e6)
        memory.open()
        memory.close()
        assert not path.with_name("memory.db.unreadable").exists()
        assert len(list(reader.entries(0.0))) == kept
    assert written
    assert safe, "the last one wrote for long enough to say that something was safe"


async def _killed_after(path: Path, wrote_s: float) -> list[tuple[float, int]]:
    """(when, number) of all that the writer said before it was killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", SCRIPT),
        str(path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    assert process.stdout is not None
    heard: list[tuple[float, int]] = []
    while not heard or heard[-1][0] - heard[0][0] < wrote_s:
        number = int(await process.stdout.readline())
        heard.append((clock.now(), number))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    return heard
