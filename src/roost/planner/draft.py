"""One plan in the making: orders given so far, sentences, the next due moment and the ledgers of room and company.

At most one order per replica and round. Pure; made and finished by `plan`, filled by the other modules here.
"""

from collections.abc import Mapping
from functools import cached_property

from roost.core.forecast import Forecast
from roost.core.lifecycle import READY, State
from roost.core.plan import Action, Blocked, Drain, Load, Plan, Sleep, Stop, Turn, Wake
from roost.core.view import FleetView, ModelView, Policy, ReplicaView
from roost.planner.census import Census
from roost.planner.company import Company, Verdict
from roost.planner.room import Room, budgets, destination, rising
from roost.planner.weights import Amounts, takes_place


class Draft:
    """What the round has decided so far."""

    def __init__(self, view: FleetView, policy: Policy, census: Census) -> None:
        limits = budgets(view)
        self.view = view
        self.now = view.now
        self.policy = policy
        self.known = census.look(view, policy, limits)
        """All models but those that rest."""
        self.special = [one for one in self.known if one.is_special]
        """Those of them of whom there is more to see than what they hold."""
        self.room = Room(view, limits, self.known)
        self.company = Company(view, self.known, self.is_here)
        self.actions: dict[str, Action] = {}
        self.blocked: dict[str, Blocked] = {}
        self.denied: dict[str, Blocked] = {}
        self.settled: list[str] = []
        self.notes: list[str] = []
        self.turns: dict[str, Turn] = {}
        self.awaited: dict[str, int] = {}
        """Those for whom room is kept that cannot start yet, and the ranks of their classes, in the order of their
        turns: whoever comes after them waits for them, too."""
        self.due: float | None = None
        self.typical_s: dict[tuple[State, int | None], float] = {}
        """How long models take to come back from a rung, where one's own time is not known; filled by `worth`."""
        self._sinking: set[str] = set()
        self.yielding: dict[bool, list[tuple[ModelView, ReplicaView]]] = {}
        """Kept by `victims`: who could yield, whether residency counts or not."""
        self.starts = sum([one.starts for one in self.known])

    @cached_property
    def models(self) -> list[ModelView]:
        """All but those that rest."""
        return [one.model for one in self.known]

    @cached_property
    def bases(self) -> Mapping[str, tuple[ModelView, ReplicaView]]:
        """The engines that hold adapters."""
        return {one.id: (model, one) for model in self.models if model.spec.adapters for one in model.replicas}

    @cached_property
    def guests(self) -> Mapping[str, list[tuple[ModelView, ReplicaView]]]:
        """By the engines that hold them, the adapters."""
        found: dict[str, list[tuple[ModelView, ReplicaView]]] = {}
        for model in self.models if self.bases else ():
            for replica in model.replicas:
                if replica.base:
                    found.setdefault(replica.base, []).append((model, replica))
        return found

    def forecast(self, model: ModelView) -> Forecast | None:
        """How soon it is likely wanted again; None: nothing has been learned."""
        outlooks = self.view.outlooks
        return model.forecast if outlooks is None or model.forecast is not None else outlooks.of(model.name)

    @cached_property
    def counts_costs(self) -> bool:
        """Whoever is cheapest to do without yields first; else the least recently used. Costs need that something has
        been learned that tells one model from another."""
        if self.policy.spec.eviction != "cost":
            return False
        models = self.models
        return any(one.return_s is not None for one in models) or any(self.forecast(one) is not None for one in models)

    def free(self, replica: ReplicaView) -> bool:
        """No order of this round or of an earlier one is still open for it."""
        return replica.id not in self.actions and replica.id not in self.view.pending

    def do(self, action: Action) -> None:
        """Order it."""
        self.actions[action.replica] = action

    def may_start(self, replica: ReplicaView) -> bool:
        """Fewer engines are starting than `max_starts`; an adapter needs none."""
        return bool(replica.base) or self.starts < max(1, self.policy.spec.max_starts)

    def start(self, model: ModelView, action: Load | Wake, need: Amounts) -> None:
        """Order it up into room that has been found free, beside whom it may be."""
        self.do(action)
        self.starts += not any(replica.base for replica in model.replicas)
        self.room.take(need)
        self.company.join(model.name)

    def promise(self, model: ModelView, rank: int, need: Amounts, verdict: Verdict) -> None:
        """Keep room, and its company, for one that cannot start yet."""
        self.room.promise(need)
        self.company.promise(model.name, verdict)
        self.awaited.setdefault(model.name, rank)

    def is_here(self, replica: ReplicaView) -> bool:
        """It counts as awake, or is about to."""
        return takes_place(replica, rising(replica, self.view.pending.get(replica.id)))

    def stays_until(self, replica: ReplicaView) -> float:
        """Before this moment it does not yield to others (`policy.residency`)."""
        if replica.state is not READY or replica.became_ready_at is None:
            return self.now
        return replica.became_ready_at + self.policy.spec.residency

    def at(self, moment: float | None) -> None:
        """Look again then, if it lies ahead."""
        if moment is not None and moment > self.now:
            self.due = moment if self.due is None else min(self.due, moment)

    def block(self, blocked: Blocked) -> None:
        """Tell those who wait why; a final one ends an operator's wish too."""
        self.blocked[blocked.model] = blocked
        if blocked.final:
            self.deny(blocked)

    def deny(self, blocked: Blocked) -> None:
        """Tell the operator why; those who wait are not touched."""
        self.denied[blocked.model] = blocked

    def count_falling(self) -> None:
        """Enter what is on its way down into the ledger, the orders of this round included."""
        for model, replica in self.falling_or_ordered():
            action, after = self.actions.get(replica.id), self.destination(replica)
            if after is not None:
                self._sinking.add(replica.id)
                level = action.level if isinstance(action, Sleep) else None
                self.room.expect(self.room.frees(model, replica, after, level))

    def destination(self, replica: ReplicaView) -> State | None:
        """Where it comes to rest if it is on its way down, else None."""
        action, held = self.actions.get(replica.id), self.room.of(replica)
        if action is None and held is not None:
            return held.after
        return destination(replica, action, self.view.pending.get(replica.id))

    def falling_or_ordered(self) -> list[tuple[ModelView, ReplicaView]]:
        """Of those that hold something who is on its way down, or has been given any order in this round; in no
        certain order."""
        found = {one.pair[1].id: one.pair for one in self.room.falling}
        for name in self.actions:
            held = self.room.holding.get(name)
            if held is not None:
                found[name] = held.pair
        return list(found.values())

    def falling(self) -> list[ModelView]:
        """The models on their way down that will give something back."""
        return [
            model
            for model, replica in self.room.holders
            if replica.id in self._sinking or isinstance(self.actions.get(replica.id), Drain | Stop)
        ]

    def finish(self) -> Plan:
        """The plan; sentences about wishes only where there is a wish. An adapter goes with its engine: it needs no
        order of its own then."""
        for action in list(self.actions.values()):
            for _, guest in self.guests.get(action.replica, ()) if isinstance(action, Sleep | Stop) else ():
                self.actions.pop(guest.id, None)
        wished = {model.name for model in self.models if model.wish is not None} if self.denied else ()
        return Plan(
            actions=tuple(self.actions.values()),
            blocked=self.blocked,
            denied={name: blocked for name, blocked in self.denied.items() if name in wished},
            settled=tuple(self.settled),
            notes=tuple(self.notes),
            turns=self.turns,
            next_check_at=self.due,
        )
