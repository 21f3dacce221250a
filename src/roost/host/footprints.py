"""What each model's engine holds in each state: as the config says it, as its arguments tell, and as it was measured.

The larger of claimed and measured counts. What was measured is kept by model and by a fingerprint of all that matters,
so that a changed config begins anew; `state` and `restore` carry it over a restart. Fed by `measure` and
`devices_watch`, read by the planner's view and by status. Never measures anything itself.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from roost.core.footprint import Footprint, Held, Source
from roost.core.memory_spec import HeldSpec
from roost.core.spec import ModelSpec
from roost.engines.estimate import Known, estimate
from roost.host.devices import visible
from roost.host.store import digest
from roost.host.weights import gguf_facts, size_of

if TYPE_CHECKING:
    from roost.host.replica import Replica

FALL_SHARE = 0.25
"""Of the way down that one smaller measurement takes: a figure that is too large costs room, one too small a crash."""
MOST_MODELS = 4096


class Rung(StrEnum):
    """A state of which a footprint has a figure."""

    AWAKE = "awake"
    LEVEL1 = "level1"
    LEVEL2 = "level2"

    @staticmethod
    def of(level: int | None) -> "Rung":
        """Of a sleeper's level; None is the engine's own sleep, and at 0 it was only paused and holds all."""
        return Rung.AWAKE if level == 0 else Rung.LEVEL2 if level == 2 else Rung.LEVEL1


class Memory(Protocol):
    """What a replica tells and asks of memory."""

    def learn(self, replica: "Replica", rung: Rung, device: int | None, host: int | None) -> None:
        """It was measured right after it came to this state: bytes on its fullest device, and of host memory."""
        ...

    def footprint(self, replica: "Replica") -> Footprint | None:
        """What it holds in each state; None: as its spec says."""
        ...

    def lingering(self, replica: str) -> int:
        """Bytes on each of its devices that it gave back and that are not yet seen free."""
        ...

    def visible(self, names: Iterable[str]) -> Mapping[str, str]:
        """The variables that give an engine these devices and no others; empty where they are none of this machine."""
        ...


class NoMemory:
    """Implements `Memory` where nobody keeps account."""

    def learn(self, replica: "Replica", rung: Rung, device: int | None, host: int | None) -> None:
        """Nobody asks."""

    def footprint(self, replica: "Replica") -> Footprint | None:
        return None

    def lingering(self, replica: str) -> int:
        return 0

    def visible(self, names: Iterable[str]) -> Mapping[str, str]:
        return visible(tuple(names), (), os.environ)


class Whose(Protocol):
    """A replica, as far as its footprint goes."""

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def spec(self) -> ModelSpec: ...


@dataclass(slots=True)
class Figure:
    """What was measured in one state; None: not yet."""

    device: int | None = None
    host: int | None = None


@dataclass(slots=True)
class _Entry:
    claimed: Footprint
    measured: dict[Rung, Figure]
    total: Footprint


class Footprints:
    """The book. `device_size`: bytes of the smallest device that a model may run on, None where that is not known."""

    def __init__(self, device_size: Callable[[ModelSpec], int | None], *, has_gpu: bool) -> None:
        self._device_size = device_size
        self._has_gpu = has_gpu
        self._of_replica: dict[str, tuple[ModelSpec, str]] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._restored: dict[tuple[str, str], dict[Rung, Figure]] = {}

    def footprint(self, whose: Whose) -> Footprint:
        """The larger of claimed and measured. Quick, but for the first time with a spec, when files are looked at."""
        return self._entry(whose).total

    def learn(self, whose: Whose, rung: Rung, seen: Figure, *, only_more: bool = False) -> None:
        """It was measured in that state: more counts at once, less by and by, or not at all."""
        entry = self._entry(whose)
        known = entry.measured.setdefault(rung, Figure())
        known.device = _smoothed(known.device, seen.device, only_more)
        known.host = _smoothed(known.host, seen.host, only_more)
        entry.total = _larger(entry.claimed, entry.measured)

    def facts(self, whose: Whose) -> dict[str, Any]:
        """State -> what counts, what is claimed and what was measured; JSON-ready, for status."""
        entry = self._entry(whose)
        return {
            str(rung): {
                "counts": _held_facts(getattr(entry.total, rung)),
                "claimed": _held_facts(getattr(entry.claimed, rung)),
                "measured": _figure_facts(entry.measured.get(rung)),
            }
            for rung in Rung
        }

    def forget(self, replica: str) -> None:
        """The replica is no more; what its model holds stays known."""
        self._of_replica.pop(replica, None)

    def state(self) -> dict[str, Any]:
        """Model -> fingerprint -> state -> bytes, of all that runs with today's config; JSON-ready."""
        found: dict[str, Any] = {}
        for (model, fingerprint), entry in self._entries.items():
            if entry.measured:
                measured = {str(rung): _figure_facts(figure) for rung, figure in entry.measured.items()}
                found.setdefault(model, {})[fingerprint] = measured
        return found

    def restore(self, kept: Mapping[str, Any]) -> None:
        """What `state` gave in an earlier life. Whatever in it cannot be read is left out."""
        for model, prints in list(kept.items())[:MOST_MODELS]:
            for fingerprint, measured in prints.items() if isinstance(prints, Mapping) else ():
                self._restored[model, fingerprint] = _figures(measured)
        self._of_replica.clear()
        self._entries.clear()

    def _entry(self, whose: Whose) -> _Entry:
        known = self._of_replica.get(whose.id)
        if known is not None and known[0] is whose.spec:
            return self._entries[whose.model, known[1]]
        weights = size_of(whose.spec.weights)
        fingerprint = _fingerprint(whose.spec, weights)
        key = whose.model, fingerprint
        if key not in self._entries:
            claimed = self._claimed(whose.spec, weights)
            measured = self._restored.get(key, {})
            self._entries[key] = _Entry(claimed, measured, _larger(claimed, measured))
        self._of_replica[whose.id] = whose.spec, fingerprint
        return self._entries[key]

    def _claimed(self, spec: ModelSpec, weights: int | None) -> Footprint:
        known = Known(device_size=self._device_size(spec), weights=weights, gguf=gguf_facts(spec.weights))
        guess = estimate(spec, known, has_gpu=self._has_gpu)
        awake = None if spec.footprint is None else max(spec.footprint, spec.footprint_asleep)
        asleep = spec.footprint_asleep if spec.footprint is not None or spec.footprint_asleep else None
        written = spec.footprints
        return Footprint(
            awake=_declared(written.awake, awake, guess.awake),
            level1=_declared(written.level1, asleep, guess.level1),
            level2=_declared(written.level2, asleep, guess.level2),
        )


def _declared(written: HeldSpec, device: int | None, guess: Held) -> Held:
    """What is written wins over what is guessed."""
    device = device if written.device is None else written.device
    device, source = (guess.device, guess.source) if device is None else (device, Source.DECLARED)
    host, host_source = (guess.host, guess.source) if written.host is None else (written.host, Source.DECLARED)
    return Held(device, host, source, None if host_source is source else host_source)


def _larger(claimed: Footprint, measured: Mapping[Rung, Figure]) -> Footprint:
    """Awake it holds no less than asleep."""
    awake, level1, level2 = (_more(getattr(claimed, rung), measured.get(rung)) for rung in Rung)
    least = max(level1.device, level2.device)
    if awake.device < least:
        awake = replace(awake, device=least)
    return Footprint(awake=awake, level1=level1, level2=level2)


def _more(claimed: Held, seen: Figure | None) -> Held:
    if seen is None or (seen.device is None and seen.host is None):
        return claimed
    device, host = max(claimed.device, seen.device or 0), max(claimed.host, seen.host or 0)
    grown = (device, host) != (claimed.device, claimed.host)
    if grown or claimed.source is Source.UNKNOWN:
        return Held(device, host, Source.LEARNED)
    return claimed


def _smoothed(before: int | None, seen: int | None, only_more: bool) -> int | None:
    if seen is None or before is None:
        return before if seen is None else seen
    if seen >= before or only_more:
        return max(before, seen)
    return round(before - FALL_SHARE * (before - seen))


def _fingerprint(spec: ModelSpec, weights: int | None) -> str:
    """Of all that decides how much it holds; where it listens does not."""
    parts = [str(spec.engine), spec.weights, weights, spec.command, spec.args, dict(sorted(spec.env.items()))]
    return digest([*parts, spec.device_count, spec.max_loras])


def _held_facts(held: Held) -> dict[str, Any]:
    return {
        "device_bytes": held.device,
        "host_bytes": held.host,
        "source": str(held.source),
        "host_source": str(held.host_source or held.source),
    }


def _figure_facts(figure: Figure | None) -> dict[str, Any]:
    return {"device_bytes": figure and figure.device, "host_bytes": figure and figure.host}


def _figures(kept: object) -> dict[Rung, Figure]:
    found = {}
    for rung in Rung:
        facts = kept.get(str(rung)) if isinstance(kept, Mapping) else None
        if isinstance(facts, Mapping):
            found[rung] = Figure(_bytes(facts.get("device_bytes")), _bytes(facts.get("host_bytes")))
    return found


def _bytes(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
