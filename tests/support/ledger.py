"""What every replica holds of every budget, counted the slow and plain way: the oracle of the planner's properties.

Nothing here is shared with `planner/room`. What is not yet seen to be free counts; so does what is on its way.
"""

from collections import Counter
from collections.abc import Iterable

from roost.core.footprint import HOST, Footprint, Held
from roost.core.lifecycle import State
from roost.core.plan import Action, Load, Sleep, Wake
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, ModelView, ReplicaView

PLACES, INSIDE = "places", "places in "
_UP = {State.STARTING, State.READY, State.DRAINING, State.SUSPENDING, State.WAKING, State.STOPPING, State.STUCK}
_BETWEEN = {State.SUSPENDING, State.WAKING, State.STOPPING, State.STUCK}
"""It may still have, or have already, what a sleeper keeps in host memory."""


def limits(view: FleetView) -> dict[str, int]:
    """Budget by key."""
    memory = view.memory
    found = {name: size - memory.reserve for name, size in memory.devices.items()}
    if memory.host is not None:
        found[HOST] = memory.host - memory.host_reserve
    if view.devices is not None:
        found = {device.name: device.budget for device in view.devices}
    if memory.max_resident is not None:
        found[PLACES] = memory.max_resident
    return found | {INSIDE + server: bound for server, bound in view.places.items()}


def footprint(spec: ModelSpec) -> Footprint:
    """As the config claims it."""
    said = spec.footprints
    awake = spec.footprint or 0 if said.awake.device is None else said.awake.device
    ones = spec.footprint_asleep if said.level1.device is None else said.level1.device
    twos = spec.footprint_asleep if said.level2.device is None else said.level2.device
    return Footprint(
        awake=Held(awake, said.awake.host or 0),
        level1=Held(ones, said.level1.host or 0),
        level2=Held(twos, said.level2.host or 0),
    )


def allowed(view: FleetView, spec: ModelSpec) -> list[str]:
    """The devices it may use, in the order of the budgets."""
    names = view.memory.devices if view.devices is None else [device.name for device in view.devices]
    return [name for name in names if name != HOST and (not spec.devices or name in spec.devices)]


def stands_on(view: FleetView, model: ModelView, replica: ReplicaView, action: Action | None = None) -> list[str]:
    """Its devices; where nobody knows them, the first ones it may use."""
    if isinstance(action, Load) and action.devices:
        return list(action.devices)
    known = replica.devices or (replica.last_devices if replica.lingering else ())
    fit = allowed(view, model.spec)
    return [device for device in known if device in limits(view)] or fit[: model.spec.device_count or 1]


def holds(view: FleetView, model: ModelView, replica: ReplicaView, action: Action | None = None) -> Counter[str]:
    """What one replica holds, or will as soon as the order has begun."""
    seen = replica.footprint or footprint(model.spec)
    level = action.level if isinstance(action, Sleep) else replica.level
    asleep = seen.level2 if level == 2 else seen.level1
    pending = view.pending.get(replica.id)
    up = replica.state in _UP or isinstance(action, Load | Wake) or pending in ("load", "wake")
    paused = replica.state is State.ASLEEP and replica.level == 0
    found: Counter[str] = Counter()
    device, host = 0, 0
    if up or paused:
        device, host = seen.awake.device, seen.awake.host
        if isinstance(action, Sleep | Wake) or replica.state in _BETWEEN:
            host = max(host, asleep.host)
    elif replica.state is State.ASLEEP:
        device, host = asleep.device, asleep.host
    for name in stands_on(view, model, replica, action):
        found[name] += device
    left = replica.devices or replica.last_devices
    for name in left if replica.lingering else ():
        found[name] += replica.lingering
    found[HOST] += host
    if (up or paused) and (replica.owned or replica.sleep_levels):
        found[PLACES] += 1
        if model.host:
            found[INSIDE + model.host] += 1
    return found


def over_budget(view: FleetView, actions: Iterable[Action]) -> dict[str, tuple[int, int]]:
    """Budgets that are exceeded by an order that takes more of them: (held, budget)."""
    ordered = {action.replica: action for action in actions}
    total: Counter[str] = Counter()
    touched: set[str] = set()
    for model in view.models:
        for replica in model.replicas:
            action = ordered.get(replica.id)
            now = holds(view, model, replica)
            then = holds(view, model, replica, action)
            total.update(then)
            touched |= {key for key in then if then[key] > now[key]}
    budget = limits(view)
    return {key: (total[key], budget[key]) for key in touched if key in budget and total[key] > budget[key]}
