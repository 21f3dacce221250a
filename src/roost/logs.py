"""The only logger. Secrets never reach it: callers log key names, never keys.

Its last lines are kept in memory (`kept`) for those who read them through the API.
"""

import logging
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TextIO

log = logging.getLogger("roost")

KEPT_BYTES = 100 * 1024
"""Of roost's own log, for the API; llama-swap keeps as much."""
_stream: TextIO = sys.stderr


class Kept(logging.Handler):
    """The last lines, at most `most` bytes of them. Any thread may log; readers ask for what is new."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        super().__init__()
        self._most = most
        self._lines: deque[str] = deque()
        self._size = 0
        self._count = 0
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self.add(self.format(record))

    def add(self, text: str) -> None:
        """One line or more; those over the bound go, oldest first."""
        with self._guard:
            for line in text.splitlines():
                self._lines.append(line)
                self._size += len(line) + 1
                self._count += 1
            while self._size > self._most:
                self._size -= len(self._lines.popleft()) + 1

    @property
    def count(self) -> int:
        """Lines ever added: where a reader stands that has read them all."""
        return self._count

    def since(self, count: int) -> tuple[int, list[str]]:
        """The lines after the first `count`, as far as they are still kept, and where the reader stands then."""
        with self._guard:
            gone = self._count - len(self._lines)
            return self._count, list(self._lines)[max(0, count - gone) :]


kept = Kept()


def to_stderr(level: str = "info") -> None:
    """Plain lines on stderr with time and level; called once by the CLI."""
    _use(sys.stderr, level)


def to_stdout(level: str = "info") -> None:
    """The same on stdout, where those who run it in a container look."""
    _use(sys.stdout, level)


def to_file(path: Path, level: str = "info") -> None:
    """The same lines in a file, where the terminal shows a table instead."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _use(path.open("a", encoding="utf-8", buffering=1), level)


def _use(stream: TextIO, level: str) -> None:
    global _stream
    _stream = stream
    form = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    handler = logging.StreamHandler(stream)
    log.handlers[:] = [handler, kept]
    for each in log.handlers:
        each.setFormatter(form)
    log.setLevel(level.upper())
    log.propagate = False


def write(text: str) -> None:
    """Ready-made lines (the access log's batches) to where the log goes."""
    _stream.write(text)
    _stream.flush()
    kept.add(text)
