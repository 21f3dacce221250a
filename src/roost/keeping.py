"""What a roost remembers over its own end, in one place: totals, what other rooms have learned, the journal of plans.

Reads what was kept before the first plan, and collects twice a second what has changed since; the writing is the
database's, in its own thread. Decides nothing. Made by `app`, read by `console`.
"""

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from roost import clock
from roost.core.plan import Plan
from roost.core.server_spec import ServerSpec
from roost.core.snapshot import Setup, encode_plan, encode_setup, encode_view, essence
from roost.core.view import FleetView, Policy
from roost.host.database import BATCH_S, Database, Decision
from roost.host.database_read import Reader, Usage
from roost.host.database_schema import FILE
from roost.logs import log
from roost.telemetry.recorder import Recorder
from roost.telemetry.traffic import Bucket


class Kept(Protocol):
    """Something that learns, and is to know it again after a restart."""

    def state(self) -> Mapping[str, Any]:
        """Key (a model, a replica) -> JSON-ready value that does not change afterwards. Asked on the loop twice a
        second: what has not changed since it was last asked may be left out. Times by wall clock: the other clock does
        not outlive the machine."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """All that was kept, once, before the first plan; also keys that nobody knows any more."""
        ...


class OnlyChanged:
    """Implements `Kept` around a part that tells everything each time."""

    def __init__(self, part: Kept) -> None:
        self._part = part
        self._told: Mapping[str, Any] = {}

    def state(self) -> Mapping[str, Any]:
        whole = self._part.state()
        changed = {key: value for key, value in whole.items() if self._told.get(key) != value}
        self._told = whole
        return changed

    def restore(self, state: Mapping[str, Any]) -> None:
        self._part.restore(state)


class Keeping:
    """Opened once, asked at each tick, closed once."""

    def __init__(self, folder: Path, server: ServerSpec, recorder: Recorder) -> None:
        path = folder / FILE
        self._database = Database(path, journal_bytes=server.journal_size, journal_age_s=server.journal_age)
        self._reader = Reader(path)
        self._recorder = recorder
        self._readable = False
        self._began = clock.wall()
        self._before: dict[str, Usage] = {}
        """Totals at this start."""
        self._seen_at: dict[str, float] = {}
        """When the last request ended that is in the totals written down."""
        self._parts: dict[str, Kept] = {}
        self._asked_at = 0.0
        self._setup = _Setups()

    async def open(self) -> None:
        """Read the totals and begin to write."""
        self._readable = await asyncio.to_thread(self._database.open)
        self._before = await asyncio.to_thread(self._usage)

    async def add(self, kind: str, part: Kept) -> None:
        """Give it what was kept of this kind, and keep from now on what it tells."""
        part.restore(await asyncio.to_thread(self._load, kind))
        self._parts[kind] = part

    async def close(self) -> None:
        """Write what is left."""
        self._collect()
        await asyncio.to_thread(self._database.close)

    def recall(self) -> None:
        """Somebody is new: tell them at once what was kept of them, before anything is decided about them."""
        self._collect()

    def tick(self) -> None:
        """Called by `app` a few times a second."""
        now = clock.now()
        if now - self._asked_at >= BATCH_S:
            self._asked_at = now
            self._collect()

    def decided(self, view: FleetView, policy: Policy, plan: Plan) -> None:
        """Into the journal. Cheap: view and plan never change, and are encoded in the writer's thread."""
        self._database.record(lambda: self._setup.decision(view, policy, plan))

    def usage(self, name: str) -> Usage:
        """A model's totals since roost first saw it."""
        before = self._before.get(name) or Usage(since=self._began)
        traffic = self._recorder.model(name).traffic
        return _sum(before, traffic.total(), traffic.last_request_at)

    async def journal(self, since_s: float, limit: int) -> list[dict[str, Any]]:
        """The last plans that are not older than that, newest first; none where they cannot be read."""
        since = clock.wall() - since_s
        return await asyncio.to_thread(self._plans, since, limit)

    def _collect(self) -> None:
        if used := self._used():
            self._database.use(used)
        for kind, part in self._parts.items():
            if changed := part.state():
                self._database.keep(kind, changed)

    def _used(self) -> dict[str, Usage]:
        """Models that had a request since they were last written down."""
        found, models = {}, self._recorder.models
        self._seen_at = {name: at for name, at in self._seen_at.items() if name in models}
        for name, counts in models.items():
            ended_at = counts.traffic.last_request_at
            if name and ended_at is not None and self._seen_at.get(name) != ended_at:
                self._seen_at[name] = ended_at
                found[name] = self.usage(name)
        return found

    # in a thread

    def _usage(self) -> dict[str, Usage]:
        try:
            return self._reader.usage() if self._readable else {}
        except (sqlite3.Error, ValueError) as error:
            log.warning("the totals of earlier runs cannot be read: %s", error)
            return {}

    def _load(self, kind: str) -> dict[str, Any]:
        try:
            return self._reader.load(kind) if self._readable else {}
        except (sqlite3.Error, ValueError) as error:
            log.warning("what was kept of %s cannot be read: %s", kind, error)
            return {}

    def _plans(self, since: float, limit: int) -> list[dict[str, Any]]:
        try:
            rows = self._reader.plans(since, limit)
        except sqlite3.Error as error:
            log.warning("the journal cannot be read: %s", error)
            return []
        return [plan_row(*row) for row in rows]


class _Setups:
    """Encodes decisions in the writer's thread; what many have in common is encoded once."""

    def __init__(self) -> None:
        self._known: tuple[Setup, bytes] | None = None

    def decision(self, view: FleetView, policy: Policy, plan: Plan) -> Decision:
        known = self._known
        if known is None or not known[0].holds_for(view, policy):
            setup = Setup.of(view, policy)
            known = self._known = (setup, encode_setup(setup))
        return Decision(known[1], encode_plan(plan), encode_view(essence(view)))


def plan_row(id: int, wall: float, plan: str) -> dict[str, Any]:
    """A plan of the journal for API and command line, as it was written: no classes of today are needed."""
    tree = msgspec.json.decode(plan, type=dict[str, Any])
    return {
        "id": id,
        "at": clock.iso(wall),
        "at_unix": wall,
        "actions": [_action(one) for one in tree.get("actions", ())],
        "blocked": list(tree.get("blocked", {}).values()),
        "denied": list(tree.get("denied", {}).values()),
        "notes": tree.get("notes", []),
    }


def _action(tree: dict[str, Any]) -> dict[str, Any]:
    order = tree["order"]
    told = {"action": tree["action"], "reason": tree["says"], "reason_kind": order["reason"]["kind"]}
    return {**told, **{key: value for key, value in order.items() if key != "reason"}}


def _sum(before: Usage, run: Bucket, ended_at: float | None) -> Usage:
    return Usage(
        requests=before.requests + run.requests,
        successful=before.successful + run.successful,
        failed=before.failed + run.failed,
        cancelled=before.cancelled + run.cancelled,
        prompt_tokens=before.prompt_tokens + run.tokens_in,
        completion_tokens=before.completion_tokens + run.tokens_out,
        last_used=before.last_used if ended_at is None else round(clock.to_wall(ended_at), 3),
        since=before.since,
    )


def totals_facts(usage: Usage) -> dict[str, Any]:
    """A model's totals for the API."""
    last = usage.last_used
    return {
        "requests": usage.requests,
        "successful": usage.successful,
        "failed": usage.failed,
        "cancelled": usage.cancelled,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "last_used": None if last is None else clock.iso(last),
        "since": clock.iso(usage.since),
    }
