"""What happened, as values: one per change of a replica's state, one per sequence of steps. Feeds log, events stream,
metrics and history.

Pure. Made by `host/replica.py` and `host/work.py`.
"""

from dataclasses import dataclass

from roost.core.lifecycle import Event, State
from roost.core.step import Operation, StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A replica moved from `before` to `after` because of `event`.

    `reason` is the sentence of the order behind it (or what was seen), `reason_kind` its kind (`idle`, `evict`,
    `over_budget`, `outslept`, `break_even`, `unlikely`, `colder`, `keeps_room`, `ahead`, `demand`, `stranded`,
    `operator`, `preload`, `wanted`, `spared`, `revived`, `stalled`, `fact`).
    `took_s` is how long the transition lasted, on the change that ends one (STARTING, WAKING, SUSPENDING, STOPPING,
    DRAINING -> anything); else None.
    """

    replica: str
    model: str
    before: State
    after: State
    event: Event
    at: float
    reason: str
    reason_kind: str
    took_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """A sequence of steps ended: a sleep, a wake, or the verifying of a load.

    `error` is the sentence of the step that failed, empty if all went well. `before_bytes` and `after_bytes` are the
    engine's memory around a sleep, None where it cannot be measured; `memory` says what was measured, or that and why
    it was not.
    """

    replica: str
    model: str
    operation: Operation
    level: int | None
    started_at: float
    duration_s: float
    steps: tuple[StepRecord, ...]
    error: str = ""
    before_bytes: int | None = None
    after_bytes: int | None = None
    memory: str = ""

    @property
    def freed_bytes(self) -> int | None:
        """What a sleep gave back; None where it was not measured."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.before_bytes - self.after_bytes

    @property
    def slowest(self) -> StepRecord | None:
        """The step that took longest; None without steps."""
        return max(self.steps, key=lambda step: step.duration_s, default=None)
