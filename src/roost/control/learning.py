"""What the control plane learns of its models: when requests come and how long loads and wakes take.

Hears arrivals from the gate and changes from the owners, gives the observer forecasts where they matter, and hands its
memory to whoever keeps it over a restart. The one place that tells `planner.demand` the hour; decides nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from roost import clock
from roost.core.events import Changed
from roost.core.forecast import Forecast, Outlooks, ReturnCosts
from roost.core.lifecycle import Fact, State
from roost.core.policy_spec import PolicySpec
from roost.planner.demand import Demand
from roost.planner.season import HOURS

_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_HOUR_S = 3600.0
_MONDAY_S = 4 * 86400.0
"""1970 began on a Thursday: seconds from its beginning to the first Monday."""
_TOLD_EVERY_S = 10.0
"""A model in steady use is handed to whoever keeps this no more often."""


class Learning:
    """One per control plane; quick, for it hears every request. Forecasts go on over changes of policy."""

    def __init__(self, policy: Callable[[], PolicySpec], nudge: Callable[[], None]) -> None:
        self.demand = Demand()
        self._policy = policy
        self._nudge = nudge
        self._hour_ends_at = float("-inf")
        self._levels: dict[str, int | None] = {}
        """Replica -> the level that it sleeps at, or was woken from."""
        self._fresh: dict[str, float] = {}
        """Models with something new to keep, and when they were last handed over."""
        self._changed: set[str] = set()

    def arrived(self, model: str, now: float) -> None:
        """A request that counts as traffic came."""
        if now >= self._hour_ends_at:
            self._tell_hour(now)
        self.demand.arrived(model, now)
        self._changed.add(model)

    def hinted(self, model: str, now: float) -> None:
        """A client said that it will ask for the model next."""
        self.demand.hinted(model, now)
        if self._policy().wake_ahead:
            self._nudge()

    def replica_changed(self, change: Changed, level: int | None) -> None:
        """Hear of an owner's change; `level`: the one it sleeps at, if it does."""
        if change.after is State.ASLEEP:
            self._levels[change.replica] = level
        if change.took_s is None:
            return
        if change.before in (State.SUSPENDING, State.STOPPING):
            if change.event in (Fact.FELL_ASLEEP, Fact.GONE):
                self._learned(change.model, "down", change.took_s)
        elif change.event is Fact.READY and change.before is State.STARTING:
            self._learned(change.model, "load", change.took_s)
        elif change.event is Fact.READY and change.before is State.WAKING and change.replica in self._levels:
            rung = "level2" if self._levels.pop(change.replica) == 2 else "level1"
            self._learned(change.model, rung, change.took_s)

    def _learned(self, model: str, rung: str, seconds: float) -> None:
        self.demand.returned(model, rung, seconds)
        self._changed.add(model)

    def outlooks(self, now: float) -> Outlooks | None:
        """Who says how soon a model is likely wanted. Nobody where no choice depends on it: with `lru` and fixed
        clocks."""
        policy = self._policy()
        if policy.eviction != "cost" and policy.idle == "fixed" and not policy.wake_ahead:
            return None
        if now >= self._hour_ends_at:
            self._tell_hour(now)
        return Outlooks(self.demand.forecast, now)

    def known(self, model: str, now: float) -> tuple[Forecast | None, ReturnCosts | None]:
        """What is known of it, whether or not a choice depends on it."""
        if now >= self._hour_ends_at:
            self._tell_hour(now)
        return self.demand.forecast(model, now), self.demand.costs(model)

    def forget_replica(self, replica: str) -> None:
        """It exists no more; what is known of its model stays."""
        self._levels.pop(replica, None)

    def forget(self, model: str) -> None:
        """It exists no more."""
        self.demand.forget(model)
        self._changed.discard(model)
        self._fresh.pop(model, None)

    def state(self) -> Mapping[str, Any]:
        """Model -> what is known of it, as JSON; those with something new since they were last asked for. Times by
        wall clock."""
        now, wall = clock.now(), clock.wall()
        due = [name for name in self._changed if now - self._fresh.get(name, float("-inf")) >= _TOLD_EVERY_S]
        for name in due:
            self._fresh[name] = now
            self._changed.discard(name)
        return {name: {**self.demand.state(name, now), "kept_at": round(wall, 3)} for name in due}

    def restore(self, state: Mapping[str, Any]) -> None:
        """All that was kept. What cannot be read is not known; a clock that was set back counts as no time."""
        now, wall = clock.now(), clock.wall()
        for model, kept in state.items():
            kept_at = kept.get("kept_at") if isinstance(kept, Mapping) else None
            if isinstance(kept_at, int | float):
                self.demand.restore(model, kept, now, max(0.0, wall - kept_at))

    def _tell_hour(self, now: float) -> None:
        """Hours are UTC's: what matters is that the same hour comes again, not what it is called."""
        since_monday = clock.wall() - _MONDAY_S
        self._hour_ends_at = now + _HOUR_S - since_monday % _HOUR_S
        self.demand.hour(int(since_monday // _HOUR_S) % HOURS)
