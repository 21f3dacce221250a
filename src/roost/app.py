"""The one place that wires everything: spec in, a serving roost out, and its orderly end.

Owns no behaviour of its own: each part is made here, told of the others, started and stopped in order.
Called by `cli/up_cmd.py`, tests and the demo.
"""

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from roost import __version__, clock
from roost.accesslog import Watch
from roost.admin.api import build
from roost.admin.events import Hub
from roost.admin.server import AdminServer
from roost.config.adapters import with_adapters
from roost.config.dump import config_hash
from roost.console import Console, Parts
from roost.console_facts import change_event, performed_event, plan_facts
from roost.console_memory import MemoryFacts
from roost.control.budgets import Board
from roost.control.controller import Controller
from roost.control.health import avoided
from roost.control.holds import Holds
from roost.control.recall import LastStates, Rises
from roost.core.events import Changed, Performed
from roost.core.lifecycle import Fact, State
from roost.core.plan import Plan
from roost.core.request import Address
from roost.core.spec import ModelSpec, RoostSpec
from roost.core.view import Policy
from roost.discovery import Discovery
from roost.enginepaths import EnginePaths
from roost.engines.base import Machine
from roost.folder import Folder, FolderModels
from roost.host.account import Account
from roost.host.devices_watch import Reader, machine_reader
from roost.host.fleet import Maker, Making, end_leftovers, make_servers
from roost.host.machine import raise_open_files_limit
from roost.host.replica import Replica
from roost.host.store import Store
from roost.keeping import Keeping, OnlyChanged
from roost.logs import log
from roost.proxy.listener import Listener, bind
from roost.proxy.plane import Outside, Plane
from roost.roster import Members, Roster
from roost.tasks import spawn
from roost.telemetry.counts import ModelGauges, ReplicaGauge
from roost.telemetry.recorder import Recorder
from roost.trials import Trials

TICK_S = 0.25
GC_OBJECTS = 20_000
"""Allocations between two looks of the collector: a request makes a few hundred objects and no lasting cycles."""
TROUBLE = frozenset({State.BACKOFF, State.FAILED, State.STUCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where and how this roost runs."""

    state_dir: Path
    instance: str
    base_dir: str
    machine: Machine
    config_path: str | None = None
    auto: bool = True
    """False: nothing is preloaded or put to sleep by roost itself."""
    simulated: bool = False
    """`roost up --simulate`: only another such start takes its engines up."""
    route_only: bool = False
    """`roost serve`: nothing is started; what an earlier roost left running is taken up and supervised again."""
    write_access_log: Callable[[str], None] | None = None
    read_devices: Reader = field(default_factory=machine_reader)
    """How the memory of this machine's devices is read."""
    folder: Folder | None = None
    """`models_dir`, if there is one: the models of the spec that come from it, and how to look again."""


class App:
    """A roost: made from a spec without problems, started once, stopped once."""

    def __init__(self, spec: RoostSpec, options: Options) -> None:
        self.spec = with_adapters(spec)
        self.config_hash = config_hash(spec)
        self.options = options
        self.store = Store(options.state_dir)
        self.port = 0
        self._ticker: asyncio.Task[None] | None = None
        self._folder: FolderModels | None = None

    # making

    async def start(self) -> None:
        """Lock the state directory, adopt what runs, bind, serve. Raises StateDirInUse and OSError (port taken)."""
        raise_open_files_limit()
        self.store.lock()
        try:
            server = self.spec.server
            await self._start(bind(server.host, server.port) if server.listen else None)
        except BaseException:
            self.store.close()
            raise

    async def _start(self, sock: socket.socket | None) -> None:
        if sock is not None:
            self.port = sock.getsockname()[1]
        self._make()
        await self._recall()
        await end_leftovers(self.store, (replica.id for replica in self.replicas if replica.owned))
        await asyncio.gather(*(server.start() for server in self.servers.values()))
        await self.account.find()
        await asyncio.gather(*(replica.recover() for replica in self.replicas))
        self.holds.restore(self.store.read_holds())
        await self.account.start()
        self.controller.start()
        await self.discovery.start()
        await self.admin.start()
        if sock is not None:
            await self.listener.start(sock)
            self.console.address = f"{_shown(self.spec.server.host)}:{self.port}"
        self._ticker = spawn(self._tick(), "tick")
        if self._folder is not None:
            self._folder.start()
        self.console.serving = True
        self.store.write_server(
            {
                "pid": os.getpid(),
                "address": self.console.address or None,
                "mode": "serve" if self.options.route_only else "up",
                "admin_socket": str(self.store.admin_socket()),
                "config": self.options.config_path,
                "simulated": self.options.simulated,
                "started_at": clock.wall(),
                "instance": self.options.instance,
            }
        )
        gc.collect()
        gc.freeze()  # what stands now stands to the end: the collector need not walk it at each request
        gc.set_threshold(GC_OBJECTS, 20, 50)
        where = f"serving on http://{self.console.address}" if sock is not None else "no port is open (listen: false)"
        log.info("%d models, %s", len(self.controller.gate.names()), where)

    def _make(self) -> None:
        spec, options = self.spec, self.options
        self.recorder = Recorder(self._gauges, __version__)
        self.watch = Watch(self.recorder, options.write_access_log if spec.server.request_log else None)
        self.keeping = Keeping(options.state_dir, spec.server, self.recorder)
        self.hub = Hub()
        self.account = Account(spec, options.machine, lambda: self.replicas, options.read_devices)
        self.paths = EnginePaths(spec.models)
        self.servers = make_servers(spec)
        self.maker = Maker(
            spec,
            Making(
                store=self.store,
                machine=options.machine,
                cwd=options.base_dir,
                last_byte_at=self._last_byte_at,
                answering=lambda replica: self.plane.answering(replica),
                memory=self.account,
                servers=self.servers,
                route_only=options.route_only,
            ),
        )
        spec = self.spec = self._with_files(spec)
        self.replicas = self.maker.replicas(spec.models)
        board = self._make_control()
        socket_path = self.store.admin_socket()
        self.plane = Plane(
            Outside(
                server=spec.server,
                fleet=self.controller.gate,
                paths=self.paths,
                watcher=self.watch,
                admin=Address("localhost", 0, str(socket_path)),
                id_prefix=f"r-{os.urandom(3).hex()}-",
            )
        )
        self.listener = Listener(self.plane)
        self.console = Console(
            Parts(
                spec=spec,
                replicas=self.replicas,
                controller=self.controller,
                plane=self.plane,
                watch=self.watch,
                recorder=self.recorder,
                keeping=self.keeping,
                hub=self.hub,
                memory=MemoryFacts(self.controller.standing, self.replicas, board, self.account),
                config_hash=self.config_hash,
                instance=options.instance,
                started_at=clock.now(),
            )
        )
        self.admin = AdminServer(build(self.console), bind_private(socket_path))
        self._make_roster()

    def _make_control(self) -> Board:
        """Who decides, with what the devices hold before it."""
        spec = self.spec
        self.holds = Holds(self.store.write_holds)
        board = Board(seen=self.account.watch.seen, holds=self.holds)
        self.controller = Controller(spec, self.replicas, Policy(spec=spec.policy, auto=self.options.auto), board)
        self.holds.nudge = self.account.watch.nudge = self.controller.nudge
        self._listen_to(self.replicas)
        self.controller.on_plan(self._planned)
        self.controller.on_decision(self.keeping.decided)
        return board

    async def _recall(self) -> None:
        """What earlier runs learned, before the first plan."""
        gate = self.controller.gate
        await self.keeping.open()
        await self.keeping.add("replica", LastStates(gate, gate.names))
        await self.keeping.add("rise", Rises(gate, gate.names))
        await self.keeping.add("learned", self.controller.learning)
        await self.keeping.add("footprint", OnlyChanged(self.account.footprints))

    def _with_files(self, spec: RoostSpec) -> RoostSpec:
        """Without the models of `models_dir` that cannot be had here; those are looked for again with each new file."""
        folder = self.options.folder
        if folder is None:
            return spec
        lacking = {name for name in folder.files if not self.maker.can_serve(name, spec.models[name])}
        if lacking:
            log.warning("not served, for serve starts nothing and they have no port: %s", ", ".join(sorted(lacking)))
        return replace(spec, models={name: model for name, model in spec.models.items() if name not in lacking})

    def _make_roster(self) -> None:
        self.roster = Roster(
            Members(
                maker=self.maker,
                replicas=self.replicas,
                controller=self.controller,
                plane=self.plane,
                console=self.console,
                paths=self.paths,
                recorder=self.recorder,
                watch=self.watch,
                account=self.account,
                hub=self.hub,
                listen_to=self._listen_to,
                recall=self.keeping.recall,
                stops=not self.options.route_only,
            )
        )
        spec = self.spec
        self.discovery = Discovery(self.servers, self.roster, written=spec.models, settings=spec.discovered)
        self.trials = Trials(self.discovery)
        if self.discovery.servers:
            self.plane.offers = self.trials
        folder = self.options.folder
        if folder is not None:
            served = {name: model for name, model in self.spec.models.items() if name in folder.files}
            self._folder = FolderModels(folder, self.roster, served)

    def _listen_to(self, replicas: Iterable[Replica]) -> None:
        for replica in replicas:
            replica.subscribe(self.account.watch.changed)
            replica.subscribe(self._changed)
            replica.subscribe_performed(self._performed)

    # models that come and go

    async def add_models(self, models: Mapping[str, ModelSpec]) -> None:
        """See `Roster.add_models`."""
        await self.roster.add_models(models)

    async def remove_model(self, name: str) -> None:
        """See `Roster.remove_model`."""
        await self.roster.remove_model(name)

    def _last_byte_at(self, replica: str) -> float | None:
        """When a byte of an answer last came from it, of one that still runs too."""
        running = (r.last_token_at or r.first_byte_at for r in self.plane.requests() if r.replica == replica)
        seen = (self.watch.last_byte_at.get(replica), *running)
        return max((moment for moment in seen if moment is not None), default=None)

    # telling

    def _changed(self, change: Changed) -> None:
        if change.after is State.SUSPENDING:
            for replica in (change.replica, *self.maker.guests_of(change.replica)):
                self.plane.take_down(replica)  # nothing runs any more, unless the sleep was ordered by force
        self.recorder.changed(change)
        self.hub.publish(change_event(change))
        took = f" after {change.took_s:.1f} s" if change.took_s is not None else ""
        trouble = change.after in TROUBLE or change.event is Fact.STALLED
        level = logging.WARNING if trouble else logging.INFO
        why = f" ({change.reason})" if change.reason_kind == "fact" else ""  # an order's reason was logged with it
        log.log(level, "%s: %s -> %s%s%s", change.replica, change.before, change.after, took, why)

    def _performed(self, performed: Performed) -> None:
        """The log has it already, step by step."""
        self.recorder.performed(performed)
        self.hub.publish(performed_event(performed))

    def _planned(self, plan: Plan) -> None:
        self.hub.publish({"type": "plan", **plan_facts(plan, clock.now())})

    def _gauges(self) -> list[ModelGauges]:
        """One per model: with several replicas their requests together and the most useful state of theirs."""
        gate, now, gauges = self.controller.gate, clock.now(), []
        for lane in map(gate.lane, gate.names()):
            states = [seat.state for seat in lane.seats]
            state = State.READY if State.READY in states else states[0]
            busy = sum(seat.own_in_flight for seat in lane.seats)
            servings = tuple(ReplicaGauge(s.owner.id, s.failures, avoided(s, now) is not None) for s in lane.seats)
            gauges.append(
                ModelGauges(model=lane.name, state=state, in_flight=busy, queue_depth=lane.depth, replicas=servings)
            )
        return gauges

    async def _tick(self) -> None:
        """Whatever goes wrong in one round, the next one comes: the sweep is what lets waiters go in time."""
        said = False
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.controller.gate.sweep(clock.now())
            except Exception:
                if not said:
                    log.exception("a sweep of the waiting requests went wrong; it goes on, and this is said once")
                said = True
            self.watch.flush()
            self.keeping.tick()

    # ending

    async def stop(self, *, keep_engines: bool = False) -> None:
        """Refuse waiters, let answers end, end the engines, the API last. `hurry` cuts it short."""
        self.console.stopping = True
        if self._folder is not None:
            self._folder.stop()
        self.discovery.stop()
        self.trials.stop()
        self.controller.gate.close()
        self.controller.stop()
        self.account.watch.stop()
        self.holds.close()
        self.listener.stop_accepting()
        cut = await self.listener.drain(self.spec.server.shutdown_timeout)
        if cut:
            log.warning("%d requests were still running and were cut", cut)
        await asyncio.gather(
            *(replica.close(leave=keep_engines or replica.spec.on_exit == "leave") for replica in self.replicas)
        )
        for server in self.servers.values():
            await server.close()
        await self.maker.close()
        if self._ticker is not None:
            self._ticker.cancel()
        self.hub.close()
        await self.admin.stop()
        self.watch.flush()
        await self.keeping.close()
        with contextlib.suppress(FileNotFoundError):
            self.store.admin_socket().unlink()
        self.store.close()

    def hurry(self) -> None:
        """A second signal: cut what still runs."""
        self.plane.cut()

    def kill(self) -> None:
        """A third signal: end all engines at once."""
        for replica in self.replicas:
            replica.keeper.kill()


def as_router(spec: RoostSpec) -> RoostSpec:
    """The same models with a port open and none of them to be started unasked: what `roost serve` runs."""
    models = {name: replace(model, preload=False) for name, model in spec.models.items()}
    return replace(spec, models=models, server=replace(spec.server, listen=True))


def bind_private(path: Path) -> socket.socket:
    """A Unix socket that only this user can use."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    return sock


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
