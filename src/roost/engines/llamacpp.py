"""Stand-in until the llama.cpp engine's own adapter lands here."""

from dataclasses import dataclass

from roost.core.spec import EngineKind
from roost.engines.command import Command


@dataclass(frozen=True, slots=True)
class _Llamacpp(Command):
    kind: EngineKind = EngineKind.LLAMACPP


LLAMACPP = _Llamacpp()
