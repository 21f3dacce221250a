"""Models inside a server that someone else runs, as values: what such a server lists, how it is asked, and the adapter
of one model there.

Never calls anything itself and knows no preset: those are in `hosted_presets`. Used by `registry`, by the presets and
by `host/hosted.py`, which performs what they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from roost.core.hosted_spec import HostSpec, Preset
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.core.step import Operation, Probe, Step
from roost.core.step_spec import StepSpec
from roost.engines.base import Launch, Machine
from roost.engines.command import COMMAND
from roost.engines.common import openai_verify
from roost.engines.llamacpp import LLAMACPP
from roost.engines.own import step_of, with_texts
from roost.engines.plain import Sleepless


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server said of its models at one moment. `names` are as it spells them; all else holds their keys
    (`Way.key`)."""

    names: tuple[str, ...] = ()
    """What it can serve, loaded or not, as far as it tells."""
    loaded: frozenset[str] = frozenset()
    """Answer at once; one that sleeps there by itself counts, for a request wakes it."""
    busy: frozenset[str] = frozenset()
    """On their way in or out."""
    failed: frozenset[str] = frozenset()
    """Their last load failed."""
    permanent: frozenset[str] = frozenset()
    """Loaded for as long as the server runs: nothing unloads them."""
    partial: bool = False
    """It names only what is loaded: a model that is missing may be loaded all the same."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> further spellings of it, where there are any."""
    embeds: frozenset[str] = frozenset()
    """Names that it says, or whose own word says, make embeddings and nothing else."""

    def holds(self, key: str) -> bool:
        """Its memory is taken, or about to be."""
        return key in self.loaded or key in self.busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A model that is to be loaded: its name there, where it comes from (an adapter's folder), what it is for, and how
    long the call may take."""

    name: str
    source: str | None = None
    task: Task = Task.GENERATE
    timeout_s: float = 1200.0


class Way(Protocol):
    """How one kind of server is asked for its list, told to load and unload, and understood."""

    @property
    def preset(self) -> Preset: ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The GETs whose answers make a listing, in this order."""
        ...

    @property
    def can_load(self) -> bool:
        """False: what it lists is all that there is."""
        ...

    def key(self, name: str) -> str:
        """The same for all spellings of one model's name."""
        ...

    def read(self, bodies: Sequence[object]) -> Listing | None:
        """The listing in the decoded answers to `paths`; None where they are of another form."""
        ...

    def load(self, wanted: Wanted) -> tuple[Step, ...]: ...

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]: ...

    def lacks(self, status: int, body: bytes) -> bool:
        """Whether this answer to a request says that the model it names is not loaded, or not there."""
        ...


def own_steps(specs: Sequence[StepSpec], model: str, wanted: ModelSpec, timeout_s: float) -> tuple[Step, ...]:
    """A host's own calls with `${MODEL}` replaced; one without a limit gets `timeout_s`. ValueError for an endpoint
    that cannot be called."""

    def fill(text: str) -> str:
        return text.replace("${MODEL}", model)

    made = []
    for spec in specs:
        step = with_texts(spec, fill)
        made.append(step_of(replace(step, timeout=step.timeout or timeout_s), wanted, Operation.LOAD))
    return tuple(made)


def loads_itself(spec: HostSpec) -> bool:
    """Whether the config says itself how a model is loaded and unloaded there."""
    return bool(spec.load_steps and spec.unload_steps)


CONTROL_PATHS = (
    "/models/load",
    "/models/unload",
    "/v1/models/load",
    "/v1/models/unload",
    "/api/v1/models/load",
    "/api/v1/models/unload",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/load_model",
    "/v1/unload_model",
)


@dataclass(frozen=True, slots=True)
class Hosted(Sleepless):
    """The adapter of a model inside such a server; one value, `HOSTED`. It is loaded and unloaded, never put to
    sleep, and its server's list says how it is."""

    kind: EngineKind = EngineKind.COMMAND
    inference_paths: Sequence[str] = tuple(dict.fromkeys((*COMMAND.inference_paths, *LLAMACPP.inference_paths)))
    control_paths: Sequence[str] = tuple(dict.fromkeys((*CONTROL_PATHS, *LLAMACPP.control_paths)))

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        """Nothing of its own: `config/hosts.py` looks at hosts and models together."""
        return ()

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        """Nothing is started."""
        return Launch(argv=())

    def probe(self, spec: ModelSpec) -> Probe:
        return Probe(path=spec.health_path or "/v1/models")

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        """The request that fits its task; for other tasks the list, which has the model by then."""
        if spec.task is Task.OTHER:
            return Step(method="GET", path=spec.health_path or "/v1/models", timeout_s=spec.timeouts.step)
        return openai_verify(spec, served_name)


HOSTED = Hosted()
