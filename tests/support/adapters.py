"""A bench with adapters: their owners go cold with their base's, as `host/base_server.py` makes them, and what must
never be is looked at with each order."""

from dataclasses import replace

from roost.config.adapters import with_adapters
from roost.core.events import Changed
from roost.core.hosted_spec import AdapterSpec
from roost.core.lifecycle import Fact, Order, State
from roost.core.plan import Action, Load, Sleep, Stop
from roost.core.spec import ModelSpec, RoostSpec
from roost.core.view import Policy
from tests.support.fleet import Bench, FakeOwner, Times

SERVES = (State.READY, State.DRAINING)


def with_loras(spec: ModelSpec, *names: str, places: int = 1, preload: tuple[str, ...] = ()) -> ModelSpec:
    """The model with these adapters."""
    adapters = {name: AdapterSpec(path=f"org/{name}", preload=name in preload) for name in names}
    return replace(spec, adapters=adapters, max_loras=places)


class AdapterBench(Bench):
    """`spec` with its adapters taken apart. `faults` says what went wrong; it must stay empty."""

    def __init__(self, spec: RoostSpec, policy: Policy | None = None) -> None:
        spec = with_adapters(spec)
        super().__init__(spec, policy)
        self.faults: list[str] = []
        self.guests: dict[str, list[FakeOwner]] = {}
        for owner in self.owners.values():
            base = owner.spec.inside
            if base is not None:
                owner.levels, owner.times = (), Times(start=0.2, stop=0.1)
                host = next(one for one in self.owners.values() if one.id == owner.id.replace(owner.model, base, 1))
                self.guests.setdefault(host.id, []).append(owner)
                host.subscribe(lambda change, owner=owner: self._base_moved(change, owner))  # type: ignore[misc]
            owner.watch = self._look

    async def __aenter__(self) -> "AdapterBench":
        await super().__aenter__()
        return self

    def _base_moved(self, change: Changed, guest: FakeOwner) -> None:
        if change.after in SERVES:
            return
        if guest.state is State.READY:
            guest.see(Fact.UNLOADED)
        elif guest.state is State.DRAINING:
            guest._move(Order.STOP, "its base serves no more", "fact")
            guest._later(0.1, guest._stopped)
        elif guest.state is State.STARTING:
            self.faults.append(f"{change.replica} left while {guest.id} was being loaded into it")

    def _look(self, owner: FakeOwner, action: Action) -> None:
        """Before an order is obeyed."""
        guests = self.guests.get(owner.id, [])
        if isinstance(action, Sleep | Stop) and not getattr(action, "forced", False):
            out = self.control.gate.seat(owner.id).in_flight
            if out:
                self.faults.append(f"{action} with {out} requests")
        if isinstance(action, Load) and owner.spec.inside is not None:
            self._look_at_load(owner)
        if isinstance(action, Sleep | Stop) and any(guest.state is State.STARTING for guest in guests):
            self.faults.append(f"{action} while an adapter is on its way into it")

    def _look_at_load(self, owner: FakeOwner) -> None:
        base = next(host for host, guests in self.guests.items() if owner in guests)
        held = [one.id for one in self.guests[base] if one.state not in (State.COLD, State.BACKOFF, State.FAILED)]
        places = self.control.gate.seat(base).lane.spec.max_loras
        if len(held) >= places:
            self.faults.append(f"{owner.id} is loaded beside {held}, and there are {places} places")
        if self.control.gate.seat(base).state is not State.READY:
            self.faults.append(f"{owner.id} is loaded into an engine that is {self.control.gate.seat(base).state}")
