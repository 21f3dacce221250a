"""What operators want: standing orders per model until they are met or refused, and pins.

Decides nothing: the planner reads the orders, this room only knows when one has come to its end and tells whoever
waits. Called by `controller` (new orders, pins, owners' changes) and `observe`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from roost.control.ports import Owner
from roost.core.events import Changed
from roost.core.lifecycle import State
from roost.core.plan import Blocked
from roost.core.view import Goal, Wish

_DOWN = frozenset({State.COLD, State.FAILED})
_NOT_UP = frozenset({State.STOPPING, State.COLD, State.BACKOFF, State.STUCK})
_CRASHED = frozenset({State.BACKOFF, State.FAILED})
_NOTHING_RUNS = _DOWN | _CRASHED
_NOT_AWAKE = _NOTHING_RUNS | {State.STUCK}
_ENDED = {
    State.COLD: "was stopped",
    State.BACKOFF: "has failed, and is tried again after a pause",
    State.STUCK: "is stuck, and its memory stays taken",
}
"""What an order in vain is told of a model."""
_MOST_USEFUL = (
    State.READY,
    State.WAKING,
    State.STARTING,
    State.DRAINING,
    State.SUSPENDING,
    State.ASLEEP,
    State.STOPPING,
    State.COLD,
    State.BACKOFF,
    State.FAILED,
    State.STUCK,
)


def foremost(states: Iterable[State]) -> State:
    """A model's state in one word: its replicas' state that a request is nearest to being answered in."""
    return min(states, key=_MOST_USEFUL.index)


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
        """`owners` is looked at whenever something is asked: models may come and go in it."""
        self._owners = owners
        self._standing: dict[str, _Standing] = {}
        self._pins = dict(pinned)
        self._woken_at: dict[str, float] = {}
        self._unpinned_at: dict[str, float] = {}
        self._sent_down_at: dict[str, float] = {}
        self._laid_down: set[str] = set()
        """Replicas that were stopped to be started afresh, until an operator said that the model shall be stopped."""

    def wish(self, model: str) -> Wish | None:
        """The model's standing order."""
        standing = self._standing.get(model)
        return None if standing is None else standing.wish

    def pinned(self, model: str) -> bool:
        """By the config, unless an operator has said otherwise since."""
        return self._pins.get(model, False)

    def unpinned_since(self, model: str, moment: float) -> bool:
        """An operator unpinned it after that, and has not pinned it again."""
        return self._unpinned_at.get(model, float("-inf")) > moment

    def sent_down_since(self, model: str, moment: float) -> bool:
        """An operator sent it to sleep or stopped it after that, and has not asked for it to be up again."""
        return self._sent_down_at.get(model, float("-inf")) > moment

    def forget(self, model: str) -> None:
        """The model is removed, while its owners are still known."""
        self._end(model, False, 409, f'Model "{model}" was removed.')
        self._pins.pop(model, None)
        for moments in (self._woken_at, self._unpinned_at, self._sent_down_at):
            moments.pop(model, None)

    def forget_replica(self, replica: str) -> None:
        """It is gone."""
        self._laid_down.discard(replica)

    def pin(self, model: str, pinned: bool, at: float | None = None) -> bool:
        """True if that changed anything. `at`: when an operator said so; None: the config does."""
        changed = self.pinned(model) is not pinned
        self._pins[model] = pinned
        self._unpinned_at.pop(model, None)
        if at is not None and not pinned:
            self._unpinned_at[model] = at
        return changed

    def woken_at(self, model: str) -> float | None:
        """When an operator last asked for it to be awake: its idle time starts anew then."""
        return self._woken_at.get(model)

    def may_revive(self, replica: str) -> bool:
        """False from an operator's order to stop it until it runs again for another cause."""
        return replica not in self._laid_down

    def place(self, model: str, wish: Wish) -> asyncio.Future[OrderResult]:
        """Let an order stand; the future is resolved when it is met or refused, at once if it is met already. Who
        asks for what is under way joins it."""
        standing = self._standing.get(model)
        if standing is not None and not standing.done.done() and _same(standing.wish, wish):
            return self._join(standing, model, wish)
        if standing is not None:
            self._end(model, False, 409, f"Another order took its place: {wish.by} asked for {wish.goal}.")
        if wish.goal is Goal.READY:
            self._woken_at[model] = wish.asked_at
        self._sent_down_at.pop(model, None)
        if wish.goal in (Goal.ASLEEP, Goal.STOPPED):
            self._sent_down_at[model] = wish.asked_at
        done: asyncio.Future[OrderResult] = asyncio.get_running_loop().create_future()
        owners = self._owners[model]
        if wish.goal is Goal.STOPPED:
            self._lay_down(model)
        if wish.goal is Goal.RESTARTED:
            down = (owner.id for owner in owners if not owner.owned or owner.state in _NOTHING_RUNS)
            wish = replace(wish, gone_down=frozenset(down))
        elif self._answered(model, wish):
            message = f'Model "{model}" is {wish.goal} already.'
            done.set_result(OrderResult(success=True, changed=False, state=self.state(model), message=message))
        if wish.goal is Goal.RESTARTED or not self._met(model, wish):
            self._standing[model] = _Standing(wish, done)
        return done

    def _join(self, standing: _Standing, model: str, wish: Wish) -> asyncio.Future[OrderResult]:
        """The earlier of both deadlines holds: whoever forces it does so for all."""
        if wish.goal is Goal.READY:
            self._woken_at[model] = wish.asked_at
        known = [at for at in (standing.wish.force_at, wish.force_at) if at is not None]
        first = standing.wish
        forced_at_once = wish.force_at is not None and wish.force_at <= wish.asked_at
        standing.wish = replace(
            first, force_at=min(known, default=None), asked_at=wish.asked_at if forced_at_once else first.asked_at
        )
        return standing.done

    def deny(self, denied: Mapping[str, Blocked]) -> None:
        """End the orders that the plan says cannot be met."""
        for model, blocked in denied.items():
            self._sent_down_at.pop(model, None)
            self._end(model, False, 409, blocked.sentence)

    def settle(self, models: Iterable[str]) -> None:
        """End the orders to be up that have nothing left to bring up: what could come up is up."""
        for model in models:
            absent = [f"{o.id} is {o.state}" for o in self._owners[model] if o.state is not State.READY]
            rest = f" ({', '.join(absent)})" if absent else ""
            self._end(model, True, 200, f'Model "{model}" is {self.state(model)}{rest}.')

    def replica_changed(self, change: Changed) -> None:
        """Hear of an owner's change: an order may be met by it, have begun, or have failed."""
        if change.after not in _NOT_UP:
            self._laid_down.discard(change.replica)
        standing = self._standing.get(change.model)
        if standing is None:
            return
        wish, model = standing.wish, change.model
        if wish.goal is Goal.STOPPED:
            self._lay_down(model)
        if wish.goal is Goal.RESTARTED and change.after in _NOTHING_RUNS and change.replica not in wish.gone_down:
            standing.wish = replace(wish, gone_down=wish.gone_down | {change.replica})
        elif self._met(model, wish):
            self._end(model, True, 200, self._arrived(model))
        elif self._answered(model, wish):
            self._answer(standing, model, True, 200, self._arrived(model))
        elif self._failed(change, wish.goal):
            self._end(model, False, 503, self._failure(change))

    def _lay_down(self, model: str) -> None:
        """What a restart would start afresh stays down: the order to stop it came later, or still stands."""
        self._laid_down.update(owner.id for owner in self._owners[model] if owner.revive)

    def close(self) -> None:
        """roost ends: nobody waits on."""
        for model in list(self._standing):
            self._end(model, False, 503, "roost is shutting down.")

    def state(self, model: str) -> str:
        """The model's state in one word: the most useful of its replicas'."""
        return str(foremost(owner.state for owner in self._owners[model]))

    def _arrived(self, model: str) -> str:
        return f'Model "{model}" is {self.state(model)}.'

    def _answered(self, model: str, wish: Wish) -> bool:
        """Whoever asked may be told that it is so: for READY the first replica is enough."""
        if wish.goal is Goal.READY:
            return any(owner.state is State.READY for owner in self._owners[model])
        return self._met(model, wish)

    def _met(self, model: str, wish: Wish) -> bool:
        """Nothing is left of the order. That no more of it can be had is for the planner to say (`settle`)."""
        owners = self._owners[model]
        match wish.goal:
            case Goal.READY:
                return all(owner.state is State.READY for owner in owners)
            case Goal.RESTARTED:
                return all(owner.state is State.READY and owner.id in wish.gone_down for owner in owners)
            case Goal.ASLEEP:
                asleep = [owner for owner in owners if owner.state not in _NOT_AWAKE]
                return bool(asleep) and all(o.state is State.ASLEEP and wish.level in (None, o.level) for o in asleep)
            case Goal.STOPPED:
                ours = [owner for owner in owners if owner.owned] or owners
                return all(owner.state in _DOWN for owner in ours)

    def _failed(self, change: Changed, goal: Goal) -> bool:
        """The change ends the last hope for the order."""
        states = [owner.state for owner in self._owners[change.model]]
        if goal is Goal.STOPPED:
            return False
        if goal is Goal.ASLEEP:
            return all(state in _NOT_AWAKE for state in states)
        return change.after in _CRASHED and all(state in _CRASHED or state is State.STUCK for state in states)

    def _failure(self, change: Changed) -> str:
        error = next((o.last_error for o in self._owners[change.model] if o.id == change.replica and o.last_error), "")
        owner = next((one for one in self._owners[change.model] if one.id == change.replica), None)
        what = "is being restarted" if owner is not None and owner.revive else _ENDED.get(change.after, "has failed")
        return f'Model "{change.model}" {what}: {error or change.reason or change.event}'

    def _end(self, model: str, success: bool, status: int, message: str) -> None:
        standing = self._standing.pop(model, None)
        if standing is not None:
            self._answer(standing, model, success, status, message)

    def _answer(self, standing: _Standing, model: str, success: bool, status: int, message: str) -> None:
        if not standing.done.done():
            state = self.state(model)
            standing.done.set_result(
                OrderResult(success=success, changed=success, state=state, message=message, status=status)
            )


def _same(one: Wish, other: Wish) -> bool:
    return one.goal is other.goal and one.level == other.level
