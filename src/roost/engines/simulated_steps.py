"""A model's own steps as a simulated engine can take them: the same calls in the same order, and a sleep that is one.

The simulated engine knows vLLM's calls. Any other path of the steps it is told to answer, and where the steps put
nothing to sleep that it knows, its own calls are added. No call leaves for another host. Pure; called by
`simulated.simulate`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.core.step_spec import StepSpec, WaitSpec

ELSEWHERE = "/elsewhere"
"""Begin of the path that stands for a call to another host."""
_OWN = "/own"
"""Begin of the path of a call that would do more to a simulated engine than it is meant to."""
_ACTS = frozenset({"/sleep", "/wake_up", "/pause", "/resume"})
_ASKS = frozenset({"/health", "/v1/models", "/version", "/metrics"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """What the simulated engine knows: its control paths, and its steps at the model's level."""

    paths: Collection[str]
    sleep: Sequence[Step]
    wake: Sequence[Step]


def simulated_steps(model: ModelSpec, built_in: BuiltIn) -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with steps for a simulated engine, and the paths that this engine must answer besides its own."""
    whole = _calls(model.sleep_steps, "/sleep") and _calls(model.wake_steps, "/wake_up")
    known = frozenset(built_in.paths) | _ASKS if whole else frozenset[str]()
    sleep = tuple(_rewritten(step, known) for step in model.sleep_steps)
    wake = tuple(_rewritten(step, known) for step in model.wake_steps)
    if not whole:
        first = tuple(_spec(step) for step in built_in.wake)
        sleep = (*sleep, *(_spec(step) for step in built_in.sleep))
        wake = (*first, *(_moved(step, len(first)) for step in wake))
    waits = (step.wait_until.endpoint for step in (*sleep, *wake) if step.wait_until is not None)
    paths = dict.fromkeys(_path(one) for one in (*(step.endpoint for step in (*sleep, *wake)), *waits))
    return replace(model, sleep_steps=sleep, wake_steps=wake), tuple(
        path for path in paths if path not in built_in.paths
    )


def _calls(steps: Iterable[StepSpec], path: str) -> bool:
    return any(_path(_here(step.endpoint)) == path for step in steps)


def _path(endpoint: str) -> str:
    return unquote(endpoint.partition("?")[0])


def _here(endpoint: str) -> str:
    """As a path of the simulated engine itself: another host's name becomes part of it."""
    if endpoint.startswith("/"):
        return endpoint
    rest = endpoint.partition("://")[2]
    host, slash, path = rest.partition("/")
    own = "${PORT}" in host
    return f"{'' if own else f'{ELSEWHERE}/{_plain(host)}'}{slash or '/'}{path}"


def _plain(host: str) -> str:
    """A host without the signs that only stand in one."""
    return (urlsplit(f"//{host.partition('?')[0]}").hostname or "host").replace(":", "-")


def _aside(endpoint: str, known: Collection[str]) -> str:
    endpoint = _here(endpoint)
    return _OWN + endpoint if not known and _path(endpoint) in _ACTS else endpoint


def _rewritten(step: StepSpec, known: Collection[str]) -> StepSpec:
    """What an unknown path answers is not what the real one would: its body is not looked at, its status is 200."""
    endpoint, wait = _aside(step.endpoint, known), step.wait_until
    awaited = None if wait is None else _awaited(wait, known)
    if _path(endpoint) in known:
        return replace(step, endpoint=endpoint, wait_until=awaited)
    status = step.status if 200 in step.status else ()
    return replace(step, endpoint=endpoint, wait_until=awaited, expect=None, status=status)


def _awaited(wait: WaitSpec, known: Collection[str]) -> WaitSpec:
    endpoint = _aside(wait.endpoint, known)
    if _path(endpoint) in known:
        return replace(wait, endpoint=endpoint)
    return replace(wait, endpoint=endpoint, expect=None, status=None)


def _spec(step: Step) -> StepSpec:
    query = "&".join(f"{key}={value}" for key, value in step.query)
    return StepSpec(endpoint=f"{step.path}{'?' if query else ''}{query}", body=step.json)


def _moved(step: StepSpec, by: int) -> StepSpec:
    """Its condition still looks at the same step, which stands further down now."""
    condition = step.condition
    if condition is None or isinstance(condition.step, str):
        return step
    return replace(step, condition=replace(condition, step=condition.step + by))
