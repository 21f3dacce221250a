"""Whether a model's own sleep and wake steps can be performed as they are written: endpoints, bodies, conditions.

Same form as `checks`, with paths of the native tree; `step_order` asks how they fit together, `step_sense` whether
they do what they should. Called by `load`. Never repeats an endpoint that holds a password.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from roost.config.checks import Scene
from roost.config.masking import shown
from roost.config.tree import find
from roost.core.places import parse
from roost.core.problems import ConfigPath, Problem
from roost.core.spec import ModelSpec
from roost.core.step_spec import ConditionSpec, ExpectSpec, StepSpec

LISTS = ("sleep_steps", "wake_steps")
MAX_STEPS = 32
MAX_RETRIES = 20
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
_LAUNCHED = (("${PORT}", "1"), ("${HOST}", "localhost"), ("${MODEL}", "model"))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""The connection's own, which whoever sends the call sets (RFC 9110, section 7.6.1)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One step, and where it stands."""

    scene: Scene
    path: ConfigPath
    step: StepSpec

    def problem(self, below: ConfigPath, message: str, hint: str = "", severity: str = "error") -> Problem:
        """A problem with what stands under the step at `below`."""
        return Problem(path=(*self.path, *below), message=message, hint=hint, severity=severity)

    def is_whole(self, below: ConfigPath) -> bool:
        """Whether all that stands there could be read."""
        return self.scene.is_whole((*self.path, *below))

    def shown(self, below: ConfigPath) -> str:
        """The value there as a message may print it."""
        path = (*self.path, *below)
        return shown(find(self.scene.tree, path)[0], path)


def entries(scene: Scene, name: str, model: ModelSpec, key: str) -> Iterator[Entry]:
    """The steps of one of a model's lists that could be read."""
    for index, step in enumerate(getattr(model, key)):
        yield Entry(scene, ("models", name, key, index), step)


def lists(scene: Scene) -> Iterator[Problem]:
    """A model has both lists or none, and neither is longer than anyone could follow."""
    for name, model in scene.spec.models.items():
        path: ConfigPath = ("models", name)
        if model.step_retries > MAX_RETRIES:
            yield _too_many_retries((*path, "step_retries"), model.step_retries)
        for key, other in (LISTS, LISTS[::-1]):
            has, has_other = (scene.given((*path, one, 0)) for one in (key, other))
            if has and not has_other:
                hint = f"Add {other}, the calls that undo it, or take {key} out ({key}: [] if it comes from defaults)."
                message = f"{other} is required beside {key}, and is missing"
                yield Problem(path=(*path, key), message=message, hint=hint)
            if (count := len(getattr(model, key))) > MAX_STEPS:
                message = f"has {count} steps; at most {MAX_STEPS} are performed"
                yield Problem(path=(*path, key), message=message, hint="Let one call of the engine do more.")


def unused(scene: Scene) -> Iterator[Problem]:
    """What counts for own steps only, where no model that it stands for has any."""
    own = {name: all(scene.given(("models", name, key, 0)) for key in LISTS) for name in scene.spec.models}
    for key in ("step_retries", "step_retry_delay"):
        places = {name: ("models", name, key) for name in own if scene.given(("models", name, key))}
        used = {find(scene.tree, path)[0].path for name, path in places.items() if own[name]}
        for path in places.values():
            if find(scene.tree, path)[0].path not in used:
                message = "counts for sleep_steps and wake_steps, and the steps that are built in are not tried again"
                hint = "Take it out, or write both lists; a failed wake ends in a fresh start in any case."
                yield Problem(path=path, message=message, hint=hint, severity="warning")


def each_step(scene: Scene) -> Iterator[Problem]:
    """What can be said of a step alone."""
    for name, model in scene.spec.models.items():
        for key in LISTS:
            for entry in entries(scene, name, model, key):
                yield from alone(entry)


def alone(entry: Entry) -> Iterator[Problem]:
    """What can be said of one step, whatever it is a step of."""
    yield from _endpoint(entry, entry.step.endpoint, ("endpoint",))
    yield from _body(entry)
    yield from _headers(entry)
    yield from _numbers(entry)
    yield from _expect(entry, entry.step.expect, ("expect",))
    if entry.step.wait_until is not None:
        yield from _endpoint(entry, entry.step.wait_until.endpoint, ("wait_until", "endpoint"))
        yield from _expect(entry, entry.step.wait_until.expect, ("wait_until", "expect"))


def _endpoint(entry: Entry, endpoint: str, below: ConfigPath) -> Iterator[Problem]:
    way_out = "Write a path such as /sleep?level=1, or a whole URL such as http://127.0.0.1:9000/sleep."
    if not endpoint:
        yield entry.problem(below, "is empty: the path of the call is required", way_out)
    elif _UNSENDABLE.search(endpoint):
        yield entry.problem(below, "holds a space or a control character", "Write it percent-encoded: %20.")
    elif "#" in endpoint:
        yield entry.problem(below, 'holds a "#", and what follows it is never sent', "Write %23 for the character.")
    elif not endpoint.startswith("/") or endpoint.startswith("//"):
        yield from _whole_url(entry, endpoint, below, way_out)


def _whole_url(entry: Entry, endpoint: str, below: ConfigPath, way_out: str) -> Iterator[Problem]:
    for variable, stand_in in _LAUNCHED:
        endpoint = endpoint.replace(variable, stand_in)
    try:
        parts = urlsplit(endpoint)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError as error:
        yield entry.problem(below, f"is not an address: {str(error).lower()}", way_out)
        return
    if user is not None:
        yield entry.problem(below, "holds a user or password", "Write headers: {Authorization: ...} instead.")
    elif parts.scheme not in ("http", "https") or not host:
        message = f'{entry.shown(below)} is neither a path that begins with "/" nor a whole http(s) URL'
        yield entry.problem(below, message, way_out)


def _body(entry: Entry) -> Iterator[Problem]:
    step = entry.step
    if step.body is None:
        return
    if step.method == "GET":
        yield entry.problem(("body",), "goes with GET, and servers ignore it there", "Write method: POST.", "warning")
    typed = any(name.lower() == "content-type" for name in step.headers)
    if isinstance(step.body, str) and step.body and not typed and not _is_json(step.body):
        hint = "Mend it, or set headers: {Content-Type: ...}."
        yield entry.problem(("body",), "is no JSON, yet is sent as application/json", hint, "warning")


def body_json(step: StepSpec) -> Any:
    """What the body holds; None without one and where it is no JSON."""
    if not isinstance(step.body, str):
        return step.body
    return json.loads(step.body) if _is_json(step.body) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _headers(entry: Entry) -> Iterator[Problem]:
    for name, value in entry.step.headers.items():
        below = ("headers", name)
        if not _TOKEN.fullmatch(name):
            yield entry.problem(below, "cannot be the name of a header", "Use letters, digits and -.")
        elif name.lower() in _OWN_HEADERS:
            yield entry.problem(below, "belongs to the connection, and roost sets it itself", "Take it out.")
        elif not value.isprintable() or not value.isascii():
            yield entry.problem(below, "cannot be the value of a header", "Use printable ASCII on one line.")


def _numbers(entry: Entry) -> Iterator[Problem]:
    step = entry.step
    if step.retries is not None and step.retries > MAX_RETRIES:
        yield _too_many_retries((*entry.path, "retries"), step.retries)
    written: list[tuple[ConfigPath, int | None]] = [(("status", i), status) for i, status in enumerate(step.status)]
    if step.condition is not None:
        written.append((("if", "status"), step.condition.status))
    if step.wait_until is not None:
        written.append((("wait_until", "status"), step.wait_until.status))
    for below, status in written:
        if status is not None and not 200 <= status <= 599:
            yield entry.problem(below, f"{status} is no status of an answer", "Write one from 200 to 599.")


def _too_many_retries(path: ConfigPath, count: int) -> Problem:
    hint = "Each waits twice as long as the one before; wait_until is made for waiting long."
    return Problem(path=path, message=f"{count} further tries are more than {MAX_RETRIES}", hint=hint, value=str(count))


def _expect(entry: Entry, expect: ExpectSpec | None, below: ConfigPath) -> Iterator[Problem]:
    if expect is None or not entry.is_whole(below):
        return
    if not expect.text and expect.at is None and expect.json is None and expect.equals is None:
        yield entry.problem(below, "says nothing", "Write text, at (with equals) or json, or take it out.")
    yield from value_at(entry, expect, below)


def value_at(entry: Entry, said: ExpectSpec | ConditionSpec, below: ConfigPath) -> Iterator[Problem]:
    """Place and value, which conditions and expectations write alike."""
    if said.at is not None:
        try:
            parse(said.at)
        except ValueError as error:
            yield entry.problem((*below, "at"), f"cannot be read: {error}")
    elif said.equals is not None:
        hint = "Write at: status, or wherever in the JSON body the value is to stand."
        yield entry.problem((*below, "equals"), "says no place for the value", hint)
    node, reached = find(entry.scene.tree, (*entry.path, *below, "equals"))
    if reached == len(entry.path) + len(below) + 1 and node.value is None and not node.broken:
        hint = "Leave it out to ask only that something stands there; expect.json can ask for null: {KEY: null}."
        yield entry.problem((*below, "equals"), "null is the same as nothing here", hint)


CHECKS = (lists, unused, each_step)
