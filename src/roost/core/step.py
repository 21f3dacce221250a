"""A step: one HTTP call of a sleep, wake, load or unload sequence, as a value, and what became of it.

Made by `engines`, performed by `host/steps.py`, never the other way round. Pure.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

RETRY_PAUSE_MAX_S = 60.0
"""Pauses between tries double up to this."""
RETRY_JITTER = 0.25
"""A pause is up to this share longer or shorter: engines of one machine must not all ask at once."""
_ADDRESS = re.compile(r" https?://[^/? ]*")


class Operation(StrEnum):
    """What a sequence of steps is for."""

    LOAD = "load"
    UNLOAD = "unload"
    """Of a model inside a server that someone else runs."""
    SLEEP = "sleep"
    WAKE = "wake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What the body of an answer must hold; all that is given must be true. `at` is a place as `core.places` reads it;
    `equals` None: the place only has to be there. `json`: every key and entry of it must be in the body. `optional`:
    a body without the place, or that is no JSON, will do as well (older releases that answer nothing)."""

    text: str | None = None
    at: str | None = None
    equals: Any = None
    json: Any = None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a step is done. `step` 0 is the one just before, else a number from 1 on."""

    step: int = 0
    status: int | None = None
    at: str | None = None
    equals: Any = None
    level: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil:
    """A GET asked again and again until its answer is as it should be, or `timeout_s` have passed. `path`, `base` and
    `query` are as in a step; `status` None means any 2xx."""

    path: str
    base: str | None = None
    query: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    expect: Expect | None = None
    timeout_s: float = 60.0
    interval_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call on the replica's own base address, or on `base` (`http://host:port`), to which no key is sent.

    `path` may hold a query that is already as it is sent (a config's endpoint is not taken apart); the pairs of `query`
    are encoded and come after it (a key may repeat). `json` is sent as a JSON body if not None, `text` as it stands.
    `expect_status` empty means any 2xx. `timeout_s` bounds each try by itself. Neighbours of the same `group` that is
    not empty run together. `health_check_after` asks the adapter's probe until it says yes, within `timeout_s`.
    """

    path: str
    method: str = "POST"
    base: str | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    json: Any = None
    text: str | None = None
    timeout_s: float = 60.0
    expect_status: tuple[int, ...] = ()
    expect: Expect | None = None
    retries: int = 0
    retry_delay_s: float = 1.0
    condition: Condition | None = None
    group: str = ""
    health_check_after: bool = False
    wait_until: WaitUntil | None = None
    on_failure: Literal["fail", "continue", "restart"] = "fail"

    @property
    def longest_s(self) -> float:
        """The most that it may take: all tries with the pauses between them, and what is waited for afterwards."""
        pauses = (min(self.retry_delay_s * 2.0 ** min(n, 30), RETRY_PAUSE_MAX_S) for n in range(self.retries))
        after = (self.timeout_s if self.health_check_after else 0.0) + (
            self.wait_until.timeout_s if self.wait_until is not None else 0.0
        )
        return (self.retries + 1) * self.timeout_s + sum(pauses) * (1 + RETRY_JITTER) + after

    @property
    def name(self) -> str:
        """`POST /wake_up?tags=weights`: what the log and the records call it."""
        text = "&".join(f"{key}={value}" for key, value in self.query)
        sign = "&" if "?" in self.path else "?"
        return f"{self.method} {self.base or ''}{self.path}{sign + text if text else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What became of one step. `status` is None where no answer came; `error` is a sentence or empty; `skipped` says
    why it was not done, or is empty; `attempts` counts the calls made. `check`: no step that was ordered, but a request
    that verifies the engine."""

    name: str
    started_at: float
    duration_s: float
    status: int | None
    error: str = ""
    attempts: int = 1
    skipped: str = ""
    check: bool = False

    @property
    def label(self) -> str:
        """Its name without the address it was sent to: the same after a restart, so that series go on."""
        return _ADDRESS.sub(" ", self.name, count=1)


NO_HEALTH_PATH = "none"
"""In the place of a health path: the engine has none, and a connection to its port is all that can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to ask whether an engine is ready: a GET and the statuses that mean yes. `otherwise` is asked instead where
    `path` is not known (404): versions differ."""

    path: str = "/health"
    otherwise: str | None = None
    ok: tuple[int, ...] = (200,)
    timeout_s: float = 2.0
    interval_s: float = 0.25

    @property
    def shown(self) -> str:
        """What is asked, in words."""
        return "its port" if self.path == NO_HEALTH_PATH else self.path
