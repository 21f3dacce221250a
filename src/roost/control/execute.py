"""Hands a plan's actions to the replicas' owners, one log line each, and remembers what it has ordered.

An order is pending until its owner's state changes; owners advance at once, so usually nothing is. Called by the
loop alone.
"""

from collections.abc import Mapping, Sequence

from roost.control.ports import Owner
from roost.core.events import Changed
from roost.core.lifecycle import IllegalMove, State
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.reason import Reason
from roost.logs import log

_PENDING_MAX_S = 30.0
"""An order that changed nothing by then is forgotten, so that it can be given again."""


def phrase(action: Action) -> str:
    """`sleep b/0 level 1: makes a place for 'a', ...`: the action and its reason for a human reader."""
    match action:
        case Sleep(level=level):
            detail = f" level {level}"
        case Drain(goal=goal):
            detail = f" until {goal}"
        case Stop(forced=True):
            detail = " by force"
        case _:
            detail = ""
    return f"{word(action)} {action.replica}{detail}: {action.reason}"


def word(action: Action) -> str:
    """The order as the lifecycle spells it."""
    match action:
        case Load():
            return "load"
        case Wake():
            return "wake"
        case Drain():
            return "drain"
        case Undrain():
            return "undrain"
        case Sleep():
            return "sleep"
        case Stop():
            return "stop"


class Executor:
    """Gives orders; knows which are still without effect, and why each drain was ordered."""

    def __init__(self, owners: Sequence[Owner]) -> None:
        self._owners = {owner.id: owner for owner in owners}
        self._pending: dict[str, tuple[str, float]] = {}
        self._drains: dict[str, Reason] = {}
        self._levels: dict[str, int] = {}

    def add(self, owners: Sequence[Owner]) -> None:
        """Further ones."""
        self._owners.update({owner.id: owner for owner in owners})

    def forget_replica(self, replica: str) -> None:
        """It is gone."""
        for known in (self._owners, self._pending, self._drains, self._levels):
            known.pop(replica, None)

    def perform(self, actions: Sequence[Action], now: float) -> None:
        """Each action to its owner. One that the owner's state does not take is logged and left to a later plan."""
        for action in actions:
            log.info("%s", phrase(action))
            owner = self._owners[action.replica]
            self._pending[owner.id] = (word(action), now)
            if isinstance(action, Drain):
                self._drains[owner.id] = action.reason
            if isinstance(action, Sleep):
                self._levels[owner.id] = action.level
            before = owner.state
            try:
                owner.obey(action)
            except IllegalMove as error:
                log.warning("%s was not obeyed: %s", phrase(action), error)
                self._pending.pop(owner.id, None)
            if owner.state is not before:
                self._pending.pop(owner.id, None)

    def pending(self, now: float) -> Mapping[str, str]:
        """Replica id -> order that has had no effect yet."""
        for replica, (order, given_at) in list(self._pending.items()):
            if now - given_at >= _PENDING_MAX_S:
                log.warning("%s %s had no effect within %.0f s; it is planned anew", order, replica, _PENDING_MAX_S)
                del self._pending[replica]
        return {replica: order for replica, (order, _) in self._pending.items()}

    def replica_changed(self, change: Changed) -> None:
        """Hear of an owner's change: its order has had an effect."""
        self._pending.pop(change.replica, None)
        if change.before is State.DRAINING:
            self._drains.pop(change.replica, None)
        if change.before is State.SUSPENDING:
            self._levels.pop(change.replica, None)

    def drain_reason(self, owner: Owner) -> Reason | None:
        """Why it drains, if we ordered it."""
        return self._drains.get(owner.id) if owner.state is State.DRAINING else None

    def level(self, owner: Owner) -> int | None:
        """The level it sleeps at, or is on its way to."""
        return self._levels.get(owner.id) if owner.state is State.SUSPENDING else owner.level
