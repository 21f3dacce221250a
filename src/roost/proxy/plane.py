"""What all sessions of one port share: fleet, keys, pool, limits, watchers; and the coarse sweep of deadlines.

`app` makes one, `listener.py` binds it to a port. It holds no state about models: the fleet does.
"""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost import clock
from roost.core.request import Address, Outlook, Request
from roost.core.server_spec import LimitsSpec, ServerSpec
from roost.proxy import access, loading, phases
from roost.proxy.keys import KeyRing
from roost.proxy.origin import HostRule, OriginRule
from roost.proxy.pool import Pool
from roost.proxy.ports import Fleet, Offers, Paths, Watcher
from roost.proxy.relay import Upstream

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange
    from roost.proxy.session import Session

SWEEP_S = 0.5
"""Deadlines are kept to this: one timer for all connections instead of one each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the plane is given by `app`."""

    server: ServerSpec
    fleet: Fleet
    paths: Paths
    watcher: Watcher
    admin: Address | None
    """Where everything that is not inference goes; None: those paths are 404."""
    id_prefix: str
    """Start of every request id made here: differs between runs."""


def _infers(exchange: "Exchange") -> bool:
    """By model only inference paths are routed; under /upstream it may be anything."""
    return exchange.request.method == "POST" and not exchange.path.startswith(access.UPSTREAM)


class Plane:
    """One data plane."""

    def __init__(self, outside: Outside) -> None:
        server = outside.server
        self.fleet = outside.fleet
        self.paths = outside.paths
        self.watcher = outside.watcher
        self.admin = outside.admin
        self.offers: Offers | None = None
        """Asked of names that the fleet does not know; None: they are unknown."""
        self.limits: LimitsSpec = server.limits
        self.keys = KeyRing(server.keys)
        self.hosts = HostRule((server.host, *server.hosts))
        self.origins = OriginRule(server.cors_origins)
        self.pool = Pool(self._make_upstream)
        self.sessions: set[Session] = set()
        self.exchanges: dict[str, Exchange] = {}
        self.loading: dict[Exchange, float] = {}
        """Who is told of the wait for a model, and since when it waits."""
        self.held_bytes = 0
        """Bodies of requests that wait in a queue."""
        self.closing = False
        self._drained: asyncio.Event | None = None
        self._prefix = outside.id_prefix
        self._numbers = itertools.count(1)

    def _make_upstream(self) -> Upstream:
        return Upstream(self.pool)

    def request_id(self) -> str:
        """Unique in this run, short, sortable."""
        return f"{self._prefix}{next(self._numbers):06x}"

    def is_taken(self, request_id: str) -> bool:
        """True for the id of a request under way, and for all that this run makes itself."""
        return request_id in self.exchanges or request_id.startswith(self._prefix)

    def requests(self) -> list[Request]:
        """The requests under way, oldest first."""
        return [exchange.request for exchange in self.exchanges.values()]

    def waits(self) -> list[tuple[Request, Outlook | None]]:
        """The same, each with what it may be told of its wait; None: it does not wait."""
        return [
            (exchange.request, None if exchange.ticket is None else exchange.ticket.outlook())
            for exchange in self.exchanges.values()
        ]

    def answering(self, replica: str) -> dict[str, int]:
        """The answers of this replica that its engine is computing -> a figure that grows with each piece. Left out are
        those of which nothing has come, tunnels, those whose client takes no more, and whatever is no inference: a
        stream of events that someone reads under /upstream may be silent for hours."""
        found = {}
        for request_id, exchange in self.exchanges.items():
            upstream = exchange.upstream
            if upstream is None or exchange.request.replica != replica or not _infers(exchange):
                continue
            if upstream.progress:
                found[request_id] = upstream.progress
        return found

    def cancel(self, request_id: str) -> bool:
        """Cut one request; False if there is none of this id."""
        exchange = self.exchanges.get(request_id)
        if exchange is None:
            return False
        exchange.cancel()
        return True

    def take_down(self, replica: str) -> None:
        """Its engine goes to sleep: what it still answers ends here, or waits anew."""
        for exchange in list(self.exchanges.values()):
            if exchange.lease is not None and exchange.lease.replica == replica and not exchange.to_admin:
                phases.taken_down(exchange)

    def sweep(self) -> None:
        """Enforce every deadline; called each SWEEP_S."""
        now = clock.now()
        for session in [one for one in self.sessions if now >= one.deadline_at]:
            session.overdue(now)
        for exchange in [one for one in self.exchanges.values() if now >= one.deadline_at]:
            exchange.overdue(now)
        if self.loading:
            loading.sweep(self, now)
        self.pool.sweep(now)

    def done(self, exchange: "Exchange") -> None:
        """An exchange is settled: forget it, and tell who must know."""
        self.exchanges.pop(exchange.request.id, None)
        if not exchange.to_admin:
            self.watcher.settled(exchange.request)
        if self._drained is not None and not self._busy():
            self._drained.set()

    def _busy(self) -> bool:
        return any(not exchange.to_admin for exchange in self.exchanges.values())

    async def drain(self, timeout_s: float) -> int:
        """Wait until no inference is under way, at most `timeout_s`; returns how many requests are left."""
        self._drained = asyncio.Event()
        if self._busy():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._drained.wait()
        return sum(not exchange.to_admin for exchange in self.exchanges.values())

    def stop_reuse(self) -> None:
        """Shutting down: idle client connections end now, others after their answer."""
        self.closing = True
        for session in list(self.sessions):
            session.end_when_idle()

    def cut(self) -> None:
        """Drop whatever is left."""
        for session in list(self.sessions):
            session.cut()
        self.pool.close()
