"""How soon a model is likely wanted again, and what bringing it back takes.

Pure values. Learned by `planner/demand.py`; read by the planner, shown by status, kept in the journal.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a model's own past says at one moment."""

    hazard_per_s: float
    """Chance per second that a request comes now, given how long none has."""
    next_s: float | None = None
    """In half of all such cases the next request comes within so many seconds; None: its past does not say."""
    samples: float = 0.0
    """Gaps it rests on, older ones counting less."""
    soon: float = 0.0
    """Chance that a request comes within `soon_s`."""
    soon_s: float = 60.0
    """A time that fits the model: many times as long as bringing it back takes."""
    then_per_s: float = 0.0
    """Requests per second that follow the first one: they wait as well while it comes back."""
    sign: str = ""
    """What makes it likelier than its own gaps say, such as another model that was just called; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnCosts:
    """Seconds until it serves again, from each rung; None: not known."""

    load_s: float | None = None
    level1_s: float | None = None
    level2_s: float | None = None
    down_s: float | None = None
    """How long it takes to go to sleep or stop, so that its memory is free for another one."""
