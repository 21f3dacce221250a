"""A step: one HTTP call of a sleep, wake, load or unload sequence, as a value.

Made by `engines`, performed by `host/steps.py`, never the other way round. Pure.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call on the replica's own base address.

    `query` is a tuple of pairs (a key may repeat); `json` is sent as a JSON body if not None.
    `expect_status` empty means any 2xx.
    """

    path: str
    method: str = "POST"
    query: tuple[tuple[str, str], ...] = ()
    json: Any = None
    timeout_s: float = 60.0
    expect_status: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """`POST /wake_up?tags=weights`: what the log and the records call it."""
        text = "&".join(f"{key}={value}" for key, value in self.query)
        return f"{self.method} {self.path}{'?' + text if text else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What became of one step. `status` is None where no answer came; `error` is a sentence or empty."""

    name: str
    started_at: float
    duration_s: float
    status: int | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to ask whether an engine is ready: a GET and the statuses that mean yes."""

    path: str = "/health"
    ok: tuple[int, ...] = (200,)
    timeout_s: float = 2.0
    interval_s: float = 0.25
