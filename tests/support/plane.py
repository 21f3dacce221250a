"""A data plane on its own: a fleet of fixed addresses, a watcher that remembers, a scripted engine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from roost.core.request import Address, Outlook, Refusal, Request, Route
from roost.core.server_spec import ServerSpec
from roost.core.spec import EngineKind, ModelSpec
from roost.proxy.listener import Listener, bind
from roost.proxy.plane import Outside, Plane
from roost.proxy.ports import Lease, Ticket, Waiter

PLAIN = ModelSpec(engine=EngineKind.COMMAND)
WAKING = Outlook(is_ready=False, sentence="it is waking up.")


class FixedLease:
    up = True
    taken_down = False
    watched = True

    def __init__(self, fleet: "FixedFleet", name: str, address: Address) -> None:
        self.fleet = fleet
        self.replica = f"{name}/0"
        self.address = address
        self.released = 0

    def release(self, now: float) -> None:
        self.released += 1
        self.fleet.in_flight -= 1

    def refused_connect(self) -> None:
        self.fleet.refused += 1

    def answered(self) -> None:
        self.fleet.outcomes.append("answered")

    def failed(self, why: str) -> None:
        self.fleet.outcomes.append(why)

    def denied(self, status: int, body: bytes) -> bool:
        """The fleet's own word for it."""
        return self.fleet.denies(status, body)


class FixedTicket:
    def __init__(self, fleet: "FixedFleet", waiter: Waiter) -> None:
        self.fleet = fleet
        self.waiter = waiter

    def outlook(self) -> Outlook:
        return self.fleet.outlook

    def leave(self) -> None:
        if self in self.fleet.queue:
            self.fleet.queue.remove(self)


@dataclass
class FixedFleet:
    """Each name leads to its address at once; names in `asleep` queue until `wake`."""

    addresses: dict[str, list[Address]] = field(default_factory=dict)
    specs: dict[str, ModelSpec] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    asleep: set[str] = field(default_factory=set)
    queue: list[FixedTicket] = field(default_factory=list)
    leases: list[FixedLease] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    in_flight: int = 0
    refused: int = 0
    outcomes: list[str] = field(default_factory=list)
    """What the leases were told of their engines: `answered`, or why it failed."""
    denies: Callable[[int, bytes], bool] = field(default=lambda status, body: False)
    outlook: Outlook = WAKING

    def resolve(self, name: str) -> Route | None:
        model = self.aliases.get(name, name)
        if model not in self.addresses:
            return None
        spec = self.specs.get(model, PLAIN)
        rewrite = model if model != name else None
        return Route(name=model, asked=name, spec=spec, rewrite=rewrite, set_params=spec.set_params)

    def match_prefix(self, path: str) -> tuple[Route, str] | None:
        for name in sorted([*self.addresses, *self.aliases], key=len, reverse=True):
            if path == name or path.startswith(name + "/"):
                route = self.resolve(name)
                assert route is not None
                return route, path[len(name) :]
        return None

    def enter(self, request: Request, route: Route, waiter: Waiter, now: float) -> Lease | Ticket | Refusal:
        if route.name in self.refusals:
            return self.refusals[route.name]
        if route.name in self.asleep:
            ticket = FixedTicket(self, waiter)
            self.queue.append(ticket)
            return ticket
        return self.lease(route.name, 0)

    def lease(self, name: str, index: int) -> FixedLease:
        lease = FixedLease(self, name, self.addresses[name][index])
        self.leases.append(lease)
        self.in_flight += 1
        return lease

    def hint(self, route: Route, now: float) -> None:
        self.hints.append(route.name)

    def another(self, lease: Lease, now: float) -> Lease | None:
        name = lease.replica.partition("/")[0]
        if len(self.addresses[name]) < 2:
            return None
        lease.release(now)
        return self.lease(name, 1)

    def wake(self, name: str) -> None:
        self.asleep.discard(name)
        waiting, self.queue = self.queue, []
        for ticket in waiting:
            lease = self.lease(name, 0)
            if not ticket.waiter.granted(lease):
                lease.release(0)


@dataclass
class Memory:
    """A watcher that remembers."""

    began_: list[Request] = field(default_factory=list)
    settled_: list[Request] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def began(self, request: Request) -> None:
        self.began_.append(request)
        self._tell()

    def settled(self, request: Request) -> None:
        self.settled_.append(request)
        self._tell()

    def gap(self, request: Request, seconds: float) -> None:
        self.gaps.append(seconds)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def until_settled(self, count: int = 1, timeout_s: float = 5.0) -> Request:
        async with asyncio.timeout(timeout_s):
            while len(self.settled_) < count:
                await self.changed.wait()
        return self.settled_[count - 1]

    async def until_began(self, count: int = 1, timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while len(self.began_) < count:
                await self.changed.wait()


class AnyPath:
    """`/tokenize` and `/rerank` are inference, `/sleep` is control."""

    def is_inference(self, path: str) -> bool:
        return path in ("/tokenize", "/rerank")

    def serves(self, route: Route, path: str) -> bool:
        return path == "/tokenize"

    def controls(self, route: Route, path: str) -> bool:
        return path in ("/sleep", "/v1/load_lora_adapter")


@dataclass
class Running:
    """A plane that listens."""

    plane: Plane
    port: int
    fleet: FixedFleet
    watcher: Memory
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self, limit: int = 65536) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        self.writers.append(writer)
        return reader, writer

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a fresh connection and read until the server ends it."""
        reader, writer = await self.open()
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer


@contextlib.asynccontextmanager
async def running_plane(
    fleet: FixedFleet, server: ServerSpec | None = None, admin: Address | None = None
) -> AsyncIterator[Running]:
    watcher = Memory()
    outside = Outside(
        server=server or ServerSpec(), fleet=fleet, paths=AnyPath(), watcher=watcher, admin=admin, id_prefix="t-"
    )
    plane = Plane(outside)
    listener = Listener(plane)
    sock = bind("127.0.0.1", 0)
    await listener.start(sock)
    running = Running(plane, sock.getsockname()[1], fleet, watcher)
    try:
        yield running
    finally:
        await end(running.writers)
        listener.stop_accepting()
        await listener.drain(0)
        await asyncio.sleep(0)


async def end(writers: list[asyncio.StreamWriter]) -> None:
    """Abort, and let the loop see it."""
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None] | object"]


@dataclass
class Engine:
    """A raw TCP server: the test's own coroutine plays the engine."""

    port: int
    connections: int = 0

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(head, body) of one request, fixed length or chunked (raw)."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return head, await reader.readuntil(b"0\r\n\r\n")
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
    return head, await reader.readexactly(length)


@contextlib.asynccontextmanager
async def engine(play: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[Engine]:
    """`play` is called for each connection; connections are closed at the end."""
    writers: list[asyncio.StreamWriter] = []
    made = Engine(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await play(reader, writer)  # type: ignore[misc]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await end(writers)
