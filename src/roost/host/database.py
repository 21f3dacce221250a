"""What roost remembers over its own end, in one SQLite file of the state directory: its only writer.

A thread of its own writes, at most twice a second, everything that has come in between as one transaction: a kill -9
loses that, and corrupts nothing. Whoever calls never waits and never fails: where the disk is full or read-only there
is one warning, the newest is held for when it works again, and roost serves on. Made by `keeping.py`.
"""

import hashlib
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from roost import clock
from roost.host.database_read import Usage
from roost.host.database_schema import KEPT_ROWS, is_broken, open_for_writing
from roost.logs import log

BATCH_S = 0.5
RETRY_S = 10.0
END_S = 5.0
"""How long its end may wait for the disk."""
WAITING_PLANS = 256
VALUE_BYTES = 256 * 1024
"""The largest value that is kept."""
TRIM_S = 3600.0
ROW_BYTES = 64
"""What a row of the journal takes beside its plan and view."""
_USAGE = ", ".join(("model", *Usage.__slots__))
_PUT_USAGE = f"INSERT OR REPLACE INTO usage ({_USAGE}) VALUES ({', '.join('?' * (len(Usage.__slots__) + 1))})"  # noqa: S608
_PUT_KEPT = "INSERT OR REPLACE INTO kept (kind, key, value, wall) VALUES (?, ?, ?, ?)"
_PUT_PLAN = "INSERT INTO journal (wall, setup, size, plan, view) VALUES (?, ?, ?, ?, ?)"
_OVER = (
    "DELETE FROM journal WHERE id <= (SELECT max(id) FROM "
    "(SELECT id, sum(size) OVER (ORDER BY id DESC) AS held FROM journal) WHERE held > ?)"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan with what it came from, encoded."""

    setup: bytes
    plan: bytes
    view: bytes


Make = Callable[[], Decision]


@dataclass(slots=True)
class _Batch:
    """What has come in since the last writing; each key once, with its newest value."""

    usage: dict[str, Usage] = field(default_factory=dict)
    kept: dict[tuple[str, str], Any] = field(default_factory=dict)
    plans: deque[tuple[float, Make]] = field(default_factory=lambda: deque(maxlen=WAITING_PLANS))

    def __bool__(self) -> bool:
        return bool(self.usage or self.kept or self.plans)

    def put_under(self, older: "_Batch") -> None:
        """Take back what could not be written; what came meanwhile is newer."""
        self.usage = older.usage | self.usage
        self.kept = older.kept | self.kept
        self.plans = deque([*older.plans, *self.plans], maxlen=WAITING_PLANS)


class Database:
    """The writer. `open` first; all other methods may be called at any time, from the loop."""

    def __init__(self, path: Path, *, journal_bytes: int, journal_age_s: float) -> None:
        self._path = path
        self._journal_bytes = journal_bytes
        self._journal_age_s = journal_age_s
        self._db: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        self._batch = _Batch()
        self._due = threading.Event()
        self._closing = threading.Event()
        self._failed = False
        self._said: set[str] = set()
        self._setups: dict[str, int] = {}
        self._last_setup: tuple[bytes, str] = (b"", "")
        """Of the last plan, with its digest: it is the same object as long as no spec changes."""
        self._written: dict[tuple[str, str], bytes] = {}
        self._held = 0
        self._trimmed_at = 0.0
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def open(self) -> bool:
        """Open the file and begin to write; False where it cannot be, which is tried again as long as roost runs.
        Blocks: call it in a thread."""
        try:
            self._connect()
        except (sqlite3.Error, OSError) as error:
            self._fail(error, _Batch())
        self._thread.start()
        return self._db is not None

    def use(self, usage: Mapping[str, Usage]) -> None:
        """Totals of these models, in place of the earlier ones."""
        with self._guard:
            self._batch.usage.update(usage)
        self._due.set()

    def keep(self, kind: str, values: Mapping[str, Any]) -> None:
        """JSON-ready values by key, in place of the earlier ones. They must not change afterwards."""
        with self._guard:
            self._batch.kept.update({(kind, key): value for key, value in values.items()})
        self._due.set()

    def record(self, make: Make) -> None:
        """Into the journal. `make` is called in the writer's thread, once."""
        if not self._journal_bytes:
            return
        with self._guard:
            self._batch.plans.append((clock.wall(), make))
        self._due.set()

    def close(self) -> None:
        """Write what is left. Blocks, for `END_S` at most: call it in a thread."""
        self._closing.set()
        self._due.set()
        if self._thread.ident is None:
            return  # never opened
        self._thread.join(END_S)
        if self._thread.is_alive():
            log.warning("the last of what roost remembers could not be written within %.0f s", END_S)

    # in the writer's thread

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._closing.wait(RETRY_S if self._failed else BATCH_S)
            ending = self._closing.is_set()
            self._due.clear()
            self._turn()
            if ending:
                self._disconnect()
                return

    def _turn(self) -> None:
        with self._guard:
            batch, self._batch = self._batch, _Batch()
        try:
            if batch:
                self._write(batch)
                batch = _Batch()
                self._trim(clock.wall())
        except (sqlite3.OperationalError, OSError) as error:
            self._fail(error, batch)
        except sqlite3.DatabaseError as error:
            self._fail(error, batch if is_broken(error) else _Batch())
        except Exception as error:
            log.exception("what roost remembers met a fault of roost's own; what was to be written is dropped")
            self._fail(error, _Batch())
        else:
            self._succeed()

    def _connect(self) -> sqlite3.Connection:
        db = self._db = open_for_writing(self._path, clock.wall())
        self._setups.clear()
        self._written.clear()
        (self._held,) = db.execute("SELECT coalesce(sum(size), 0) FROM journal").fetchone()
        self._trimmed_at = clock.now() - TRIM_S
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as error:
                log.debug("%s did not close well: %s", self._path, error)

    def _fail(self, error: Exception, batch: _Batch) -> None:
        """Said once until it works again. The next try opens the file anew: it may have been moved or replaced."""
        self._disconnect()
        with self._guard:
            self._batch.put_under(batch)
        self._due.set()
        if not self._failed:
            log.warning(
                "what roost remembers cannot be written to %s: %s; it serves on, and tries again every %.0f s",
                self._path,
                error,
                RETRY_S,
            )
        self._failed = True

    def _succeed(self) -> None:
        if self._failed:
            log.info("what roost remembers is written to %s again", self._path)
        self._failed = False

    def _write(self, batch: _Batch) -> None:
        db = self._db or self._connect()
        made = [decision for each in batch.plans if (decision := self._made(*each)) is not None]
        batch.plans = deque(((at, _given(one)) for at, one in made), maxlen=WAITING_PLANS)  # once made, never again
        changed, wall = self._changed(batch.kept), clock.wall()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_PUT_USAGE, [(model, *_columns(usage)) for model, usage in batch.usage.items()])
        db.executemany(_PUT_KEPT, [(*key, value.decode(), wall) for key, value in changed.items()])
        added = sum(self._put_plan(db, at, decision) for at, decision in made)
        db.execute("COMMIT")
        self._held += added
        self._written |= {key: _digest(value) for key, value in changed.items()}

    def _made(self, at: float, make: Make) -> tuple[float, Decision] | None:
        try:
            return at, make()
        except Exception as error:
            self._say_once("plan", f"a plan cannot be kept in the journal: {error!r}")
            return None

    def _changed(self, kept: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], bytes]:
        found = {}
        for key, value in kept.items():
            try:
                data = msgspec.json.encode(value)
            except (TypeError, ValueError, OverflowError) as error:
                self._say_once(key[0], f"{key[0]} of {key[1]} cannot be kept: {error}")
                continue
            if len(data) > VALUE_BYTES or (key not in self._written and len(self._written) >= KEPT_ROWS):
                self._say_once(key[0], f"{key[0]} of {key[1]} is not kept: {len(data)} bytes, or one too many")
            elif self._written.get(key) != _digest(data):
                found[key] = data
        return found

    def _put_plan(self, db: sqlite3.Connection, wall: float, decision: Decision) -> int:
        setup, more = self._setup(db, decision.setup)
        view = zlib.compress(decision.view)
        size = len(view) + len(decision.plan) + more + ROW_BYTES
        db.execute(_PUT_PLAN, (wall, setup, size, decision.plan.decode(), view))
        return size

    def _setup(self, db: sqlite3.Connection, data: bytes) -> tuple[int, int]:
        """Its row, and the bytes it takes if it is new."""
        if data is not self._last_setup[0]:
            self._last_setup = (data, hashlib.sha256(data).hexdigest())
        digest = self._last_setup[1]
        if digest in self._setups:
            return self._setups[digest], 0
        found = db.execute("SELECT id FROM setups WHERE digest = ?", (digest,)).fetchone()
        packed = b"" if found else zlib.compress(data)
        if found is None:
            query = "INSERT INTO setups (digest, data) VALUES (?, ?) RETURNING id"
            found = db.execute(query, (digest, packed)).fetchone()
        self._setups[digest] = int(found[0])
        return int(found[0]), len(packed)

    def _trim(self, wall: float) -> None:
        """Down to nine tenths when it is full, so that not every writing has to; once an hour by age."""
        db, full, now = self._db, self._held > self._journal_bytes, clock.now()
        if db is None or (not full and now - self._trimmed_at < TRIM_S):
            return
        self._trimmed_at = now
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM journal WHERE wall < ?", (wall - self._journal_age_s,))
        if full:
            db.execute(_OVER, (self._journal_bytes * 9 // 10,))
        db.execute("DELETE FROM setups WHERE id NOT IN (SELECT setup FROM journal)")
        db.execute("COMMIT")
        self._setups.clear()
        (self._held,) = db.execute("SELECT coalesce(sum(size), 0) FROM journal").fetchone()
        db.executescript("PRAGMA incremental_vacuum")  # `execute` would stop after its first page

    def _say_once(self, about: str, sentence: str) -> None:
        if about not in self._said:
            self._said.add(about)
            log.warning("%s (said once)", sentence)


def _given(decision: Decision) -> Make:
    return lambda: decision


def _columns(usage: Usage) -> tuple[Any, ...]:
    return tuple(getattr(usage, name) for name in Usage.__slots__)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
