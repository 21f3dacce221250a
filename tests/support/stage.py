"""A replica on a stage: a keeper and an engine that do as the script says, on the loop whose clock jumps.

`Stage.script` is all that happened, one line a change: playbook tests compare it with what should have.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from roost import clock
from roost.core.events import Changed
from roost.core.ids import replica_id
from roost.core.lifecycle import State
from roost.core.request import Address
from roost.core.spec import EngineKind, ModelSpec
from roost.engines.base import Machine
from roost.engines.registry import adapter_for
from roost.host.calling import Reach
from roost.host.keepers.base import Start
from roost.host.measure import Reading
from roost.host.output import Output
from roost.host.replica import Replica
from roost.host.setup import Setup
from roost.host.store import Store

MACHINE = Machine(python="python", programs={"vllm": "/opt/vllm"}, modules=frozenset({"sglang"}), has_gpu=True)
VLLM = ModelSpec(engine=EngineKind.VLLM, weights="org/model")


_SANE: dict[str, Any] = {
    "/v1/completions": {"choices": [{"text": "eight, nine", "finish_reason": "length"}]},
    "/v1/chat/completions": {"choices": [{"message": {"content": "eight, nine"}, "finish_reason": "length"}]},
    "/collective_rpc": {"results": [None]},
    "/reset_prefix_cache": {"success": True},
    "/update_weights_from_disk": {"success": True},
}


class FakeKeeper:
    """Starts and stops on paper; dies, or refuses to, when told."""

    def __init__(self, *, owned: bool = True) -> None:
        self.owned = owned
        self.running = not owned
        self.pid: int | None = None
        self.session: str | None = None
        self.cleared = False
        self.cannot: Exception | None = None
        self.immortal = False
        self.stop_s = 1.0
        self.adoptable = False
        self._hear: Callable[[str], None] = lambda note: None

    def on_gone(self, hear: Callable[[str], None]) -> None:
        self._hear = hear

    async def start(self, start: Start) -> None:
        if self.cannot is not None:
            raise self.cannot
        self.running, self.pid = True, 4711

    def identity(self) -> dict[str, Any]:
        return {"pid": self.pid, "start_time": 1.0, "boot_id": "b"}

    def adopt(self, identity: Mapping[str, Any], start: Start | None = None) -> bool:
        if self.adoptable:
            self.running, self.pid = True, identity["pid"]
        return self.adoptable

    async def stop(self, grace_s: float) -> bool:
        if not self.owned or not self.running:
            return True
        await asyncio.sleep(self.stop_s)
        if self.immortal:
            return False
        self.die("The engine was ended by SIGTERM.")
        return True

    def kill(self) -> None:
        self.die("The engine was ended by SIGKILL.")

    async def clear(self) -> None:
        self.cleared = True

    def die(self, note: str) -> None:
        self.running, self.pid = False, None
        self._hear(note)

    def memory_bytes(self) -> int | None:
        return None


class FakeGauge:
    """Reads what the test wrote; the last one again and again."""

    def __init__(self) -> None:
        self.readings: list[Reading] = [Reading(why="on paper")]
        self.taken = 0

    async def read(self, pid: Callable[[], int | None]) -> Reading:
        self.taken += 1
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


@dataclass(slots=True)
class FakeEngine:
    """What answers at the replica's address: vLLM's endpoints, and faults by path."""

    up: bool = True
    asleep: bool = False
    dev_mode: bool = True
    refuse: dict[str, int] = field(default_factory=dict)
    """Path -> status that it answers instead."""
    hang: set[str] = field(default_factory=set)
    takes: dict[str, float] = field(default_factory=dict)
    """Path -> seconds before it answers."""
    body: dict[str, Any] = field(default_factory=dict)
    """Path -> JSON that it answers."""
    once: dict[str, list[Any]] = field(default_factory=dict)
    """Path -> what it answers before that, one each; None: status 400."""
    text: dict[str, str] = field(default_factory=dict)
    """Path -> plain text that it answers."""
    calls: list[str] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.calls.append(f"{request.method} {request.url.raw_path.decode()}")
        if path in self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(self.takes.get(path, 0.0))
        if not self.up:
            raise httpx.ConnectError("All connection attempts failed")
        if path in self.refuse:
            return httpx.Response(self.refuse[path], text="out of memory")
        if self.once.get(path):
            body = self.once[path].pop(0)
            return httpx.Response(400, text="refused once") if body is None else httpx.Response(200, json=body)
        if path in self.text:
            return httpx.Response(200, text=self.text[path])
        if path == "/is_sleeping":
            return httpx.Response(200, json={"is_sleeping": self.asleep}) if self.dev_mode else httpx.Response(404)
        if path == "/sleep":
            self.asleep = True
        elif path == "/wake_up" and request.url.params.get("tags") != "weights":
            self.asleep = False
        return httpx.Response(200, json=self.body.get(path, _SANE.get(path, {})))


class Stage:
    """One replica of model "a" between a fake keeper and a fake engine."""

    def __init__(self, folder: Path, spec: ModelSpec = VLLM, index: int = 0) -> None:
        self.id = replica_id("a", index)
        self.keeper = FakeKeeper(owned=spec.url is None)
        self.engine = FakeEngine()
        self.gauge = FakeGauge()
        self.last_byte_at: float | None = None
        self.answers: dict[str, int] = {}
        """Running answers -> how far they are."""
        self.store = Store(folder)
        for name in ("logs", "replicas"):
            (folder / name).mkdir(exist_ok=True)
        self._moved = asyncio.Event()
        self.changes: list[Changed] = []
        self.replica = Replica(self._setup(spec))
        self.replica.caller.reach = self._reach  # type: ignore[method-assign]
        self.replica.subscribe(self._hear)
        self.began = clock.now()

    def has_gpu(self, there: bool) -> None:
        """Another machine from now on."""
        self.replica.setup = replace(self.replica.setup, machine=replace(MACHINE, has_gpu=there))

    def _setup(self, spec: ModelSpec) -> Setup:
        return Setup(
            id=self.id,
            model="a",
            spec=spec,
            adapter=adapter_for(spec),
            keeper=self.keeper,
            address=Address("127.0.0.1", 9),
            machine=MACHINE,
            store=self.store,
            output=Output(self.store.log_path(self.id)),
            cwd="/",
            last_byte_at=lambda: self.last_byte_at,
            answering=lambda: dict(self.answers),
            transport=httpx.MockTransport(self.engine.answer),
            gauge=self.gauge,
        )

    async def _reach(self) -> Reach:
        return Reach.ACCEPTS if self.engine.up else Reach.REFUSES

    def _hear(self, change: Changed) -> None:
        self.changes.append(change)
        self._moved.set()

    async def until(self, state: State) -> None:
        """Fails with the script so far if it is not there within an hour of the stage's time."""
        await self.until_any(state)

    async def until_any(self, *states: State) -> None:
        """The same for the first of several."""
        try:
            async with asyncio.timeout(3600):
                while self.replica.state not in states:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"never {', '.join(states)}:\n" + "\n".join(self.script)) from None

    async def seconds(self, count: float) -> None:
        """Let time pass on the stage."""
        await asyncio.sleep(count)

    @property
    def script(self) -> list[str]:
        """`0.0 cold -> starting: load`."""
        return [
            f"{change.at - self.began:.0f} {change.before} -> {change.after}: {change.event}" for change in self.changes
        ]

    @property
    def record(self) -> dict[str, Any] | None:
        """What the next roost would read."""
        return self.store.read(self.id)
