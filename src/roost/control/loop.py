"""The level-triggered loop: a nudge, then observe, plan, execute. It never acts on what the nudge was about.

Nudges are coalesced, rounds are bounded to 20 a second in the long run, and `next_check_at` is its only timer. A mistake in a round
is logged and tried again after a growing wait; it never ends the loop. Owned by `controller`.
"""

import asyncio
from collections.abc import Callable

from roost import clock
from roost.core.plan import Plan
from roost.logs import log

_BURST = 20.0
"""Rounds that may follow each other at once: a swap takes about eight (drain, sleep, wake, and the news of each), and a
round that waits is a request that waits."""
_RATE = 20.0
"""Rounds per second in the long run."""
_FAULT_WAIT_S = 0.25
_FAULT_WAIT_MAX_S = 30.0


class Loop:
    """Runs `round_` (observe, plan, execute; gives the plan) whenever it is nudged or due, and at least every
    `longest_rest_s`, should a nudge ever be missed."""

    def __init__(self, round_: Callable[[float], Plan], longest_rest_s: float) -> None:
        self._round = round_
        self._longest_rest_s = longest_rest_s
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._running = False
        self._tokens = _BURST
        self._counted_at = 0.0
        self._faults = 0
        self.rounds = 0

    def start(self) -> None:
        """From now on nudges count; the first round comes at once."""
        self._running = True
        self._counted_at = clock.now()
        self.nudge()

    def stop(self) -> None:
        """No further round."""
        self._running = False
        self._cancel()

    def rest_at_most(self, seconds: float) -> None:
        """Another longest rest, from the next look on."""
        self._longest_rest_s = seconds

    def nudge(self) -> None:
        """Look soon. Cheap, and as good once as many times."""
        if self._running and not self._faults:
            self._look_at(self._earliest(clock.now()))

    def _earliest(self, now: float) -> float:
        self._tokens = min(_BURST, self._tokens + (now - self._counted_at) * _RATE)
        self._counted_at = now
        return now if self._tokens >= 1.0 else now + (1.0 - self._tokens) / _RATE

    def _look_at(self, moment: float) -> None:
        if self._due <= moment:
            return
        self._cancel()
        self._due = moment
        self._timer = asyncio.get_running_loop().call_later(max(0.0, moment - clock.now()), self._run)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, float("inf")

    def _run(self) -> None:
        self._timer, self._due = None, float("inf")
        now = clock.now()
        self._earliest(now)
        self._tokens -= 1.0
        self.rounds += 1
        try:
            plan = self._round(now)
        except Exception:
            wait = min(_FAULT_WAIT_S * 2**self._faults, _FAULT_WAIT_MAX_S)
            log.exception("a planning round failed; the next one is in %.2f s", wait)
            self._faults = min(self._faults + 1, 16)
            self._look_at(now + wait)
            return
        self._faults = 0
        due = now + self._longest_rest_s
        if plan.next_check_at is not None:
            due = min(due, max(plan.next_check_at, self._earliest(now)))
        if self._running:
            self._look_at(due)
