"""Faults around a replica that must not reach further than they have to."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from roost.host import output
from tests.playbook.test_replica import play, ready
from tests.support.stage import Stage


async def _at_once(work: Callable[[], object]) -> object:
    return work()


def test_log_that_cannot_be_bounded_does_not_end_the_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: then the engine must be looked at all the more."""
    monkeypatch.setattr(output, "MAX_BYTES", 10)
    monkeypatch.setattr(asyncio, "to_thread", _at_once)  # the clock that jumps knows no threads

    async def story(stage: Stage) -> None:
        await ready(stage)
        log = stage.store.log_path("a/0")
        log.write_text("more than ten bytes")
        log.with_name(log.name + ".1").mkdir()
        stage.engine.asleep = True
        await stage.until(State.ASLEEP)
        assert log.stat().st_size == 0

    assert play(tmp_path, story).script[-1].endswith("ready -> asleep: fell asleep")


def test_look_at_the_engine_does_not_need_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(_: output.Output) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(output, "MAX_BYTES", 10)
    monkeypatch.setattr(output.Output, "bound", read_only)
    monkeypatch.setattr(asyncio, "to_thread", _at_once)

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.store.log_path("a/0").write_text("more than ten bytes")
        stage.engine.asleep = True
        await stage.until(State.ASLEEP)

    assert play(tmp_path, story).script[-1].endswith("ready -> asleep: fell asleep")
