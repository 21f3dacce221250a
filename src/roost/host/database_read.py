"""Reads what roost remembers, beside its writer or when nobody writes any more. Changes nothing.

Nothing here holds the file for long: a journal is read a page at a time. Called by `keeping.py` and `roost replay`.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.host.database_schema import BUSY_S

PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a model has done since roost first saw it. Moments are Unix seconds."""

    requests: int = 0
    successful: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_used: float | None = None
    """When its last request ended; None: it had none."""
    since: float
    """When the counting began."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One plan of the journal. `view` and `setup` are what `core.snapshot` decodes."""

    id: int
    wall: float
    plan: str
    view: bytes
    setup_id: int


class Reader:
    """A file of what roost remembers. Raises sqlite3.Error where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def usage(self) -> dict[str, Usage]:
        """By model."""
        columns = ", ".join(Usage.__slots__)
        rows = self._all(f"SELECT model, {columns} FROM usage")  # noqa: S608 - names of our own
        return {model: Usage(**dict(zip(Usage.__slots__, row, strict=True))) for model, *row in rows}

    def load(self, kind: str) -> dict[str, Any]:
        """Key -> value of everything kept of this kind."""
        rows = self._all("SELECT key, value FROM kept WHERE kind = ?", kind)
        return {key: json.loads(value) for key, value in rows}

    def plans(self, since: float, limit: int) -> list[tuple[int, float, str]]:
        """(id, Unix seconds, plan) of the last ones since then, newest first."""
        return self._all("SELECT id, wall, plan FROM journal WHERE wall >= ? ORDER BY id DESC LIMIT ?", since, limit)

    def entry(self, id: int) -> Entry | None:
        """One of the journal; None: it holds no such one, or no longer."""
        return next(iter(self._entries("id = ?", id)), None)

    def entries(self, since: float) -> Iterator[Entry]:
        """Those since then, oldest first."""
        last = 0
        while page := self._entries("wall >= ? AND id > ?", since, last):
            yield from page
            last = page[-1].id

    def setup(self, id: int) -> bytes:
        """What several views share."""
        rows = self._all("SELECT data FROM setups WHERE id = ?", id)
        return zlib.decompress(rows[0][0]) if rows else b""

    def span(self) -> tuple[float, float] | None:
        """Unix seconds of the oldest and the newest plan."""
        ((first, last),) = self._all("SELECT min(wall), max(wall) FROM journal")
        return None if first is None else (first, last)

    def _entries(self, where: str, *values: Any) -> list[Entry]:
        query = f"SELECT id, wall, plan, view, setup FROM journal WHERE {where} ORDER BY id LIMIT {PAGE}"  # noqa: S608
        rows = self._all(query, *values)
        return [Entry(id, wall, plan, zlib.decompress(view), setup) for id, wall, plan, view, setup in rows]

    def _all(self, query: str, *values: Any) -> list[Any]:
        """All rows at once, so that the writer's log can be emptied meanwhile."""
        try:
            return self._asked("mode=ro", query, values)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            # A folder that is not ours to write to: the file alone, which nobody writes then.
            return self._asked("mode=ro&immutable=1", query, values)

    def _asked(self, how: str, query: str, values: tuple[Any, ...]) -> list[Any]:
        place = f"{self._path.absolute().as_uri()}?{how}"
        with closing(sqlite3.connect(place, uri=True, timeout=BUSY_S)) as db:
            return db.execute(query, values).fetchall()
