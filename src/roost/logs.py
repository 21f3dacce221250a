"""The only logger. Secrets never reach it: callers log key names, never keys."""

import logging
import sys
from pathlib import Path
from typing import TextIO

log = logging.getLogger("roost")


_stream: TextIO = sys.stderr


def to_stderr(level: str = "info") -> None:
    """Plain lines on stderr with time and level; called once by the CLI."""
    _use(sys.stderr, level)


def to_file(path: Path, level: str = "info") -> None:
    """The same lines in a file, where the terminal shows a table instead."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _use(path.open("a", encoding="utf-8", buffering=1), level)


def _use(stream: TextIO, level: str) -> None:
    global _stream
    _stream = stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
    log.propagate = False


def write(text: str) -> None:
    """Ready-made lines (the access log's batches) to where the log goes."""
    _stream.write(text)
    _stream.flush()
