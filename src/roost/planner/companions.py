"""Models that are called within seconds of one another: a request for one speaks for the others.

Pure. Counts only calls after a rest, so that two models in steady use do not become companions by accident. Bounded:
so many companions per model, so many recent calls. Made and asked by `demand` alone.
"""

from collections import deque
from collections.abc import Iterator, Mapping

WINDOW_S = 30.0
"""Called within this of another one: called with it."""
_PARTNERS = 8
"""Companions remembered per model; the rarest gives its place up."""
_RECENT = 8
_CALLS_MAX = 64.0
"""From so many calls on all counts of a model are halved, so that old habits fade."""
_DOUBT = 3.0
"""Calls without the companion that count beside those that were seen."""


class Companions:
    """Who follows whom."""

    def __init__(self) -> None:
        self._calls: dict[str, float] = {}
        self._after: dict[str, dict[str, float]] = {}
        self._recent: deque[tuple[float, str]] = deque(maxlen=_RECENT)

    def called(self, model: str, now: float) -> None:
        """The model is called after a rest."""
        for at, first in self._recent:
            if first != model and now - at <= WINDOW_S:
                self._count(first, model)
        self._calls[model] = self._calls.get(model, 0.0) + 1.0
        self._recent.append((now, model))
        if self._calls[model] > _CALLS_MAX:
            self._halve(model)

    def leaders(self, model: str, now: float) -> Iterator[tuple[str, float, float]]:
        """Models just called that this one follows: name, the chance that it is called within `WINDOW_S` of that too,
        and when that was."""
        for at, first in self._recent:
            count = self._after.get(first, {}).get(model, 0.0)
            if now < at + WINDOW_S and count:
                yield first, count / (self._calls.get(first, 0.0) + _DOUBT), at

    def followers(self, model: str) -> Mapping[str, float]:
        """Models called after this one, and how often."""
        return self._after.get(model, {})

    def forget(self, model: str) -> None:
        """It exists no more."""
        self._calls.pop(model, None)
        self._after.pop(model, None)
        for partners in self._after.values():
            partners.pop(model, None)
        self._recent = deque((one for one in self._recent if one[1] != model), maxlen=_RECENT)

    def _count(self, first: str, model: str) -> None:
        partners = self._after.setdefault(first, {})
        if model not in partners and len(partners) >= _PARTNERS:
            del partners[min(partners, key=partners.__getitem__)]
        partners[model] = min(partners.get(model, 0.0) + 1.0, self._calls.get(first, 1.0))

    def _halve(self, model: str) -> None:
        self._calls[model] /= 2
        self._after[model] = {name: count / 2 for name, count in self._after.get(model, {}).items() if count >= 0.5}

    def values(self, model: str) -> dict[str, object]:
        """To keep: calls, and how often each companion followed."""
        return {"calls": self._calls.get(model, 0.0), "after": dict(self.followers(model))}

    def restore(self, model: str, values: Mapping[str, object]) -> None:
        """As kept; what is no number is passed over."""
        calls, after = values.get("calls"), values.get("after")
        if not isinstance(calls, int | float) or not isinstance(after, Mapping) or not 0 < calls <= 2 * _CALLS_MAX:
            return
        self._calls[model] = float(calls)
        known = [(str(name), float(n)) for name, n in after.items() if isinstance(n, int | float) and n > 0]
        self._after[model] = {name: min(n, float(calls)) for name, n in known[:_PARTNERS]}
