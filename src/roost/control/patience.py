"""Who waits for an order to be met, and when waiting on is in vain: the memory is held back for longer than they stay.

Ends nobody's order, only the wait of a caller. Owned by `controller`, which hands it every plan.
"""

import asyncio
from typing import Any

from roost import clock
from roost.control.wishes import OrderResult
from roost.core.plan import HELD_BACK, Plan


class Patience:
    """The callers that wait now."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], tuple[str, float]] = {}
        """Done as soon as it is in vain; of which model, and until when its caller would wait."""

    async def wait(self, model: str, done: "asyncio.Future[OrderResult]", wait_s: float) -> OrderResult | None:
        """What became of the order; None where that did not come in time, or cannot."""
        in_vain: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[in_vain] = model, clock.now() + wait_s
        try:
            ends: list[asyncio.Future[Any]] = [done, in_vain]
            await asyncio.wait(ends, timeout=max(0.0, wait_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[in_vain]
        return done.result() if done.done() else None

    def hear(self, made: Plan) -> None:
        """Send those away whose model's memory comes back after they have gone, or nobody knows when."""
        for in_vain, (model, until) in self._waiting.items():
            blocked = made.blocked.get(model)
            if blocked is None or blocked.code != HELD_BACK or in_vain.done():
                continue
            if blocked.not_before is None or blocked.not_before > until:
                in_vain.set_result(None)
