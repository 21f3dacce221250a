"""The account of memory on this machine: footprints of models and the watch over devices, as one thing for replicas.

Joins the two and owns nothing else. Made by `app`, given to each replica as its `Setup.memory`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from roost.core.footprint import Footprint
from roost.core.spec import RoostSpec
from roost.engines.base import Machine
from roost.host.devices_watch import DeviceWatch, Reader
from roost.host.footprints import Figure, Footprints, Rung

if TYPE_CHECKING:
    from roost.host.replica import Replica


class Account:
    """Implements `footprints.Memory`."""

    def __init__(
        self, spec: RoostSpec, machine: Machine, replicas: Callable[[], Iterable["Replica"]], read: Reader
    ) -> None:
        self._replicas = replicas
        self.watch = DeviceWatch(spec, machine, replicas, read)
        self.footprints = Footprints(self.watch.device_size, has_gpu=machine.has_gpu)
        self.watch.footprints = self.footprints

    async def find(self) -> None:
        """Which devices there are, before engines are taken up that were told theirs."""
        if self.watch.wanted:
            await self.watch.look()

    async def start(self) -> None:
        """Look at the devices, then at the files of all models, so that the planner's first view has their sizes."""
        await self.watch.start()
        await asyncio.to_thread(lambda: [self.footprints.footprint(replica) for replica in self._replicas()])

    def learn(self, replica: "Replica", rung: Rung, device: int | None, host: int | None) -> None:
        self.footprints.learn(replica, rung, Figure(device, host))

    def footprint(self, replica: "Replica") -> Footprint:
        return self.footprints.footprint(replica)

    def lingering(self, replica: str) -> int:
        return self.watch.lingering(replica)

    def visible(self, names: Iterable[str]) -> Mapping[str, str]:
        return self.watch.visible(names)
