"""What operators want: standing orders per model until they are met or refused, and pins.

Decides nothing: the planner reads the orders, this room only knows when one has come to its end and tells whoever
waits. Called by `controller` (new orders, pins, owners' changes) and `observe`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from roost.control.ports import Owner
from roost.core.events import Changed
from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.view import Goal, Wish

_DOWN = frozenset({State.COLD, State.FAILED})
_BROKEN = frozenset({State.BACKOFF, State.FAILED})
_NOTHING_RUNS = _DOWN | _BROKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """What became of an order. `status` is the HTTP answer: 200, 202 not there yet, 404, 409 refused, 503 failed."""

    success: bool
    changed: bool
    state: str
    message: str
    status: int = 200

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, as `admin.ports.Console.order` gives it."""
        return {"success": self.success, "changed": self.changed, "state": self.state, "message": self.message} | {
            "status": self.status
        }


@dataclass(slots=True)
class _Standing:
    wish: Wish
    done: asyncio.Future[OrderResult]


class Wishes:
    """At most one order per model; a newer one takes the older one's place."""

    def __init__(self, owners: Mapping[str, list[Owner]], pinned: Mapping[str, bool]) -> None:
        self._owners = owners
        self._standing: dict[str, _Standing] = {}
        self._pins = dict(pinned)
        self._woken_at: dict[str, float] = {}

    def wish(self, model: str) -> Wish | None:
        """The model's standing order."""
        standing = self._standing.get(model)
        return None if standing is None else standing.wish

    def pinned(self, model: str) -> bool:
        """By the config, unless an operator has said otherwise since."""
        return self._pins.get(model, False)

    def pin(self, model: str, pinned: bool) -> bool:
        """True if that changed anything."""
        changed = self.pinned(model) is not pinned
        self._pins[model] = pinned
        return changed

    def woken_at(self, model: str) -> float | None:
        """When an operator last asked for it to be awake: its idle time starts anew then."""
        return self._woken_at.get(model)

    def place(self, model: str, wish: Wish) -> asyncio.Future[OrderResult]:
        """Let an order stand; the future is resolved when it is met or refused, at once if it is met already."""
        if model in self._standing:
            self._end(model, False, 409, f"Another order took its place: {wish.by} asked for {wish.goal}.")
        if wish.goal is Goal.READY:
            self._woken_at[model] = wish.asked_at
        done: asyncio.Future[OrderResult] = asyncio.get_running_loop().create_future()
        if wish.goal is not Goal.RESTARTED and self._met(model, wish):
            message = f'Model "{model}" is {wish.goal} already.'
            done.set_result(OrderResult(success=True, changed=False, state=self.state(model), message=message))
            return done
        if wish.goal is Goal.RESTARTED and all(o.state in _NOTHING_RUNS for o in self._owners[model]):
            wish = replace(wish, restart_began=True)
        self._standing[model] = _Standing(wish, done)
        return done

    def deny(self, denied: Mapping[str, Blocked]) -> None:
        """End the orders that the plan says cannot be met."""
        for model, blocked in denied.items():
            self._end(model, False, 409, blocked.sentence)

    def replica_changed(self, change: Changed) -> None:
        """Hear of an owner's change: an order may be met by it, have begun, or have failed."""
        standing = self._standing.get(change.model)
        if standing is None:
            return
        goal = standing.wish.goal
        if goal is Goal.RESTARTED and not standing.wish.restart_began and change.after in _NOTHING_RUNS:
            standing.wish = replace(standing.wish, restart_began=True)
        elif self._met(change.model, standing.wish):
            self._end(change.model, True, 200, f'Model "{change.model}" is {change.after}.')
        elif self._failed(change, goal):
            self._end(change.model, False, 503, self._failure(change))

    def close(self) -> None:
        """roost ends: nobody waits on."""
        for model in list(self._standing):
            self._end(model, False, 503, "roost is shutting down.")

    def state(self, model: str) -> str:
        """The model's state in one word: the most useful of its replicas'."""
        states = [owner.state for owner in self._owners[model]]
        return str(State.READY if State.READY in states else states[0])

    def _met(self, model: str, wish: Wish) -> bool:
        owners = self._owners[model]
        match wish.goal:
            case Goal.READY:
                return any(owner.state is State.READY for owner in owners)
            case Goal.RESTARTED:
                return wish.restart_began and any(owner.state is State.READY for owner in owners)
            case Goal.ASLEEP:
                return all(o.state is State.ASLEEP and wish.level in (None, o.level) for o in owners)
            case Goal.STOPPED:
                return all(owner.state in _DOWN for owner in owners)

    def _failed(self, change: Changed, goal: Goal) -> bool:
        if goal is Goal.STOPPED:
            return False
        if goal is Goal.ASLEEP and change.before is State.STOPPING:
            return True
        return change.after in _BROKEN

    def _failure(self, change: Changed) -> str:
        error = next((o.last_error for o in self._owners[change.model] if o.id == change.replica and o.last_error), "")
        return f'Model "{change.model}" is {change.after}: {error or change.reason or change.event}'

    def _end(self, model: str, success: bool, status: int, message: str) -> None:
        standing = self._standing.pop(model, None)
        if standing is not None and not standing.done.done():
            state = self.state(model)
            standing.done.set_result(
                OrderResult(success=success, changed=success, state=state, message=message, status=status)
            )
