"""Which preset fits a server: what it is asked, and what its answers say. Reads only: a GET changes nothing, and that a
path takes POST alone shows in its 405.

Pure. Called by `host/hosted.py`, which asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from roost.core.hosted_spec import Preset
from roost.engines.hosted import Way
from roost.engines.hosted_presets import WAYS, Generic

_ROUTES = (
    ("/v1/models/load", "/v1/models/unload"),
    ("/models/load", "/models/unload"),
    ("/api/v1/models/load", "/api/v1/models/unload"),
    ("/v1/load_model", "/v1/unload_model"),
)
"""Pairs of calls seen in the field, the likelier first."""
_LORA = "/v1/load_lora_adapter"
QUESTIONS = ("/props", "/api/tags", "/v1/models", _LORA, *(load for load, _ in _ROUTES))
"""Asked in this order, each once."""
_ONLY_POST = 405

Answers = Mapping[str, tuple[int, object] | None]
"""Path -> (status, decoded JSON or None); None where no answer came."""


@dataclass(frozen=True, slots=True)
class Found:
    """The preset that fits, and what gave it away."""

    way: Way
    why: str


def recognise(answers: Answers) -> Found | None:
    """None: it is up, perhaps, and yet like none of them."""
    props, tags = _body(answers, "/props"), _body(answers, "/api/tags")
    if isinstance(props, Mapping) and props.get("role") == "router":
        return Found(WAYS[Preset.LLAMA_SERVER], "GET /props says that it is a router")
    if isinstance(tags, Mapping) and isinstance(tags.get("models"), list):
        return Found(WAYS[Preset.OLLAMA], "GET /api/tags lists its models")
    if _takes_post(answers, _LORA):
        return Found(WAYS[Preset.VLLM_LORA], f"it has POST {_LORA}")
    for load, unload in _ROUTES:
        if _takes_post(answers, load):
            return Found(Generic(load, unload), f"it has POST {load}")
    models = _body(answers, "/v1/models")
    if isinstance(models, Mapping) and isinstance(models.get("data"), list):
        return Found(WAYS[Preset.FIXED], "it lists models and has no load call that is known")
    return None


def said(answers: Answers) -> str:
    """What it answered, for the sentence that none of the presets fits."""
    parts = [f"{path} {'no answer' if answer is None else answer[0]}" for path, answer in answers.items()]
    return ", ".join(parts)


def _body(answers: Answers, path: str) -> object:
    answer = answers.get(path)
    return answer[1] if answer is not None and answer[0] == 200 else None


def _takes_post(answers: Answers, path: str) -> bool:
    answer = answers.get(path)
    return answer is not None and answer[0] == _ONLY_POST
