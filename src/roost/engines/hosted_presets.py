"""The presets of `hosts` as values: for each kind of server its list, its calls that load and unload, its spelling of
names, and how it says that it has not got a model.

Never calls anything itself. Facts: llama-server's router answers a load at once and works on; Ollama and vLLM answer
when it is done. Used by `hosted_probe` and `host/hosted.py`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.core.hosted_spec import Preset
from roost.core.spec import Task
from roost.core.step import Step
from roost.engines.hosted import Listing, Wanted, Way

_UP = frozenset({"loaded", "ready", "running", "active", "sleeping"})
_DOWN = frozenset({"unloaded", "not_loaded", "stopped", "cold", "available", "failed", "error"})
_LATEST = ":latest"
"""The tag that Ollama takes for meant where none is given."""
_GONE = ("not found", "not exist", "not loaded", "unknown model", "no such model", "is not running")


class _Plain:
    """What most servers have in common: a name has one spelling, and 404 says that it is not there."""

    __slots__ = ()

    def key(self, name: str) -> str:
        return name

    def lacks(self, status: int, body: bytes) -> bool:
        return status == 404 and _says_gone(body)


@dataclass(frozen=True, slots=True)
class LlamaServer(_Plain):
    """llama-server without a model of its own (`--models-dir`, `--models-preset`): its router mode."""

    preset: Preset = Preset.LLAMA_SERVER
    paths: tuple[str, ...] = ("/v1/models",)
    can_load: bool = True

    def read(self, bodies: Sequence[object]) -> Listing | None:
        entries = _entries(bodies[0])
        if entries is None:
            return None
        sets: dict[str, set[str]] = {"loaded": set(), "busy": set(), "failed": set()}
        for name, entry in entries:
            spellings = {name, *_aliases(entry)}
            status = entry.get("status")
            status = status if isinstance(status, Mapping) else {}
            value = status.get("value")
            if value in ("loaded", "sleeping"):
                sets["loaded"] |= spellings
            elif value != "unloaded":
                sets["busy"] |= spellings
            elif status.get("failed"):
                sets["failed"] |= spellings
        return Listing(
            names=tuple(name for name, _ in entries),
            loaded=frozenset(sets["loaded"]),
            busy=frozenset(sets["busy"]),
            failed=frozenset(sets["failed"]),
            aliases={name: known for name, entry in entries if (known := _aliases(entry))},
        )

    def load(self, wanted: Wanted) -> tuple[Step, ...]:
        """400 says that it is loaded or on its way, which the list shows better."""
        return (Step(path="/models/load", json={"model": wanted.name}, expect_status=(200, 400)),)

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]:
        return (Step(path="/models/unload", json={"model": name}, expect_status=(200, 400), timeout_s=timeout_s),)

    def lacks(self, status: int, body: bytes) -> bool:
        """Also where the router lives and the process of the model does not."""
        if status >= 500:
            return b"Could not establish connection" in body
        return status in (400, 404) and _says_gone(body)


@dataclass(frozen=True, slots=True)
class Ollama(_Plain):
    """Ollama. A name without a tag means `:latest`."""

    preset: Preset = Preset.OLLAMA
    paths: tuple[str, ...] = ("/api/tags", "/api/ps")
    can_load: bool = True

    def key(self, name: str) -> str:
        return name if ":" in name.rpartition("/")[2] else f"{name}{_LATEST}"

    def read(self, bodies: Sequence[object]) -> Listing | None:
        there, loaded = (_ollama_entries(body) for body in bodies)
        if there is None or loaded is None:
            return None
        names = tuple(name for name, _ in there)
        return Listing(
            names=names,
            loaded=frozenset(self.key(name) for name, _ in loaded),
            aliases={name: (name[: -len(_LATEST)],) for name in names if name.endswith(_LATEST)},
            embeds=frozenset(name for name, entry in there if _embeds(name, entry)),
        )

    def load(self, wanted: Wanted) -> tuple[Step, ...]:
        """A call without a prompt only loads; kept until roost unloads it."""
        body: dict[str, Any] = {"model": wanted.name, "keep_alive": -1}
        if wanted.task is Task.EMBED:
            return (Step(path="/api/embed", json={**body, "input": ""}, timeout_s=wanted.timeout_s),)
        return (Step(path="/api/generate", json={**body, "stream": False}, timeout_s=wanted.timeout_s),)

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]:
        body = {"model": name, "keep_alive": 0, "stream": False}
        return (Step(path="/api/generate", json=body, expect_status=(200, 404), timeout_s=timeout_s),)


@dataclass(frozen=True, slots=True)
class VllmLora(_Plain):
    """vLLM with `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1: the adapters come and go, the base stays."""

    preset: Preset = Preset.VLLM_LORA
    paths: tuple[str, ...] = ("/v1/models",)
    can_load: bool = True

    def read(self, bodies: Sequence[object]) -> Listing | None:
        entries = _entries(bodies[0])
        if entries is None:
            return None
        names = tuple(name for name, _ in entries)
        bases = frozenset(name for name, entry in entries if entry.get("parent") is None)
        return Listing(names=names, loaded=frozenset(names), permanent=bases, partial=True)

    def load(self, wanted: Wanted) -> tuple[Step, ...]:
        body = {"lora_name": wanted.name, "lora_path": wanted.source or wanted.name}
        return (Step(path="/v1/load_lora_adapter", json=body, timeout_s=wanted.timeout_s),)

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]:
        body = {"lora_name": name}
        return (Step(path="/v1/unload_lora_adapter", json=body, expect_status=(200, 404), timeout_s=timeout_s),)


@dataclass(frozen=True, slots=True)
class Generic(_Plain):
    """A server with a pair of calls that take `{"model": NAME}`. Where its list tells no state, what stands in it is
    loaded."""

    load_path: str = "/v1/models/load"
    unload_path: str = "/v1/models/unload"
    preset: Preset = Preset.GENERIC
    paths: tuple[str, ...] = ("/v1/models",)
    can_load: bool = True

    def read(self, bodies: Sequence[object]) -> Listing | None:
        entries = _entries(bodies[0])
        if entries is None:
            return None
        states = {name: _state(entry) for name, entry in entries}
        return Listing(
            names=tuple(states),
            loaded=frozenset(name for name, state in states.items() if state is None or state in _UP),
            busy=frozenset(name for name, state in states.items() if state is not None and state not in _UP | _DOWN),
            failed=frozenset(name for name, state in states.items() if state in ("failed", "error")),
            partial=all(state is None for state in states.values()),
        )

    def load(self, wanted: Wanted) -> tuple[Step, ...]:
        return (Step(path=self.load_path, json={"model": wanted.name}, timeout_s=wanted.timeout_s),)

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]:
        return (Step(path=self.unload_path, json={"model": name}, expect_status=(200, 404), timeout_s=timeout_s),)

    def lacks(self, status: int, body: bytes) -> bool:
        return status in (400, 404) and _says_gone(body)


@dataclass(frozen=True, slots=True)
class Fixed(_Plain):
    """A server without a load call: what it lists is ready, and there is nothing else."""

    preset: Preset = Preset.FIXED
    paths: tuple[str, ...] = ("/v1/models",)
    can_load: bool = False

    def read(self, bodies: Sequence[object]) -> Listing | None:
        entries = _entries(bodies[0])
        if entries is None:
            return None
        names = tuple(name for name, _ in entries)
        return Listing(names=names, loaded=frozenset(names), permanent=frozenset(names))

    def load(self, wanted: Wanted) -> tuple[Step, ...]:
        return ()

    def unload(self, name: str, timeout_s: float) -> tuple[Step, ...]:
        return ()


WAYS: Mapping[Preset, Way] = {
    Preset.LLAMA_SERVER: LlamaServer(),
    Preset.OLLAMA: Ollama(),
    Preset.VLLM_LORA: VllmLora(),
    Preset.GENERIC: Generic(),
    Preset.FIXED: Fixed(),
}


def _entries(body: object) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Name and entry of each model of an OpenAI list; None if it is none."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        return None
    return [(entry["id"], entry) for entry in data if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)]


def _aliases(entry: Mapping[str, Any]) -> tuple[str, ...]:
    found = entry.get("aliases")
    return tuple(alias for alias in found if isinstance(alias, str)) if isinstance(found, list) else ()


def _ollama_entries(body: object) -> list[tuple[str, Mapping[str, Any]]] | None:
    models = body.get("models") if isinstance(body, Mapping) else None
    if not isinstance(models, list):
        return None
    named = (entry for entry in models if isinstance(entry, Mapping) and isinstance(entry.get("name"), str))
    return [(entry["name"], entry) for entry in named]


def _embeds(name: str, entry: Mapping[str, Any]) -> bool:
    """Ollama loads these by another call. Its list has the family (`bert`, `nomic-bert`); newer ones are of families
    that also chat, and are called so."""
    details = entry.get("details")
    families = details.get("families") if isinstance(details, Mapping) else None
    known = families if isinstance(families, list) else ()
    return "embed" in name.lower() or any(isinstance(one, str) and "bert" in one for one in known)


def _state(entry: Mapping[str, Any]) -> str | None:
    """What an entry says of its state, however it says it; None where it says nothing."""
    if isinstance(entry.get("loaded"), bool):
        return "loaded" if entry["loaded"] else "unloaded"
    for key in ("status", "state"):
        value = entry.get(key)
        value = value.get("value") if isinstance(value, Mapping) else value
        if isinstance(value, str):
            return value.lower()
    return None


def _says_gone(body: bytes) -> bool:
    """Whether an error's code or text is about a model that is not there: a path that is not there says less."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return any(_is_about_model(code, text) for code, text in _errors(answer))


def _errors(answer: object) -> Iterator[tuple[object, str]]:
    """(code, text) of the forms in use: OpenAI's object, a bare text (Ollama), vLLM's older flat one."""
    if not isinstance(answer, Mapping):
        return
    error = answer.get("error", answer)
    if isinstance(error, str):
        yield None, error
    elif isinstance(error, Mapping):
        yield error.get("code"), str(error.get("message", ""))


def _is_about_model(code: object, text: str) -> bool:
    said = text.lower()
    return code == "model_not_found" or ("model" in said and any(words in said for words in _GONE))
