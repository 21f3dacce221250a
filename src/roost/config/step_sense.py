"""Whether a model's own steps do what they should: what vLLM, SGLang and llama-server make of them.

Same form as `checks`. Knows only mistakes that engines answer with status 200, so that nobody would see them; anything
else shows at the first sleep. Called by `load`.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

from roost.config.checks import Scene
from roost.config.step_checks import LISTS, Entry, body_json, entries
from roost.config.tree import find
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step_spec import StepSpec

NOT_VLLM = frozenset({EngineKind.SGLANG, EngineKind.LLAMACPP})
"""Kinds whose steps are surely none of vLLM's; any other server may be one behind a command or an address."""
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
                if model.engine not in NOT_VLLM:
                    yield from _in_query(entry)
                    yield from _resumed(entry)
        whole = all(scene.is_whole(("models", name, key)) for key in LISTS)
        yield from _no_levels(scene, name, model)
        if model.sleep_steps and model.wake_steps and whole:
            yield from _level(scene, name, model)
            yield from _garbage(name, model)
            yield from _sleeps_by_itself(name, model)


def call_of(entry: Entry) -> tuple[str, dict[str, list[str]]]:
    """The last part of the endpoint's path, and its query."""
    path, _, query = entry.step.endpoint.partition("?")
    return path[path.rfind("/") :], parse_qs(query, keep_blank_values=True)


def loads(step: StepSpec) -> bool:
    """Whether the call may be the one that brings weights back."""
    return _LOADS.search(f"{step.endpoint} {step.body}") is not None


def drops(steps: Iterable[StepSpec]) -> bool:
    """Whether one of these calls lets an engine give its memory back."""
    return any(_DROPS.search(step.endpoint) for step in steps)


def _in_query(entry: Entry) -> Iterator[Problem]:
    call, query = call_of(entry)
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
    if call_of(entry)[0] == "/resume":
        message = "lets vLLM compute with memory that is gone if anything of it still sleeps"
        yield entry.problem(("endpoint",), message, "Write /wake_up, which lifts a pause too.", "warning")


def _level(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    """`sleep_level` is what roost goes by: the canary, the conditions, what it says of the model. vLLM's metrics show
    how deep it sleeps, so there every sleep at another level would fail and end the engine."""
    for entry in entries(scene, name, model, "sleep_steps"):
        call, query = call_of(entry)
        body = body_json(entry.step)
        in_body = isinstance(body, dict) and "level" in body and "level" not in query
        if call != "/sleep" or model.engine in NOT_VLLM or in_body or entry.step.condition is not None:
            continue
        level = query.get("level", ["1"])[0]
        if level in ("1", "2") and int(level) != model.sleep_level:
            said = "says level" if "level" in query else "means level"
            left_out = "" if scene.given(("models", name, "sleep_level")) else " (left out)"
            message = f"{said} {level}, and the model's sleep_level is {model.sleep_level}{left_out}"
            hint = f"Write sleep_level: {level} in the model, or /sleep?level={model.sleep_level} here."
            is_seen = model.engine in _SHOWS_LEVEL and entry.step.endpoint.startswith("/")
            yield entry.problem(("endpoint",), message, hint, "error" if is_seen else "warning")


def _garbage(name: str, model: ModelSpec) -> Iterator[Problem]:
    if model.sleep_level != 2 or not drops(model.sleep_steps) or any(loads(step) for step in model.wake_steps):
        return
    path: ConfigPath = ("models", name, "wake_steps")
    call = '{endpoint: /collective_rpc, body: {method: reload_weights}} after "/wake_up?tags=weights"'
    if model.engine is EngineKind.SGLANG:
        call = "{endpoint: /update_weights_from_disk, body: {model_path: ...}} after /resume_memory_occupation"
    message = "loads no weights, and sleep level 2 keeps none: the engine would answer garbage with status 200"
    yield Problem(path=path, message=message, hint=f"Add {call}, or write sleep_level: 1.", severity="warning")


def _no_levels(scene: Scene, name: str, model: ModelSpec) -> Iterator[Problem]:
    """Said of the model's own key; `defaults` may mean the others."""
    path: ConfigPath = ("models", name, "sleep_level")
    if model.engine is not EngineKind.LLAMACPP or model.sleep_level != 2 or model.sleep_steps:
        return
    if find(scene.tree, path)[0].path[:1] == ("models",):
        message = "llama-server has one way to sleep and no levels, so 2 does nothing but turn the canary on"
        yield Problem(path=path, message=message, hint="Take it out; canary: true asks for that.", severity="warning")


def _sleeps_by_itself(name: str, model: ModelSpec) -> Iterator[Problem]:
    for index, word in enumerate(model.args):
        if word.partition("=")[0] == _IDLE_FLAG:
            message = "lets llama-server sleep by itself, beside the steps that put it to sleep"
            hint = "Take out the flag, or sleep_steps and wake_steps."
            yield Problem(path=("models", name, "args", index), message=message, hint=hint, severity="warning")


CHECKS = (steps,)
