"""The models of a folder as files come, go and change, over real files and a roost that only notes what is asked."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from roost import clock
from roost.core.errors import RoostError
from roost.core.spec import ModelSpec
from roost.folder import Finding, Folder, FolderModels


@dataclass
class NotingRoost:
    """Implements `folder.Roost`."""

    did: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)

    async def add_models(self, models: Mapping[str, ModelSpec]) -> None:
        for name in models:
            if name in self.refuses:
                raise RoostError(f'Model "{name}" cannot be added: it is taken.')
            self.did.append(f"+{name}")

    async def remove_model(self, name: str) -> None:
        self.did.append(f"-{name}")

    def is_idle(self, name: str) -> bool:
        return name not in self.busy

    def can_serve(self, name: str, spec: ModelSpec) -> bool:
        return name not in self.unreachable


class Stage:
    """A folder, whose files are models by their stems; those in `bad` the configuration cannot take."""

    def __init__(self, path: Path, *there: str) -> None:
        self.path = path
        self.roost = NotingRoost()
        self.bad: set[str] = set()
        self.asked: list[tuple[str, ...]] = []
        for name in there:
            self.put(name)
        files = {name: f"{name}.gguf" for name in there}
        folder = Folder(path=str(path), rescan_s=5.0, files=files, find=self.find)
        self.models = FolderModels(folder, self.roost, {name: ModelSpec() for name in there})

    def find(self, files: Sequence[str]) -> Finding:
        self.asked.append(tuple(files))
        if self.bad.intersection(files):
            return Finding(models={}, files={}, problems=("f:1: it is bad",), usable=False)
        stems = {file.removesuffix(".gguf"): file for file in files}
        return Finding(models={name: ModelSpec(weights=file) for name, file in stems.items()}, files=stems)

    def put(self, name: str, text: str = "GGUF", age_s: float = 60.0) -> None:
        path = self.path / f"{name}.gguf"
        path.write_text(text)
        moment = clock.wall() - age_s
        os.utime(path, (moment, moment))

    async def look(self, times: int = 1) -> list[str]:
        """So many looks, each with all that it begins; what was done."""
        for _ in range(times):
            await self.models.look()
            await asyncio.gather(*self.models._under_way.values())
        done, self.roost.did = self.roost.did, []
        return done


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def on(stage: Stage, play: Play) -> None:
    asyncio.run(play(stage))


def test_a_new_file_is_added_once_it_has_stood_still_for_a_look(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert await stage.look(2) == []
        stage.put("b")
        assert await stage.look() == []
        stage.put("b", "GGUF and more")
        assert await stage.look() == []
        assert await stage.look() == ["+b"]
        assert await stage.look(3) == []
        stage.put("c", age_s=0)
        assert await stage.look(3) == []

    on(Stage(tmp_path, "a"), play)


def test_a_file_that_is_gone_is_removed_and_may_come_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.look()
        (tmp_path / "a.gguf").unlink()
        assert await stage.look() == ["-a"]
        stage.put("a")
        assert await stage.look(2) == ["+a"]

    on(Stage(tmp_path, "a"), play)


def test_a_file_that_is_replaced_waits_for_its_model_to_be_idle(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.look()
        stage.roost.busy.add("a")
        stage.put("a", "GGUF 2")
        assert await stage.look(3) == []
        stage.roost.busy.clear()
        assert await stage.look() == ["-a", "+a"]
        assert await stage.look(2) == []

    on(Stage(tmp_path, "a"), play)


def test_an_unchanged_folder_asks_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.look(5)
        assert stage.asked == [("a.gguf",)]

    on(Stage(tmp_path, "a"), play)


def test_one_bad_file_keeps_no_other_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(stage: Stage) -> None:
        await stage.look()
        stage.bad.add("b.gguf")
        for name in ("b", "c"):
            stage.put(name)
        assert await stage.look(2) == ["+c"]
        assert await stage.look(3) == []
        stage.bad.clear()
        assert await stage.look() == []  # it is the file that must change
        stage.put("b", "GGUF mended")
        assert await stage.look(2) == ["+b"]

    on(Stage(tmp_path, "a"), play)
    assert caplog.text.count("it is bad") == 1


def test_what_roost_refuses_is_said_once_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(stage: Stage) -> None:
        stage.roost.refuses.add("b")
        stage.roost.unreachable.add("c")
        for name in ("b", "c"):
            stage.put(name)
        assert await stage.look(4) == []

    on(Stage(tmp_path, "a"), play)
    assert caplog.text.count('Model "b" cannot be added') == 1
    assert caplog.text.count("no port, and serve starts nothing") == 1


def test_a_folder_that_vanishes_takes_no_model_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "models"
    folder.mkdir()

    async def play(stage: Stage) -> None:
        await stage.look()
        folder.rename(tmp_path / "away")
        assert await stage.look(2) == []
        (tmp_path / "away").rename(folder)
        assert await stage.look(2) == []

    on(Stage(folder, "a"), play)
    assert caplog.text.count("cannot be read, so its models stay") == 1


def test_it_looks_by_itself_and_a_fault_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        stage = Stage(tmp_path, "a")
        looked = asyncio.Event()

        def find(files: Sequence[str]) -> Finding:
            stage.asked.append(tuple(files))
            if len(stage.asked) > 1:
                loop.call_soon_threadsafe(looked.set)
            raise RuntimeError("a fault of its own")

        loop = asyncio.get_running_loop()
        folder = Folder(path=str(tmp_path), rescan_s=0.01, files={"a": "a.gguf"}, find=find)
        models = FolderModels(folder, stage.roost, {"a": ModelSpec()})
        models.start()
        async with asyncio.timeout(30):
            await looked.wait()
        models.stop()

    asyncio.run(main())
    assert "went wrong" in caplog.text
