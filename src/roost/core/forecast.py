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
    """Expected seconds to the next request; None: its past does not say."""
    samples: float = 0.0
    """Gaps it rests on, older ones counting less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnCosts:
    """Seconds until it serves again, from each rung; None: not known."""

    load_s: float | None = None
    level1_s: float | None = None
    level2_s: float | None = None
