"""Sleep as llama-server does it: by its own idle timer, without a sleep order; any request wakes it first.

Owns the timer. Called by the application around each request of kind llamacpp-idle.
"""

import asyncio

from roost.sim.engine import Engine
from roost.sim.scheduler import Mode
from roost.tasks import spawn


class IdleTimer:
    """Counts requests inside; sleeps when none was there for `sleep_idle_seconds`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inside = 0
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> None:
        """Keep it awake, and wake it first if it sleeps: one wake serves all who wait."""
        self._inside += 1
        self._stop()
        if self._engine.is_sleeping:
            await self._engine.wake()

    def leave(self) -> None:
        """The request is over; the last one starts the clock."""
        self._inside -= 1
        self.rearm()

    def rearm(self) -> None:
        """Start the clock anew; also called at start and when the time was changed."""
        self._stop()
        after = self._engine.behaviour.sleep_idle_seconds
        if self._inside == 0 and after is not None:
            self._timer = asyncio.get_running_loop().call_later(after, self._doze)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _doze(self) -> None:
        if self._inside == 0 and not self._engine.is_sleeping:
            spawn(self._engine.sleep(1, Mode.WAIT), "idle sleep")
