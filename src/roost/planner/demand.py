"""What is learned from requests and from loads and wakes: how soon each model is likely wanted, and what its return
takes.

Pure: `now` (monotonic seconds) and the hour of the week come as arguments, and nothing here knows the fleet's state.
Bounded per model; a request within a second of the one before costs one look-up. Made by `control/learning.py` and by
rehearsals; kept over a restart through `state` and `restore`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log
from typing import NamedTuple

from roost.core.forecast import Forecast, ReturnCosts
from roost.planner.companions import WINDOW_S, Companions
from roost.planner.gaps import BURST_S, Gaps, chance, chances
from roost.planner.pace import Pace
from roost.planner.season import HOURS, REST_S, Season

RUNGS = ("load", "level1", "level2", "down")
"""From where a model comes back: from nothing, or from a sleep level; and the way down."""
_SCALE_MIN_S = 10.0
"""The hazard is the chance over as long again as the model has been idle, and over this at least."""
_SOON_MIN_S = 60.0
_SOON_MAX_S = 3600.0
_SOON_RETURNS = 20.0
"""`Forecast.soon_s` in returns: what takes a second to bring back is looked at a minute ahead, a load of a minute
twenty."""
_THEN_S = 30.0
_ALONE_S = 30.0
"""After so long without a request the next one may be because of another model."""
_HINT_S = 60.0
"""A hint holds for so long."""
_HINTS_BEFORE, _TRUE_BEFORE = 4.0, 3.6
"""Hints are believed from the start, as if so many had been given and had come true."""
_HINTS_MAX = 64.0
"""From then on hints and those that came true are halved, so that what clients did long ago counts less."""
_SMOOTH = 0.3
"""Weight of the newest return in the mean."""
_FRESH_MIN_S, _FRESH_PART = 2.0, 0.1
"""A forecast serves for two seconds, and longer the longer the model has been idle: it changes no faster."""
_POOL_FRESH_S = 60.0
"""All models' gaps together change slowly, too."""
_FAR_S = 60 * 86400.0
"""Nothing is farther away than two months."""
_CERTAIN = 1.0 - 1e-9
_LN_2 = log(2.0)
_SEASON_SIGN = 2.0
"""An hour is told as a sign where it makes a call so many times likelier than usual."""


class _Sign(NamedTuple):
    """What speaks for a model beside its own past."""

    odds: float
    """Chance of a request while it holds."""
    at: float
    until: float
    said: str


@dataclass(slots=True)
class _Known:
    """One model."""

    last_at: float | None = None
    """None: nobody has asked for it; it was only announced."""
    pace: Pace = field(default_factory=lambda: Pace(0.0))
    """Counts from the first request on."""
    gaps: Gaps = field(default_factory=Gaps)
    season: Season = field(default_factory=Season)
    hinted_at: float | None = None
    then_per_s: float = 0.0
    """Of which a forecast is made; found anew after each request."""
    cached: Forecast | None = None
    fresh_until: float = 0.0


class Demand:
    """All models' past, as far as it bears on their future."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._backs: dict[str, dict[str, float]] = {}
        self._costs: dict[str, ReturnCosts] = {}
        self._pool = Gaps()
        self._pool_seen = self._pool.copy()
        self._pool_until = float("-inf")
        self._companions = Companions()
        self._hour: int | None = None
        self._hints, self._hits = _HINTS_BEFORE, _TRUE_BEFORE

    def arrived(self, model: str, now: float) -> None:
        """A request for the model came."""
        known = self._known.get(model)
        if known is None or known.last_at is None:
            self._came_first(model, now)
            return
        gap_s = now - known.last_at
        if gap_s < BURST_S:
            return
        known.pace.add(now)
        known.gaps.add(gap_s)
        self._pool.add(gap_s)
        known.last_at, known.cached = now, None
        if gap_s >= _ALONE_S:
            self._begin(model, now)
        if gap_s >= REST_S and self._hour is not None:
            known.season.began(self._hour)
        if known.hinted_at is not None:
            self._end_hint(known, now)

    def _came_first(self, model: str, now: float) -> None:
        known = self._known.setdefault(model, _Known())
        known.last_at, known.pace, known.cached = now, Pace(now), None
        self._begin(model, now)
        if known.hinted_at is not None:
            self._end_hint(known, now)

    def _begin(self, model: str, now: float) -> None:
        """It is called after a rest: whoever usually follows it may be next."""
        self._companions.called(model, now)
        for follower in self._companions.followers(model):
            if follower in self._known:
                self._known[follower].cached = None

    def hinted(self, model: str, now: float) -> None:
        """A client said that it will ask for the model next. That is no request: of its past it says nothing."""
        known = self._known.setdefault(model, _Known())
        if known.hinted_at is not None and now - known.hinted_at > _HINT_S:
            self._end_hint(known, now)
        known.hinted_at, known.cached = now, None

    def _end_hint(self, known: _Known, now: float) -> None:
        """It came true, or its time is over."""
        assert known.hinted_at is not None
        self._hits += now - known.hinted_at <= _HINT_S
        self._hints += 1.0
        known.hinted_at = None
        if self._hints > _HINTS_MAX:
            self._hints, self._hits = self._hints / 2, self._hits / 2

    def hour(self, hour: int) -> None:
        """It is this hour of the week now, 0 (Monday, midnight) to 167. To be said at least once an hour."""
        if hour == self._hour or not 0 <= hour < HOURS:
            return
        self._hour = hour
        for known in self._known.values():
            known.season.passed(hour)
            known.cached = None

    def returned(self, model: str, rung: str, seconds: float) -> None:
        """It came back from that rung, or went `down`, and that took so long."""
        backs = self._backs.setdefault(model, {})
        if rung in RUNGS and seconds >= 0:
            before = backs.get(rung, seconds)
            backs[rung] = before + _SMOOTH * (seconds - before)
            self._costs[model] = ReturnCosts(
                load_s=backs.get("load"),
                level1_s=backs.get("level1"),
                level2_s=backs.get("level2"),
                down_s=backs.get("down"),
            )

    def costs(self, model: str) -> ReturnCosts | None:
        """Seconds to bring it back from each rung, as measured; None: never seen."""
        return self._costs.get(model)

    def forecast(self, model: str, now: float) -> Forecast | None:
        """How soon it is likely wanted; None: nobody has ever asked for it, nor has said so of late."""
        known = self._known.get(model)
        if known is None:
            return None
        if known.last_at is None:
            return self._announced(model, known, now)
        if known.cached is None:
            known.then_per_s = chance(known.gaps, self._general(now), BURST_S, _THEN_S) / _THEN_S
        if known.cached is None or now >= known.fresh_until:
            silent_s = now - known.last_at
            known.cached = self._forecast(model, known, now, silent_s)
            steady_s = 0.0 if known.cached.sign else _FRESH_PART * silent_s
            known.fresh_until = now + max(_FRESH_MIN_S, steady_s)
        return known.cached

    def _general(self, now: float) -> Gaps:
        if now >= self._pool_until:
            self._pool_seen, self._pool_until = self._pool.copy(), now + _POOL_FRESH_S
        return self._pool_seen

    def _announced(self, model: str, known: _Known, now: float) -> Forecast | None:
        """Of one that nobody has asked for yet: what a hint says alone, while it holds."""
        if known.hinted_at is None or now >= known.hinted_at + _HINT_S:
            return None
        if known.cached is None or now >= known.fresh_until:
            hint, soon_s = self._hint(known.hinted_at), self._soon_s(model)
            left_s = hint.until - now
            known.cached = Forecast(
                hazard_per_s=hint.odds / left_s,
                next_s=left_s / 2,
                soon=hint.odds,
                soon_s=soon_s,
                sign=hint.said,
                sign_at=hint.at,
            )
            known.fresh_until = now + _FRESH_MIN_S
        return known.cached

    def _forecast(self, model: str, known: _Known, now: float, silent_s: float) -> Forecast:
        own, pool, age_s = known.gaps, self._general(now), max(BURST_S, silent_s)
        over_s, soon_s = max(_SCALE_MIN_S, age_s), self._soon_s(model)
        season = 1.0 if self._hour is None or age_s < REST_S else known.season.factor(self._hour)
        within, within_soon = chances(own, pool, age_s, (over_s, soon_s))
        pace = known.pace.per_s(now)
        hazard = season * _agreed(within, over_s, pace)
        soon, said, said_at = 1.0 - exp(-season * soon_s * _agreed(within_soon, soon_s, pace)), "", None
        next_s = min(_FAR_S, _LN_2 / hazard)
        if season >= _SEASON_SIGN:
            said = f"at this hour it is called {season:.1f} times as often as usual"
        for sign in self._signs(model, known, now, silent_s):
            if sign.odds > soon:
                left_s = sign.until - now
                hazard, next_s = max(hazard, sign.odds / left_s), min(next_s, left_s / 2)
                soon, said, said_at = sign.odds, sign.said, sign.at
        return Forecast(
            hazard_per_s=hazard,
            next_s=next_s,
            samples=own.longer(0.0),
            soon=soon,
            soon_s=soon_s,
            then_per_s=known.then_per_s,
            sign=said,
            sign_at=said_at,
        )

    def _signs(self, model: str, known: _Known, now: float, silent_s: float) -> list[_Sign]:
        """What else speaks for it now."""
        if silent_s < _ALONE_S and known.hinted_at is None:
            return []
        found = [
            _Sign(likely, at, at + WINDOW_S, f'"{first}" was just called, and it usually follows')
            for first, likely, at in self._companions.leaders(model, now)
        ]
        if known.hinted_at is not None and now < known.hinted_at + _HINT_S:
            found.append(self._hint(known.hinted_at))
        return found

    def _hint(self, hinted_at: float) -> _Sign:
        return _Sign(self._hits / self._hints, hinted_at, hinted_at + _HINT_S, "a client said it is next")

    def _soon_s(self, model: str) -> float:
        dearest = max(self._backs.get(model, {}).values(), default=0.0)
        return min(_SOON_MAX_S, max(_SOON_MIN_S, _SOON_RETURNS * dearest))

    def forget(self, model: str) -> None:
        """It exists no more."""
        self._known.pop(model, None)
        self._backs.pop(model, None)
        self._costs.pop(model, None)
        self._companions.forget(model)

    def state(self, model: str, now: float) -> dict[str, object]:
        """What is known of one model, JSON-able; its last request as an age, for a restart has another clock."""
        known = self._known.get(model)
        kept: dict[str, object] = {"back_s": {rung: round(s, 3) for rung, s in self._backs.get(model, {}).items()}}
        if known is not None and known.last_at is not None:
            kept |= {"idle_s": round(now - known.last_at, 3), "gaps": known.gaps.values()}
            kept |= {"pace": known.pace.values(now)}
            kept |= {"season": known.season.values(), "companions": self._companions.values(model)}
        return kept

    def restore(self, model: str, kept: Mapping[str, object], now: float, away_s: float) -> None:
        """As `state` gave it `away_s` seconds ago. What cannot be read is not known."""
        backs, idle_s = kept.get("back_s"), kept.get("idle_s")
        gaps, pace = kept.get("gaps"), kept.get("pace")
        season, companions = kept.get("season"), kept.get("companions")
        for rung, seconds in backs.items() if isinstance(backs, Mapping) else ():
            if isinstance(seconds, int | float) and 0 <= seconds < float("inf"):
                self.returned(model, str(rung), float(seconds))
        if not isinstance(idle_s, int | float) or not isinstance(gaps, list) or not 0 <= idle_s < float("inf"):
            return
        away_s = max(0.0, away_s)
        known = self._known[model] = _Known(now - idle_s - away_s, Pace(now))
        known.pace.restore(pace if isinstance(pace, list) else (), away_s)
        known.gaps.restore(gaps)
        self._pool.merge(known.gaps)
        known.season.restore(season if isinstance(season, list) else ())
        if isinstance(companions, Mapping):
            self._companions.restore(model, companions)


def _agreed(likely: float, within_s: float, pace: float) -> float:
    """Requests per second, of what the gaps say (a chance within some time) and what the pace says: the mean of their
    logarithms, in which the pace counts twice."""
    by_gaps = -log(1.0 - min(likely, _CERTAIN)) / within_s
    return exp((log(max(by_gaps, 1.0 / _FAR_S)) + 2.0 * log(pace)) / 3.0)
