"""The models of `models_dir` in a running roost: files that come, go or are replaced become models added and removed.

Decides when; what a file comes to is the config's (`Folder.find`), adding and removing are `app`'s. Nothing that it
meets ends roost: what cannot be served is a line in the log. Made and started by `app`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from roost.core.errors import RoostError
from roost.core.spec import ModelSpec
from roost.host.models_dir import Sight, Stamp, see
from roost.logs import log
from roost.tasks import spawn

SAID_MAX = 1000
"""Sentences remembered, so that each is said once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the configuration makes of certain files."""

    models: Mapping[str, ModelSpec]
    """By name, complete."""
    files: Mapping[str, str]
    """Name -> first file, relative to the folder."""
    problems: tuple[str, ...] = ()
    """Rendered."""
    usable: bool = True
    """False: with these files the configuration has errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A `models_dir` as `App` is given it."""

    path: str
    rescan_s: float
    files: Mapping[str, str]
    """The models of the spec that come from it: name -> first file, relative to it."""
    find: Callable[[Sequence[str]], Finding]
    """What these files would come to, beside everything that is written. Called in a thread."""


class Roost(Protocol):
    """What adds and removes."""

    async def add_models(self, models: Mapping[str, ModelSpec]) -> None: ...
    async def remove_model(self, name: str) -> None: ...
    def is_idle(self, name: str) -> bool:
        """Nothing runs or waits for it."""
        ...

    def can_serve(self, name: str, spec: ModelSpec) -> bool:
        """Whether its engines can be had here."""
        ...


@dataclass(slots=True)
class _Served:
    file: str
    stamp: Stamp | None
    """None: not looked at yet."""
    spec: ModelSpec


class FolderModels:
    """Watches one folder for as long as it runs."""

    def __init__(self, folder: Folder, roost: Roost, served: Mapping[str, ModelSpec]) -> None:
        self._folder = folder
        self._roost = roost
        self._served = {name: _Served(folder.files[name], None, spec) for name, spec in served.items()}
        self._last = Sight({})
        self._bad: dict[str, Stamp] = {}
        """Files that the configuration cannot take, until they change."""
        self._found: tuple[object, Finding] | None = None
        """The files that were asked about last, and the answer."""
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._said: set[str] = set()
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._watching = spawn(self._watch(), "models_dir")

    def stop(self) -> None:
        """Look no more; what is being added or removed is left as it is."""
        for task in (self._watching, *self._under_way.values()):
            if task is not None:
                task.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("a look at models_dir %s went wrong", self._folder.path)
            await asyncio.sleep(self._folder.rescan_s)

    async def look(self) -> None:
        """Once: begin what the folder asks for now. A new file must have stood still since the look before."""
        try:
            sight = await asyncio.to_thread(see, self._folder.path)
        except OSError as error:
            self._say(f"models_dir {self._folder.path} cannot be read, so its models stay: {error.strerror or error}")
            return
        before, self._last = self._last, sight
        self._under_way = {name: task for name, task in self._under_way.items() if not task.done()}
        for name, served in list(self._served.items()):
            if served.stamp is None:
                served.stamp = sight.models.get(served.file)
            if served.file not in sight.models:
                self._begin(name, self._remove(name, f"{served.file} is gone"))
        rests = {
            file: stamp
            for file, stamp in sight.models.items()
            if file not in sight.growing and before.models.get(file) == stamp and self._bad.get(file) != stamp
        }
        await self._apply(rests)

    async def _apply(self, rests: Mapping[str, Stamp]) -> None:
        present = {served.file for served in self._served.values() if served.file in self._last.models}
        finding = await self._finding(sorted({*rests, *present}), rests)
        for name, served in list(self._served.items()):
            if finding.usable and served.file in present and name not in finding.models:
                self._begin(name, self._remove(name, f"{served.file} goes by another name now"))
        for name, spec in finding.models.items():
            file = finding.files[name]
            if file not in rests or name in self._under_way:
                continue
            here = self._served.get(name)
            if here is None:
                if self._can_serve(name, spec):
                    self._begin(name, self._add(name, file, spec))
            elif (here.stamp, here.file) != (rests[file], file) and self._roost.is_idle(name):
                self._begin(name, self._replace(name, file, spec))

    async def _finding(self, files: Sequence[str], rests: Mapping[str, Stamp]) -> Finding:
        """Asked anew only where the files are others than last time."""
        asked = tuple(files)
        if self._found is not None and self._found[0] == asked:
            return self._found[1]
        finding = await self._find(files)
        if not finding.usable:
            finding = await self._without_bad(files, rests)
            asked = tuple(file for file in files if file not in self._bad)
        self._found = (asked, finding)
        return finding

    async def _without_bad(self, files: Sequence[str], rests: Mapping[str, Stamp]) -> Finding:
        """One file that the configuration cannot take must not keep the others out: they are tried one by one."""
        good = [file for file in files if any(file == served.file for served in self._served.values())]
        finding = await self._find(good)
        for file in files:
            if file in good:
                continue
            further = await self._find([*good, file])
            if further.usable:
                good.append(file)
                finding = further
            elif file in rests:
                self._bad[file] = rests[file]
        return finding

    async def _find(self, files: Sequence[str]) -> Finding:
        finding = await asyncio.to_thread(self._folder.find, files)
        for problem in finding.problems:
            self._say(problem)
        return finding

    def _can_serve(self, name: str, spec: ModelSpec) -> bool:
        able = self._roost.can_serve(name, spec)
        if not able:
            self._say(f'"{name}" of {self._folder.path} has no port, and serve starts nothing that could be given one')
        return able

    def _begin(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """At most one thing at a time is done to a model."""
        if name in self._under_way:
            job.close()
            return
        self._under_way[name] = spawn(self._guarded(job), f"models_dir: {name}")

    async def _guarded(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except RoostError as error:
            self._say(str(error))

    async def _add(self, name: str, file: str, spec: ModelSpec) -> None:
        stamp = self._last.models.get(file)
        try:
            await self._roost.add_models({name: spec})
        except RoostError:
            if stamp is not None:
                self._bad[file] = stamp
            raise
        self._served[name] = _Served(file, stamp, spec)

    async def _remove(self, name: str, why: str) -> None:
        log.info("%s: %s", name, why)
        await self._roost.remove_model(name)
        self._served.pop(name, None)

    async def _replace(self, name: str, file: str, spec: ModelSpec) -> None:
        await self._remove(name, f"{file} was replaced")
        await self._add(name, file, spec)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said and len(self._said) < SAID_MAX:
            self._said.add(sentence)
            log.warning("%s", sentence)
