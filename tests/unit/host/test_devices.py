"""Which GPUs roost may see, what stands for them in an engine's environment, and what their drivers tell."""

from pathlib import Path

import pytest

from roost.host import devices_amd, devices_nvml
from roost.host.devices import Gpu, Maker, find, visible
from roost.host.devices_nvml import NoReading
from tests.support.fake_nvml import GIB, FakeGpu, FakeNvml, plug_in


def gpu(uuid: str, token: str = "0", maker: Maker = Maker.NVIDIA) -> Gpu:
    return Gpu(maker=maker, uuid=uuid, token=token, size=GIB, used=0)


PAIR = (gpu("GPU-aa", "2"), gpu("GPU-ab", "3"))


@pytest.mark.parametrize(
    ("name", "uuid"),
    [
        ("gpu0", "GPU-aa"),
        ("cuda:1", "GPU-ab"),
        ("1", "GPU-ab"),
        ("GPU-ab", "GPU-ab"),
        ("gpu-AA", "GPU-aa"),
        ("gpu2", None),
        ("GPU-a", None),  # two of them begin like that
        ("left", None),
    ],
)
def test_names_of_the_config_mean_gpus(name: str, uuid: str | None) -> None:
    found = find(name, PAIR)
    assert (None if found is None else found.uuid) == uuid


def test_engine_gets_the_numbers_of_the_driver() -> None:
    assert visible(["gpu1", "gpu0"], PAIR, {}) == {"CUDA_VISIBLE_DEVICES": "3,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    parts = (gpu("MIG-1", "MIG-1"),)
    assert visible(["gpu0"], parts, {}) == {"CUDA_VISIBLE_DEVICES": "MIG-1"}
    assert visible(["gpu0"], (gpu("x", "0", Maker.AMD),), {}) == {"HIP_VISIBLE_DEVICES": "0"}


def test_what_is_none_of_the_machine_sets_nothing() -> None:
    assert visible([], PAIR, {}) == {}
    assert visible(["gpu0", "left"], PAIR, {}) == {}
    assert visible(["gpu0", "gpu1"], (PAIR[0], gpu("x", "0", Maker.AMD)), {}) == {}


def test_without_a_reading_a_number_counts_among_what_roost_may_see() -> None:
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert visible(["gpu1"], (), {}) == {"CUDA_VISIBLE_DEVICES": "1", **order}
    assert visible(["gpu1"], (), {"CUDA_VISIBLE_DEVICES": "4, 6"}) == {"CUDA_VISIBLE_DEVICES": "6", **order}
    assert visible(["gpu2"], (), {"CUDA_VISIBLE_DEVICES": "4,6"}) == {}
    assert visible(["gpu0"], (), {"CUDA_VISIBLE_DEVICES": "GPU-9"}) == {"CUDA_VISIBLE_DEVICES": "GPU-9"}


def nvidia(env: dict[str, str], nvml: FakeNvml) -> list[Gpu]:
    with pytest.MonkeyPatch.context() as patch:
        plug_in(patch, nvml)
        found = devices_nvml.read(env)
    assert nvml.open == 0
    return found


def test_size_is_without_what_the_driver_keeps() -> None:
    one = FakeGpu({7: 3 * GIB, 8: None}, size=80 * GIB, reserved=GIB, unseen=GIB)
    (new,) = nvidia({}, FakeNvml([one]))
    assert (new.size, new.used, dict(new.by_pid)) == (79 * GIB, 4 * GIB, {7: 3 * GIB, 8: None})
    (old,) = nvidia({}, FakeNvml([one], old=True))
    assert (old.size, old.used) == (80 * GIB, 5 * GIB)


@pytest.mark.parametrize(
    ("variable", "uuids"),
    [
        (None, ["GPU-0", "GPU-1", "GPU-2"]),
        ("2,0", ["GPU-2", "GPU-0"]),
        ("GPU-1", ["GPU-1"]),
        ("1,7,0", ["GPU-1"]),
        ("", []),
        ("-1", []),
    ],
)
def test_only_what_roost_may_see(variable: str | None, uuids: list[str]) -> None:
    env = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert [one.uuid for one in nvidia(env, FakeNvml([{}, {}, {}]))] == uuids


def test_parts_of_a_gpu_are_devices_of_their_own() -> None:
    parted = FakeGpu(parts=[FakeGpu(uuid="MIG-a", size=GIB), None, FakeGpu(uuid="MIG-b", size=2 * GIB)])
    found = nvidia({}, FakeNvml([parted, {}]))
    assert [(one.token, one.size) for one in found] == [("MIG-a", GIB), ("MIG-b", 2 * GIB), ("1", 80 * GIB)]
    (chosen,) = nvidia({"CUDA_VISIBLE_DEVICES": "MIG-b"}, FakeNvml([parted]))
    assert chosen.uuid == "MIG-b"


def test_driver_that_fails_says_why() -> None:
    with pytest.raises(NoReading, match="NVML: Driver Not Loaded"):
        nvidia({}, FakeNvml(error="Driver Not Loaded"))


def card(root: Path, number: int, bus: str, total: int, used: int) -> None:
    device = root / "sys/devices" / bus
    device.mkdir(parents=True)
    (device / "mem_info_vram_total").write_text(f"{total}\n")
    (device / "mem_info_vram_used").write_text(f"{used}\n")
    folder = root / f"sys/class/drm/card{number}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)


def info(root: Path, pid: int, number: int, bus: str, client: int, kib: int) -> None:
    folder = root / f"proc/{pid}/fdinfo"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\ndrm-memory-vram:\t{kib} KiB\n"
    (folder / str(number)).write_text(text)


def test_amd_is_read_from_the_kernel_and_each_client_counts_once(tmp_path: Path) -> None:
    card(tmp_path, 1, "0000:03:00.0", 16 * GIB, GIB)
    card(tmp_path, 10, "0000:0b:00.0", 8 * GIB, 0)
    (tmp_path / "sys/class/drm/card1-DP-1").mkdir()
    for number, client, kib in ((3, 5, 1024), (4, 5, 1024), (5, 6, 512)):
        info(tmp_path, 42, number, "0000:03:00.0", client, kib)
    first, second = devices_amd.read({}, [42, 43], tmp_path)
    assert (first.size, first.used, first.token, first.by_pid) == (16 * GIB, GIB, "0", {42: 1536 * 1024})
    assert (second.uuid, second.token, second.by_pid) == ("0000:0b:00.0", "1", {})


def test_amd_variables_filter_one_after_the_other(tmp_path: Path) -> None:
    for number in range(3):
        card(tmp_path, number, f"bus{number}", GIB, 0)
    env = {"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}
    (one,) = devices_amd.read(env, [], tmp_path)
    assert (one.uuid, one.token) == ("bus1", "1")
