"""How a SleepManager works, and which engines it looks after: the values of its callers, checked and made into specs.

Pure; nothing here is started or asked. The five plain fields are those of a kvcached controller's YAML. Called by
`sleep_manager`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from roost.config.addresses import address_of
from roost.core.policy_spec import PolicySpec
from roost.core.spec import EngineKind, ModelSpec, Task, TimeoutsSpec

Entry = dict[str, str]
"""One engine: `host` and `port`; where needed `api_key`, `task` (generate, embed, rerank, other) and, for SGLang,
`model_path`, from where it loads its weights again."""
SleepMode = Literal["abort", "wait"]
MAX_NAME = 200
_SGLANG_STEP_S = 120.0
"""SGLang loads its weights from disk within one call."""
_ENTRY = frozenset({"host", "port", "api_key", "task", "model_path"})


@dataclass
class SleepConfig:
    """How a SleepManager works. ValueError for values that make no sense; times in seconds."""

    idle_threshold_seconds: float = 300
    """Idle for longer than this, a model is a candidate for sleep."""
    check_interval_seconds: float = 60
    """Longest time between two looks; a model that becomes due is put to sleep when it is due."""
    auto_sleep_enabled: bool = False
    """Whether idle models are put to sleep by themselves, once the manager is started."""
    wakeup_on_request: bool = True
    """Whether `handle_model_wakeup_on_request` may wake a model."""
    min_sleep_duration: float = 60
    """A model is not put to sleep by itself again before this since its last sleep began. Waking never waits for it."""
    vllm_models_config: dict[str, Entry] = field(default_factory=dict)
    """`{model: {"host": ..., "port": ...}}`."""
    sglang_models_config: dict[str, Entry] = field(default_factory=dict)
    vllm_sleep_mode: SleepMode = "abort"
    """What vLLM does with requests that it still has when it is put to sleep: those the monitor was not told of."""
    vllm_sleep_timeout_seconds: float = 30
    """Longest time for vLLM's call to sleep."""
    vllm_sleep_level: Literal[1, 2] = 1
    """1 keeps the weights in host memory, 2 keeps nothing."""

    def __post_init__(self) -> None:
        self.vllm_models_config = _tables(EngineKind.VLLM, self.vllm_models_config)
        self.sglang_models_config = _tables(EngineKind.SGLANG, self.sglang_models_config)
        for name in ("idle_threshold_seconds", "min_sleep_duration"):
            _check_number(name, getattr(self, name), 0)
        for name in ("check_interval_seconds", "vllm_sleep_timeout_seconds"):
            _check_number(name, getattr(self, name), 0.001)
        if self.vllm_sleep_mode not in get_args(SleepMode):
            raise ValueError(f"vllm_sleep_mode is abort or wait, not {self.vllm_sleep_mode!r}.")
        if self.vllm_sleep_level not in (1, 2):
            raise ValueError(f"vllm_sleep_level is 1 or 2, not {self.vllm_sleep_level!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for one model, in the words of the server's configuration."""

    spec: ModelSpec
    policy: PolicySpec


def rules_of(config: SleepConfig, kind: EngineKind, model: str, *, auto: bool) -> Rules:
    """Of a model in one of the config's tables (KeyError if it is in neither); `auto`: idle ones go to sleep."""
    vllm = kind is EngineKind.VLLM
    table = config.vllm_models_config if vllm else config.sglang_models_config
    spec = spec_of(kind, model, table[model])
    if vllm:
        spec = replace(
            spec,
            sleep_level=config.vllm_sleep_level,
            sleep_mode=config.vllm_sleep_mode,
            timeouts=TimeoutsSpec(sleep=config.vllm_sleep_timeout_seconds),
        )
    return Rules(
        spec=replace(
            spec,
            sleep_after=config.idle_threshold_seconds if auto else None,
            min_sleep_duration=config.min_sleep_duration,
            wake_on_request=config.wakeup_on_request,
        ),
        policy=PolicySpec(
            auto_sleep=auto,
            idle_threshold=config.idle_threshold_seconds,
            check_interval=config.check_interval_seconds,
        ),
    )


def _check_number(name: str, value: object, least: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
        raise ValueError(f"{name} is a number of seconds from {least:g} on, not {value!r}.")


def _tables(kind: EngineKind, table: Mapping[str, Mapping[str, object]] | None) -> dict[str, Entry]:
    """A copy of our own, values as text. ValueError names the model and what is wrong with it."""
    made = {name: {key: str(value) for key, value in entry.items()} for name, entry in (table or {}).items()}
    for name, entry in made.items():
        spec_of(kind, name, entry)
    return made


def _problems(kind: EngineKind, entry: Entry) -> Iterator[str]:
    unknown = entry.keys() - _ENTRY - ({"model_path"} if kind is EngineKind.VLLM else set())
    if unknown:
        yield f"has unknown keys: {', '.join(sorted(unknown))}; known: {', '.join(sorted(_ENTRY))}"
    if entry.get("task", "generate") not in list(Task):
        yield f"has the task {entry['task']!r}; write generate, embed, rerank or other"
    port = entry.get("port", "8000")
    if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        yield f"has the port {port!r}; write a number from 1 to 65535"


def spec_of(kind: EngineKind, model: str, entry: Entry) -> ModelSpec:
    """The model as the server's configuration would have it. ValueError for an entry that names no engine."""
    if not 1 <= len(model) <= MAX_NAME:
        raise ValueError(f"A model's name has 1 to {MAX_NAME} characters, not {len(model)}.")
    for problem in _problems(kind, entry):
        raise ValueError(f"Model {model!r} {problem}.")
    host = entry.get("host", "localhost")
    url = f"http://{f'[{host}]' if ':' in host else host}:{entry.get('port', '8000')}"
    try:
        address_of(url)
    except ValueError:
        raise ValueError(f"Model {model!r} has the host {host!r}; write a name or address, without scheme.") from None
    sglang = kind is EngineKind.SGLANG
    return ModelSpec(
        engine=kind,
        url=url,
        weights=entry.get("model_path", model) if sglang else None,
        task=Task(entry.get("task", "generate")),
        api_key=entry.get("api_key"),
        sleep_level=2 if sglang else 1,
        timeouts=TimeoutsSpec(step=_SGLANG_STEP_S) if sglang else TimeoutsSpec(),
    )
