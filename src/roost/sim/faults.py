"""What goes wrong at single paths: they are slow, fail a few times, or answer another body.

Owns the count of failures dealt out. Called by the application before a path's handler runs.
"""

import asyncio
from collections import Counter
from collections.abc import Set

from roost.sim.exchange import Exchange, Refused
from roost.sim.flags import Behaviour


class Faults:
    """The faults by path that the behaviour names."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._failed: Counter[str] = Counter()

    def changed(self, names: Set[str]) -> None:
        """A new `fail_first` counts from zero."""
        if "fail_first" in names:
            self._failed.clear()

    async def meet(self, exchange: Exchange) -> None:
        """Wait, refuse with 503, or lay another body ready: whatever this path is told to do."""
        behaviour, path = self._behaviour, exchange.path
        await asyncio.sleep(dict(behaviour.slow_endpoint).get(path, 0.0))
        if self._failed[path] < dict(behaviour.fail_first).get(path, 0):
            self._failed[path] += 1
            raise Refused(503, "ServiceUnavailableError", f"told to fail ({self._failed[path]} so far)")
        exchange.instead = dict(behaviour.answer_body).get(path)
