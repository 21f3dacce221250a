"""Stand-in until the simulated engine's own adapter lands here."""

from dataclasses import dataclass

from roost.core.spec import EngineKind
from roost.engines.command import Command


@dataclass(frozen=True, slots=True)
class _Simulated(Command):
    kind: EngineKind = EngineKind.SIMULATED


SIMULATED = _Simulated()
