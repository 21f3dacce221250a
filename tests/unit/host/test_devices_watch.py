"""The watch over devices on virtual time: a machine that is scripted, replicas that move."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roost import clock
from roost.core.device import Seen
from roost.core.events import Changed
from roost.core.footprint import HOST, Footprint, Held, Source
from roost.core.lifecycle import Fact, State
from roost.core.memory_spec import MemorySpec
from roost.core.request import Address
from roost.core.spec import ModelSpec, RoostSpec
from roost.engines.base import Machine
from roost.host import devices_watch
from roost.host.devices import Gpu, Maker
from roost.host.devices_read import Leader, MachineReading
from roost.host.devices_watch import DeviceWatch
from roost.host.footprints import Footprints
from roost.host.host_memory import HostMemory
from roost.host.replica import Replica
from tests.support.fleet import pause, settle
from tests.support.virtual import run

GIB = 1 << 30
ONE = MemorySpec(devices={"gpu0": 60 * GIB})


@dataclass
class Model:
    """As much of a replica as the watch looks at."""

    id: str = "a/0"
    model: str = "a"
    spec: ModelSpec = field(default_factory=ModelSpec)
    owned: bool = True
    state: State = State.COLD
    since: float = 0.0
    level: int | None = None
    devices: tuple[str, ...] = ()
    footprint: Footprint | None = None
    keeper: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(pid=None))
    address: Address = Address("127.0.0.1", 9)  # noqa: RUF009 - frozen


class Stage:
    """One machine, its replicas and the watch."""

    def __init__(self, memory: MemorySpec, *models: Model) -> None:
        self.models = list(models)
        self.used: dict[str, float] = {}
        """UUID -> GiB that none of ours holds."""
        self.size = 80 * GIB
        self.held: dict[str, dict[str, float | None]] = {}
        """Replica -> UUID -> GiB, as the driver shows it."""
        self.hidden: dict[str, float] = {}
        """UUID -> GiB of ours that the driver does not show as ours."""
        self.host: HostMemory | None = None
        self.host_held: dict[str, int] = {}
        self.why = ""
        self.hangs = False
        self.reads: list[float] = []
        self.leaders: Mapping[str, Leader] = {}
        self.nudges = 0
        spec = RoostSpec(memory=memory)
        self.watch = DeviceWatch(
            spec, Machine(python="python", has_gpu=True), lambda: cast("list[Replica]", self.models), self._read
        )
        self.watch.footprints = Footprints(self.watch.device_size, has_gpu=True)
        self.watch.nudge = self._nudged

    def _nudged(self) -> None:
        self.nudges += 1

    async def _read(self, leaders: Mapping[str, Leader]) -> MachineReading:
        self.reads.append(clock.now())
        self.leaders = leaders
        if self.hangs:
            await asyncio.Event().wait()
        return MachineReading(
            gpus=() if self.why else tuple(self._gpu(uuid) for uuid in self.used),
            host=self.host,
            held={one: {u: _bytes(n) for u, n in shown.items()} for one, shown in self.held.items() if one in leaders},
            host_held={one: held for one, held in self.host_held.items() if one in leaders},
            why=self.why,
        )

    def _gpu(self, uuid: str) -> Gpu:
        ours = sum(shown.get(uuid) or 0 for shown in self.held.values())
        used = round((self.used[uuid] + self.hidden.get(uuid, 0) + ours) * GIB)
        return Gpu(maker=Maker.NVIDIA, uuid=uuid, token=uuid[-1], size=self.size, used=used)

    def move(self, model: Model, state: State, level: int | None = None) -> None:
        before, model.state, model.level, model.since = model.state, state, level, clock.now()
        model.keeper.pid = None if state in (State.COLD, State.BACKOFF, State.FAILED) else 4711
        self.watch.changed(
            Changed(
                replica=model.id,
                model=model.model,
                before=before,
                after=state,
                event=Fact.READY,
                at=clock.now(),
                reason="",
                reason_kind="fact",
                took_s=None,
            )
        )

    def others(self, name: str = "gpu0") -> float:
        return self.watch.seen()[name].others / GIB


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else round(gib * GIB)


def play(stage: Stage, story: Callable[[Stage], Coroutine[Any, Any, None]]) -> Stage:
    async def main() -> None:
        await stage.watch.start()
        await story(stage)
        stage.watch.stop()

    run(main())
    return stage


def claimed(gib: float) -> Footprint:
    return Footprint(awake=Held(round(gib * GIB), 0, Source.DECLARED))


def test_nothing_is_looked_at_where_no_budget_is_written() -> None:
    async def story(stage: Stage) -> None:
        stage.move(stage.models[0], State.READY)
        await pause(60)

    stage = play(Stage(MemorySpec(max_resident=2), Model()), story)
    assert stage.reads == []
    assert stage.watch.seen() == {}


def test_it_looks_now_and_then_and_at_once_after_a_transition() -> None:
    async def story(stage: Stage) -> None:
        began = clock.now()
        await pause(11)
        assert [moment - began for moment in stage.reads] == [0, 5, 10]
        stage.move(stage.models[0], State.READY)
        await settle()
        assert stage.reads[-1] - began == 11

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    play(stage, story)


def test_discovered_gpus_and_the_host_have_names_and_sizes() -> None:
    async def story(stage: Stage) -> None:
        assert stage.watch.seen() == {
            "gpu0": Seen(size=80 * GIB, others=GIB),
            "gpu1": Seen(size=80 * GIB, others=0),
            HOST: Seen(size=64 * GIB, others=10 * GIB),
        }
        assert stage.watch.visible(["gpu1"])["CUDA_VISIBLE_DEVICES"] == "1"

    stage = Stage(MemorySpec(discover=True))
    stage.used.update(U0=1, U1=0)
    stage.host = HostMemory(size=64 * GIB, used=10 * GIB)
    play(stage, story)


def test_a_name_of_the_config_s_own_is_not_counted_twice() -> None:
    async def story(stage: Stage) -> None:
        assert list(stage.watch.seen()) == ["U1", "gpu0"]

    stage = Stage(MemorySpec(discover=True, devices={"U1": GIB, "rack": GIB}))
    stage.used.update(U0=0, U1=0)
    play(stage, story)


def test_others_that_stay_are_told_and_those_that_pass_are_not() -> None:
    async def story(stage: Stage) -> None:
        assert stage.others() == 1
        stage.used["U0"] = 21
        before = stage.nudges
        await pause(5.5)
        assert (stage.others(), stage.nudges) == (1, before)
        await pause(1)  # the second look comes soon
        assert (stage.others(), stage.nudges) == (21, before + 1)
        stage.used["U0"] = 2
        await pause(5)
        assert stage.others() == 2

    stage = Stage(ONE)
    stage.used["U0"] = 1
    play(stage, story)


def test_what_ours_load_is_not_others() -> None:
    async def story(stage: Stage) -> None:
        (model,) = stage.models
        stage.move(model, State.STARTING)
        for held in (10, 20, 40, 40, 40):
            stage.held = {"a/0": {"U0": held}}
            await pause(5)
            assert stage.others() == 1
        stage.move(model, State.READY)
        await settle()
        assert stage.watch.held("a/0") == {"gpu0": 40 * GIB}
        assert stage.leaders == {"a/0": Leader(pid=4711)}

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    play(stage, story)


def test_in_a_container_that_hides_processes_the_claim_stands_for_them() -> None:
    async def story(stage: Stage) -> None:
        (model,) = stage.models
        model.footprint = claimed(40)
        stage.move(model, State.STARTING)
        stage.hidden["U0"] = 39.9
        await pause(30)
        assert stage.others() == 1
        stage.move(model, State.READY)
        await pause(30)
        assert stage.others() == pytest.approx(1, abs=0.2)

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    play(stage, story)


def test_an_engine_of_which_nothing_is_known_and_seen_changes_nothing() -> None:
    async def story(stage: Stage) -> None:
        stage.move(stage.models[0], State.READY)
        stage.hidden["U0"] = 39.9
        await pause(30)
        assert stage.others() == 1

    stage = Stage(ONE, Model(footprint=Footprint()))
    stage.used["U0"] = 1
    play(stage, story)


async def _served(stage: Stage, held: float = 40) -> Model:
    model = stage.models[0]
    stage.held = {"a/0": {"U0": held}}
    stage.move(model, State.READY)
    await settle()
    return model


def test_what_a_stop_gave_back_lingers_until_it_is_seen_free() -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        stage.held, stage.hidden["U0"] = {}, 40  # the process is gone, the driver still cleans up
        stage.move(model, State.COLD)
        assert stage.watch.lingering("a/0") == 40 * GIB
        await pause(0.35)
        assert stage.watch.lingering("a/0") == 40 * GIB
        assert stage.others() == 1
        before, stage.hidden["U0"] = stage.nudges, 0
        await pause(0.11)
        assert stage.watch.lingering("a/0") == 0
        assert (stage.nudges, stage.others()) == (before + 1, 1)
        rate = [later - one for one, later in zip(stage.reads[-5:], stage.reads[-4:], strict=False)]
        assert max(rate) <= 0.11

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    play(stage, story)


def test_what_never_comes_free_is_others_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        stage.held, stage.hidden["U0"] = {}, 30
        stage.move(model, State.COLD)
        await pause(4.9)
        assert stage.watch.lingering("a/0") == 30 * GIB
        await pause(0.5)
        assert stage.watch.lingering("a/0") == 0
        assert stage.others() == 31

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    with caplog.at_level(logging.WARNING, "roost"):
        play(stage, story)
    assert "a/0 has ended, yet 30.0 GiB of gpu0 did not come free within 5 s" in caplog.text


def test_nothing_lingers_where_nothing_is_measured() -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        stage.move(model, State.COLD)
        assert stage.watch.lingering("a/0") == 0

    play(Stage(ONE, Model(footprint=claimed(40))), story)


def test_where_processes_are_hidden_the_claim_lingers() -> None:
    async def story(stage: Stage) -> None:
        (model,) = stage.models
        stage.hidden["U0"] = 40
        stage.move(model, State.READY)
        await settle()
        stage.move(model, State.COLD)
        assert stage.watch.lingering("a/0") == 40 * GIB
        await pause(1)
        stage.hidden["U0"] = 0
        await pause(0.2)
        assert stage.watch.lingering("a/0") == 0

    stage = Stage(ONE, Model(footprint=claimed(40)))
    stage.used["U0"] = 1
    play(stage, story)


def test_an_engine_that_grows_is_learned_and_a_sleeper_that_shrinks_is_too() -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        assert stage.watch.footprints is not None
        stage.held = {"a/0": {"U0": 50, "U1": 2}}
        await pause(6)
        assert stage.watch.footprints.footprint(model).awake.device == 50 * GIB
        stage.held = {"a/0": {"U0": 4}}
        stage.move(model, State.ASLEEP, 2)
        await settle()
        assert stage.watch.footprints.footprint(model).level2.device == 4 * GIB
        stage.held = {"a/0": {"U0": 2}}
        await pause(100)
        assert stage.watch.footprints.footprint(model).level2.device < 2.1 * GIB
        assert stage.watch.footprints.footprint(model).awake.device == 50 * GIB

    stage = Stage(ONE, Model())
    stage.used.update(U0=1, U1=0)
    play(stage, story)


def test_driver_that_fails_is_said_once_and_what_was_seen_counts_on(caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        before = stage.watch.seen()
        assert before != {}
        stage.why = "NVML: lost"
        await pause(30)
        assert stage.watch.seen() == before
        assert stage.watch.device_size(ModelSpec()) == 80 * GIB

    stage = Stage(ONE)
    stage.used["U0"] = 1
    with caplog.at_level(logging.WARNING, "roost"):
        play(stage, story)
    assert caplog.text.count("no GPU can be read now: NVML: lost") == 1


def test_what_moved_while_a_reading_went_on_is_not_learned_from_it() -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        assert stage.watch.footprints is not None
        stage.held = {"a/0": {"U0": 50}}
        model.since = clock.now() + 60  # it falls asleep between the look and its answer
        model.state, model.level = State.ASLEEP, 2
        await pause(20)
        assert stage.watch.footprints.footprint(model).level2.device == 0

    stage = Stage(ONE, Model())
    stage.used.update(U0=50, U1=0)
    play(stage, story)


def test_driver_that_hangs_is_waited_for_no_longer_than_it_must(caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        model = await _served(stage)
        stage.hangs = True
        stage.move(model, State.COLD)
        await pause(40)
        assert stage.watch.lingering("a/0") == 0
        assert stage.others() == 1
        stage.hangs = False
        stage.held = {}
        await pause(15)
        assert stage.watch.seen()["gpu0"].others == GIB

    stage = Stage(ONE, Model())
    stage.used["U0"] = 1
    with caplog.at_level(logging.WARNING, "roost"):
        play(stage, story)
    assert caplog.text.count("did not answer in time") == 1


def test_memory_of_the_host_is_shared_out_too() -> None:
    async def story(stage: Stage) -> None:
        stage.host_held["a/0"] = 20 * GIB
        stage.host = HostMemory(size=64 * GIB, used=30 * GIB)
        stage.move(stage.models[0], State.READY)
        await pause(12)
        assert stage.others(HOST) == 10

    stage = Stage(MemorySpec(host=50 * GIB), Model())
    stage.host = HostMemory(size=64 * GIB, used=10 * GIB)
    play(stage, story)


def test_engines_elsewhere_are_found_by_their_port_on_this_machine_only() -> None:
    async def story(stage: Stage) -> None:
        near, far = stage.models
        far.address = Address("192.0.2.1", 9)
        stage.move(near, State.READY)
        stage.move(far, State.READY)
        await settle()
        assert stage.leaders == {"a/0": Leader(port=9)}

    stage = Stage(ONE, Model(owned=False), Model(id="b/0", model="b", owned=False))
    stage.used["U0"] = 1
    play(stage, story)


def test_a_look_that_goes_wrong_ends_no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stage: Stage) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(devices_watch, "others_on", None)
            await pause(6)
        stage.used["U0"] = 0
        await pause(10)
        assert stage.others() == 0

    stage = Stage(ONE)
    stage.used["U0"] = 1
    play(stage, story)


def test_the_smallest_device_that_a_model_may_run_on_decides_its_estimate() -> None:
    stage = Stage(MemorySpec(devices={"gpu0": 60 * GIB, "gpu1": 40 * GIB}))
    assert stage.watch.device_size(ModelSpec(devices=("gpu0",))) == 60 * GIB
    assert stage.watch.device_size(ModelSpec()) == 40 * GIB
