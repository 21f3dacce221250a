"""What roost remembers on disk: written, bounded, set aside, and never in the way."""

import json
import logging
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost import clock
from roost.host import database, database_schema
from roost.host.database import Database, Decision
from roost.host.database_read import Reader, Usage
from roost.host.database_schema import MIGRATIONS

LIMIT_S = 20.0
DAY_S = 86400.0
Open = Callable[..., Database]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens databases that write at once, and closes them."""
    monkeypatch.setattr(database, "BATCH_S", 0.01)
    monkeypatch.setattr(database, "RETRY_S", 0.02)
    made: list[Database] = []

    def make(*, journal_bytes: int = 1 << 20, journal_age_s: float = 14 * DAY_S) -> Database:
        made.append(Database(path, journal_bytes=journal_bytes, journal_age_s=journal_age_s))
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(true: Callable[[], bool]) -> None:
    """Until the writer's thread has made it so."""
    deadline, pause = clock.now() + LIMIT_S, threading.Event()
    while not true():
        assert clock.now() < deadline
        pause.wait(0.005)


def decision(plan: str = "{}", view: bytes = b"{}", setup: bytes = b"{}") -> Callable[[], Decision]:
    """What `record` takes."""
    made = Decision(setup, plan.encode(), view)
    return lambda: made


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def test_everything_is_there_for_the_next_roost(path: Path, opened: Open) -> None:
    usage = Usage(requests=3, successful=2, failed=1, prompt_tokens=7, last_used=clock.wall(), since=4.0)
    first = opened()
    first.use({"a": replace(usage, requests=1), "b": usage})
    first.use({"a": usage})
    first.keep("learned", {"a": {"gaps": [1, 2.5]}, "b": None})
    first.keep("rise", {"a": 1})
    first.record(decision('{"actions": []}', b'{"now": 1}', b'{"models": {}}'))
    first.close()
    opened().close()
    reader = Reader(path)
    assert reader.usage() == {"a": usage, "b": usage}
    assert reader.load("learned") == {"a": {"gaps": [1, 2.5]}, "b": None}
    assert reader.load("nothing") == {}
    (entry,) = reader.entries(0.0)
    assert (entry.plan, entry.view) == ('{"actions": []}', b'{"now": 1}')
    assert reader.setup(entry.setup_id) == b'{"models": {}}'
    assert reader.entry(entry.id) == entry
    assert reader.entry(entry.id + 1) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_written_without_a_close(path: Path, opened: Open) -> None:
    opened().keep("n", {"k": 1})
    until(lambda: Reader(path).load("n") == {"k": 1})


def test_what_has_not_changed_is_not_written_again(path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, wall = opened(), 1e9
    for values in ({"same": [1], "other": 1}, {"same": [1], "other": 2}):
        wall += 1.0
        monkeypatch.setattr(clock, "wall", lambda now=wall: now)
        memory.keep("n", values)
        until(lambda wanted=values: Reader(path).load("n") == wanted)  # type: ignore[misc]
    assert dict(ask(path, "SELECT key, wall FROM kept")) == {"same": 1e9 + 1, "other": 1e9 + 2}


def test_views_with_one_setup_share_it(path: Path, opened: Open) -> None:
    memory = opened()
    for number in range(6):
        memory.record(decision(setup=b"ab"[number % 2 : number % 2 + 1]))
    memory.close()
    again = opened()
    again.record(decision(setup=b"a"))
    again.close()
    reader = Reader(path)
    assert [reader.setup(entry.setup_id) for entry in reader.entries(0.0)] == [b"a", b"b"] * 3 + [b"a"]
    assert ask(path, "SELECT count(*) FROM setups") == [(2,)]


# bounds


def test_the_journal_stays_within_its_size(path: Path, opened: Open) -> None:
    luck, bound = random.Random(5), 200_000
    memory = opened(journal_bytes=bound)
    for number in range(300):
        view = luck.randbytes(3000)
        memory.record(decision(str(number), view, b"%d" % (number // 100)))
        until(lambda: len(memory._batch.plans) < database.WAITING_PLANS // 2)
    memory.close()
    kept = [int(entry.plan) for entry in Reader(path).entries(0.0)]
    assert 30 < len(kept) < 70
    assert kept == list(range(300 - len(kept), 300)), "the newest stay"
    assert ask(path, "SELECT count(*) FROM setups") == [(1,)], "what no plan needs any more goes too"
    assert path.stat().st_size < 2 * bound


def test_old_plans_go(path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (0, 10, 20):
        monkeypatch.setattr(clock, "wall", lambda day=day: 1e9 + day * DAY_S)
        memory = opened()
        memory.record(decision(str(day)))
        memory.close()
    assert [entry.plan for entry in Reader(path).entries(0.0)] == ["10", "20"]
    assert Reader(path).span() == (1e9 + 10 * DAY_S, 1e9 + 20 * DAY_S)


def test_no_journal_is_kept_where_none_is_wanted(path: Path, opened: Open) -> None:
    memory = opened(journal_bytes=0)
    memory.record(decision())
    memory.close()
    assert Reader(path).span() is None


def test_a_value_that_is_too_large_or_no_json_is_left_out_and_said_once(
    path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    memory = opened()
    memory.keep("n", {"large": "x" * database.VALUE_BYTES, "good": 1})
    memory.keep("m", {"strange": object(), "stranger": object(), "good": 2})
    memory.close()
    assert (Reader(path).load("n"), Reader(path).load("m")) == ({"good": 1}, {"good": 2})
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2
    assert "n of large is not kept: 262146 bytes" in said[0]


def test_a_plan_that_cannot_be_encoded_costs_only_itself(path: Path, opened: Open) -> None:
    def broken() -> Decision:
        raise TypeError("no such thing")

    memory = opened()
    memory.record(decision("1"))
    memory.record(broken)
    memory.record(decision("2"))
    memory.close()
    assert [entry.plan for entry in Reader(path).entries(0.0)] == ["1", "2"]


def test_a_year_without_a_word_is_forgotten_and_so_are_the_oldest_of_too_many(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_schema, "KEPT_ROWS", 3)
    monkeypatch.setattr(clock, "wall", lambda: 1e9)
    first = opened()
    first.use({"old": Usage(since=1e9), "used": Usage(since=1.0, last_used=1e9 + 300 * DAY_S)})
    first.keep("n", {"old": 1})
    first.close()
    for day in range(380, 385):
        monkeypatch.setattr(clock, "wall", lambda day=day: 1e9 + day * DAY_S)
        memory = opened()
        memory.keep("n", {str(day): 1})
        memory.close()
    opened().close()
    assert set(Reader(path).usage()) == {"used"}
    assert set(Reader(path).load("n")) == {"382", "383", "384"}


# what may go wrong


def test_a_file_that_cannot_be_read_is_set_aside(path: Path, opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"this is no database" * 400)
    memory = opened()
    memory.keep("n", {"k": 1})
    memory.close()
    assert Reader(path).load("n") == {"k": 1}
    aside = path.with_name("memory.db.unreadable")
    assert aside.read_bytes().startswith(b"this is no database")
    assert str(aside) in caplog.text


def test_a_file_with_damaged_pages_is_set_aside(path: Path, opened: Open) -> None:
    memory = opened()
    memory.keep("n", {str(number): "x" * 3000 for number in range(100)})
    memory.close()
    data = bytearray(path.read_bytes())
    data[8192:40000] = random.Random(3).randbytes(40000 - 8192)
    path.write_bytes(data)
    opened().close()
    assert path.with_name("memory.db.unreadable").exists()
    assert Reader(path).load("n") == {}


def test_a_file_of_a_newer_roost_is_set_aside_whole(path: Path, opened: Open) -> None:
    opened().close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 3}")
    opened().close()
    assert path.with_name(f"memory.db.newer-{len(MIGRATIONS) + 3}").exists()
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_an_older_file_is_brought_up_to_date_in_place(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened()
    first.keep("n", {"k": 1})
    first.close()
    monkeypatch.setattr(database_schema, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE kept ADD COLUMN note TEXT"))
    opened().close()
    assert ask(path, "SELECT key, note FROM kept") == [("k", None)]
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


def test_a_migration_that_fails_changes_nothing(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    first.keep("n", {"k": 1})
    first.close()
    script = "ALTER TABLE kept ADD COLUMN note TEXT; ALTER TABLE nowhere ADD COLUMN note TEXT"
    with monkeypatch.context() as patch:
        patch.setattr(database_schema, "MIGRATIONS", (*MIGRATIONS, script))
        opened().close()
    assert "no such table: nowhere" in caplog.text
    assert Reader(path).load("n") == {"k": 1}
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert len(ask(path, "SELECT * FROM pragma_table_info('kept')")) == 4


def test_without_a_place_to_write_it_serves_on_and_writes_when_there_is_one(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for all the tries; meanwhile the newest is held: each key once, and a bounded number of plans."""
    monkeypatch.setattr(database, "RETRY_S", 0.01)
    folder = tmp_path / "not-there"
    caplog.set_level(logging.INFO)
    memory = Database(folder / "memory.db", journal_bytes=1 << 20, journal_age_s=DAY_S)
    assert not memory.open()
    for number in range(300):
        memory.keep("n", {"k": number})
        memory.use({"a": Usage(requests=number, since=1.0)})
        memory.record(decision(str(number)))
    folder.mkdir()
    until((folder / "memory.db").exists)
    until(lambda: "written to" in caplog.text and "again" in caplog.text)
    memory.close()
    reader = Reader(folder / "memory.db")
    assert reader.load("n") == {"k": 299}
    assert reader.usage()["a"].requests == 299
    plans = [entry.plan for entry in reader.entries(0.0)]
    assert plans == [str(number) for number in range(300 - database.WAITING_PLANS, 300)]
    assert sum("cannot be written" in record.getMessage() for record in caplog.records) == 1


def test_a_full_disk_costs_nothing_that_is_still_held(
    path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """The bound on pages is the connection's own: the next try, which opens the file anew, has room."""
    memory = opened()
    memory.keep("n", {"k": 1})
    until(lambda: Reader(path).load("n") == {"k": 1})
    assert memory._db is not None
    memory._db.execute("PRAGMA max_page_count = 1")
    memory.keep("n", {"k": 2, "large": "x" * 200_000})
    memory.record(decision("once"))
    until(lambda: Reader(path).load("n").get("k") == 2)
    memory.close()
    assert "database or disk is full" in caplog.text
    assert [entry.plan for entry in Reader(path).entries(0.0)] == ["once"]


def test_a_fault_of_its_own_does_not_end_the_writer(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = opened()
    with monkeypatch.context() as patch:
        patch.setattr(Database, "_changed", lambda *_: 1 // 0)
        memory.keep("n", {"k": 1})
        until(lambda: "fault of roost's own" in caplog.text)
    memory.keep("n", {"k": 2})
    memory.close()
    assert Reader(path).load("n") == {"k": 2}


def test_a_close_without_an_open_waits_for_nothing(path: Path) -> None:
    Database(path, journal_bytes=1, journal_age_s=1.0).close()
    assert not path.exists()


def test_a_reader_goes_through_a_long_journal_page_by_page(path: Path, opened: Open) -> None:
    memory = opened()
    for number in range(130):
        memory.record(decision(json.dumps(number)))
    memory.close()
    reader = Reader(path)
    assert [entry.plan for entry in reader.entries(0.0)] == [str(number) for number in range(130)]
    assert [plan for _, _, plan in reader.plans(0.0, 3)] == ["129", "128", "127"]
    assert reader.plans(2e10, 3) == []


def test_a_folder_that_is_not_ours_to_write_to_is_read_all_the_same(path: Path, opened: Open) -> None:
    memory = opened()
    memory.keep("n", {"k": 1})
    memory.close()
    path.with_name("memory.db-shm").mkdir()  # so that it cannot be made, whoever runs this
    assert Reader(path).load("n") == {"k": 1}
    path.with_name("memory.db-shm").rmdir()
