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

MAX_BYTES = 50 * 1024 * 1024
TAIL_BYTES = 256 * 1024
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

    def bound(self) -> None:
        """Called now and then: keep the file within its size."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
                os.truncate(self.path, 0)
        except FileNotFoundError:
            pass

    def tail(self, lines: int) -> list[str]:
        """The last lines, oldest first."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:] if lines > 0 else []

    async def follow(self) -> AsyncIterator[str]:
        """Lines as they are written, from now on, until the reader stops."""
        at = self.path.stat().st_size if self.path.exists() else 0
        rest = ""
        while True:
            await asyncio.sleep(FOLLOW_S)
            size = self.path.stat().st_size if self.path.exists() else 0
            at = 0 if size < at else at  # it was truncated
            if size == at:
                continue
            with self.path.open("rb") as file:
                file.seek(at)
                data = file.read(TAIL_BYTES)
            at += len(data)
            *whole, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            for line in whole:
                yield line
