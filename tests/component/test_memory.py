"""Memory in the whole of roost: simulated engines that take real memory, on a machine whose GPU is scripted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from roost.app import App
from roost.core.lifecycle import State
from roost.core.view import DeviceView
from roost.host.devices import Gpu, Maker
from roost.host.devices_read import Leader, MachineReading, read_machine
from tests.support.live import live
from tests.support.roost import running_roost

GIB, MIB = 1 << 30, 1 << 20
CLAIM = 96 * MIB
MODELS = f"""
memory: {{devices: {{gpu0: 10GiB}}, host: 64GiB}}
models:
  a: {{engine: simulated, sleep_after: never, args: ["--claim-memory {CLAIM}"]}}
"""


@dataclass
class Machine:
    """This machine's memory, shown as that of a GPU: what an engine keeps in the host it holds on the device."""

    others: int = 0
    not_freed: int = 0
    """Shown once the engine is gone: before that it would be somebody else's."""
    read_at_all: int = 0

    async def read(self, leaders: Mapping[str, Leader]) -> MachineReading:
        real = await asyncio.to_thread(read_machine, leaders)
        self.read_at_all += 1
        kept = sum(real.host_held.values())
        used = kept + self.others + (0 if kept else self.not_freed)
        held = {replica: {"U": kept} for replica, kept in real.host_held.items()}
        gpu = Gpu(maker=Maker.NVIDIA, uuid="U", token="0", size=12 * GIB, used=used)
        return replace(real, gpus=(gpu,), held=held)


async def look(app: App, count: int = 1) -> None:
    """Now, instead of some seconds later."""
    for _ in range(count):
        await app.account.watch.look()


async def until_measured(app: App) -> None:
    """What it holds is looked at shortly after it is ready."""
    while app.replicas[0].measured is None:
        await asyncio.sleep(0)


def device(app: App) -> DeviceView:
    return next(one for one in app.controller.view().devices or () if one.name == "gpu0")


async def model(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/v1/models/a")).json()
    return found


@live
async def test_footprints_are_learned_awake_and_asleep_and_shown(tmp_path: Path) -> None:
    machine = Machine()
    async with running_roost(MODELS, tmp_path, read_devices=machine.read) as roost:
        await roost.chat("a")
        await until_measured(roost.app)
        await look(roost.app)
        await roost.client.post("/api/v1/models/a/sleep", json={"level": 2})
        facts = (await model(roost.client))["footprint"]
        awake, asleep = facts["awake"]["measured"], facts["level2"]["measured"]
        assert awake["device_bytes"] > CLAIM
        assert asleep["host_bytes"] < awake["host_bytes"] - CLAIM // 2
        (view,) = roost.app.controller.view().models
        footprint = view.replicas[0].footprint
        assert footprint is not None
        assert footprint.awake.host >= awake["host_bytes"]
        budgets = (await roost.client.get("/api/v1/devices")).json()["devices"]
        assert [one["name"] for one in budgets] == ["gpu0", "host"]
        assert budgets[0]["holders"] == [
            {"replica": "a/0", "bytes": budgets[0]["holders"][0]["bytes"], "measured": True}
        ]


@live
async def test_others_and_ours_are_told_apart(tmp_path: Path) -> None:
    machine = Machine(others=3 * GIB)
    async with running_roost(MODELS, tmp_path, read_devices=machine.read) as roost:
        assert (device(roost.app).budget, device(roost.app).others) == (9 * GIB, 3 * GIB)
        await roost.chat("a")
        await look(roost.app, 2)
        assert device(roost.app).others == 3 * GIB


@live
async def test_memory_is_seen_free_before_it_is_given_away(tmp_path: Path) -> None:
    machine = Machine()
    async with running_roost(MODELS, tmp_path, read_devices=machine.read) as roost:
        await roost.chat("a")
        await look(roost.app, 2)
        replica = roost.app.replicas[0]
        machine.not_freed = GIB
        lingered: list[int] = []
        replica.subscribe(lambda change: lingered.append(replica.lingering))
        await roost.client.post("/api/v1/models/a/unload")
        assert replica.state is State.COLD
        assert lingered[-1] > CLAIM
        await look(roost.app, 2)
        assert replica.lingering > CLAIM
        machine.not_freed = 0
        await look(roost.app, 2)
        assert replica.lingering == 0


@live
async def test_a_hold_lasts_over_a_restart_and_shrinks_the_budget(tmp_path: Path) -> None:
    async with running_roost(MODELS, tmp_path, read_devices=Machine().read) as roost:
        refused = await roost.client.post("/api/v1/holds", json={"device": "gpu0", "amount": "13GiB"})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith("gpu0 has 12.0 GiB, so 13.0 GiB of it cannot be held.")
        body = {"device": "gpu0", "amount": "4GiB", "for": "2h", "reason": "training"}
        answer = (await roost.client.post("/api/v1/holds", json=body)).json()
        assert answer["message"].startswith("4.0 GiB of gpu0 is held for its owner for 2h 00m: training.")
        assert (device(roost.app).budget, device(roost.app).held_back) == (6 * GIB, 4 * GIB)
    async with running_roost(MODELS, tmp_path, read_devices=Machine().read) as roost:
        assert device(roost.app).held_back == 4 * GIB
        (held,) = (await roost.client.get("/api/v1/holds")).json()["holds"]
        assert (held["reason"], held["amount_bytes"]) == ("training", 4 * GIB)
        status = (await roost.client.get("/api/v1/status")).json()
        assert status["memory"]["budgets"][0]["held_back_bytes"] == 4 * GIB
        assert (await roost.client.delete("/api/v1/holds/gpu0")).json()["changed"] is True
        assert device(roost.app).budget == 10 * GIB
    async with running_roost(MODELS, tmp_path, read_devices=Machine().read) as roost:
        assert (await roost.client.get("/api/v1/holds")).json() == {"holds": []}


@live
async def test_without_budgets_nothing_is_looked_at_and_nothing_can_be_held(tmp_path: Path) -> None:
    machine = Machine()
    async with running_roost("models:\n  a: {engine: simulated}\n", tmp_path, read_devices=machine.read) as roost:
        await roost.chat("a")
        assert machine.read_at_all == 0
        assert roost.app.controller.view().devices is None
        answer = await roost.client.post("/api/v1/holds", json={"device": "gpu0"})
        assert answer.status_code == 404
        assert "memory.discover: true" in answer.json()["error"]["message"]


@live
async def test_one_that_made_way_for_an_owner_says_when_that_is_over(tmp_path: Path) -> None:
    config = MODELS.replace("{engine", "{can_sleep: false, engine")
    async with running_roost(config, tmp_path, read_devices=Machine().read) as roost:
        await roost.chat("a")
        await until_measured(roost.app)
        await look(roost.app)
        await roost.client.post("/api/v1/holds", json={"device": "gpu0"})
        await roost.until("a", State.COLD)
        held = str((await model(roost.client))["reason"])
        assert "went back to its owner" in held and "any more" not in held
        await roost.client.delete("/api/v1/holds/gpu0")
        assert str((await model(roost.client))["reason"]) == f"{held}; nothing is held for an owner any more"


@live
async def test_an_engine_elsewhere_that_cannot_sleep_is_none_of_those_that_are_bounded(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    async with running_roost("models: {a: {engine: simulated, preload: true}}", far) as there:
        await there.until("a", State.READY)
        url = there.url.removeprefix("http://")
        text = f'memory: {{max_resident: 1}}\nmodels: {{far: {{url: "http://{url}", can_sleep: false}}}}'
        async with running_roost(text, near) as roost:
            await roost.until("far", State.READY)
            memory = (await roost.client.get("/api/v1/status")).json()["memory"]
            assert (memory["resident"], memory["elsewhere"], memory["max_resident"]) == (0, 1, 1)
