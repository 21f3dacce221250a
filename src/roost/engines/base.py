"""The form of an engine adapter. An adapter returns values and touches nothing: no file, no socket, no clock.

Adapters are plain frozen objects in `engines/registry.py`; `host` performs what they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Probe, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the machine has, found once by `host` and passed in."""

    python: str
    """The interpreter roost runs under."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Program name -> absolute path, for the programs adapters ask about (`PROGRAMS`)."""
    modules: frozenset[str] = frozenset()
    """Importable modules among those adapters ask about (`MODULES`)."""
    has_gpu: bool = False


PROGRAMS = ("llama-server", "vllm", "sglang", "tmux")
MODULES = ("xllamacpp", "vllm", "sglang")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start an engine: argv without a shell, and variables added to the environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateGauge:
    """A metric that tells how deep an engine sleeps: of the series of `name`, the one whose value is 1 names the state
    in `label`. `levels` is state -> sleep level, 0 for awake."""

    path: str
    name: str
    label: str
    levels: tuple[tuple[str, int], ...]
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What else tells how an engine is, beside `sleep_query`; all of it may be missing in some versions.

    `paused`: a GET whose answer says `{"is_paused": bool}`. `once`: GETs asked once when it is ready, for `notices`.
    `fragile`: a request to released memory, or taking back what was not released, ends it.
    """

    paused: Step | None = None
    gauge: StateGauge | None = None
    once: tuple[Step, ...] = ()
    fragile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence about a running engine that its user should know, with the fix. `no_sleep`: as it runs now it cannot
    be put to sleep."""

    text: str
    no_sleep: bool = False


class Adapter(Protocol):
    """One engine kind."""

    @property
    def kind(self) -> EngineKind: ...

    @property
    def inference_paths(self) -> Sequence[str]:
        """Paths beyond `/v1/*` that are inference and routed by model (`/tokenize`, `/rerank`)."""
        ...

    @property
    def control_paths(self) -> Sequence[str]:
        """Paths that control the engine: refused on inference routes, admin scope under /upstream."""
        ...

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        """Problems of this model for this engine; paths start with ("models", name)."""
        ...

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        """The command. Raises StartError where a program is missing, naming it and how to get it."""
        ...

    def probe(self, spec: ModelSpec) -> Probe:
        """How readiness is asked; must never wake a sleeping engine."""
        ...

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        """Levels it can be ordered into; empty where it has no sleep order."""
        ...

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]: ...

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """Steps from asleep at `level` to awake, not yet verified. Empty where a request wakes it."""
        ...

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        """A GET that tells whether it sleeps and never wakes it; None where the engine cannot tell."""
        ...

    def is_asleep(self, status: int, body: object) -> bool | None:
        """Reads the answer of `sleep_query` (body: decoded JSON); None where it does not say."""
        ...

    def signs(self, spec: ModelSpec) -> Signs:
        """What else tells how it is."""
        ...

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        """What is wrong with how it was started, from the answers to `signs(spec).once`: (status, decoded JSON), None
        where none came."""
        ...

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        """A small request that fits the task and must succeed before the model serves."""
        ...
