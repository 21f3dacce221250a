"""Scripts of an engine's memory around a sleep: what must fall, what is only said, what cannot be measured."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from roost.core.request import Address
from roost.core.spec import EngineKind, ModelSpec
from roost.host.footprints import NoMemory, Rung
from roost.host.measure import Fall, Reading, fall, measure
from roost.host.replica import Replica
from tests.playbook.test_replica import DRAIN, FOREIGN, play, ready, sleep
from tests.support.stage import VLLM, Stage

GIB = 1 << 30
LLAMACPP = ModelSpec(engine=EngineKind.LLAMACPP, command=("sh", "-c", "exit"))
COMMAND = ModelSpec(engine=EngineKind.COMMAND, command=("my-server", "${PORT}"))


def gpu(*gib: float) -> list[Reading]:
    return [Reading(device=round(one * GIB), resident=GIB) for one in gib]


def cpu(*gib: float, why: str = "the Python package nvidia-ml-py is not installed") -> list[Reading]:
    return [Reading(resident=round(one * GIB), why=why) for one in gib]


async def to_sleep(stage: Stage) -> None:
    await ready(stage)
    await stage.seconds(1)
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(1))
    await stage.until_any(State.ASLEEP, State.COLD, State.BACKOFF)


def slept(folder: Path, readings: list[Reading], spec: ModelSpec = VLLM, *, has_gpu: bool = True) -> Stage:
    """The stage after a sleep; the first reading is made when it is ready."""

    async def story(stage: Stage) -> None:
        stage.gauge.readings = readings
        stage.has_gpu(has_gpu)
        await to_sleep(stage)

    return play(folder, story, spec)


def around(folder: Path, readings: list[Reading], spec: ModelSpec, *, has_gpu: bool = False, level: int = 2) -> Fall:
    """What is measured around a sleep that changes nothing but the readings."""
    falls: list[Fall] = []

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.gauge.readings = readings
        stage.has_gpu(has_gpu)
        falls.append(await fall(stage.replica, await measure(stage.replica), level))

    play(folder, story, spec)
    return falls[0]


def test_sleep_that_frees_most_is_believed_at_once(tmp_path: Path) -> None:
    stage = slept(tmp_path, gpu(20, 20, 1.5))
    assert stage.replica.state is State.ASLEEP
    assert stage.replica.since == stage.began + 1
    assert stage.replica.measured is not None
    assert stage.replica.measured.held == round(1.5 * GIB)


def test_sleep_that_frees_nothing_has_failed_with_the_numbers(tmp_path: Path) -> None:
    stage = slept(tmp_path, gpu(20, 20, 19.9))
    assert stage.script[-2:] == ["6 suspending -> stopping: failed", "7 stopping -> cold: gone"]
    said = "the sleep failed: its memory did not fall (GPU memory 20.0 GiB before, 19.9 GiB after)"
    assert stage.replica.last_error == said
    assert stage.replica.measured is None


def test_memory_that_falls_late_is_waited_for(tmp_path: Path) -> None:
    stage = slept(tmp_path, gpu(20, 20, *[19.9] * 50, 12, 2))
    assert stage.replica.state is State.ASLEEP
    assert 3 < stage.replica.since - stage.began < 4


def test_part_that_comes_free_is_measured_once_it_falls_no_more(tmp_path: Path) -> None:
    seen = around(tmp_path, gpu(20, 17, 15, 14.9), VLLM)
    assert (seen.before, seen.after, seen.kept) == (20 * GIB, round(14.9 * GIB), False)


def test_what_it_is_said_to_keep_asleep_is_not_asked_for(tmp_path: Path) -> None:
    spec = replace(VLLM, footprint=20 * GIB, footprint_asleep=18 * GIB)
    assert slept(tmp_path, gpu(20, 20, 19.7), spec).replica.state is State.ASLEEP
    assert slept(tmp_path, gpu(20, 20, 19.9), spec).replica.state is State.COLD


def test_engine_too_small_to_judge_is_left_alone(tmp_path: Path) -> None:
    seen = around(tmp_path, gpu(0.6, 0.6), VLLM)
    assert (seen.kept, seen.text) == (False, "GPU memory 614.4 MiB before, 614.4 MiB after")


def test_more_kept_than_the_footprint_says_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = replace(VLLM, footprint=20 * GIB, footprint_asleep=GIB)
    with caplog.at_level(logging.WARNING, "roost"):
        slept(tmp_path, gpu(20, 20, 2.5), spec)
        assert caplog.text == ""
        slept(tmp_path, gpu(20, 20, 8), spec)
    assert "keeps 8.0 GiB asleep, and footprint_asleep says 1.0 GiB" in caplog.text


def test_all_gone_from_the_gpus_is_a_fall_to_nothing(tmp_path: Path) -> None:
    assert around(tmp_path, gpu(20, 0), VLLM).after == 0


def test_driver_that_falls_silent_in_between_fails_no_sleep(tmp_path: Path) -> None:
    seen = around(tmp_path, [*gpu(20), Reading(resident=GIB, why="NVML: lost")], VLLM)
    assert seen == Fall(before=20 * GIB, text="not measured after the sleep: NVML: lost")


@pytest.mark.parametrize(
    ("spec", "has_gpu", "why"),
    [
        (VLLM, False, "no GPU: the sleep of such an engine frees nothing on a CPU"),
        (VLLM, True, "the Python package nvidia-ml-py is not installed"),
        (replace(COMMAND, command=("/opt/bin/vllm", "serve", "${PORT}")), False, "no GPU"),
        (replace(COMMAND, command=("python", "-m", "sglang.launch_server", "${PORT}")), False, "no GPU"),
        (COMMAND, True, "the Python package nvidia-ml-py is not installed"),
    ],
)
def test_what_host_memory_cannot_tell_is_not_measured(tmp_path: Path, spec: ModelSpec, has_gpu: bool, why: str) -> None:
    seen = around(tmp_path, cpu(4, 4), spec, has_gpu=has_gpu)
    assert seen.text.startswith(f"not measured: {why}")
    assert (seen.before, seen.after, seen.kept) == (None, None, False)


def test_processes_that_nvml_does_not_show_are_not_taken_for_empty(tmp_path: Path) -> None:
    seen = around(tmp_path, gpu(0, 0), VLLM, has_gpu=True)
    assert "NVML shows none of its processes" in seen.text


@pytest.mark.parametrize("spec", [COMMAND, LLAMACPP, ModelSpec(engine=EngineKind.SIMULATED)])
def test_engines_of_the_host_are_measured_in_its_memory(tmp_path: Path, spec: ModelSpec) -> None:
    seen = around(tmp_path, cpu(4, 0.5), spec)
    assert (seen.text, seen.kept) == ("resident memory 4.0 GiB before, 512.0 MiB after", False)
    assert around(tmp_path, cpu(4, 4), spec).kept


def test_a_program_of_ones_own_may_keep_its_weights_in_the_host_at_level_1(tmp_path: Path) -> None:
    seen = around(tmp_path, cpu(4, 4), COMMAND, level=1)
    assert (seen.text, seen.kept) == ("resident memory 4.0 GiB before, 4.0 GiB after", False)
    assert around(tmp_path, cpu(4, 4), ModelSpec(engine=EngineKind.SIMULATED), level=1).kept


def test_engine_on_another_machine_is_not_measured(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.replica.address = Address("192.0.2.1", 9)
        await stage.replica.recover()
        seen = await measure(stage.replica)
        assert (seen.held, seen.why) == (None, "it runs on another machine")
        assert stage.gauge.taken == 0

    play(tmp_path, story, FOREIGN)


def test_engine_elsewhere_that_keeps_its_memory_sleeps_all_the_same(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.gauge.readings = gpu(20)
        await stage.replica.recover()
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.until(State.ASLEEP)
        assert stage.replica.reason == "asleep, yet its memory did not fall: GPU memory 20.0 GiB before, 20.0 GiB after"

    play(tmp_path, story, FOREIGN)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (0.3, "asleep by itself; resident memory 2.0 GiB before, 307.2 MiB after"),
        (1.99, "asleep by itself, yet its memory did not fall: resident memory 2.0 GiB before, 2.0 GiB after"),
    ],
)
def test_what_sleeps_by_itself_is_only_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, after: float, said: str
) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.body["/props"] = {"is_sleeping": False}
        stage.gauge.readings = cpu(2, after)
        await ready(stage)
        stage.engine.body["/props"] = {"is_sleeping": True}
        await stage.until(State.ASLEEP)
        await stage.seconds(10)
        assert stage.replica.state is State.ASLEEP

    with caplog.at_level(logging.INFO, "roost"):
        play(tmp_path, story, LLAMACPP)
    assert said in caplog.text


def test_nothing_is_known_of_an_engine_that_is_gone(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.gauge.readings = gpu(20)
        await ready(stage)
        await stage.seconds(1)
        assert stage.replica.measured is not None
        stage.keeper.die("The engine was ended by SIGSEGV.")
        assert stage.replica.measured is None

    play(tmp_path, story)


class Learned(NoMemory):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Rung, int | None, int | None]] = []

    def learn(self, replica: Replica, rung: Rung, device: int | None, host: int | None) -> None:
        self.told.append((rung, device, host))


def learned(folder: Path, readings: list[Reading], level: int = 1) -> list[tuple[Rung, int | None, int | None]]:
    memory = Learned()

    async def story(stage: Stage) -> None:
        stage.gauge.readings = readings
        stage.replica.setup = replace(stage.replica.setup, memory=memory)
        await ready(stage)
        await stage.seconds(1)
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(level))
        await stage.until_any(State.ASLEEP, State.COLD)

    play(folder, story)
    return memory.told


@pytest.mark.parametrize(("level", "rung"), [(1, Rung.LEVEL1), (2, Rung.LEVEL2)])
def test_each_state_teaches_what_it_holds(tmp_path: Path, level: int, rung: Rung) -> None:
    spread = [
        Reading(device=20 * GIB, most=11 * GIB, resident=GIB),
        Reading(device=20 * GIB, most=11 * GIB, resident=GIB),
        Reading(device=2 * GIB, most=GIB, resident=9 * GIB),
    ]
    assert learned(tmp_path, spread, level) == [(Rung.AWAKE, 11 * GIB, GIB), (rung, GIB, 9 * GIB)]


def test_a_sleep_that_failed_teaches_nothing(tmp_path: Path) -> None:
    assert learned(tmp_path, gpu(20, 20, 19.9)) == [(Rung.AWAKE, 20 * GIB, GIB)]


def test_processes_that_nvml_does_not_show_teach_only_of_the_host(tmp_path: Path) -> None:
    assert learned(tmp_path, gpu(0, 0)) == [(Rung.AWAKE, None, GIB), (Rung.LEVEL1, None, GIB)]
