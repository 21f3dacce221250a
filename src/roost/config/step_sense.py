"""Whether a model's own steps do what they should: what vLLM, SGLang and llama-server make of them.

Same form as `checks`. Knows only mistakes that engines answer with status 200, so that nobody would see them; anything
else shows at the first sleep. Called by `load`.
"""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs

from roost.config.checks import Scene
from roost.config.step_checks import LISTS, Entry, body_json, entries
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec

_NOT_VLLM = frozenset({EngineKind.SGLANG, EngineKind.LLAMACPP})
_SHOWS_LEVEL = frozenset({EngineKind.VLLM, EngineKind.SIMULATED})
_IN_QUERY = {"/sleep": ("level", "mode"), "/wake_up": ("tags",)}
"""What vLLM reads from the query of a call, and nowhere else."""
_LOADS = re.compile(r"load|update_weights|weight_update|weight_transfer")
"""In an endpoint or body: the call brings weights back. Wide on purpose: a false alarm would be worse than none."""
_DROPS = re.compile(r"/(sleep|release_memory_occupation)(\?|$)")
_IDLE_FLAG = "--sleep-idle-seconds"


def steps(scene: Scene) -> Iterator[Problem]:
    """What each step of a model comes to."""
    for name, model in scene.spec.models.items():
        for key in LISTS:
            for entry in entries(scene, name, model, key):
                if model.engine not in _NOT_VLLM:
                    yield from _in_query(entry)
                    yield from _resumed(entry)
        if model.sleep_steps and model.wake_steps:
            yield from _level(scene, name, model)
            yield from _garbage(name, model)
            yield from _sleeps_by_itself(name, model)


def _call(entry: Entry) -> tuple[str, dict[str, list[str]]]:
    """The last part of the endpoint's path, and its query."""
    path, _, query = entry.step.endpoint.partition("?")
    return path[path.rfind("/") :], parse_qs(query, keep_blank_values=True)


def _in_query(entry: Entry) -> Iterator[Problem]:
    call, query = _call(entry)
    body = body_json(entry.step)
    for word in _IN_QUERY.get(call, ()) if isinstance(body, dict) else ():
        if word not in body or word in query:
            continue
        values = body[word] if isinstance(body[word], list) else [body[word]]
        sign = "&" if "?" in entry.step.endpoint else "?"
        written = entry.step.endpoint + sign + "&".join(f"{word}={value}" for value in values)
        otherwise = "level 1" if word == "level" else "abort" if word == "mode" else "a full wake"
        message = f"vLLM reads {word} from the query and ignores it in the body, so this would be {otherwise}"
        yield entry.problem(("body",), message, f"Write endpoint: {written}")


def _resumed(entry: Entry) -> Iterator[Problem]:
    if _call(entry)[0] == "/resume":
        message = "lets vLLM compute with memory that is gone if anything of it still sleeps"
        yield entry.problem(("endpoint",), message, "Write /wake_up, which lifts a pause too.", "warning")


def _level(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    """`sleep_level` is what roost goes by: the canary, the conditions, what it says of the model. vLLM's metrics show
    how deep it sleeps, so there every sleep at another level would fail and end the engine."""
    for entry in entries(scene, name, model, "sleep_steps"):
        call, query = _call(entry)
        body = body_json(entry.step)
        in_body = isinstance(body, dict) and "level" in body and "level" not in query
        if call != "/sleep" or model.engine in _NOT_VLLM or in_body or entry.step.condition is not None:
            continue
        level = query.get("level", ["1"])[0]
        if level in ("1", "2") and int(level) != model.sleep_level:
            said = "says level" if "level" in query else "means level"
            left_out = "" if scene.given(("models", name, "sleep_level")) else " (left out)"
            message = f"{said} {level}, and the model's sleep_level is {model.sleep_level}{left_out}"
            hint = f"Write sleep_level: {level} in the model, or /sleep?level={model.sleep_level} here."
            yield entry.problem(("endpoint",), message, hint, "error" if model.engine in _SHOWS_LEVEL else "warning")


def _garbage(name: str, model: ModelSpec) -> Iterator[Problem]:
    if model.sleep_level != 2 or not any(_DROPS.search(step.endpoint) for step in model.sleep_steps):
        return
    if any(_LOADS.search(f"{step.endpoint} {step.body}") for step in model.wake_steps):
        return
    path: ConfigPath = ("models", name, "wake_steps")
    call = '{endpoint: /collective_rpc, body: {method: reload_weights}} after "/wake_up?tags=weights"'
    if model.engine is EngineKind.SGLANG:
        call = "{endpoint: /update_weights_from_disk, body: {model_path: ...}} after /resume_memory_occupation"
    message = "loads no weights, and sleep level 2 keeps none: the engine would answer garbage with status 200"
    yield Problem(path=path, message=message, hint=f"Add {call}, or write sleep_level: 1.", severity="warning")


def _sleeps_by_itself(name: str, model: ModelSpec) -> Iterator[Problem]:
    for index, word in enumerate(model.args):
        if word.partition("=")[0] == _IDLE_FLAG:
            message = "lets llama-server sleep by itself, beside the steps that put it to sleep"
            hint = "Take out the flag, or sleep_steps and wake_steps."
            yield Problem(path=("models", name, "args", index), message=message, hint=hint, severity="warning")


CHECKS = (steps,)
