"""Servers that hold several models, and fine-tunes inside a model, as the configuration has them: `hosts`, and a
model's `adapters`. See `spec`. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from roost.core.step_spec import StepSpec
from roost.core.units import STRICT, Count, PositiveDuration


class Preset(StrEnum):
    """What kind of server it is: which call loads and unloads a model, and where its list stands."""

    AUTO = "auto"
    LLAMA_SERVER = "llama-server"
    OLLAMA = "ollama"
    VLLM_LORA = "vllm-lora"
    GENERIC = "generic"
    FIXED = "fixed"
    """It has no load call: what it lists is ready, everything else does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """A server that someone else runs and that can hold several models; roost loads and unloads them there."""

    __pydantic_config__ = STRICT

    url: str
    """Base address: `http://vllm:8000`."""
    preset: Preset = Preset.AUTO
    """auto: the server is asked which one fits."""
    api_key: str | None = None
    """Sent to the server as a Bearer token."""
    discover: bool = True
    """Its models are served under the names it gives them, without an entry under `models`; a name that it does not
    list is offered to its load call. False: only the models that name it with `inside`."""
    max_resident: Count | None = None
    """Models loaded there at once; beside `memory.max_resident`, which counts them too."""
    load_timeout: PositiveDuration = 1200.0
    """From the load call to the model's being listed as loaded."""
    load_steps: tuple[StepSpec, ...] = ()
    """In place of the preset's calls that load a model; `${MODEL}` is its name there."""
    unload_steps: tuple[StepSpec, ...] = ()
    """In place of the preset's calls that unload a model."""
    list_path: str | None = None
    """In place of the preset's path whose GET lists the models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """A LoRA adapter of the model: a model name of its own, loaded into the model's engine when it is asked for."""

    __pydantic_config__ = STRICT

    path: str
    """Folder of the adapter as the engine sees it, or a hub id; a relative path (`./sql`) starts at the config file."""
    aliases: tuple[str, ...] = ()
    """Further names of it."""
    preload: bool = False
    """Loaded as soon as the model is up, if there is a place."""
    kind: Literal["lora"] = "lora"
    """The only kind there is."""
