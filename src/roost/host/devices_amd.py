"""AMD's GPUs by what the amdgpu driver writes into /sys, and bytes by process by what it writes into /proc.

Reads small files, in a thread; called by `devices_read`. Older kernels do not tell what a process holds.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from roost.host.devices import Gpu, Maker, chosen_by

_CARD = re.compile(r"card(\d+)")
_HELD = re.compile(r"^drm-memory-vram:\s*(\d+)\s*KiB", re.MULTILINE)
_BUS = re.compile(r"^drm-pdev:\s*(\S+)", re.MULTILINE)
_CLIENT = re.compile(r"^drm-client-id:\s*(\d+)", re.MULTILINE)


def read(env: Mapping[str, str], pids: Iterable[int], root: Path = Path("/")) -> list[Gpu]:
    """The GPUs that ROCR_VISIBLE_DEVICES, then HIP_VISIBLE_DEVICES allow, and what `pids` hold of them."""
    cards = _chosen([device for _, device in sorted(_cards(root))], env.get("ROCR_VISIBLE_DEVICES"))
    numbers = {device: str(number) for number, device in enumerate(cards)}
    cards = _chosen(cards, env.get("HIP_VISIBLE_DEVICES"))
    held = _held(root, pids) if cards else {}
    return [gpu for device in cards if (gpu := _gpu(device, numbers[device], held)) is not None]


def _chosen(cards: list[Path], variable: str | None) -> list[Path]:
    numbers = chosen_by(variable, len(cards))
    return cards if numbers is None else [cards[number] for number in numbers]


def _cards(root: Path) -> Iterator[tuple[int, Path]]:
    for card in (root / "sys/class/drm").glob("card*"):
        match = _CARD.fullmatch(card.name)
        if match and (card / "device/mem_info_vram_total").exists():
            yield int(match[1]), card / "device"


def _gpu(device: Path, token: str, held: Mapping[str, Mapping[int, int]]) -> Gpu | None:
    try:
        size, used = (int((device / f"mem_info_vram_{name}").read_text()) for name in ("total", "used"))
    except (OSError, ValueError):
        return None
    bus = device.resolve().name
    return Gpu(
        maker=Maker.AMD, uuid=_uuid(device) or bus, token=token, size=size, used=used, by_pid=dict(held.get(bus, {}))
    )


def _uuid(device: Path) -> str:
    try:
        return f"GPU-{(device / 'unique_id').read_text().strip()}"
    except OSError:
        return ""


def _held(root: Path, pids: Iterable[int]) -> dict[str, dict[int, int]]:
    """Bus address -> process -> bytes. One client may be open under several numbers, and counts once."""
    found: dict[str, dict[int, int]] = {}
    clients: set[tuple[str, str]] = set()
    for pid in pids:
        for text in _infos(root / "proc" / str(pid) / "fdinfo"):
            held, bus, client = _HELD.search(text), _BUS.search(text), _CLIENT.search(text)
            if held is None or bus is None:
                continue
            own = (bus[1], client[1] if client else "")
            if own[1] and own in clients:
                continue
            clients.add(own)
            by_pid = found.setdefault(bus[1], {})
            by_pid[pid] = by_pid.get(pid, 0) + int(held[1]) * 1024
    return found


def _infos(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            with contextlib.suppress(OSError):
                yield file.read_text()
