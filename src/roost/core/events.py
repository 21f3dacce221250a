"""What happened, as values: one per change of a replica's state. Feeds log, events stream, metrics and history.

Pure. Made by `host/replica.py` and `control/loop.py`.
"""

from dataclasses import dataclass

from roost.core.lifecycle import Event, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A replica moved from `before` to `after` because of `event`.

    `reason` is the sentence of the order behind it (or what was seen), `reason_kind` its kind (`idle`, `evict`,
    `demand`, `operator`, `preload`, `wanted`, `spared`, `fact`). `took_s` is how long the transition lasted, on the
    change that ends one (STARTING, WAKING, SUSPENDING, STOPPING, DRAINING -> anything); else None.
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
