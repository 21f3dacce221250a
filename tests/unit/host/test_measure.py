"""The gauge: which processes, which GPUs, and a driver that hangs or is not there."""

import asyncio
import os
import sys
import threading

import pytest

from roost.host import measure
from roost.host.measure import MachineGauge, Reading
from tests.support.fake_nvml import FakeNvml, plug_in
from tests.support.live import live

MIB = 1 << 20


@live
async def test_bytes_of_its_processes_are_summed_over_all_gpus() -> None:
    with pytest.MonkeyPatch.context() as patch:
        own, other = os.getpid(), 1
        nvml = plug_in(patch, FakeNvml([{own: 300 * MIB, other: 7}, {own: 200 * MIB}, {other: 9}]))
        reading = await MachineGauge().read(lambda: own)
    assert (reading.device, reading.most) == (500 * MIB, 300 * MIB)
    assert nvml.open == 0


@live
async def test_workers_in_sessions_of_their_own_belong_to_it() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            plug_in(patch, FakeNvml([{child.pid: 5 * MIB}]))
            reading = await MachineGauge().read(os.getpid)
        assert reading.device == 5 * MIB
    finally:
        await child.communicate(b"\n")


@live
async def test_memory_that_the_driver_does_not_tell_counts_as_none() -> None:
    with pytest.MonkeyPatch.context() as patch:
        plug_in(patch, FakeNvml([{os.getpid(): None}]))
        assert (await MachineGauge().read(os.getpid)).device == 0


@live
async def test_without_the_library_or_a_driver_the_reading_says_so() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", None)
        absent = await MachineGauge().read(os.getpid)
        plug_in(patch, FakeNvml(error="Driver Not Loaded"))
        broken = await MachineGauge().read(os.getpid)
    assert (absent.device, absent.why) == (None, "the Python package nvidia-ml-py is not installed")
    assert (broken.device, broken.why) == (None, "NVML: Driver Not Loaded")
    assert min(absent.resident or 0, broken.resident or 0) > MIB


@live
async def test_driver_that_hangs_holds_up_one_thread_and_no_loop() -> None:
    release = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "READ_S", 0.05)
        nvml = plug_in(patch, FakeNvml([{}], hang=release))
        gauge = MachineGauge()
        first, second = await gauge.read(os.getpid), await gauge.read(os.getpid)
        try:
            assert first == second == Reading(why="the driver did not answer within 0.05 s")
            assert nvml.calls == ["init"]
        finally:
            release.set()
        patch.setattr(measure, "READ_S", 5.0)
        assert (await gauge.read(os.getpid)).device == 0


@live
async def test_asker_that_was_called_away_leaves_nothing_behind() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", None)
        gauge = MachineGauge()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await gauge.read(os.getpid)
        assert (await gauge.read(os.getpid)).resident


@live
async def test_process_that_is_gone_is_not_measured() -> None:
    assert await MachineGauge().read(lambda: None) == Reading(why="its process cannot be seen")


@live
async def test_resident_memory_is_that_of_the_whole_family() -> None:
    code = "b = bytearray(64 << 20)\nprint('x', flush=True)\ninput()"
    pipe = asyncio.subprocess.PIPE
    alone = (await MachineGauge().read(os.getpid)).resident or 0
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
    try:
        assert child.stdout is not None
        await child.stdout.readline()
        both = (await MachineGauge().read(os.getpid)).resident or 0
        assert both - alone > 50 * MIB
    finally:
        await child.communicate(b"\n")
