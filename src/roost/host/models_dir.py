"""A folder of GGUF files as it is now: which models are in it, and by what each file is known again.

Only looks, at names, inodes, sizes and times, and opens no file; what becomes of a model that came or went is
`roost/folder.py`'s to decide. Blocking: called in a thread, or by the command line.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from roost import clock
from roost.config.models_dir import grouped

REST_S = 2.0
"""A file that was written to within this is still growing."""
MAX_DEPTH = 8
MAX_FILES = 20_000
"""Files looked at; a folder with more of them is no folder of models."""

Stamp = tuple[tuple[int, int, int, int], ...]
"""Device, inode, size and time of change in nanoseconds of each of a model's files."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen."""

    models: Mapping[str, Stamp]
    """First file of each model, relative to the folder -> what its files are known by."""
    growing: frozenset[str] = frozenset()
    """Those of them of which a file was written to just now."""


def see(folder: str) -> Sight:
    """The folder now. Raises OSError where the folder itself cannot be read; what is below it and cannot be is left
    out."""
    now_ns = clock.wall() * 1e9
    stamps = dict(_files(Path(folder)))
    models: dict[str, Stamp] = {}
    growing = set()
    for first, files in grouped(stamps).items():
        models[first] = tuple(stamps[file] for file in files)
        if any(0 <= now_ns - stamps[file][3] < REST_S * 1e9 for file in files):
            growing.add(first)
    return Sight(models, frozenset(growing))


def resting(folder: str) -> list[str]:
    """Implements `config.models_dir.Look`."""
    sight = see(folder)
    return [file for file in sight.models if file not in sight.growing]


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Each file below the folder, links followed, no folder twice."""
    seen: set[tuple[int, int]] = set()
    todo, count = [(folder, "", 0)], 0
    while todo:
        here, above, depth = todo.pop()
        try:
            own = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            if here == folder:
                raise
            continue
        if (own.st_dev, own.st_ino) in seen:
            continue
        seen.add((own.st_dev, own.st_ino))
        for entry in entries:
            count += 1
            if entry.name.startswith(".") or count > MAX_FILES:
                continue
            try:
                if entry.is_dir():
                    if depth < MAX_DEPTH:
                        todo.append((here / entry.name, f"{above}{entry.name}/", depth + 1))
                elif entry.is_file():
                    found = entry.stat()
                    yield f"{above}{entry.name}", (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            except OSError:
                continue  # it went while we looked
