"""Names that requests ask for and nobody lists: each is offered to the load calls of the servers that might have it.

One try for all who ask; a name that is loaded becomes a model like any other found one (`discovery`), a refused one is
404 for all of them and is forgotten after a moment. Bounds keep a flood of made-up names from growing anything or
wearing the servers out. Implements `proxy.ports.Offers`; made by `app`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from roost import clock
from roost.config.hosts import may_be_offered
from roost.core.events import Changed
from roost.core.lifecycle import State
from roost.core.request import Fault, Refusal, Route
from roost.discovery import AT_REST, Discovery, Found
from roost.host.hosted import REFUSALS
from roost.host.replica import Replica
from roost.logs import log
from roost.proxy.routing import unknown_model
from roost.tasks import spawn

Answer = Route | Refusal | None
"""Where the name leads, why that cannot be said, or that it leads nowhere."""
Hear = Callable[[Answer], None]

AT_ONCE = 32
"""Names on trial together."""
HEARERS = 256
"""Requests that wait to hear of one name; those that it leads somewhere wait in its queue."""
REMEMBERED_S = 10.0
"""For so long a refused name is not offered again."""
REMEMBERED = 1024
LOOK_S = 1.0
"""Between two looks whether anybody still waits."""


@dataclass(slots=True, eq=False)
class Trial:
    """One name from its first request to its end."""

    name: str
    hearers: list[Hear] = field(default_factory=list)
    found: Found | None = None
    """Its replicas, once it waits to be loaded."""
    route: Route | None = None
    refused_by: set[str] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    task: asyncio.Task[None] | None = None

    def tell(self, answer: Answer) -> None:
        """Everybody who waits to hear."""
        hearers, self.hearers = self.hearers, []
        for hear in hearers:
            hear(answer)


class Trials:
    """All names on trial."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._running: dict[str, Trial] = {}
        self._refused: dict[str, float] = {}
        """Name -> until when it is not offered again; oldest first."""

    def offer(self, name: str, hear: Hear) -> None:
        """See `proxy.ports.Offers`."""
        trial = self._running.get(name)
        if trial is not None:
            self._join(trial, hear)
        elif not self._is_worth_it(name):
            hear(None)
        elif len(self._running) >= AT_ONCE:
            hear(_busy(f"{AT_ONCE} names that no server lists are being tried"))
        else:
            trial = self._running[name] = Trial(name, [hear])
            trial.task = spawn(self._run(trial), "a name that nobody lists")

    def stop(self) -> None:
        """roost ends."""
        for trial in self._running.values():
            trial.tell(_busy("roost is shutting down"))
            if trial.task is not None:
                trial.task.cancel()

    def _join(self, trial: Trial, hear: Hear) -> None:
        if trial.over or trial.route is not None:
            hear(None if trial.over else trial.route)
        elif len(trial.hearers) >= HEARERS:
            hear(_busy(f"{HEARERS} requests wait to hear of it"))
        else:
            trial.hearers.append(hear)

    def _is_worth_it(self, name: str) -> bool:
        if self._refused.get(name, 0.0) > clock.now() or not may_be_offered(name):
            return False
        down = any(server.listing is None for server in self._discovery.servers.values())
        return down or any(self._discovery.offering())

    # one name

    async def _run(self, trial: Trial) -> None:
        try:
            trial.tell(await self._begun(trial))
            if trial.found is not None:
                await self._seen_through(trial, trial.found)
        except Exception:
            log.exception("a name that no server lists could not be tried")
        finally:
            trial.over = True
            trial.tell(None)
            del self._running[trial.name]

    async def _begun(self, trial: Trial) -> Answer:
        name, discovery = trial.name, self._discovery
        async with discovery.changing:
            await discovery.catch_up()
            known = discovery.roster.resolve(name)
        if known is not None:
            return known
        hosts = await self._not_refusing(name)
        if not hosts:
            return self._nobody(name)
        async with discovery.changing:
            found = Found(discovery.spec_of(name, hosts[0]))
            fitting = [host for host in hosts if discovery.fits(name, found, host)]
            if not await discovery.add(name, found, fitting, known=False):
                return discovery.roster.resolve(name)
        trial.found, trial.route = found, discovery.roster.route(name)
        for host, replica in found.replicas.items():
            replica.subscribe(partial(self._moved, trial, host, replica))
        return trial.route

    async def _not_refusing(self, name: str) -> list[str]:
        """The servers that may have it. One that lists all it has will most likely refuse: it is asked before anybody
        makes room. The others can only be asked when there is room."""
        discovery, hosts = self._discovery, []
        for host, server in list(discovery.offering()):
            if server.key(name) in discovery.taken_in(host):
                continue
            listing = server.listing
            if listing is None or listing.partial:
                hosts.append(host)
            elif not await server.turns_away(name):
                return [host]
        return hosts

    def _nobody(self, name: str) -> Refusal | None:
        servers = self._discovery.servers.values()
        silent = next((server.trouble for server in servers if server.listing is None), "")
        if silent and all(server.listing is None for server in servers):
            return _busy(f"it is not known whether there is such a model. {silent}")
        self._remember(name)
        return None

    def _remember(self, name: str) -> None:
        now = clock.now()
        for old, until in list(self._refused.items()):
            if until > now and len(self._refused) < REMEMBERED:
                break
            del self._refused[old]
        self._refused[name] = now + REMEMBERED_S

    # while it waits to be loaded

    def _moved(self, trial: Trial, host: str, replica: Replica, _: Changed) -> None:
        """Hears of each change at once: nobody is to order a second try of what all have refused."""
        trial.moved.set()
        if trial.over or trial.found is None or not _has_refused(replica):
            return
        trial.refused_by.add(host)
        if trial.refused_by == set(trial.found.replicas):
            trial.over = True
            self._remember(trial.name)
            self._discovery.roster.refuse(trial.name, unknown_model(trial.name))

    async def _seen_through(self, trial: Trial, found: Found) -> None:
        """Until it is loaded, or refused by all, or nobody waits for it any more and nothing of it runs."""
        discovery, replicas = self._discovery, found.replicas.values()
        while True:
            trial.moved.clear()
            if any(replica.state is State.READY for replica in replicas) and not trial.over:
                discovery.adopt(trial.name, found)
                return
            if all(replica.state in AT_REST for replica in replicas) and discovery.roster.is_idle(trial.name):
                trial.over = True
                async with discovery.changing:
                    await discovery.roster.erase(trial.name)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await trial.moved.wait()


def _has_refused(replica: Replica) -> bool:
    if replica.state not in AT_REST and replica.state is not State.STOPPING:
        return False
    last = replica.sequences[-1].steps if replica.sequences else ()
    return bool(replica.absent) or any(step.status in REFUSALS and step.error for step in last)


def _busy(why: str) -> Refusal:
    message = f"The model cannot be looked for now: {why.rstrip('.')}. Try again in a few seconds."
    code, fault = "model_lookup_failed", Fault.GATEWAY
    return Refusal(status=503, code=code, message=message, fault=fault, retry_after_s=2.0)
