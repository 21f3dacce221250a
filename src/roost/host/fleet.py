"""From a spec to its replicas: which keeper holds each, where it listens, what an earlier roost left running.

Makes them and ends what nobody wants any more; decides nothing about who is awake. Called by `app` and by
`roost down`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from roost.config.addresses import address_of
from roost.core.ids import replica_id, session_name
from roost.core.request import Address
from roost.core.spec import ModelSpec, RoostSpec, servings
from roost.engines import own as own_steps
from roost.engines.base import Machine
from roost.engines.registry import adapter_for
from roost.host.base_server import BaseServer
from roost.host.footprints import Memory, NoMemory
from roost.host.hosted import HostedServer
from roost.host.keepers.base import Keeper
from roost.host.keepers.foreign import ForeignKeeper
from roost.host.keepers.hosted import HostedKeeper
from roost.host.keepers.identity import matches
from roost.host.keepers.process import ProcessKeeper
from roost.host.keepers.tmux import TmuxKeeper
from roost.host.output import Output
from roost.host.ports import PortPicker
from roost.host.replica import Replica
from roost.host.setup import Setup
from roost.host.store import Store
from roost.host.tmux import tmux_available
from roost.logs import log

ORPHAN_GRACE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What replicas are made with, besides the spec."""

    store: Store
    machine: Machine
    cwd: str
    last_byte_at: Callable[[str], float | None]
    """Replica id -> when a byte of an answer last came from it."""
    answering: Callable[[str], Mapping[str, int]] = field(default=lambda own: {})
    """Replica id -> how far its running answers are, see `Setup.answering`."""
    memory: Memory = field(default_factory=NoMemory)
    """Who keeps account of what replicas hold."""
    servers: Mapping[str, HostedServer] = field(default_factory=dict)
    """The servers of `hosts` by name."""
    route_only: bool = False
    """True: nothing is started. What an earlier roost left running is taken up, all else is at the written port."""


def make_servers(spec: RoostSpec) -> dict[str, HostedServer]:
    """One for each entry of `hosts` but those of a simulation, which have places and no address."""
    return {name: HostedServer(name, host) for name, host in spec.hosts.items() if host.url}


class Maker:
    """Makes the replicas of one roost: those of its config, and of models that come later."""

    def __init__(self, spec: RoostSpec, making: Making) -> None:
        self.spec = spec
        self.making = making
        self.ports = PortPicker({spec.server.port})
        self.bases: dict[str, BaseServer] = {}
        """The engines that hold adapters, by their replica's id."""

    def replicas(self, models: Mapping[str, ModelSpec]) -> list[Replica]:
        """One for each serving of each model, in their order. Raises OSError where no port is free."""
        self.ports.reserve(each.port for model in models.values() for each in servings(model) if each.port)
        return [
            self.replica(name, index, serving)
            for name, model in models.items()
            for index, serving in enumerate(servings(model))
        ]

    def can_serve(self, name: str, model: ModelSpec) -> bool:
        """Whether each of its engines can be had: started, or, where nothing is started, found."""
        return (
            not self.making.route_only
            or self._is_adapter(model)
            or all(
                serving.url is not None or serving.port is not None or self._left_running(replica_id(name, index))
                for index, serving in enumerate(servings(model))
            )
        )

    def _left_running(self, own: str) -> bool:
        record = self.making.store.read(own)
        return record is not None and matches(record, own)

    def _is_adapter(self, model: ModelSpec) -> bool:
        return model.server is not None and model.server not in self.making.servers

    def guests_of(self, base: str) -> list[str]:
        """The replicas that live inside this one."""
        return [] if base not in self.bases else list(self.bases[base].guests)

    async def close(self) -> None:
        """roost ends: look no more into the engines that hold adapters."""
        for server in self.bases.values():
            await server.close()

    async def gone(self, replica: Replica) -> None:
        """Its model was removed: its port may serve another one."""
        base = self.bases.pop(replica.id, None)
        if base is not None:
            await base.close()
        server = replica.setup.server
        if isinstance(server, BaseServer) and replica.id in server.guests:
            server.guests.remove(replica.id)
        if replica.owned and server is None:
            self.ports.give_back(replica.address.port)

    def replica(self, name: str, index: int, serving: ModelSpec) -> Replica:
        """The one of this number; `serving` is the model's spec as it has it."""
        own, making = replica_id(name, index), self.making
        record, server = making.store.read(own), self._server(serving, index)
        if server is not None:
            serving = replace(serving, url=server.spec.url)
        elif making.route_only and serving.url is None and not (record and matches(record, own)):
            serving = replace(serving, url=f"http://{serving.host}:{serving.port}")
        address = self._address(serving, record)
        model = _filled(serving, name, address)
        output = Output(making.store.log_path(own))
        replica = Replica(
            Setup(
                id=own,
                model=name,
                spec=model,
                adapter=adapter_for(model),
                keeper=self._keeper(own, name, model, output, server),
                address=address,
                machine=making.machine,
                store=making.store,
                output=output,
                cwd=making.cwd,
                last_byte_at=lambda: making.last_byte_at(own),
                answering=lambda: making.answering(own),
                memory=making.memory,
                server=server,
            )
        )
        if isinstance(server, BaseServer):
            server.guests.append(own)
        if model.adapters:
            self.bases[own] = BaseServer(replica)
        return replica

    def _server(self, model: ModelSpec, index: int) -> HostedServer | None:
        if model.server is None:
            return None
        if self._is_adapter(model):
            return self.bases[replica_id(model.server, index)]
        return self.making.servers[model.server]

    def _keeper(self, own: str, name: str, model: ModelSpec, output: Output, server: HostedServer | None) -> Keeper:
        if server is not None:
            return HostedKeeper(server, model, model.served_name or name)
        if model.url is not None:
            return ForeignKeeper()
        words = (model.stop_command,) if isinstance(model.stop_command, str) else model.stop_command
        if model.launcher == "tmux" or (model.launcher == "auto" and tmux_available()):
            return TmuxKeeper(own, output, words, session=session_of(self.spec, name, own, model))
        return ProcessKeeper(own, output, words)

    def _address(self, model: ModelSpec, record: Mapping[str, Any] | None) -> Address:
        if model.url is not None:
            return address_of(model.url)
        if model.port is not None:
            return Address(model.host, model.port)
        earlier = record.get("port") if record is not None else None
        return Address(model.host, earlier if isinstance(earlier, int) else self.ports.pick(model.host))


def session_of(spec: RoostSpec, name: str, own: str, serving: ModelSpec) -> str:
    """The tmux session of a replica: its own name, else the model's, with a number from the second replica on."""
    named = serving.replicas[0].name
    number = int(own.rpartition("/")[2])
    return session_name(spec.server.session_prefix, named or (f"{name}-{number + 1}" if number else name))


async def end_leftovers(store: Store, wanted: Iterable[str] = ()) -> list[str]:
    """Stop the engines that an earlier roost left and that are none of `wanted` (replica ids). Gives what was done,
    a sentence each."""
    keep = set(wanted)
    left = [record for record in store.records() if record.get("replica") not in keep and "elsewhere" not in record]
    return [said for said in await asyncio.gather(*(_end(store, record) for record in left)) if said]


async def _end(store: Store, record: Mapping[str, Any]) -> str:
    own, pid = str(record.get("replica")), record.get("pid")
    keeper = keeper_of_record(store, record)
    said = ""
    if keeper.adopt(record):
        log.info("the engine of %s (pid %s) is stopped", own, pid)
        if not await keeper.stop(ORPHAN_GRACE_S):
            return f"{own} (pid {pid}) survived SIGKILL; its memory is still taken."
        said = f"{own} (pid {pid}) is stopped."
    await keeper.clear()
    store.forget(own)
    return said


def keeper_of_record(store: Store, record: Mapping[str, Any]) -> ProcessKeeper | TmuxKeeper:
    """The kind of keeper that wrote it."""
    own = str(record.get("replica"))
    output, session = Output(store.log_path(own)), record.get("session")
    return TmuxKeeper(own, output, session=session) if isinstance(session, str) else ProcessKeeper(own, output)


def _filled(model: ModelSpec, name: str, address: Address) -> ModelSpec:
    """`${PORT}` and `${MODEL}` in the fields that are not part of the command line; `${PID}` is the keeper's."""

    def fill(text: str) -> str:
        return text.replace("${PORT}", str(address.port)).replace("${MODEL}", model.served_name or name)

    model = own_steps.filled(model, name, address.port)
    path, stop = model.health_path, model.stop_command
    words = (stop,) if isinstance(stop, str) else stop
    return replace(
        model,
        health_path=None if path is None else fill(path),
        stop_command=None if words is None else tuple(fill(word) for word in words),
    )
