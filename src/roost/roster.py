"""Models that come and go in a running roost: made, taken up, shown and counted when they come; drained, stopped and
forgotten everywhere when they go.

Decides nothing about who is awake. Made by `app`; called by it, by `folder` and by whoever finds models elsewhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from roost.accesslog import Watch
from roost.admin.events import Hub
from roost.config.adapters import taken_apart
from roost.console import Console
from roost.control.controller import Controller
from roost.core.errors import RoostError
from roost.core.request import Refusal, Route
from roost.core.spec import ModelSpec
from roost.enginepaths import EnginePaths
from roost.host.account import Account
from roost.host.fleet import Maker
from roost.host.replica import Replica
from roost.logs import log
from roost.proxy.plane import Plane
from roost.telemetry.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Everybody who knows of models."""

    maker: Maker
    replicas: list[Replica]
    """All there are; changed in place."""
    controller: Controller
    plane: Plane
    console: Console
    paths: EnginePaths
    recorder: Recorder
    watch: Watch
    account: Account
    hub: Hub
    listen_to: Callable[[Iterable[Replica]], None]
    recall: Callable[[], None]
    """Tells those who are new what an earlier roost knew of them."""
    stops: bool
    """False: engines of a model that goes run on (`roost serve`)."""


class Roster:
    """Adds and removes; one at a time."""

    def __init__(self, members: Members) -> None:
        self._all = members
        self._adding = asyncio.Lock()

    def can_serve(self, name: str, spec: ModelSpec) -> bool:
        """Whether each of its engines can be had: started, or found where nothing is started."""
        return self._all.maker.can_serve(name, spec)

    def is_idle(self, name: str) -> bool:
        """Nothing runs or waits for the model."""
        lane = self._all.controller.gate.lane(name)
        return not lane.depth and not any(seat.in_flight for seat in lane.seats)

    def route(self, name: str) -> Route:
        """To a model that is there, known or not."""
        return self._all.controller.gate.route_of(name)

    def resolve(self, name: str) -> Route | None:
        """Where a name leads; None if nobody finds it."""
        return self._all.controller.gate.resolve(name)

    def owner_of(self, name: str) -> str | None:
        """The model that a name leads to, or that is still being removed; None if it is free."""
        return self._all.controller.gate.owner_of(name)

    def refuse(self, name: str, refusal: Refusal) -> None:
        """Everybody who waits for the model, or comes for it, gets this answer."""
        self._all.controller.gate.close_lane(name, refusal)

    def last_used(self, replica: Replica) -> float:
        """When a request last was with it; 0 if none was."""
        seat = self._all.controller.gate.seat(replica.id)
        return max(seat.last_done or 0.0, seat.last_granted or 0.0)

    async def add_models(self, models: Mapping[str, ModelSpec]) -> None:
        """Serve these, too, from now on; their engines are taken up where an earlier roost left them. Complete specs,
        as `config.load` gives them. Raises RoostError where a name is taken, or no port is free; then none is added."""
        async with self._adding:
            models = taken_apart(models)
            self._all.controller.check_names(models)
            try:
                replicas = self._all.maker.replicas(models)
            except OSError as error:
                raise RoostError(f"No port for the engines of {', '.join(models)}: {error}.") from error
            await self._take_up(replicas)
            self._all.paths.add(models)
            self._all.replicas.extend(replicas)
            self._all.console.add(replicas)
            self._all.controller.add(models, replicas)
            self._all.recall()
        for name in models:
            self._tell_added(name)

    async def add_backends(
        self, name: str, spec: ModelSpec, servings: Mapping[int, ModelSpec], *, known: bool = True
    ) -> Sequence[Replica]:
        """Replicas of a model that others keep, by number, each with a spec of its own; the model, too, if it is not
        there yet. Not `known`: no name leads to it and nobody is shown it before `make_known`. Raises RoostError where
        a name is taken."""
        async with self._adding:
            new = self._all.controller.gate.owner_of(name) is None
            if new:
                self._all.controller.check_names({name: spec})
            replicas = [self._all.maker.replica(name, index, serving) for index, serving in servings.items()]
            await self._take_up(replicas)
            self._all.replicas.extend(replicas)
            if known:
                self._all.console.add(replicas)
            if new:
                self._all.paths.add({name: spec})
                self._all.controller.add({name: spec}, replicas, known=known)
            else:
                self._all.controller.add_replicas(name, replicas)
        if known:
            self._all.recall()
            if new:
                self._tell_added(name)
        return replicas

    def make_known(self, name: str) -> None:
        """One that was added unknown is a model like any other from now on."""
        self._all.console.add([replica for replica in self._all.replicas if replica.model == name])
        self._all.controller.gate.make_known(name)
        self._all.recall()
        self._tell_added(name)

    async def drop_backend(self, replica: Replica) -> None:
        """A replica of which nothing runs and that has no request, while its model has others."""
        self._all.controller.drop_replica(replica)
        self._all.console.forget_replica(replica)
        await self._forget_replicas([replica], leave=True)

    async def erase(self, name: str) -> None:
        """Take back one that was never made known: nothing of it runs, and nobody waits for it."""
        replicas = [replica for replica in self._all.replicas if replica.model == name]
        self._all.controller.forget(name)
        self._all.paths.forget(name)
        await self._forget_replicas(replicas, leave=True)
        self._all.recorder.erase(name)

    async def _take_up(self, replicas: Sequence[Replica]) -> None:
        self._all.listen_to(replicas)
        try:
            await asyncio.gather(*(replica.recover() for replica in replicas))
        except BaseException:
            await self._let_go(replicas, leave=True)
            raise

    def _tell_added(self, name: str) -> None:
        self._all.recorder.revive(name)
        log.info("%s is added", name)
        self._all.hub.publish({"type": "model", "model": name, "what": "added"})

    async def remove_model(self, name: str) -> None:
        """Serve it no longer: requests for it are 404 from now on and its queue is refused; its running ones end within
        `timeouts.drain`, or are cut; then its engines are stopped and it is forgotten. Under `roost serve`, which stops
        nothing, they run on. Raises RoostError for a model that is not there."""
        for guest in self._all.controller.gate.guests_of(name):
            await self.remove_model(guest)
        stop = self._all.stops
        try:
            if not await self._all.controller.retire(name, stop=stop):
                log.warning("%s did not end in time: what it still answers is cut", name)
        finally:
            if self._all.controller.is_leaving(name):
                await self._forget(name, leave=not stop)
        self._all.hub.publish({"type": "model", "model": name, "what": "removed"})
        log.info("%s is gone", name)

    async def _forget(self, name: str, *, leave: bool) -> None:
        replicas = [replica for replica in self._all.replicas if replica.model == name]
        for replica in replicas:
            self._all.plane.take_down(replica.id)
        await self._forget_replicas(replicas, leave=leave)
        self._all.controller.forget(name)
        self._all.console.forget(name)
        self._all.paths.forget(name)
        self._all.recorder.retire(name)

    async def _forget_replicas(self, replicas: Sequence[Replica], *, leave: bool) -> None:
        for replica in replicas:
            self._all.replicas.remove(replica)
        await self._let_go(replicas, leave=leave)
        for replica in replicas:
            self._all.watch.last_byte_at.pop(replica.id, None)
            self._all.account.footprints.forget(replica.id)
            self._all.account.watch.forget(replica.id)

    async def _let_go(self, replicas: Sequence[Replica], *, leave: bool) -> None:
        await asyncio.gather(*(replica.close(leave=leave) for replica in replicas))
        for replica in replicas:
            await self._all.maker.gone(replica)
