"""`roost replay`: plans each view of the journal anew and shows where it is decided otherwise now. Starts nothing.

Reads the state directory of a roost that runs or has ended. Exit status: 0 all the same, 1 something is decided
otherwise, 2 nothing could be compared.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from roost import clock
from roost.cli.client import InstanceOpt, StateOpt, fail, running
from roost.cli.config_cmd import check_file
from roost.control.execute import phrase
from roost.core.plan import Action, Blocked
from roost.core.policy_spec import PolicySpec
from roost.core.rebuild import Unreadable
from roost.core.snapshot import Setup, decode_plan, decode_setup, decode_view
from roost.core.units import counted, format_duration, parse_duration
from roost.host.database_read import Entry, Reader
from roost.host.database_schema import FILE
from roost.host.store import state_home
from roost.planner.plan import plan
from roost.planner.review import Difference, differences, is_reworded

SinceOpt = Annotated[str, typer.Option(help="How far back: 90, 30m, 14d.")]


@dataclass(frozen=True, slots=True)
class Compared:
    """One plan of the journal beside the one that is made of its view today."""

    entry: Entry
    differences: tuple[Difference, ...] = ()
    reworded: bool = False
    unreadable: str = ""
    """Why nothing could be compared."""


def replay(
    since: SinceOpt = "1h",
    id: Annotated[int | None, typer.Option("--id", help="Only this one; roost's API lists them.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Decide by this config's `policy`, not by the one of then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of lines.")] = False,
    instance: InstanceOpt = None,
    state_dir: StateOpt = None,
) -> None:
    """Plan what is in the journal once more, and show where it is decided otherwise. Exit status 0: nowhere, 1:
    somewhere, 2: nothing could be compared."""
    path = _folder(instance, state_dir) / FILE
    seconds = _seconds(since)
    replayer = Replayer(Reader(path), None if config is None else _policy(config))
    tally = Tally()
    try:
        for compared in replayer.each(_entries(Reader(path), id, clock.wall() - seconds)):
            tally.add(compared)
            if not as_json:
                _show(compared)
        span = Reader(path).span()
    except sqlite3.Error as error:
        fail(f"The journal in {path} cannot be read: {error}.", 2)
    if as_json:
        typer.echo(json.dumps(tally.facts(), indent=1))
    else:
        typer.echo(tally.sentence() if tally.read else _nothing(path, since, span))
    raise typer.Exit(tally.status())


class Replayer:
    """Plans journalled views with the code of today."""

    def __init__(self, reader: Reader, policy: PolicySpec | None) -> None:
        self._reader = reader
        self._policy = policy
        self._setup: tuple[int, Setup] | None = None

    def each(self, entries: Iterable[Entry]) -> Iterator[Compared]:
        """Each entry compared, as it is read."""
        for entry in entries:
            try:
                yield self._compared(entry)
            except Unreadable as error:
                yield Compared(entry, unreadable=str(error))

    def _compared(self, entry: Entry) -> Compared:
        setup = self._setup_of(entry)
        policy = setup.policy if self._policy is None else replace(setup.policy, spec=self._policy)
        before, after = decode_plan(entry.plan), plan(decode_view(entry.view, setup), policy)
        found = tuple(differences(before, after))
        return Compared(entry, found, reworded=not found and is_reworded(before, after))

    def _setup_of(self, entry: Entry) -> Setup:
        """Neighbouring entries mostly have the same one."""
        if self._setup is None or self._setup[0] != entry.setup_id:
            self._setup = (entry.setup_id, decode_setup(self._reader.setup(entry.setup_id)))
        return self._setup[1]


@dataclass(slots=True)
class Tally:
    """How many plans were compared, and how they came out."""

    read: int = 0
    unreadable: int = 0
    reworded: int = 0
    otherwise: list[Compared] = field(default_factory=list)

    def add(self, compared: Compared) -> None:
        self.read += 1
        self.unreadable += bool(compared.unreadable)
        self.reworded += compared.reworded
        if compared.differences:
            self.otherwise.append(compared)

    def status(self) -> int:
        """The command's exit status."""
        if self.read == self.unreadable:
            return 2
        return 1 if self.otherwise else 0

    def sentence(self) -> str:
        same = self.read - self.unreadable - len(self.otherwise)
        words = f", {self.reworded} of them for reasons in other words" if self.reworded else ""
        lost = f" {self.unreadable} cannot be read by this version." if self.unreadable else ""
        return f"{counted(self.read, 'plan')}: {same} the same{words}, {len(self.otherwise)} decided otherwise.{lost}"

    def facts(self) -> dict[str, Any]:
        return {
            "plans": self.read,
            "unreadable": self.unreadable,
            "reworded": self.reworded,
            "otherwise": [
                {
                    "id": one.entry.id,
                    "at": clock.iso(one.entry.wall),
                    "differences": [
                        {"about": each.about, "then": _said(each.before), "now": _said(each.after)}
                        for each in one.differences
                    ],
                }
                for one in self.otherwise
            ],
        }


def _show(compared: Compared) -> None:
    head = f"{clock.iso(compared.entry.wall)} plan {compared.entry.id}"
    if compared.unreadable:
        typer.echo(f"{head} cannot be read by this version: {compared.unreadable}")
    if compared.differences:
        typer.echo(f"{head} is decided otherwise:")
    for each in compared.differences:
        typer.echo(f"  {each.about}\n    then: {_said(each.before)}\n    now:  {_said(each.after)}")


def _said(decided: Action | Blocked | str | None) -> str:
    match decided:
        case None:
            return "nothing"
        case str():
            return decided
        case Blocked(final=final, sentence=sentence):
            return f"{'refused' if final else 'blocked'}: {sentence}"
        case _:
            return phrase(decided)


def _entries(reader: Reader, id: int | None, since: float) -> Iterable[Entry]:
    if id is None:
        return reader.entries(since)
    found = reader.entry(id)
    if found is None:
        fail(f"The journal holds no plan {id}; GET /api/v1/journal lists those that it holds.", 2)
    return (found,)


def _folder(instance: str | None, state_dir: Path | None) -> Path:
    """The state directory that is meant: of one that runs, else the only one with a journal; ends the program where
    that is not clear."""
    home = state_home(os.environ)
    if state_dir is not None or instance is not None:
        folder = state_dir or home / str(instance)
        if not (folder / FILE).exists():
            fail(f"{folder} holds no journal: there is no {FILE} in it.", 2)
        return folder
    alive = [Path(facts["state_dir"]) for facts in running().values()]
    found = alive or ([path.parent for path in sorted(home.glob(f"*/{FILE}"))] if home.is_dir() else [])
    if not found:
        fail(f"There is no journal under {home}. Name a state directory with --state-dir.", 2)
    if len(found) > 1:
        rows = "\n".join(f"  {folder.name}" for folder in found)
        fail(f"There are several; say which with --instance:\n{rows}", 2)
    return found[0]


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        fail(f"--since: {error}.", 2)
    return float("inf") if seconds is None else float(seconds)


def _policy(config: Path) -> PolicySpec:
    try:
        loaded = check_file(str(config))
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror}.", 2)
    if loaded.spec is None:
        problems = "\n".join(problem.render(str(config)) for problem in loaded.problems)
        fail(f"{problems}\n{config}: nothing was compared.", 2)
    return loaded.spec.policy


def _nothing(path: Path, since: str, span: tuple[float, float] | None) -> str:
    if span is None:
        return f"The journal in {path} is empty."
    ago = format_duration(max(0.0, clock.wall() - span[1]))
    return f"The journal in {path} holds no plan of the last {since}; its newest is {ago} old. Try a longer --since."
