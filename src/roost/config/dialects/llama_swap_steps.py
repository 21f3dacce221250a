"""`sleepEndpoints` and `wakeEndpoints` of llama-swap's form as steps of a native model.

Checks what only this form has: whole seconds, conditions as a text, a body whose level vLLM would not read. What steps
can do at all is checked after it, for every form. Pure; called by `llama_swap_model`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from roost.config.dialects.fields import Faults, made, written
from roost.config.dialects.llama_swap_keys import OLD_STEPS
from roost.config.masking import shown
from roost.config.tree import Node
from roost.config.validate import to_data
from roost.core.spec import EngineKind

SLEEP, WAKE = "sleepEndpoints", "wakeEndpoints"
_AS_THEY_ARE = ("headers", "status", "expect", "wait_until", "on_failure")
"""Keys of a native step that an entry may have as they are."""
_KEYS = (
    "endpoint",
    "method",
    "body",
    "timeout",
    "parallel",
    "retries",
    "retryDelay",
    "if",
    "expectedBody",
    "healthCheckAfter",
    *_AS_THEY_ARE,
)
_HINTS = {"path": "Write it as endpoint.", "url": "Write it as endpoint.", "retry_delay": "Write it as retryDelay."}
_FORMS = (
    'Write it in one of these forms: "prev.status == 200", "prev.body.PLACE == VALUE", "steps[1].status == 200", '
    '"steps[1].body.PLACE == VALUE", "level == 2"; steps are counted from 1 on.'
)
_LEVEL = re.compile(r"level\s*==\s*([12])")
_STATUS = re.compile(r"(?:prev|steps\[(\d+)\])\.status\s*==\s*(\d{3})")
_BODY = re.compile(r"(?:prev|steps\[(\d+)\])\.body\.(\S(?:.*?\S)?)\s*==\s*(.+)", re.S)
_NOT_VLLM = frozenset({EngineKind.SGLANG, EngineKind.LLAMACPP})
_IN_QUERY = {"/sleep": ("level", "mode"), "/wake_up": ("tags",)}
"""What vLLM reads from the query of a call, and nowhere else."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Both lists as native steps, and the level that the first says; empty where the model does not sleep."""

    sleep: tuple[Node, ...] = ()
    wake: tuple[Node, ...] = ()
    level: Node | None = None


def read(faults: Faults, model: Node, engine: EngineKind) -> Steps:
    """The steps of a model. One list without the other, and the old keys, are problems."""
    _refuse_old(faults, model)
    sleep, wake = written(model, SLEEP), written(model, WAKE)
    mode = faults.text(model, "sleepMode")
    if mode is not None and mode.text not in ("enable", "disable"):
        faults.add(mode, f"{shown(mode, mode.path)} is not enable or disable")
    for key, here, there in ((SLEEP, sleep, WAKE), (WAKE, wake, SLEEP)):
        other = wake if here is sleep else sleep
        if here is not None and here.items and (other is None or not (other.items or other.broken)):
            faults.add(here, f"{there} is required where {key} is configured", f"Add {there}: [{{endpoint: ...}}].")
    if mode is not None and mode.text == "enable" and sleep is None and wake is None:
        faults.add(mode, f"sleepMode: enable needs {SLEEP} and {WAKE}", "Add both lists, or remove it.")
    asleep, awake = (tuple(_step(faults, entry) for entry in faults.listed(model, key)) for key in (SLEEP, WAKE))
    if mode is not None and mode.text == "disable":
        return Steps()
    if engine not in _NOT_VLLM:
        asleep, awake = _with_queries(faults, asleep, awake)
    return Steps(asleep, awake, _level(asleep))


def _refuse_old(faults: Faults, model: Node) -> None:
    """The first form of these keys, one call each, is not read."""
    old = [key for key in OLD_STEPS if key in model.mapping]
    for key in old:
        word = "wake" if key.startswith("wake") else "sleep"
        part = key.removeprefix(word).lower()
        where = "an entry of" if part == "endpoint" else f"{part} of an entry of"
        message = f"{key} is no longer read: a sleep or a wake is a list of calls now"
        hint = f"Write it as {where} {word}Endpoints; docs/sleep.md has the old form beside the new one."
        faults.add(model.mapping[key], message, hint)


def _step(faults: Faults, entry: Node) -> Node:
    if not isinstance(entry.value, Mapping):
        faults.add(
            entry, f"{shown(entry, entry.path)} is not a mapping", 'Write "endpoint: PATH" and what belongs to it.'
        )
        return replace(entry, value={}, broken=True)
    faults.keys(entry, _KEYS, _HINTS)
    step = {key: node for key in ("method", "retryDelay", *_AS_THEY_ARE) if (node := written(entry, key)) is not None}
    step |= {"endpoint": _endpoint(faults, entry), **_body(entry)}
    if (seconds := faults.whole(entry, "timeout")) is not None:
        step["timeout"] = made(seconds, entry, "timeout")
    if (delay := step.pop("retryDelay", None)) is not None:
        step["retry_delay"] = delay
    if (retries := written(entry, "retries")) is not None:
        step["retries"] = retries
    for key, name in (("parallel", "parallel"), ("healthCheckAfter", "health_check_after")):
        if faults.truth(entry, key):
            step[name] = made(True, entry, key)
    if (condition := written(entry, "if")) is not None:
        step["if"] = _condition(faults, condition)
    if (expected := written(entry, "expectedBody")) is not None:
        step["expect"] = _expected(expected)
    return replace(entry, value=step)


def _endpoint(faults: Faults, entry: Node) -> Node:
    node = entry.mapping.get("endpoint")
    if node is None or (node.value in (None, "") and not node.broken):
        faults.add(node or entry, "the endpoint's path is required", "Write it like endpoint: /wake_up.")
        return made("/", node or entry, None if node else "endpoint")
    return node


def _body(entry: Node) -> dict[str, Node]:
    """A text is sent as it stands, also one that YAML takes for a number."""
    body = written(entry, "body")
    if body is None:
        return {}
    is_text = isinstance(body.value, str | Mapping | tuple)
    return {"body": body if is_text else replace(body, value=body.text)}


def _expected(node: Node) -> Node:
    """JSON that the body must hold; any other text must stand in it."""
    if not isinstance(node.value, str):
        is_json = isinstance(node.value, Mapping | tuple)
        return made({"json": node} if is_json else {"text": replace(node, value=node.text)}, node)
    try:
        data = json.loads(node.value)
    except ValueError:
        data = None
    if isinstance(data, dict | list):
        return made({"json": _json(data, node)}, node)
    return made({"text": node}, node)


def _json(data: Any, at: Node) -> Node:
    if isinstance(data, dict):
        return made({key: _json(value, at) for key, value in data.items()}, at)
    if isinstance(data, list):
        return made(tuple(_json(value, at) for value in data), at)
    return made(data, at)


def _condition(faults: Faults, node: Node) -> Node:
    """One of a few fixed forms."""
    text = node.value.strip() if isinstance(node.value, str) else ""
    found: dict[str, Node] = {}
    if (match := _LEVEL.fullmatch(text)) is not None:
        found = {"level": made(int(match[1]), node)}
    elif (match := _STATUS.fullmatch(text)) is not None:
        found = {**_looked_at(match[1], node), "status": made(int(match[2]), node)}
    elif (match := _BODY.fullmatch(text)) is not None:
        found = {**_looked_at(match[1], node), "at": made(match[2], node), "equals": _json(_value(match[3]), node)}
    else:
        faults.add(node, f"{shown(node, node.path)} is not a condition that can be read", _FORMS)
        return replace(node, value=None, broken=True)
    return made(found, node)


def _looked_at(number: str | None, node: Node) -> dict[str, Node]:
    return {"step": made("previous" if number is None else int(number), node)}


def _value(text: str) -> Any:
    """JSON, or a word without quotes."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'")


def _with_queries(
    faults: Faults, asleep: tuple[Node, ...], awake: tuple[Node, ...]
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """What only the body says also in the query, where vLLM reads it. One warning, at the first."""
    moved: list[tuple[Node, str]] = []
    found = tuple(_with_query(step, moved) for step in asleep), tuple(_with_query(step, moved) for step in awake)
    if moved:
        body, endpoint = moved[0]
        words = "level" if "level=" in endpoint else "this"
        message = (
            f"vLLM reads {words} from the query and ignores it in the body; sent as {endpoint}, the body unchanged"
        )
        faults.add(body, message, f"Write endpoint: {endpoint} to be rid of this line.", severity="warning")
    return found


def _with_query(step: Node, moved: list[tuple[Node, str]]) -> Node:
    endpoint, body = step.mapping.get("endpoint"), step.mapping.get("body")
    if endpoint is None or body is None or not isinstance(endpoint.value, str):
        return step
    path, _, query = endpoint.value.partition("?")
    data, known = _data(body), parse_qs(query, keep_blank_values=True)
    words = _IN_QUERY.get(path[path.rfind("/") :], ())
    pairs = [f"{word}={one}" for word in words if word in data and word not in known for one in _each(data[word])]
    if not pairs:
        return step
    added = ("&" if "?" in endpoint.value else "?") + "&".join(pairs)
    source = endpoint.source and endpoint.source + added
    full = replace(endpoint, value=endpoint.value + added, text=endpoint.value + added, source=source)
    moved.append((body, str(full.value)))
    return replace(step, value={**step.mapping, "endpoint": full})


def _data(body: Node) -> Mapping[str, Any]:
    """The body's JSON, if it is a mapping."""
    if isinstance(body.value, Mapping):
        plain: Mapping[str, Any] = to_data(body, None)
        return plain
    try:
        data = json.loads(body.value) if isinstance(body.value, str) else None
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _each(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if isinstance(one, str | int) and re.fullmatch(r"[\w.-]+", str(one))]


def _level(steps: tuple[Node, ...]) -> Node | None:
    """The level of the first call of /sleep that says one."""
    for step in steps:
        endpoint = step.mapping.get("endpoint")
        if endpoint is None or not isinstance(endpoint.value, str):
            continue
        path, _, query = endpoint.value.partition("?")
        level = parse_qs(query).get("level", [""])[0]
        if path.endswith("/sleep") and level in ("1", "2"):
            return made(int(level), endpoint)
    return None
