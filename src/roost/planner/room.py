"""The ledger of one planning round: what is held, what comes free soon, what is promised to older wants.

Amounts are counted per key: a device's name for its bytes, `PLACES` for `memory.max_resident`. Each replica counts by
itself, for places as for bytes: two replicas of one model awake are two, for they take the memory of two. Only keys
with a configured budget exist, so without `memory:` everything fits. Pure; belongs to `plan` alone.
"""

from collections.abc import Mapping

from roost.core.lifecycle import RESIDENT, State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Sleep, Stop, Undrain
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, Goal, ModelView, ReplicaView

PLACES = ""
"""The key of resident models; no device has an empty name."""
Amounts = Mapping[str, int]
_RISING = {"load": State.STARTING, "wake": State.WAKING}
_FALLING = {"stop": State.COLD, "sleep": State.ASLEEP, "drain": State.ASLEEP}


def budgets(memory: MemorySpec) -> dict[str, int]:
    """What may be held at most, the reserve taken off."""
    limits = {device: size - memory.reserve for device, size in memory.devices.items()}
    if memory.max_resident is not None:
        limits[PLACES] = memory.max_resident
    return limits


def devices_of(spec: ModelSpec, memory: MemorySpec) -> tuple[str, ...]:
    """Where its footprint counts: the devices it names, else the first configured one."""
    return spec.devices or tuple(memory.devices)[:1]


def destination(replica: ReplicaView, action: Action | None, pending: str | None) -> State | None:
    """The state a replica on its way down will come to rest in; None if it is not on its way down."""
    match action:
        case Undrain():
            return None
        case Stop():
            return State.COLD
        case Sleep():
            return State.ASLEEP
        case Drain(goal=goal):
            return State.ASLEEP if goal is Goal.ASLEEP else State.COLD
        case _:
            pass
    match replica.state:
        case State.STOPPING:
            return State.COLD
        case State.SUSPENDING:
            return State.ASLEEP
        case State.DRAINING:
            return State.ASLEEP if replica.drain_goal is Goal.ASLEEP else State.COLD
        case _:
            return _FALLING.get(pending or "")


def rising(replica: ReplicaView, pending: str | None) -> State:
    """Its state, or the one that an order still without effect is about to bring."""
    return _RISING.get(pending or "", replica.state)


def takes_place(replica: ReplicaView, state: State) -> bool:
    """Whether it counts as awake in that state. An engine that runs elsewhere and cannot be put to sleep takes no
    place: roost could never free it, and it may well be on another machine. An adapter is part of its base."""
    return keeps_memory(replica, state) and not replica.base and (replica.owned or bool(replica.sleep_levels))


def keeps_memory(replica: ReplicaView, state: State) -> bool:
    """Whether its whole awake footprint counts in that state: also where somebody merely paused it (level 0), which
    gives nothing back."""
    paused = state is State.ASLEEP and replica.state is State.ASLEEP and replica.level == 0
    return state in RESIDENT or paused


class Room:
    """Held now, free soon and promised, per key. `take` and `promise` change it while the plan grows."""

    def __init__(self, view: FleetView) -> None:
        self.memory = view.memory
        self.budget = budgets(view.memory)
        self.held = dict.fromkeys(self.budget, 0)
        self.soon = dict.fromkeys(self.budget, 0)
        self.promised = dict.fromkeys(self.budget, 0)
        self.holders: list[tuple[ModelView, ReplicaView]] = []
        """Who holds anything at all, be it only a place beside others, in config order."""
        beside = bool(view.memory.groups) or view.memory.matrix is not None
        for model in view.models:
            for replica in model.replicas:
                state = rising(replica, view.pending.get(replica.id))
                amounts = self.weight(model, replica, state)
                _add(self.held, amounts)
                if any(amounts.values()) or (beside and takes_place(replica, state)):
                    self.holders.append((model, replica))

    def weight(self, model: ModelView, replica: ReplicaView, state: State) -> dict[str, int]:
        """What the replica counts for in that state."""
        spec, size = model.spec, 0
        if keeps_memory(replica, state):
            size = max(spec.footprint or 0, spec.footprint_asleep)
        elif state is State.ASLEEP:
            size = spec.footprint_asleep
        amounts = {device: size for device in devices_of(spec, self.memory) if device in self.budget}
        if PLACES in self.budget:
            amounts[PLACES] = int(takes_place(replica, state))
        return amounts

    def need(self, model: ModelView, replica: ReplicaView) -> dict[str, int]:
        """What it takes on top of what it holds to be awake."""
        return _less(self.weight(model, replica, State.READY), self.weight(model, replica, replica.state))

    def frees(self, model: ModelView, replica: ReplicaView, after: State) -> dict[str, int]:
        """What it gives back by coming to rest in `after`."""
        return _less(self.weight(model, replica, replica.state), self.weight(model, replica, after))

    def lack(self, need: Amounts, freed: Amounts) -> dict[str, int]:
        """What is still missing per key if `freed` were free; empty: it fits."""
        missing = {}
        for key, amount in need.items():
            over = self.held[key] + self.promised[key] + amount - freed.get(key, 0) - self.budget[key]
            if amount > 0 and over > 0:
                missing[key] = over
        return missing

    def fits(self, need: Amounts) -> bool:
        """There is room now, with all older promises kept."""
        return not self.lack(need, {})

    def excess(self, freed: Amounts) -> dict[str, int]:
        """How far each budget would be exceeded if `freed` were free; only keys that would."""
        over = {key: self.held[key] - freed.get(key, 0) - limit for key, limit in self.budget.items()}
        return {key: amount for key, amount in over.items() if amount > 0}

    def take(self, need: Amounts) -> None:
        """Used from this round on."""
        _add(self.held, need)

    def promise(self, need: Amounts) -> None:
        """Kept for an older want that cannot start yet: nobody younger may slip in before it."""
        _add(self.promised, need)

    def expect(self, freed: Amounts) -> None:
        """Will come free without further orders."""
        _add(self.soon, freed)


def _add(total: dict[str, int], amounts: Amounts) -> None:
    for key, amount in amounts.items():
        total[key] += amount


def _less(whole: Amounts, part: Amounts) -> dict[str, int]:
    return {key: amount - part.get(key, 0) for key, amount in whole.items()}
