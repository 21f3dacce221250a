"""How soon a model is likely wanted again, and what bringing it back takes.

Pure values. Learned by `planner/demand.py`; read by the planner, shown by status, kept in the journal.
"""

from collections.abc import Callable, Mapping
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
    sign_at: float | None = None
    """When that was called or said; None: it is no event, but the hour of the week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnCosts:
    """Seconds until it serves again, from each rung; None: not known."""

    load_s: float | None = None
    level1_s: float | None = None
    level2_s: float | None = None
    down_s: float | None = None
    """How long it takes to go to sleep or stop, so that its memory is free for another one."""


class Outlooks:
    """Forecasts of one moment, each made when it is first read: of a large fleet a plan reads few."""

    __slots__ = ("_ask", "_now", "_told")

    def __init__(self, ask: Callable[[str, float], Forecast | None], now: float) -> None:
        self._ask = ask
        self._now = now
        self._told: dict[str, Forecast | None] = {}

    def of(self, model: str) -> Forecast | None:
        """The same from then on; None: nobody has ever asked for the model."""
        try:
            return self._told[model]
        except KeyError:
            found = self._told[model] = self._ask(model, self._now)
            return found

    @property
    def told(self) -> Mapping[str, Forecast | None]:
        """Those that were read: no decision rests on others."""
        return self._told
