"""The ledger of one planning round: what is held, what comes free soon, what is promised to older wants.

Amounts are counted per key: a device's name for its bytes, `HOST` for those of host memory, `PLACES` for
`memory.max_resident`, `places_in(server)` for the models inside a server that holds several. Each replica counts by
itself, for places as for bytes: two replicas of one model awake are two, for they take the memory of two. Only keys
with a budget exist, so without `memory:` everything fits. Pure; belongs to `plan` alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from roost.core.footprint import HOST
from roost.core.lifecycle import ASLEEP, COLD, READY, State
from roost.core.plan import Action, Drain, Sleep, Stop, Undrain
from roost.core.view import FleetView, Goal, ModelView, ReplicaView
from roost.planner.census import Entry, Held
from roost.planner.weights import Amounts, Choice, bytes_in, held, keeps_memory, takes_place, written_devices

PLACES = ""
"""The key of resident models; no device has an empty name."""
UNBOUNDED = 1 << 62
"""More bytes than there are."""
_INSIDE = "\0"
"""Begins the keys of places inside a server; no device's name does."""
_RISING = {"load": State.STARTING, "wake": State.WAKING}
_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_FALLING = {"stop": State.COLD, "sleep": State.ASLEEP, "drain": State.ASLEEP}


def places_in(server: str) -> str:
    """The key of the models inside this server."""
    return _INSIDE + server


def is_places(key: str) -> bool:
    """Whether it counts models, not bytes."""
    return key == PLACES or key.startswith(_INSIDE)


def server_of(key: str) -> str:
    """The server whose places it counts; empty: those of all together."""
    return key.removeprefix(_INSIDE)


def budgets(view: FleetView) -> dict[str, int]:
    """What may be held at most, devices first and in their order; reserves are taken off."""
    memory = view.memory
    if view.devices is not None:
        limits = {device.name: device.budget for device in view.devices}
    else:
        limits = {device: max(0, size - memory.reserve) for device, size in memory.devices.items()}
        if memory.host is not None:
            limits[HOST] = max(0, memory.host - memory.host_reserve)
    if memory.max_resident is not None:
        limits[PLACES] = memory.max_resident
    for server, bound in view.places.items():
        limits[places_in(server)] = bound
    return limits


def destination(replica: ReplicaView, action: Action | None, pending: str | None) -> State | None:
    """The state a replica on its way down will come to rest in; None if it is not on its way down."""
    match action:
        case Undrain():
            return None
        case Stop():
            return COLD
        case Sleep():
            return ASLEEP
        case Drain(goal=goal):
            return ASLEEP if goal is Goal.ASLEEP else COLD
        case _:
            pass
    match replica.state:
        case State.STOPPING:
            return COLD
        case State.SUSPENDING:
            return ASLEEP
        case State.DRAINING:
            return ASLEEP if replica.drain_goal is Goal.ASLEEP else COLD
        case _:
            return _FALLING.get(pending or "")


def rising(replica: ReplicaView, pending: str | None) -> State:
    """Its state, or the one that an order still without effect is about to bring."""
    return _RISING.get(pending or "", replica.state)


class Room:
    """Held now, free soon and promised, per key. `take` and `promise` change it while the plan grows."""

    def __init__(self, view: FleetView, limits: Mapping[str, int], known: Sequence[Entry]) -> None:
        self.memory = view.memory
        self.windows = view.windows
        self.budget = limits
        self.devices = tuple(key for key in self.budget if key != HOST and not is_places(key))
        self.facts = {device.name: device for device in view.devices or ()}
        self.held = dict.fromkeys(self.budget, 0)
        self.soon = dict.fromkeys(self.budget, 0)
        self.promised = dict.fromkeys(self.budget, 0)
        self.holders: list[tuple[ModelView, ReplicaView]] = []
        """Who holds anything at all, be it only a place beside others, in config order."""
        self.holding: dict[str, Held] = {}
        """The same by replica."""
        self.falling: list[Held] = []
        """Those of them that are on their way down without an order of this round."""
        self._known = known
        for entry in known:
            if entry.held is None:
                entry.held = tuple(self._weighed(entry.model, view.pending))
            if entry.held:
                for one in entry.held:
                    self._enter(one)

    def _weighed(self, model: ModelView, pending: Mapping[str, str]) -> Iterator[Held]:
        beside = bool(self.memory.groups) or self.memory.matrix is not None
        for replica in model.replicas:
            state = rising(replica, pending.get(replica.id))
            if state in _NOTHING_RUNS and not replica.lingering:
                continue
            amounts, left = self.weight(model, replica, state), self.lingering(model, replica)
            holds = bool(left) or any(amounts.values()) or (beside and takes_place(replica, state))
            if holds:
                yield Held((model, replica), amounts, left, destination(replica, None, pending.get(replica.id)))

    def _enter(self, one: Held) -> None:
        _add(self.held, one.amounts)
        if one.left:
            _add(self.held, one.left)
            _add(self.soon, one.left)
        self.holders.append(one.pair)
        self.holding[one.pair[1].id] = one
        if one.after is not None:
            self.falling.append(one)

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return {one.model.name: one for one in self._known}

    def of(self, replica: ReplicaView) -> Held | None:
        """What it holds; None: nothing."""
        return self.holding.get(replica.id)

    def where(self, model: ModelView, replica: ReplicaView) -> tuple[str, ...]:
        """The devices it counts on: where it runs, or ran last if it is not yet seen to be gone; where nobody knows,
        the first ones it may use."""
        if not self.devices:
            return ()
        known = replica.devices or (replica.last_devices if replica.lingering else ())
        if known:
            return tuple(device for device in known if device in self.budget)
        written = self._written(model, replica)
        return written or self._allowed(model)[: model.spec.device_count or 1]

    def choice(self, model: ModelView, replica: ReplicaView) -> Choice:
        """Where it may come up: a sleeper wakes where it is. Of an engine whose size nobody knows the devices are
        chosen only if the config speaks of them: it may well need none."""
        entry = self._entries.get(model.name)
        if entry is None or entry.model is not model:
            return self._choice(model, replica)
        found = entry.choices.get(replica.id)
        if found is None:
            found = entry.choices[replica.id] = self._choice(model, replica)
        return found

    def _choice(self, model: ModelView, replica: ReplicaView) -> Choice:
        spec, each = model.spec, bytes_in(model, replica, READY)[0]
        if replica.state is ASLEEP or not self.devices:
            here = self.where(model, replica)
            return Choice(here, len(here), each, told=False)
        if written := self._written(model, replica):
            return Choice(written, len(written), each, told=True)
        allowed = self._allowed(model)
        count = spec.device_count or 1
        spoken_of = each > 0 or bool(spec.devices) or spec.device_count is not None or self.memory.discover
        if not spoken_of or not replica.owned or replica.host or model.host:
            return Choice(allowed[:count], count if each else 0, each, told=False)
        return Choice(allowed, count, each, told=True)

    def _written(self, model: ModelView, replica: ReplicaView) -> tuple[str, ...]:
        if not model.spec.env and not model.spec.replicas:
            return ()
        return tuple(device for device in written_devices(model.spec, replica.id) if device in self.budget)

    def _allowed(self, model: ModelView) -> tuple[str, ...]:
        """In the order of the budgets."""
        named = model.spec.devices
        return tuple(device for device in self.devices if device in named) if named else self.devices

    def weight(
        self,
        model: ModelView,
        replica: ReplicaView,
        state: State,
        *,
        level: int | None = None,
        devices: tuple[str, ...] | None = None,
    ) -> dict[str, int]:
        """What the replica counts for in that state, on its devices or the ones given."""
        budget = self.budget
        if not budget:
            return {}
        size, host = bytes_in(model, replica, state, level)
        amounts = dict.fromkeys(self.where(model, replica) if devices is None else devices, size)
        if HOST in budget:
            amounts[HOST] = host
        if PLACES in budget:
            amounts[PLACES] = int(takes_place(replica, state))
        if (server := replica.base or replica.host or model.host) and (inside := places_in(server)) in budget:
            amounts[inside] = int(keeps_memory(replica, state) if replica.base else takes_place(replica, state))
        return amounts

    def lingering(self, model: ModelView, replica: ReplicaView) -> dict[str, int]:
        """What it has given back and is not yet seen free."""
        if not replica.lingering:
            return {}
        return dict.fromkeys(self.where(model, replica), replica.lingering)

    def need(self, model: ModelView, replica: ReplicaView, devices: tuple[str, ...] | None = None) -> Amounts:
        """What it takes on top of what it holds to be awake."""
        entry = self._entries.get(model.name)
        if entry is None or entry.model is not model:
            return self._need(model, replica, devices)
        key = replica.id, devices
        found = entry.needs.get(key)
        if found is None:
            found = entry.needs[key] = self._need(model, replica, devices)
        return found

    def _need(self, model: ModelView, replica: ReplicaView, devices: tuple[str, ...] | None) -> Amounts:
        risen = State.WAKING if replica.state is ASLEEP else READY
        return _less(self.weight(model, replica, risen, devices=devices), self.weight(model, replica, replica.state))

    def frees(self, model: ModelView, replica: ReplicaView, after: State, level: int | None = None) -> Amounts:
        """What it gives back by coming to rest in `after`. What a sleep takes of the host is no debt of others: it
        looks for room when it is ordered."""
        known = self.holding.get(replica.id)
        found = None if known is None else known.frees.get((after, level))
        if found is None:
            now = self.weight(model, replica, replica.state)
            found = _less(now, self.weight(model, replica, after, level=level))
            if known is not None:
                known.frees[after, level] = found
        return found

    def host_need(self, model: ModelView, replica: ReplicaView, level: int) -> int:
        """Bytes of host memory that a sleep at that level takes on top of what it holds."""
        return held(model, replica, level)[1] - bytes_in(model, replica, replica.state)[1]

    def lack(self, need: Amounts, freed: Amounts) -> dict[str, int]:
        """What is still missing per key if `freed` were free; empty: it fits."""
        missing = {}
        for key, amount in need.items():
            if amount > 0:
                over = self.held[key] + self.promised[key] + amount - freed.get(key, 0) - self.budget[key]
                if over > 0:
                    missing[key] = over
        return missing

    def fits(self, need: Amounts) -> bool:
        """There is room now, with all older promises kept."""
        return not self.lack(need, {})

    def free(self, key: str) -> int:
        """What is neither held nor promised."""
        return self.budget[key] - self.held[key] - self.promised[key]

    def whole(self, key: str) -> int:
        """The budget without what is held back for its owner, what others use, and what a schedule takes: these may
        end."""
        facts = self.facts.get(key)
        if facts is None:
            return self.budget[key] + self.taken_by_schedule(key)
        whole = facts.budget + facts.held_back + facts.others if facts.whole is None else facts.whole
        return whole + self.taken_by_schedule(key)

    def taken_by_schedule(self, key: str) -> int:
        """Bytes that a device's budget is smaller by than at other hours; `UNBOUNDED` where it has none of its own."""
        window = self.windows.get(key)
        if window is None:
            return 0
        written = self.memory.max_resident if key == PLACES else self.memory.devices.get(key)
        written = self.memory.host if key == HOST else written
        return UNBOUNDED if window.usual is None else max(0, window.usual - (written or 0))

    def excess(self, freed: Amounts) -> dict[str, int]:
        """How far each budget would be exceeded if `freed` were free; only keys that would."""
        over = {}
        for key, held_now in self.held.items():
            if held_now > max(0, self.budget[key]):
                much = held_now - freed.get(key, 0) - self.budget[key]
                if much > 0:
                    over[key] = much
        return over

    def take(self, need: Amounts) -> None:
        """Used from this round on."""
        _add(self.held, need)

    def promise(self, need: Amounts) -> None:
        """Kept for an older want that cannot start yet: nobody younger may slip in before it."""
        _add(self.promised, need)

    def expect(self, freed: Amounts) -> None:
        """Will come free without further orders."""
        _add(self.soon, freed)

    @cached_property
    def on_device(self) -> Mapping[str, list[tuple[ModelView, ReplicaView]]]:
        """The holders by the devices they count on."""
        found: dict[str, list[tuple[ModelView, ReplicaView]]] = {device: [] for device in self.devices}
        for model, replica in self.holders:
            for device in self.where(model, replica):
                found[device].append((model, replica))
        return found


def _add(total: dict[str, int], amounts: Amounts) -> None:
    for key, amount in amounts.items():
        total[key] += amount


def _less(whole: Amounts, part: Amounts) -> dict[str, int]:
    return {key: max(0, amount - part.get(key, 0)) for key, amount in whole.items()}
