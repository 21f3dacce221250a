"""NVIDIA's GPUs by NVML: size, use, and bytes by process; parts of a GPU (MIG) are devices of their own.

Blocks as long as the driver does, so it is called in a thread only, by `devices_read`. Needs the library nvidia-ml-py.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.host.devices import Gpu, Maker


class NoReading(Exception):
    """Why NVML tells nothing, in words."""


@dataclass(frozen=True, slots=True)
class _Numbered:
    index: int
    gpu: Gpu


def read(env: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES of `env` allows, in its order. Raises NoReading."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise NoReading("the Python package nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
        try:
            found = [one for index in range(nvml.nvmlDeviceGetCount()) for one in _parts(nvml, index)]
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise NoReading(f"NVML: {error}") from None
    return _allowed(found, env.get("CUDA_VISIBLE_DEVICES"))


def _allowed(found: Sequence[_Numbered], variable: str | None) -> list[Gpu]:
    """What CUDA would let a program see; the first entry that means nothing ends the list, as there."""
    if variable is None:
        return [one.gpu for one in found]
    chosen: list[Gpu] = []
    for token in (part.strip() for part in variable.split(",")):
        fits = [one.gpu for one in found if _means(token, one)]
        if not fits:
            break
        chosen.append(fits[0])  # of a GPU in parts a number means the first one
    return chosen


def _means(token: str, one: _Numbered) -> bool:
    return one.index == int(token) if token.isdigit() else bool(token) and one.gpu.uuid.startswith(token)


def _parts(nvml: Any, index: int) -> Iterator[_Numbered]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    if not _is_parted(nvml, handle):
        yield _Numbered(index, _gpu(nvml, handle, str(index)))
        return
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError:
            continue  # a place without a part
        yield _Numbered(index, _gpu(nvml, part, ""))


def _is_parted(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def _gpu(nvml: Any, handle: Any, token: str) -> Gpu:
    uuid = nvml.nvmlDeviceGetUUID(handle)
    uuid = uuid.decode() if isinstance(uuid, bytes) else str(uuid)
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)  # before the sum: what starts in between is not ours
    size, used = _memory(nvml, handle)
    return Gpu(
        maker=Maker.NVIDIA,
        uuid=uuid,
        token=token or uuid,
        size=size,
        used=used,
        by_pid={process.pid: process.usedGpuMemory for process in running},
    )


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Size and use; the newer call tells apart what the driver keeps for itself."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
    except (nvml.NVMLError, AttributeError, TypeError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return int(memory.total), int(memory.used)
    return int(memory.total - memory.reserved), int(memory.used)
