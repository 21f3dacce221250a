"""The log file of one engine: it writes, we read.

An engine's stdout and stderr are this file, opened for appending, never a pipe of ours: a killed roost would
break the next print of an engine that is to be adopted. Bounded by copying to `.1` and truncating, which is safe
because every writer appends.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from roost.logs import log

MAX_BYTES = 50 * 1024 * 1024
TAIL_BYTES = 256 * 1024
LINE_BYTES = 64 * 1024
FOLLOW_S = 0.25


class Output:
    """One file and the one before it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, header: str) -> int:
        """A descriptor for the engine, after a line that says what starts."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(descriptor, f"--- {header}\n".encode())
        return descriptor

    @property
    def _before(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def full(self) -> bool:
        """True if the file has outgrown its size: time to call `bound`."""
        return _size(self.path) > MAX_BYTES

    def bound(self) -> None:
        """Keep the file within its size. Copies up to MAX_BYTES, so it is called in a thread. Raises OSError."""
        if self.full():
            try:
                shutil.copyfile(self.path, self._before)
            except OSError as error:  # a full disk, say: the more reason to let go of what fills it
                log.warning("the older lines of %s are lost: %s", self.path, error)
            os.truncate(self.path, 0)

    def tail(self, lines: int) -> list[str]:
        """The last lines, oldest first, from the file before too where this one has just begun."""
        if lines <= 0:
            return []
        text = _end_of(self.path)
        if text.count(b"\n") < lines and len(text) < TAIL_BYTES:
            text = _end_of(self._before) + text
        return text.decode("utf-8", "replace").splitlines()[-lines:]

    async def follow(self) -> AsyncIterator[str]:
        """Lines as they are written, from now on, until the reader stops. A line over LINE_BYTES comes in pieces."""
        at, rest = _size(self.path), b""
        while True:
            size = _size(self.path)
            at = 0 if size < at else at  # it was truncated
            if size == at:
                await asyncio.sleep(FOLLOW_S)
                continue
            data = _read(self.path, at)
            at += len(data)
            *whole, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_BYTES:
                whole.append(rest)
                rest = b""
            for line in whole:
                yield line.decode("utf-8", "replace").rstrip("\r")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, at: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(at)
            return file.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""


def _end_of(path: Path) -> bytes:
    return _read(path, max(0, _size(path) - TAIL_BYTES))
