"""The file of what roost remembers: how it is opened, brought up to the present form, and set aside when it is broken.

One writer at a time (the state directory's lock sees to that), any number of readers. Called by `database` and
`database_read`.
"""

import contextlib
import sqlite3
from pathlib import Path

from roost.logs import log

FILE = "memory.db"
BUSY_S = 5.0
WAL_BYTES = 8 * 1024 * 1024
"""What is left of the write-ahead log after a checkpoint."""
KEPT_ROWS = 10_000
"""Rows of `usage` and of `kept`; those not written for longest go first."""
YEAR_S = 365 * 86400.0

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE usage (
        model TEXT PRIMARY KEY,
        requests INTEGER NOT NULL,
        successful INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        last_used REAL,
        since REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE kept (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        wall REAL NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE setups (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        wall REAL NOT NULL,
        setup INTEGER NOT NULL REFERENCES setups (id),
        size INTEGER NOT NULL,
        plan TEXT NOT NULL,
        view BLOB NOT NULL
    ) STRICT;
    CREATE INDEX journal_wall ON journal (wall);
    CREATE INDEX journal_setup ON journal (setup);
    """,
)
"""One script per version of the form, each on top of those before it; a script that is out is never changed."""


class Newer(Exception):
    """The file was written by a roost that is newer than this one."""


def open_for_writing(path: Path, wall: float) -> sqlite3.Connection:
    """The file in its present form; one that cannot be read is set aside, and a new one begun. Raises sqlite3.Error and
    OSError where not even that can be done (disk full, read-only)."""
    try:
        return _opened(path, wall)
    except Newer as error:
        _set_aside(path, f"newer-{error}", "it was written by a newer roost")
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise
        _set_aside(path, "unreadable", str(error))
    return _opened(path, wall)


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault, and not the disk or somebody else's lock."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _opened(path: Path, wall: float) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect before the first table alone
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        _migrate(db)
        _forget_old(db, wall)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise Newer(version)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")


def _forget_old(db: sqlite3.Connection, wall: float) -> None:
    """What nobody has written for a year, and what is over the bound on rows."""
    for table, moment in (("kept", "wall"), ("usage", "coalesce(last_used, since)")):
        db.execute(f"DELETE FROM {table} WHERE {moment} < ?", (wall - YEAR_S,))  # noqa: S608 - names of our own
        bound = f"SELECT {moment} FROM {table} ORDER BY {moment} DESC LIMIT 1 OFFSET {KEPT_ROWS}"  # noqa: S608
        db.execute(f"DELETE FROM {table} WHERE {moment} <= ({bound})")  # noqa: S608


def _set_aside(path: Path, why: str, error: str) -> None:
    """Under another name, in place of one that was set aside earlier for the same reason: no heap of them grows."""
    aside = path.with_name(f"{path.name}.{why}")
    log.warning(
        "what roost remembers cannot be read (%s): %s; it begins anew, and the old file is %s", path, error, aside
    )
    path.replace(aside)
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).replace(aside.with_name(aside.name + end))
