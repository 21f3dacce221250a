"""Own steps of a model, as the configuration has them: `sleep_steps` and `wake_steps`. See `spec`. Pure."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from roost.core.units import STRICT, Count, Duration, Natural, PositiveDuration


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Method = Annotated[Literal["GET", "POST", "PUT", "PATCH"], BeforeValidator(_upper)]
"""Any case is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectSpec:
    """What the body of an answer must hold. All that is given must be true."""

    __pydantic_config__ = STRICT

    text: str | None = None
    """A text that must stand in the body."""
    at: str | None = None
    """A place in the JSON body: `status`, `results[0].ok`, `data[id=llama].status.value` (the entry whose id it is)."""
    equals: Any = None
    """The value at that place; left out: the place only has to be there."""
    json: Any = None
    """JSON that the body must hold: keys that it has beyond these do not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionSpec:
    """When a step is done; otherwise it is skipped. All that is given must be true."""

    __pydantic_config__ = STRICT

    step: Count | Literal["previous"] = "previous"
    """The earlier step that `status`, `at` and `equals` speak of: its number from 1 on, or the one just before. A step
    that was skipped or got no answer has neither."""
    status: int | None = None
    """That step's status."""
    at: str | None = None
    """A place in that step's JSON body, written as in `expect`."""
    equals: Any = None
    """The value at that place; left out: the place only has to be there."""
    level: Literal[1, 2] | None = None
    """The level the model sleeps at, or is put to sleep at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSpec:
    """A GET that is asked again and again, until its answer is as it should be or the time is up."""

    __pydantic_config__ = STRICT

    endpoint: str
    """As in a step."""
    status: int | None = None
    """The status it must have; any 2xx when left out."""
    expect: ExpectSpec | None = None
    """What its body must hold."""
    timeout: PositiveDuration = 60.0
    """Over it the step has failed."""
    interval: PositiveDuration = 0.5
    """Between two askings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One call of a sleep or a wake."""

    __pydantic_config__ = STRICT

    endpoint: str
    """Path and query on the engine's address (`/wake_up?tags=weights`), or a whole URL elsewhere."""
    method: Method = "POST"
    """GET, POST, PUT or PATCH."""
    body: str | dict[str, Any] | None = None
    """A text is sent as it stands, a mapping as JSON; with either goes `Content-Type: application/json`."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers added to the call."""
    timeout: Duration = 0.0
    """For each try of this call; 0: `timeouts.sleep` or `timeouts.wake`, else `timeouts.step`."""
    status: tuple[int, ...] = ()
    """Statuses that mean success; any 2xx when left out."""
    expect: ExpectSpec | None = None
    """What the answer's body must hold besides."""
    retries: Natural | None = None
    """Further tries after a failed one; the model's `step_retries` when left out."""
    retry_delay: Duration | None = None
    """Before the first further try, doubled each time; the model's `step_retry_delay` when left out."""
    condition: Annotated[ConditionSpec | None, Field(alias="if")] = None
    """Do this step only if; a step that is skipped counts as done."""
    parallel: bool | str = False
    """Neighbouring steps with the same value here run together; `true` is a value, and so is any name."""
    health_check_after: bool = False
    """Ask the engine's health before the next step, until it is well or the step's time is up."""
    wait_until: WaitSpec | None = None
    """Wait for this after the call, where the engine only begins the work with its answer."""
    on_failure: Literal["fail", "continue", "restart"] = "fail"
    """fail: the sequence ends, the engine is stopped, and started afresh when a request needs it. continue: go on as if
    it had succeeded. restart: the engine is stopped and started afresh at once."""
