"""A model's own sleep and wake steps: what the config writes as values, and the adapter that performs them in place of
its engine's.

Never calls anything itself. An endpoint is not taken apart further than host and path, so that its query arrives as it
was written. Called by `registry` (which adapter) and `host/fleet.py` (the variables in a step's texts).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, assert_never
from urllib.parse import urlsplit

from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.core.step import Condition, Expect, Operation, Probe, Step, WaitUntil
from roost.core.step_spec import ConditionSpec, ExpectSpec, StepSpec, WaitSpec
from roost.engines.base import Adapter, Launch, Machine, Notice, Signs
from roost.engines.common import fill, openai_verify

T = TypeVar("T")
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")


def has_own_steps(spec: ModelSpec) -> bool:
    """Whether the model says itself how it is put to sleep and woken."""
    return bool(spec.sleep_steps and spec.wake_steps)


def fitting_request(spec: ModelSpec, served_name: str) -> Step | None:
    """What a program that nobody described may well answer: the request that fits its task. None where it never sleeps,
    where its health path is all that fits, and where its engine is known and has a request of its own."""
    if spec.engine not in (None, EngineKind.COMMAND) or not has_own_steps(spec) or spec.task is Task.OTHER:
        return None
    return openai_verify(spec, served_name)


def filled(spec: ModelSpec, name: str, port: int) -> ModelSpec:
    """The model with `${PORT}`, `${HOST}` and `${MODEL}` replaced in all texts of its steps."""
    if not has_own_steps(spec):
        return spec

    def put(text: str) -> str:
        return fill(text, name, spec, port)

    return replace(
        spec,
        sleep_steps=tuple(with_texts(step, put) for step in spec.sleep_steps),
        wake_steps=tuple(with_texts(step, put) for step in spec.wake_steps),
    )


def with_texts(value: T, put: Callable[[str], str]) -> T:
    """The same with every text in it changed."""
    changed: Any = value
    if isinstance(value, str):
        changed = put(value)
    elif isinstance(value, tuple | list):
        changed = type(value)(with_texts(each, put) for each in value)
    elif isinstance(value, Mapping):
        changed = {key: with_texts(each, put) for key, each in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        changed = replace(value, **{part.name: with_texts(getattr(value, part.name), put) for part in fields(value)})
    return changed  # type: ignore[no-any-return]


def step_of(spec: StepSpec, model: ModelSpec, operation: Operation) -> Step:
    """The step as a value, its time limit and retries filled in. ValueError for an endpoint that cannot be called."""
    base, path = split_endpoint(spec.endpoint)
    return Step(
        path=path,
        method=spec.method,
        base=base,
        headers=tuple(spec.headers.items()),
        json=spec.body if isinstance(spec.body, Mapping) else None,
        text=spec.body if isinstance(spec.body, str) and spec.body else None,
        timeout_s=spec.timeout or default_timeout_s(model, operation),
        expect_status=spec.status,
        expect=_expect(spec.expect),
        retries=model.step_retries if spec.retries is None else spec.retries,
        retry_delay_s=model.step_retry_delay if spec.retry_delay is None else spec.retry_delay,
        condition=_condition(spec.condition),
        group=_group(spec.parallel),
        health_check_after=spec.health_check_after,
        wait_until=_wait(spec.wait_until),
        on_failure=spec.on_failure,
    )


def default_timeout_s(model: ModelSpec, operation: Operation) -> float:
    """Seconds for a call that sets no limit of its own: the operation's, else that of any step."""
    limits = model.timeouts
    match operation:
        case Operation.SLEEP:
            return limits.sleep or limits.step
        case Operation.WAKE:
            return limits.wake or limits.step
        case Operation.LOAD | Operation.UNLOAD:
            return limits.step
        case _ as never:
            assert_never(never)


def split_endpoint(endpoint: str) -> tuple[str | None, str]:
    """(base address, or None for the engine's own; path with its query as it stands). ValueError with a sentence."""
    if not endpoint:
        raise ValueError("the endpoint's path is required; write it like /sleep?level=2")
    if _UNSENDABLE.search(endpoint):
        raise ValueError(f'the endpoint "{endpoint}" has a space or control character; write it percent-encoded')
    if "#" in endpoint:
        raise ValueError(f'the endpoint "{endpoint}" has a "#", which is never sent; write %23 for the character')
    if endpoint.startswith("/"):
        return None, endpoint
    return _elsewhere(endpoint)


def _elsewhere(endpoint: str) -> tuple[str, str]:
    way_out = "write a path that begins with / or a whole address like http://127.0.0.1:9000/sleep"
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"the endpoint cannot be read ({str(error).lower()}); {way_out}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("the endpoint holds a user or password; write an Authorization header instead")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f'the endpoint "{endpoint}" is no address; {way_out}')
    shown = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    return base, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _group(parallel: bool | str) -> str:
    if isinstance(parallel, str):
        return f"={parallel}"  # `parallel: "true"` is a name, not the plain `true`
    return "true" if parallel else ""


def _expect(spec: ExpectSpec | None) -> Expect | None:
    return None if spec is None else Expect(text=spec.text, at=spec.at, equals=spec.equals, json=spec.json)


def _condition(spec: ConditionSpec | None) -> Condition | None:
    if spec is None:
        return None
    number = 0 if spec.step == "previous" else spec.step
    return Condition(step=number, status=spec.status, at=spec.at, equals=spec.equals, level=spec.level)


def _wait(spec: WaitSpec | None) -> WaitUntil | None:
    if spec is None:
        return None
    base, path = split_endpoint(spec.endpoint)
    return WaitUntil(
        path=path,
        base=base,
        status=spec.status,
        expect=_expect(spec.expect),
        timeout_s=spec.timeout,
        interval_s=spec.interval,
    )


def _steps(specs: Sequence[StepSpec], model: ModelSpec, operation: Operation) -> tuple[Step, ...]:
    made: list[Step] = []
    for index, spec in enumerate(specs):
        try:
            made.append(step_of(spec, model, operation))
        except ValueError as error:
            raise ValueError(f"{operation}_steps[{index}]: {error}") from None
    return tuple(made)


@dataclass(frozen=True, slots=True)
class OwnSteps:
    """The adapter of a model with steps of its own: its engine's in all else. `engine` is the kind's own adapter."""

    engine: Adapter
    paths: tuple[str, ...] = ()
    """What its steps call on the engine: nobody else should without the right to."""

    @property
    def kind(self) -> EngineKind:
        return self.engine.kind

    @property
    def inference_paths(self) -> Sequence[str]:
        return self.engine.inference_paths

    @property
    def control_paths(self) -> Sequence[str]:
        return (*self.engine.control_paths, *self.paths)

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        return self.engine.validate(name, spec)

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        return self.engine.launch(name, spec, port, machine)

    def probe(self, spec: ModelSpec) -> Probe:
        return self.engine.probe(spec)

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        """The one that its steps are written for."""
        return (spec.sleep_level,)

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        """ValueError naming the step whose endpoint cannot be called."""
        return _steps(spec.sleep_steps, spec, Operation.SLEEP)

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """ValueError naming the step whose endpoint cannot be called."""
        return _steps(spec.wake_steps, spec, Operation.WAKE)

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return self.engine.sleep_query(spec)

    def is_asleep(self, status: int, body: object) -> bool | None:
        return self.engine.is_asleep(status, body)

    def signs(self, spec: ModelSpec) -> Signs:
        return replace(self.engine.signs(spec), once=())

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        """None: they are about the engine's usual steps, which these take the place of."""
        return ()

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        return self.engine.verify(spec, served_name)


def with_own_steps(spec: ModelSpec, engine: Adapter) -> Adapter:
    """The engine's adapter, or one that performs the model's own steps where it has any."""
    if not has_own_steps(spec):
        return engine
    called = (step for step in (*spec.sleep_steps, *spec.wake_steps) if step.method != "GET")
    paths = dict.fromkeys(step.endpoint.partition("?")[0] for step in called if step.endpoint.startswith("/"))
    served = frozenset(engine.inference_paths)  # a warm-up is a step, too, and no secret
    return OwnSteps(engine, tuple(path for path in paths if path not in served and not path.startswith("/v1/")))
