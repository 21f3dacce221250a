"""The configuration as frozen dataclasses: they are the schema, the defaults and the reference page at once.

Pure. `config` wraps them in pydantic and fills them from YAML; every other room only reads them.
The docstring under a field is its text in the JSON Schema and in docs/configuration.md.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from roost.core.hosted_spec import AdapterSpec, HostSpec
from roost.core.memory_spec import FootprintsSpec, MemorySpec
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.server_spec import ServerSpec
from roost.core.step_spec import StepSpec
from roost.core.units import (
    MAX_REPLICAS,
    STRICT,
    Count,
    Duration,
    MaybeDuration,
    Natural,
    Port,
    PositiveDuration,
    ReplicaCount,
    Size,
)

MIB = 1024 * 1024


class EngineKind(StrEnum):
    """The kind of server program behind a model."""

    LLAMACPP = "llamacpp"
    VLLM = "vllm"
    SGLANG = "sglang"
    COMMAND = "command"
    SIMULATED = "simulated"


class Task(StrEnum):
    """What a model is for; a wake is verified by a request that fits it."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsSpec:
    """How long roost waits for an engine. `never` means no limit, where the table allows it."""

    __pydantic_config__ = STRICT

    connect: PositiveDuration = 2.0
    """Opening a connection to the engine."""
    first_byte: MaybeDuration = None
    """From the request sent to the first byte of its answer; over it 504."""
    between_bytes: MaybeDuration = None
    """Between two pieces of an answer; over it the answer is cut."""
    upstream_idle: Duration = 4.0
    """A pooled connection is not reused after this (vLLM and llama-server close theirs at 5 s)."""
    step: PositiveDuration = 60.0
    """One call of a sleep or wake."""
    sleep: PositiveDuration | None = None
    """Each call that puts the engine to sleep; as `step` when left out. Always bounded: an engine that never answers
    would keep its memory, and those who wait for it, for ever."""
    wake: PositiveDuration | None = None
    """Each call that wakes the engine; as `step` when left out, and as bounded."""
    drain: Duration = 60.0
    """How long an operator's order (sleep, unload, restart) lets running requests go on; with
    `policy.on_drain_deadline: cut` so does one that makes room for another model."""
    probe_lost: PositiveDuration = 30.0
    """A ready engine that answers no probe and sends no byte for this long is restarted."""
    stall_after: MaybeDuration = 120.0
    """An engine that answers its probes while its running answers send no byte and its own counters stand still for
    this long is restarted. Counted from an answer's first byte on: a long prompt is no stall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """The bounded queue of a model that is busy or not ready."""

    __pydantic_config__ = STRICT

    size: Natural = 256
    """Requests that may wait; the next one gets 429."""
    max_wait: Duration = 600.0
    """Longest wait; then 503 with Retry-After (the OpenAI SDK's own time-out is 10 minutes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSpec:
    """What happens when an engine dies by itself."""

    __pydantic_config__ = STRICT

    tries: Count = 5
    """Failures in a row before the model is FAILED."""
    backoff: Duration = 1.0
    """Wait before the second try; doubles each time."""
    backoff_max: Duration = 60.0
    """Longest wait between two tries."""
    retry_failed_after: MaybeDuration = 60.0
    """A FAILED model is tried again for a new request after this; `never` leaves it to the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """One serving of a model, where it differs from the others. What is left out is as the model says."""

    __pydantic_config__ = STRICT

    name: str | None = None
    """What its tmux session is called after `server.session_prefix`; the model's name when left out."""
    host: str | None = None
    """Address this engine listens on."""
    port: Port | None = None
    """Port this engine listens on."""
    url: str | None = None
    """Base address of one that runs already."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables added to the model's `env`, such as `CUDA_VISIBLE_DEVICES`."""


def alike(value: Any) -> Any:
    """`3` as three replicas that differ in nothing. Raises ValueError outside 1 to 64; other types pass on."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)  # the value of a variable is text
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MAX_REPLICAS:
        raise ValueError(f"{value} replicas: write 1 to {MAX_REPLICAS}")
    return (ReplicaSpec(),) * value


Replicas = Annotated[
    tuple[ReplicaSpec, ...],
    BeforeValidator(alike, json_schema_input_type=ReplicaCount | tuple[ReplicaSpec, ...]),
]
"""A list of them, or only their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model: the name is its key under `models`. Every field may also stand under `defaults`."""

    __pydantic_config__ = STRICT

    engine: EngineKind | None = None
    """llamacpp, vllm, sglang, command or simulated; when left out: `command` or `url` -> command,
    a .gguf file -> llamacpp, else vllm."""
    weights: str | None = None
    """A file, folder or hub id that the engine loads; relative paths start at the config file."""
    command: str | tuple[str, ...] | None = None
    """The whole command line, in place of the engine's usual one; `${PORT}`, `${HOST}` and `${MODEL}` are replaced.
    Alone it means `engine: command`; with another engine, that kind's sleep and wake steps still apply. A string is
    split as a shell would, without a shell."""
    url: str | None = None
    """Base address of an engine that runs already (`http://10.0.0.7:8000`, `https://example.org/api`); roost never
    starts or stops it."""
    host: str = "127.0.0.1"
    """Address the engine listens on."""
    port: Port | None = None
    """Port the engine listens on; a free one is picked when left out."""
    args: tuple[str, ...] = ()
    """Arguments added to the engine's command line; an entry may hold several, split as a shell would."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables added for the engine."""
    replicas: Replicas = ()
    """One entry per engine that serves this model, or their number (`replicas: 3`), each then on a free port of its
    own; a single one when left out. Requests go to the least busy of those that do not keep failing."""
    launcher: Literal["process", "tmux", "auto"] = "process"
    """process: a child of roost. tmux: a session of its own that can be attached to. auto: tmux where it is on PATH."""
    venv: str | None = None
    """A Python virtual environment whose programs come first on the engine's PATH."""
    cwd: str | None = None
    """Working directory of the engine; the config's folder when left out."""
    stop_command: str | tuple[str, ...] | None = None
    """Run instead of SIGTERM to stop the engine; `${PID}` and `${PORT}` are replaced."""
    aliases: tuple[str, ...] = ()
    """Further names; rewritten to the served name in the request."""
    also_serves: tuple[str, ...] = ()
    """Names that the engine itself knows, such as adapters it was started with; passed on unchanged. What roost is to
    load stands under `adapters`."""
    served_name: str | None = None
    """The name the engine knows the model by; the model's own name when left out."""
    task: Task = Task.GENERATE
    """generate, embed, rerank or other."""
    display_name: str = ""
    """A name for people, shown in `/v1/models` and the dashboard."""
    description: str = ""
    """Shown in `/v1/models` and the dashboard."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Passed through to `/v1/models`."""
    context_length: Count | None = None
    """Tokens; learned from the engine where it tells."""
    modalities: tuple[str, ...] = ()
    """Such as text, image, audio."""
    tools: bool | None = None
    """Whether the model can call tools."""
    unlisted: bool = False
    """Left out of `/v1/models`, yet it answers."""
    health_path: str | None = None
    """GET that answers 200 when the engine is ready; the engine's usual one when left out. `none`: it has no such path,
    and is ready as soon as its port takes connections."""
    start_timeout: PositiveDuration = 1200.0
    """From start to ready."""
    stop_grace: Duration = 15.0
    """From SIGTERM to SIGKILL."""
    preload: bool = False
    """Start with roost, without waiting for a request."""
    can_sleep: bool = True
    """False: never put to sleep; where it would be, the engine is stopped."""
    sleep_level: Literal[1, 2] = 1
    """1 keeps the weights in host memory, 2 keeps nothing (vLLM)."""
    sleep_steps: tuple[StepSpec, ...] = ()
    """The calls that put this engine to sleep, in order, in place of its usual ones; needs `wake_steps`."""
    wake_steps: tuple[StepSpec, ...] = ()
    """The calls that wake this engine, in order, in place of its usual ones; needs `sleep_steps`."""
    step_retries: Natural = 0
    """Further tries for each call of `sleep_steps` and `wake_steps` that fails, where the step does not say. Built-in
    steps are not tried again."""
    step_retry_delay: Duration = 1.0
    """Before the first further try of such a call; doubled each time."""
    canary: bool | None = None
    """After each wake a fixed question must get the same answer as at the first start. Left out: at sleep level 2 only,
    where weights that were not loaded again answer garbage with status 200."""
    sleep_mode: Literal["wait", "abort"] = "wait"
    """What an engine that is put to sleep does with requests it still has (vLLM; SGLang aborts always). roost drains
    before, so these are requests that came past it."""
    wake_on_request: bool = True
    """False: requests neither load nor wake the model; they get 503 until someone wakes it by hand."""
    sleep_after: MaybeDuration = 300.0
    """Idle time before the model is put to sleep, where its engine can sleep."""
    unload_after: MaybeDuration = None
    """Idle time before the engine is stopped."""
    min_sleep_duration: Duration = 0.0
    """A model is not put to sleep again before this since the start of its last sleep."""
    pin: bool = False
    """Never put to sleep, unloaded or evicted by roost itself."""
    concurrency: Count | None = None
    """Requests the engine gets at once; more wait in the queue."""
    max_requests: Count | None = None
    """Requests that run and wait together; the next one gets 429."""
    queue: QueueSpec = field(default_factory=QueueSpec)
    """Bounds of the queue."""
    loading_state: bool = False
    """Streamed chat completions that must wait for the model get its progress as `reasoning_content` meanwhile."""
    api_key: str | None = field(default=None, repr=False)
    """Sent to the engine as a Bearer token."""
    set_params: dict[str, Any] = field(default_factory=dict)
    """Top-level fields set in each JSON request, over what the client sent."""
    set_params_by_name: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More fields by the name that the client asked for, over `set_params`; each name is an alias of the model."""
    strip_params: tuple[str, ...] = ()
    """Top-level fields removed from each JSON request."""
    timeouts: TimeoutsSpec = field(default_factory=TimeoutsSpec)
    """How long roost waits for the engine."""
    restart: RestartSpec = field(default_factory=RestartSpec)
    """Back-off and tries after a crash."""
    on_exit: Literal["stop", "leave"] = "stop"
    """What happens to the engine when roost ends; `leave` lets the next roost adopt it."""
    footprint: Size | None = None
    """Memory it takes on each of its devices while awake; counts against `memory.devices`. Left out: estimated from its
    arguments where they tell, and learned."""
    footprint_asleep: Size = 0
    """Device memory it keeps while asleep."""
    footprints: FootprintsSpec = field(default_factory=FootprintsSpec)
    """The same state by state, with host memory; what stands here wins over `footprint` and `footprint_asleep`."""
    devices: tuple[str, ...] = ()
    """Devices of `memory.devices` that it may run on; any when left out."""
    device_count: Count | None = None
    """How many devices it takes at once; left out: as its arguments say (`--tensor-parallel-size`), else one."""
    priority: Priority = Priority.NORMAL
    """high, normal or low: whose requests go first where models contend for the same memory. A high one ends the turn
    of lower ones at once; a low one waits until no higher one does."""
    fallback: tuple[str, ...] = ()
    """Models that answer in its place when it cannot answer in time: it would have to wait past the request's deadline,
    its queue is full, or it has failed. The first of them that may and can answers, and the answer says so in
    `X-Roost-Fallback`."""
    heartbeat: MaybeDuration = None
    """Streamed requests that wait get an SSE comment with their position and the expected time this often; `never`: not
    at all."""
    inside: str | None = None
    """The entry of `hosts` that holds it."""
    adapters: dict[str, AdapterSpec] = field(default_factory=dict)
    """LoRA adapters by the names that clients send: models of their own, loaded into this one's engine on demand
    (vLLM). roost starts it with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, `--enable-lora` and `--max-loras`, as far as
    `args` do not say them; a `command` needs the flags itself, an engine at a `url` both."""
    max_loras: Count = 1
    """Adapters loaded at once, in each replica; the engine needs `--max-loras` no smaller."""

    @property
    def server(self) -> str | None:
        """`inside`, or the model whose adapter it is; None for one with an engine of its own, as all are when they are
        simulated."""
        return None if self.engine is EngineKind.SIMULATED else self.inside


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsDirSpec:
    """Every GGUF file of a folder is a model under the file's name, served by llama.cpp; files that come and go are
    noticed. A model of the same name under `models` wins."""

    __pydantic_config__ = STRICT

    path: str
    """The folder; relative paths start at the config file. Folders in it are searched, too."""
    prefix: str = ""
    """Put before each name."""
    settings: dict[str, ModelSpec] = field(default_factory=dict)
    """Model settings by a pattern of names (`qwen*`), over `defaults`; the first one that fits counts, and `defaults`
    alone where none does."""
    rescan: PositiveDuration = 5.0
    """How often the folder is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoostSpec:
    """A whole configuration."""

    __pydantic_config__ = STRICT

    server: ServerSpec = field(default_factory=ServerSpec)
    """The port, its keys and its limits."""
    defaults: ModelSpec = field(default_factory=ModelSpec)
    """Values for every model that does not set them itself."""
    memory: MemorySpec = field(default_factory=MemorySpec)
    """Budgets."""
    policy: PolicySpec = field(default_factory=PolicySpec)
    """Choices."""
    macros: dict[str, Any] = field(default_factory=dict)
    """Reusable pieces: `${name}` in any string is replaced."""
    models: dict[str, ModelSpec] = field(default_factory=dict)
    """The models by the name that clients send."""
    hosts: dict[str, HostSpec] = field(default_factory=dict)
    """Servers that someone else runs and that hold several models each."""
    discovered: dict[str, ModelSpec] = field(default_factory=dict)
    """Settings of the models that are found in `hosts` with no entry of their own, by a pattern of names (`qwen*`),
    over `defaults`; the first one that fits counts, and `defaults` alone where none does."""
    models_dir: ModelsDirSpec | None = None
    """A folder whose GGUF files are models."""


def further_names(name: str, model: ModelSpec) -> tuple[str, ...]:
    """What else the model answers to, its own name aside: aliases, and names that only set parameters."""
    own = (name, *model.aliases, *model.also_serves)
    return (*model.aliases, *(asked for asked in model.set_params_by_name if asked not in own), *model.also_serves)


def servings(model: ModelSpec) -> tuple[ModelSpec, ...]:
    """The model's spec as each of its replicas has it: host, port, url and env are the replica's own."""
    return tuple(
        replace(
            model,
            host=own.host or model.host,
            port=own.port or model.port,
            url=own.url or model.url,
            env={**model.env, **own.env},
            replicas=(own,),
        )
        for own in model.replicas or (ReplicaSpec(),)
    )
