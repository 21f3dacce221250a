"""A server that someone else runs and that holds several models: which preset fits it, what it lists, its calls.

One per entry of `hosts`. Keeps the only listing of that server: one look at a time, every POLL_S, and at once when
someone doubts it. Never decides who is loaded. Made by `host/fleet.py`; the replicas inside it (`host/inside.py`) hear
of each look.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import httpx

from roost import clock
from roost.config.addresses import address_of
from roost.core.errors import StepError
from roost.core.hosted_spec import HostSpec, Preset
from roost.core.spec import ModelSpec
from roost.core.step import Operation, Probe, Step
from roost.engines.hosted import Listing, Wanted, Way, loads_itself, own_steps
from roost.engines.hosted_presets import WAYS
from roost.engines.hosted_probe import QUESTIONS, Found, recognise, said
from roost.host.calling import Caller, Reach
from roost.host.showing import Shower
from roost.host.steps import Executor, Sequence
from roost.logs import log
from roost.tasks import end, spawn

POLL_S = 0.9
"""A plan rests on a listing at most 1 s old."""
LOOK_S = 5.0
"""For one answer of a listing or a probe: a server that loads a model may be slow to answer."""
START_S = 2.0
"""roost's start waits this long for the first listing; a server that is down or slow is looked at afterwards."""
ASK_S = 10.0
"""For the answer of a load call that is expected to be a refusal."""
REFUSALS = frozenset({400, 404, 410, 422})
"""Answers to a load call that say: not this name."""
SAID_MAX = 8
"""Sentences on what is wrong with a server, until it answers again."""
_MEANWHILE = (
    f"roost looks again every {POLL_S:g} s; until then requests for its models wait, each up to its queue.max_wait."
)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
"""Between two looks for a model that is on its way: tiny ones take 20 ms, big ones minutes."""


class HostedServer:
    """One server. `listing` is None while it is unknown what is loaded there; `trouble` says why then."""

    def __init__(self, name: str, spec: HostSpec, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.name = name
        self.spec = spec
        self.address = address_of(spec.url)
        self.caller = Caller(self.address, spec.api_key, transport)
        self.executor = Executor(
            who=f"host {name}",
            caller=self.caller,
            probe=Probe(path="/v1/models"),
            shower=Shower(spec.api_key),
            rng=Random(),
        )
        self.found = _configured(spec)
        self.listing: Listing | None = None
        self.trouble = f"{self} has not been asked yet."
        self.refuses = False
        """Nobody listens there, so nothing is loaded there."""
        self._said: set[str] = set()
        """What was wrong since it last answered, each said once."""
        self._known: frozenset[str] = frozenset()
        """The keys of all names in the listing, however they are spelled there."""
        self._begun = 0
        """Looks so far, with the one under way."""
        self._looking = asyncio.Lock()
        self._doubted = asyncio.Event()
        self._look_hearers: list[Callable[[], None]] = []
        self._looked = asyncio.Event()
        """The first look has come to its end."""
        self._poll: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f'The server "{self.name}" at {self.address.url}'

    @property
    def place(self) -> str:
        """As sentences name it."""
        return f'host "{self.name}"'

    @property
    def way(self) -> Way | None:
        """None until it is known what kind of server it is."""
        return None if self.found is None else self.found.way

    async def start(self) -> None:
        """Look from now on; returns after the first look, or START_S if that takes longer."""
        self._poll = spawn(self._polling(), f"listing of host {self.name}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._looked.wait()

    async def close(self) -> None:
        """Look no more."""
        await end(self._poll)
        await self.caller.close()

    def doubt(self) -> None:
        """Someone met an answer that does not fit the listing: look now."""
        self._doubted.set()

    def on_look(self, hear: Callable[[], None]) -> Callable[[], None]:
        """`hear` is called after each look, whatever it showed, until what this gives is called."""
        self._look_hearers.append(hear)
        return lambda: self._look_hearers.remove(hear)

    def offers(self) -> tuple[str, ...]:
        """The names that it lists, as it spells them; empty while it does not answer."""
        return () if self.listing is None else self.listing.names

    def would_refuse(self, name: str) -> bool:
        """Most likely: it lists what it can load, and not this one."""
        if self.listing is None or self.listing.partial or self.way is None or not self.way.can_load:
            return False
        return self.key(name) not in self._known

    def key(self, name: str) -> str:
        """The same for all spellings of a model's name there."""
        return name if self.way is None else self.way.key(name)

    def keeps(self, name: str) -> bool:
        """It is there for as long as the server runs, so roost neither loads nor unloads it; also where nothing can be
        loaded at all."""
        if self.way is None:
            return False
        listed = self.listing is not None and self.key(name) in self.listing.permanent
        return listed or not self.way.can_load

    def facts(self) -> dict[str, Any]:
        """Of itself, for status and API."""
        return {
            "name": self.name,
            "url": self.address.url,
            "preset": None if self.found is None else str(self.found.way.preset),
            "why": None if self.found is None else self.found.why,
            "trouble": self.trouble,
            "loaded": [] if self.listing is None else sorted(self.listing.loaded),
            "offers": list(self.offers()),
        }

    # looking

    async def look(self) -> Listing | None:
        """A listing that is asked for from now on: of several who want one at once, one asks."""
        wanted = self._begun + 1
        async with self._looking:
            if self._begun >= wanted:
                return self.listing
            self._begun += 1
            listing = await self._asked()
            self._note(listing)
        for hear in tuple(self._look_hearers):
            hear()
        return listing

    async def _polling(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # a look that went wrong must not end all looking
                log.exception("host %s: could not be looked at", self.name)
            self._looked.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._doubted.wait()
            self._doubted.clear()

    async def _asked(self) -> Listing | None:
        """What it lists now; None, with `trouble` and `refuses` set, where it does not say."""
        try:
            if self.found is None:
                await self._recognise()
            assert self.found is not None
            bodies = [await self._body(path) for path in self._paths(self.found.way)]
            listing = self.found.way.read(bodies)
        except StepError as error:
            self.trouble = f"{self} does not answer: {error}."
            self.refuses = await self.caller.reach() is Reach.REFUSES
            return None
        self.refuses = False
        if listing is None:
            wanted = f"a list of models as of preset {self.found.way.preset}"
            self.trouble = f"{self} gives no {wanted}. Correct `preset` or `list_path` of hosts.{self.name}."
        return listing

    def _paths(self, way: Way) -> tuple[str, ...]:
        return way.paths if self.spec.list_path is None else (self.spec.list_path, *way.paths[1:])

    async def _body(self, path: str) -> object:
        """Raises StepError."""
        status, body = await self.caller.call(Step(method="GET", path=path, timeout_s=LOOK_S))
        if status != 200:
            raise StepError(f"GET {path} answered {status}")
        try:
            return json.loads(body)
        except ValueError:
            raise StepError(f"GET {path} answered {len(body)} bytes that are no JSON") from None

    async def _recognise(self) -> None:
        """Ask what kind of server it is. Raises StepError where it is like nothing known, or does not answer one of the
        questions: what is left of the answers would look like another kind."""
        answers: dict[str, tuple[int, object] | None] = {path: await self._answer(path) for path in QUESTIONS}
        self.found = recognise(answers)
        if self.found is None:
            raise StepError(f"none of the presets fits it ({said(answers)}); write `preset` of hosts.{self.name}")
        log.info("host %s: preset %s, for %s", self.name, self.found.way.preset, self.found.why)

    async def _answer(self, path: str) -> tuple[int, object]:
        """Status and decoded JSON, or None for what is none. Raises StepError."""
        status, body = await self.caller.call(Step(method="GET", path=path, timeout_s=LOOK_S))
        try:
            return status, json.loads(body)
        except ValueError:
            return status, None

    def _note(self, listing: Listing | None) -> None:
        was = self.listing is not None
        self.listing = listing
        self._known = frozenset() if listing is None else self._keys(listing)
        if listing is not None:
            if not was:
                log.info("host %s answers: %d loaded of %d listed", self.name, len(listing.loaded), len(listing.names))
            self.trouble = ""
            self._said.clear()
            return
        if self.trouble not in self._said and len(self._said) < SAID_MAX:
            self._said.add(self.trouble)
            log.warning("%s %s", self.trouble, _MEANWHILE)
        if self.spec.preset is Preset.AUTO and not loads_itself(self.spec):
            self.found = None  # what comes up there may be another kind of server

    def _keys(self, listing: Listing) -> frozenset[str]:
        spellings = (*listing.names, *(other for others in listing.aliases.values() for other in others))
        return listing.loaded | listing.busy | listing.failed | {self.key(name) for name in spellings}

    # calls

    def load_steps(self, model: ModelSpec, name: str) -> tuple[Step, ...]:
        """The calls that load it. ValueError for an endpoint of the config that cannot be called."""
        limit = self.spec.load_timeout
        if self.spec.load_steps:
            return own_steps(self.spec.load_steps, name, model, limit)
        wanted = Wanted(name=name, source=model.weights, task=model.task, timeout_s=limit)
        return () if self.way is None else self.way.load(wanted)

    async def turns_away(self, name: str) -> bool:
        """Try to load a name that it does not list: whether it says that there is no such model."""
        sequence = Sequence(operation=Operation.LOAD)
        steps = [replace(step, timeout_s=ASK_S) for step in self.load_steps(ModelSpec(), name)]
        with contextlib.suppress(StepError):
            await self.executor.perform(steps, sequence, ASK_S)
        return any(record.status in REFUSALS and record.error for record in sequence.records)

    async def unload(self, model: ModelSpec, name: str, sequence: Sequence, limit_s: float) -> bool:
        """Unload it, and wait until the server no longer lists it as loaded; False if it still does after `limit_s`,
        or if it cannot be told."""
        if not await self._gone(name):  # that look tells what kind of server it is, too
            try:
                await self.executor.perform(self._unload_steps(model, name, limit_s), sequence, limit_s)
            except StepError as error:
                log.warning("host %s: %s", self.name, error)
        deadline, wait_s = clock.now() + limit_s, FIRST_WAIT_S
        while not await self._gone(name):
            if clock.now() >= deadline:
                return False
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, LONGEST_WAIT_S)
        return True

    def brought_in(self, name: str) -> None:
        """The load calls of this name went well. Its list says the rest."""

    def _unload_steps(self, model: ModelSpec, name: str, limit_s: float) -> tuple[Step, ...]:
        if self.spec.unload_steps:
            return own_steps(self.spec.unload_steps, name, model, limit_s)
        return () if self.way is None else self.way.unload(name, limit_s)

    async def _gone(self, name: str) -> bool:
        listing = await self.look()
        return self.refuses if listing is None else not listing.holds(self.key(name))


def _configured(spec: HostSpec) -> Found | None:
    """What the config says of its kind; None: it is to be asked."""
    if spec.preset is not Preset.AUTO:
        return Found(WAYS[spec.preset], "the config says so")
    if loads_itself(spec):
        return Found(WAYS[Preset.GENERIC], "the config has its load_steps and unload_steps")
    return None


def new_sequence() -> Sequence:
    """Of an unload that nobody keeps a record of."""
    return Sequence(operation=Operation.UNLOAD)
