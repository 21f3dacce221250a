"""Whether what a model hands its engine fits what the configuration says of devices: shares of a device, and the
variables that choose one.

Same form as `checks`, with paths of the native tree; looks at no machine. Called by `load`.
"""

import re
from collections.abc import Iterator, Mapping

from roost.config.checks import Scene
from roost.config.parallel import last_of
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import EngineKind, ModelSpec, servings

_SHARES: Mapping[EngineKind, tuple[str, str]] = {
    EngineKind.VLLM: ("vLLM", "--gpu-memory-utilization"),
    EngineKind.SGLANG: ("SGLang", "--mem-fraction-static"),
}
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_NUMBERED = re.compile(r"(?:gpu|cuda|hip|rocm)?[:_-]?(\d{1,3})", re.IGNORECASE)


def shares(scene: Scene) -> Iterator[Problem]:
    """A share of a device is one: the engine would refuse it at its start."""
    for name, model in scene.spec.models.items():
        known = _SHARES.get(model.engine or EngineKind.COMMAND)
        if known is None or model.url is not None:
            continue
        engine, flag = known
        command = (model.command,) if isinstance(model.command, str) else model.command or ()
        said = last_of((*command, *model.args), frozenset({flag}))
        if said is None or (share := _number(said)) is None or 0 < share <= 1:
            continue
        key = "args" if last_of(model.args, frozenset({flag})) is not None else "command"
        message = f"{flag} is {said}, and {engine} takes a share of the device: above 0, at most 1"
        yield Problem(path=("models", name, key), message=message, hint="Write 0.9 for nine tenths of it.")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def visible(scene: Scene) -> Iterator[Problem]:
    """Who chooses an engine's devices by a variable is counted on them only if `devices` says the same."""
    memory = scene.spec.memory
    if not memory.devices and not memory.discover:
        return
    for name, model in scene.spec.models.items():
        for index, serving in enumerate(servings(model)):
            for variable in _VISIBLE:
                chosen = serving.env.get(variable, "")
                if chosen.strip() and serving.url is None:
                    own = bool(model.replicas) and variable in model.replicas[index].env
                    path: ConfigPath = ("models", name, *(("replicas", index) if own else ()), "env", variable)
                    yield from _chosen(scene, serving, path, chosen)


def _chosen(scene: Scene, model: ModelSpec, path: ConfigPath, chosen: str) -> Iterator[Problem]:
    tokens = [token.strip() for token in chosen.split(",")]
    variable, devices = str(path[-1]), model.devices
    if not devices:
        if scene.spec.memory.discover or len(scene.spec.memory.devices) > 1:
            message = f"{variable} puts it on {chosen}, and its memory may be counted on another device"
            hint = f"Write devices instead of {variable}, or beside it."
            yield Problem(path=path, message=message, hint=hint, severity="warning")
        return
    meant = [_token(scene, variable, device) for device in devices]
    if None in meant or not all(token.isdigit() for token in tokens) or {*tokens} <= {*meant}:
        return
    message = f"{variable} puts it on {chosen}, and devices on {', '.join(devices)}, where its memory is counted"
    hint = f"Remove {variable}: roost sets it by devices."
    yield Problem(path=path, message=message, hint=hint, severity="warning")


def _token(scene: Scene, variable: str, device: str) -> str | None:
    """How the variable means the device: roost's own variable renumbers what roost calls gpu0."""
    match = _NUMBERED.fullmatch(device)
    if match is None:
        return None
    own = scene.env.get(variable)
    if own is None:
        return str(int(match[1]))
    tokens = [token.strip() for token in own.split(",")]
    return tokens[int(match[1])] if int(match[1]) < len(tokens) else None


CHECKS = (shares, visible)
