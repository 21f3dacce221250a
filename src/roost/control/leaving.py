"""The way out of a model that is removed from a running roost: no new requests, its leases end, its engines stop.

Orders nothing itself: a standing wish of `Goal.STOPPED` has the planner drain and stop it, so its memory stays counted
until it is seen to be gone. Called by `controller` alone.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from roost import clock
from roost.control.gate import Gate
from roost.control.ports import Owner
from roost.control.refusing import removed
from roost.control.seat import Seat
from roost.control.wishes import Wishes
from roost.core.lifecycle import State
from roost.core.view import Goal, Wish

AT_REST = frozenset({State.COLD, State.BACKOFF, State.FAILED, State.STUCK})
"""Nothing of it runs, or nothing more can be done about it."""
SLACK_S = 15.0
"""Beside the time-outs of the config: for what the planner and the keeper need themselves."""


class Leaving:
    """One model on its way out."""

    def __init__(self, gate: Gate, wishes: Wishes, name: str, owners: Sequence[Owner]) -> None:
        self.name = name
        self._owners = owners
        self._moved = asyncio.Event()
        self._gate = gate
        self._wishes = wishes

    def begin(self, *, stop: bool) -> None:
        """From now on nobody finds it. `stop`: its engines are to end; else they are only let go of."""
        now, lane = clock.now(), self._gate.lane(self.name)
        lane.spec = replace(lane.spec, preload=False, pin=False)
        self._wishes.pin(self.name, False)
        self._gate.close_lane(self.name, removed(self.name))
        told = lane.on_release

        def released(seat: Seat, at: float) -> None:
            told(seat, at)
            self.moved()

        lane.on_release = released
        if stop and any(owner.owned for owner in self._owners):
            force_at = now + lane.spec.timeouts.drain
            self._wishes.place(self.name, Wish(goal=Goal.STOPPED, by="removal", asked_at=now, force_at=force_at))

    def moved(self) -> None:
        """Something of it has changed."""
        self._moved.set()

    async def over(self, *, stop: bool) -> bool:
        """Until no lease is out and, with `stop`, nothing of it runs; False where that did not come in time."""
        spec = self._gate.lane(self.name).spec
        limit_s = spec.timeouts.drain
        if stop:
            limit_s += spec.stop_grace + 2 * spec.timeouts.step + SLACK_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._is_over(stop=stop):
                    self._moved.clear()
                    await self._moved.wait()
        return self._is_over(stop=stop)

    def _is_over(self, *, stop: bool) -> bool:
        if any(seat.in_flight for seat in self._gate.lane(self.name).seats):
            return False
        return not stop or all(owner.state in AT_REST for owner in self._owners if owner.owned)
