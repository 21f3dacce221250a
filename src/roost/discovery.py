"""Models that servers of others list or can load, with no entry of their own under `models`.

Follows the listings of the servers of `hosts`: what is offered there becomes a model of roost, with a replica in each
server that has it, and goes when nobody offers it and nothing of it runs. Names that nobody lists are `trials`'. Never
decides who is loaded. Made and started by `app`; adding and removing are `roster`'s.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from roost.config.checks import name_fault
from roost.config.hosts import spec_for
from roost.core.errors import RoostError
from roost.core.lifecycle import State
from roost.core.spec import ModelSpec, Task
from roost.engines.hosted import Listing
from roost.host.hosted import HostedServer
from roost.host.replica import Replica
from roost.logs import log
from roost.roster import Roster
from roost.tasks import spawn

AT_REST = frozenset({State.COLD, State.BACKOFF, State.FAILED})
MOST = 2000
"""Models found in all servers together."""
UNLISTED_MOST = 256
"""Of them those that no list has while they are not loaded; of more the one used least recently goes."""
SAID_MAX = 1000
"""Sentences remembered, so that each is said once."""


@dataclass(slots=True)
class Found:
    """A model that was found: its replicas by the server that holds each."""

    spec: ModelSpec
    replicas: dict[str, Replica] = field(default_factory=dict)


class Discovery:
    """All servers that may be looked into."""

    def __init__(
        self,
        servers: Mapping[str, HostedServer],
        roster: Roster,
        *,
        written: Mapping[str, ModelSpec],
        settings: Mapping[str, ModelSpec],
    ) -> None:
        self.servers = {name: server for name, server in servers.items() if server.spec.discover}
        self.found: dict[str, Found] = {}
        self.changing = asyncio.Lock()
        """Held while models are added or removed here."""
        self.roster = roster
        self._numbers = {name: number for number, name in enumerate(servers)}
        self._written = written
        self._settings = settings
        self._settled: dict[str, Listing | None] = {}
        self._loose = False
        """Something is served that is not listed: it goes once it is at rest, or refused."""
        self._look = asyncio.Event()
        self._said: set[str] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what the servers list now, and follow their lists from now on."""
        if not self.servers:
            return
        for server in self.servers.values():
            server.on_look(self._looked)
        await self._settle_safely()
        self._watching = spawn(self._watch(), "discovery")

    def stop(self) -> None:
        """Follow no more."""
        if self._watching is not None:
            self._watching.cancel()

    def _looked(self) -> None:
        if self._loose or any(self._settled.get(name) != server.listing for name, server in self.servers.items()):
            self._look.set()

    async def _watch(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            await self._settle_safely()

    async def _settle_safely(self) -> None:
        try:
            async with self.changing:
                await self._settle()
        except Exception:
            log.exception("what the servers of `hosts` list could not be taken over")

    # what the listings come to

    async def _settle(self) -> None:
        self._settled = {name: server.listing for name, server in self.servers.items()}
        offers = self._offers()
        for name, hosts in offers.items():
            await self._bring(name, hosts)
        self._loose = False
        for name, found in list(self.found.items()):
            await self._let_go(name, found, offers.get(name, ()))
        await self._bound_unlisted(offers)

    def _offers(self) -> dict[str, list[str]]:
        """Name -> the servers that list it, in the order of the configuration; without what is written already."""
        offers: dict[str, list[str]] = {}
        for host, server in self.servers.items():
            taken = self.taken_in(host)
            for name in server.offers():
                if server.key(name) in taken:
                    continue
                if fault := name_fault(name):
                    self._say(f'"{name[:60]}" of host {host} is not served: the name {fault}')
                else:
                    offers.setdefault(name, []).append(host)
        return offers

    def taken_in(self, host: str) -> set[str]:
        """The keys of the models there that have entries of their own."""
        server = self.servers[host]
        inside = ((name, model) for name, model in self._written.items() if model.inside == host)
        return {server.key(model.served_name or name) for name, model in inside}

    async def _bring(self, name: str, hosts: Sequence[str]) -> None:
        found = self.found.get(name)
        if found is None:
            if not self._may_come(name):
                return
            found = Found(self.spec_of(name, hosts[0]))
        new = [host for host in hosts if host not in found.replicas and self.fits(name, found, host)]
        if new:
            await self.add(name, found, new)

    def _may_come(self, name: str) -> bool:
        owner = self.roster.owner_of(name)
        if owner is not None:
            if owner != name or self.roster.resolve(name) is not None:  # else it is on trial, or leaving
                self._say(f'"{name}" is not taken from `hosts`: it already names the model "{owner}"')
            return False
        if len(self.found) >= MOST:
            self._say(f"of the models in `hosts` {MOST} are served, and the others are not")
            return False
        return True

    def fits(self, name: str, found: Found, host: str) -> bool:
        """Requests go with the one key that the model's spec has."""
        fits = self.spec_of(name, host).api_key == found.spec.api_key
        if not fits:
            inside = found.spec.inside
            self._say(f'"{name}" is served from host {inside} alone: host {host} has it, too, but another api_key')
        return fits

    def spec_of(self, name: str, host: str) -> ModelSpec:
        """The model as this server has it."""
        server = self.servers[host]
        spec, listing = spec_for(host, server.spec, name, self._settings), server.listing
        if listing is None:
            return spec
        listed = {one for other in self.servers.values() for one in other.offers()}
        fit = (one for one in listing.aliases.get(name, ()) if not name_fault(one) and one not in listed)
        aliases = tuple(one for one in dict.fromkeys(fit) if self.roster.owner_of(one) is None)
        task = Task.EMBED if name in listing.embeds else spec.task
        return replace(spec, aliases=aliases, task=task)

    async def add(self, name: str, found: Found, hosts: Sequence[str], *, known: bool = True) -> bool:
        """Replicas of it in these servers. False where its name is taken."""
        servings = {self._numbers[host]: replace(self.spec_of(name, host), aliases=()) for host in hosts}
        try:
            replicas = await self.roster.add_backends(name, found.spec, servings, known=known)
        except RoostError as error:
            self._say(str(error))
            return False
        found.replicas.update(zip(hosts, replicas, strict=True))
        if known:
            self.found[name] = found
        return True

    # going

    async def _let_go(self, name: str, found: Found, hosts: Sequence[str]) -> None:
        going = [host for host in found.replicas if host not in hosts and not self._stays(host, found.replicas[host])]
        self._loose = self._loose or any(host not in hosts for host in found.replicas)
        if not going:
            return
        idle = self.roster.is_idle(name)
        resting = [host for host in going if idle and found.replicas[host].state in AT_REST]
        if len(resting) == len(found.replicas):
            await self._remove(name)
            return
        for host in resting:
            await self.roster.drop_backend(found.replicas.pop(host))

    def _stays(self, host: str, own: Replica) -> bool:
        """Its server is down and says nothing, or says nothing of what is not loaded. There it goes once its load is
        refused."""
        listing = self.servers[host].listing
        return listing is None or (listing.partial and self._can_load(host) and not own.absent)

    def _can_load(self, host: str) -> bool:
        way = self.servers[host].way
        return way is not None and way.can_load

    async def _bound_unlisted(self, offers: Mapping[str, Sequence[str]]) -> None:
        unlisted = [name for name in self.found if name not in offers and self._is_unlisted(name)]
        unlisted.sort(key=lambda name: max(map(self.roster.last_used, self.found[name].replicas.values())))
        for name in unlisted[: max(0, len(unlisted) - UNLISTED_MOST)]:
            await self._remove(name)

    def _is_unlisted(self, name: str) -> bool:
        replicas = self.found[name].replicas
        answering = all(self.servers[host].listing is not None for host in replicas)
        return answering and self.roster.is_idle(name) and all(one.state in AT_REST for one in replicas.values())

    async def _remove(self, name: str) -> None:
        del self.found[name]
        await self.roster.remove_model(name)

    def offering(self) -> Iterator[tuple[str, HostedServer]]:
        """The servers that answer and that have a load call, in the order of the configuration."""
        return ((n, server) for n, server in self.servers.items() if server.listing is not None and self._can_load(n))

    async def catch_up(self) -> None:
        """With the lists as they are now; the caller holds `changing`."""
        if any(self._settled.get(name) != server.listing for name, server in self.servers.items()):
            await self._settle()

    def adopt(self, name: str, found: Found) -> None:
        """One that was added unknown has been loaded: it is a model like any other now."""
        self.found[name] = found
        self.roster.make_known(name)
        self._settled.clear()
        self._look.set()

    def _say(self, sentence: str) -> None:
        if sentence not in self._said and len(self._said) < SAID_MAX:
            self._said.add(sentence)
            log.warning("%s", sentence)
