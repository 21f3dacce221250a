"""An engine's log file: bounded, read from its end, followed."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.host.output import LINE_BYTES, Output
from roost.tasks import spawn
from tests.support.virtual import run


def write(output: Output, text: str) -> None:
    descriptor = output.open("start")
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_tail_is_the_end_oldest_first(tmp_path: Path) -> None:
    output = Output(tmp_path / "a.log")
    assert output.tail(3) == []
    write(output, "one\ntwo\nthree\n")
    assert output.tail(2) == ["two", "three"]
    assert output.tail(0) == []
    assert output.tail(99) == ["--- start", "one", "two", "three"]


def test_writer_goes_on_at_the_beginning_after_the_file_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.host.output.MAX_BYTES", 100)
    output = Output(tmp_path / "a.log")
    descriptor = output.open("start")
    os.write(descriptor, b"x" * 100 + b"\n")
    assert output.full()
    output.bound()
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert output.path.read_bytes() == b"after\n"
    assert not output.full()
    assert output.tail(2) == ["x" * 100, "after"]


async def take(lines: AsyncIterator[str], count: int) -> list[str]:
    return [await anext(lines) for _ in range(count)]


def test_follow_sees_what_comes_later(tmp_path: Path) -> None:
    output = Output(tmp_path / "a.log")
    write(output, "before\n")

    async def main() -> list[str]:
        lines = output.follow()
        reader = spawn(take(lines, 4), "reader")
        await asyncio.sleep(1)
        descriptor = os.open(output.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"half \xc3")
        await asyncio.sleep(1)
        os.write(descriptor, b"\xa4\r\n")
        await asyncio.sleep(1)
        os.truncate(output.path, 0)
        os.write(descriptor, b"new\n")
        await asyncio.sleep(1)
        os.write(descriptor, b"y" * (LINE_BYTES + 1))  # no end of line in sight
        await asyncio.sleep(1)
        os.write(descriptor, b"z\n")
        os.close(descriptor)
        return await reader

    assert run(main()) == ["half ä", "new", "y" * (LINE_BYTES + 1), "z"]
