"""nvidia-ml-py without a GPU: devices with scripted sizes, processes and parts, and a driver that fails or hangs."""

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GIB = 1 << 30


class NvmlError(Exception):
    """As pynvml.NVMLError."""


@dataclass
class FakeGpu:
    """One GPU, or one part of it."""

    held: dict[int, int | None] = field(default_factory=dict)
    """Pid -> bytes."""
    size: int = 80 * GIB
    reserved: int = 0
    unseen: int = 0
    """Bytes in use that no process is shown for."""
    uuid: str = ""
    parts: Sequence["FakeGpu | None"] | None = None
    """MIG: its places, some without a part."""

    @property
    def used(self) -> int:
        return self.unseen + sum(held or 0 for held in self.held.values())


@dataclass
class FakeNvml:
    """The few calls of nvidia-ml-py that are used. `devices`: GPUs, or one mapping of pid to bytes for each."""

    devices: Sequence[FakeGpu | Mapping[int, int | None]] = ()
    error: str = ""
    old: bool = False
    """Knows only the older call for memory, in which use includes what the driver keeps."""
    open: int = 0
    hang: threading.Event | None = None
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gpus = [one if isinstance(one, FakeGpu) else FakeGpu(dict(one)) for one in self.devices]
        for number, gpu in enumerate(self.gpus):
            gpu.uuid = gpu.uuid or f"GPU-{number}"

    def as_module(self) -> ModuleType:
        module: Any = ModuleType("pynvml")
        module.NVMLError = NvmlError
        if not self.old:
            module.nvmlMemory_v2 = 2
        for name in dir(self):
            if name.startswith("nvml"):
                setattr(module, name, getattr(self, name))
        assert isinstance(module, ModuleType)
        return module

    def nvmlInit(self) -> None:
        self.calls.append("init")
        if self.hang is not None:
            self.hang.wait()
        if self.error:
            raise NvmlError(self.error)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> FakeGpu:
        return self.gpus[number]

    def nvmlDeviceGetUUID(self, handle: FakeGpu) -> str:
        return handle.uuid

    def nvmlDeviceGetMigMode(self, handle: FakeGpu) -> list[int]:
        if handle.parts is None:
            raise NvmlError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: FakeGpu) -> int:
        return len(handle.parts or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: FakeGpu, number: int) -> FakeGpu:
        part = (handle.parts or ())[number]
        if part is None:
            raise NvmlError("Not Found")
        return part

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu, version: int | None = None) -> SimpleNamespace:
        if version is None:
            return SimpleNamespace(total=handle.size, used=handle.used + handle.reserved)
        return SimpleNamespace(total=handle.size, used=handle.used, reserved=handle.reserved)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in handle.held.items()]


def plug_in(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> FakeNvml:
    """From now on it is the driver."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml.as_module())
    return nvml
