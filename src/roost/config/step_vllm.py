"""Whether own steps for vLLM are its calls, and at level 2 in the order in which it comes back as it was.

Same form as `checks`; warns only, for a version or a proxy in front may know better. Warns of no step that depends on
a condition: it may be the way out of just what is warned of. Called by `load`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from roost.config.checks import Scene
from roost.config.step_checks import LISTS, Entry, body_json, entries
from roost.config.step_order import group_starts
from roost.config.step_sense import NOT_VLLM, call_of, drops, loads
from roost.core.problems import Problem
from roost.core.spec import ModelSpec

_POSTED = frozenset({"/sleep", "/wake_up", "/collective_rpc", "/reset_prefix_cache", "/pause", "/resume"})
_STAGED = "Write /wake_up?tags=weights, then the call that reads the weights, then /wake_up?tags=kv_cache."


def vllm_calls(scene: Scene) -> Iterator[Problem]:
    """What each step is to vLLM."""
    for name, model in scene.spec.models.items():
        for key in LISTS if model.engine not in NOT_VLLM else ():
            for entry in entries(scene, name, model, key):
                yield from _method(entry)
                yield from _no_body(entry)
                yield from _wrong_list(entry, key)


def _method(entry: Entry) -> Iterator[Problem]:
    call, _ = call_of(entry)
    if call in _POSTED and entry.step.method != "POST" and entry.is_whole(("method",)):
        message = f"vLLM takes {call} only with POST and answers 405 to {entry.step.method}"
        yield entry.problem(("method",), message, "Take method out; POST is the default.", "warning")


def _no_body(entry: Entry) -> Iterator[Problem]:
    call, _ = call_of(entry)
    if call != "/collective_rpc" or not entry.is_whole(("body",)):
        return
    hint = "Write body: {method: reload_weights}, or whichever method is meant."
    if entry.step.body is None or entry.step.body == "":
        yield entry.problem((), "body is missing: vLLM answers 400 to /collective_rpc without it", hint, "warning")
    elif isinstance(body := body_json(entry.step), dict) and "method" not in body:
        yield entry.problem(("body",), "has no method, and vLLM answers 400 without one", hint, "warning")


def _wrong_list(entry: Entry, key: str) -> Iterator[Problem]:
    """The lists are swapped, or one call is in the wrong one."""
    wrong, effect, other = (
        ("/wake_up", "wakes", "wake_steps") if key == "sleep_steps" else ("/sleep", "sends", LISTS[0])
    )
    if call_of(entry)[0] == wrong and entry.step.condition is None:
        does = f"{effect} the engine{'' if effect == 'wakes' else ' to sleep'}"
        message = f"{does}, and stands in {key}"
        yield entry.problem(("endpoint",), message, f"Move it to {other}; are the two lists swapped?", "warning")


@dataclass(frozen=True, slots=True)
class _Part:
    """What one step of a wake brings back. `group` is the same for steps that run together."""

    entry: Entry
    brings: frozenset[str]
    group: int


def vllm_order(scene: Scene) -> Iterator[Problem]:
    """Memory for the weights, then the weights, then the KV cache; only where there is something to put in order."""
    for name, model in scene.spec.models.items():
        if model.engine in NOT_VLLM or model.sleep_level != 2 or not drops(model.sleep_steps):
            continue
        if all(scene.is_whole(("models", name, key)) for key in LISTS):
            parts = _parts(scene, name, model)
            if any("load" in part.brings for part in parts):
                yield from _together(parts)
                yield from _too_early(parts)


def _parts(scene: Scene, name: str, model: ModelSpec) -> list[_Part]:
    groups = group_starts(model.wake_steps)
    found = (
        _Part(entry, _brings(entry), group)
        for entry, group in zip(entries(scene, name, model, "wake_steps"), groups, strict=True)
        if entry.step.condition is None or entry.step.condition.level == 2
    )
    return [part for part in found if part.brings]


def _brings(entry: Entry) -> frozenset[str]:
    call, query = call_of(entry)
    if call == "/wake_up":
        return frozenset(query.get("tags", ())) or frozenset({"weights", "kv_cache"})
    return frozenset({"load"}) if loads(entry.step) else frozenset()


def _together(parts: list[_Part]) -> Iterator[Problem]:
    for one, other in pairwise(parts):
        if one.group == other.group:
            message = "runs together with the step before, and each of a wake from level 2 needs the one before it"
            yield other.entry.problem(("parallel",), message, "Take parallel out of both.", "warning")


def _too_early(parts: list[_Part]) -> Iterator[Problem]:
    """The first step that is out of order; those after it follow from it."""
    load = next(at for at, part in enumerate(parts) if "load" in part.brings)
    for at, part in enumerate(parts):
        if at < load and {"weights", "kv_cache"} <= part.brings:
            if not part.entry.is_native:
                return
            message = "wakes everything at once, before the weights are read: nothing but garbage comes until then"
        elif at < load and "kv_cache" in part.brings:
            message = "brings the KV cache back before the weights are there"
        elif at > load and "weights" in part.brings and not any("weights" in one.brings for one in parts[:at]):
            message = "makes room for the weights after they were read, so they are lost"
        else:
            continue
        yield part.entry.problem(("endpoint",), message, _STAGED, "warning")
        return


CHECKS = (vllm_calls, vllm_order)
