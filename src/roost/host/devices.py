"""GPUs as values: what roost may see of them, by which names the config means them, and how an engine is given some.

Reads nothing itself. `devices_nvml` and `devices_amd` make the values; `devices_watch` and those who start engines use
them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_NUMBERED = re.compile(r"(?:gpu|cuda|hip|rocm)?[:_-]?(\d{1,3})", re.IGNORECASE)


class Maker(StrEnum):
    """Whose driver it is."""

    NVIDIA = "nvidia"
    AMD = "amd"


VARIABLES = {Maker.NVIDIA: "CUDA_VISIBLE_DEVICES", Maker.AMD: "HIP_VISIBLE_DEVICES"}
"""What tells an engine which devices are its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, or one part of it (MIG), at one moment."""

    maker: Maker
    uuid: str
    token: str
    """How the variable of its maker names it."""
    size: int
    """Bytes that programs can have: what the driver keeps for itself is taken off."""
    used: int
    by_pid: Mapping[int, int | None] = field(default_factory=dict)
    """Process -> bytes; None where the driver does not tell."""


def named(gpus: Sequence[Gpu]) -> dict[str, Gpu]:
    """`gpu0`, `gpu1`, … in the order in which programs count them."""
    return {f"gpu{number}": gpu for number, gpu in enumerate(gpus)}


def find(name: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """The GPU that a name of the config means: `gpu0`, `cuda:0`, `0`, or the begin of its UUID."""
    number = number_of(name)
    if number is not None:
        return gpus[number] if number < len(gpus) else None
    fitting = [gpu for gpu in gpus if gpu.uuid.lower().startswith(name.lower())]
    return fitting[0] if len(fitting) == 1 else None


def number_of(name: str) -> int | None:
    """The number in a device's name; None where it has none."""
    match = _NUMBERED.fullmatch(name)
    return int(match[1]) if match else None


def visible(names: Sequence[str], gpus: Sequence[Gpu], env: Mapping[str, str]) -> dict[str, str]:
    """The variables that give an engine these devices and no others. `env` is roost's own: without a reading of the
    machine (`gpus` empty) a number counts among what that lets programs see. Empty where a name means nothing here."""
    if not names:
        return {}
    if not gpus:
        return _by_number(names, env)
    found = [find(name, gpus) for name in names]
    chosen = [gpu for gpu in found if gpu is not None]
    makers = {gpu.maker for gpu in chosen}
    if len(chosen) != len(names) or len(makers) != 1:
        return {}
    return _variables(makers.pop(), [gpu.token for gpu in chosen])


def _by_number(names: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    own = env.get(VARIABLES[Maker.NVIDIA])
    tokens = None if own is None else [token.strip() for token in own.split(",") if token.strip()]
    chosen = []
    for name in names:
        number = number_of(name)
        if number is None or (tokens is not None and number >= len(tokens)):
            return {}
        chosen.append(str(number) if tokens is None else tokens[number])
    return _variables(Maker.NVIDIA, chosen)


def _variables(maker: Maker, tokens: Sequence[str]) -> dict[str, str]:
    """Numbers are those of the driver, which counts by bus; CUDA left to itself puts the fastest first."""
    found = {VARIABLES[maker]: ",".join(tokens)}
    if maker is Maker.NVIDIA and any(token.isdigit() for token in tokens):
        found["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return found


def chosen_by(variable: str | None, count: int) -> list[int] | None:
    """The numbers that a variable like HIP_VISIBLE_DEVICES lets programs see of `count`; None: all of them. The first
    entry that means nothing ends the list, as the drivers have it."""
    if variable is None:
        return None
    numbers = []
    for token in variable.split(","):
        text = token.strip()
        if not text.isdigit() or int(text) >= count:
            break
        numbers.append(int(text))
    return numbers
