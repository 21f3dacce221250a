"""On which devices a replica comes up: where it fits now, else where making room costs least.

Where it fits, the devices that are left with least go first, so that large models find room later; of equals the ones
it ran on last, then the order of the config. A replica takes as many devices as its engine is told to; a sleeper wakes
where it is. Orders nothing. Pure; called by `rise` and `preload`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.room import Room
from roost.planner.rungs import last_used
from roost.planner.victims import (
    Victim,
    by_cost,
    cheapest,
    fewest,
    forced_out,
    freed,
    missed,
    options,
    running_out,
    without,
)
from roost.planner.weights import Amounts, Choice
from roost.planner.yielding import Newcomer, busy, candidates

_FOR_NOTHING = (True, float("inf"))
"""The price of a device on which nobody may yield."""
_Price = tuple[bool, list[tuple[bool, float]], int]
"""Whether it cannot be had, the victims from the one of most use down, the bytes that are missing or left."""


@dataclass(frozen=True, slots=True)
class Place:
    """Devices for one replica."""

    told: tuple[str, ...]
    """What its engine is told; empty: nobody chose."""
    need: Amounts
    """What it takes there on top of what it holds."""


def fitting(room: Room, model: ModelView, replica: ReplicaView) -> Place | None:
    """Where there is room now, with all older promises kept; None if nowhere."""
    choice = room.choice(model, replica)
    if choice.fixed:
        place = _place(room, model, replica, choice, choice.allowed)
        return place if len(choice.allowed) >= choice.count and room.fits(place.need) else None
    if not room.fits(room.need(model, replica, ())):
        return None
    left = {device: room.free(device) - choice.each for device in choice.allowed}
    fits = [device for device in choice.allowed if left[device] >= 0]
    if len(fits) < choice.count:
        return None
    sign = 1 if choice.each else -1  # whose size nobody knows gets the emptiest
    fits.sort(key=lambda device: (sign * left[device], device not in replica.last_devices))
    return _place(room, model, replica, choice, tuple(fits[: choice.count]))


def roomiest(room: Room, model: ModelView, replica: ReplicaView, freed: Amounts) -> Place:
    """Where least lacks, by what is free and what `freed` adds; there may be too little."""
    choice = room.choice(model, replica)
    if choice.fixed or len(choice.allowed) < choice.count:
        return _place(room, model, replica, choice, choice.allowed)
    by_room = sorted(choice.allowed, key=lambda device: -(room.free(device) + freed.get(device, 0)))
    return _place(room, model, replica, choice, tuple(by_room[: choice.count]))


def least_missed(draft: Draft, newcomer: Newcomer) -> Newcomer:
    """The same with the devices where the fewest of use must yield for it; they may lack room for good."""
    room, model, replica = draft.room, newcomer.model, newcomer.replica
    choice = room.choice(model, replica)
    if choice.fixed or len(choice.allowed) < choice.count:
        place = _place(room, model, replica, choice, choice.allowed)
        return replace(newcomer, need=place.need)
    found = by_cost(draft, newcomer, candidates(draft, newcomer))
    forced = forced_out(draft, newcomer, found) or []
    pricing = _Pricing(draft, choice.each, freed(room.soon, forced), found)
    ranked = pricing.cheapest(choice, replica.last_devices)
    running = running_out(draft)
    if any(running.get(device) for device in ranked):
        # There it would wait for answers that still run. Better where idle ones can go at once.
        idle = [pair for pair in found if not busy(*pair)]
        pricing = _Pricing(draft, choice.each, freed(without(room.soon, running), forced), idle)
        others = pricing.cheapest(choice, replica.last_devices)
        ranked = others if all(pricing.can_be_had(device) for device in others) else ranked
    need = _place(room, model, replica, choice, ranked).need
    return replace(newcomer, need=need, found=found)


class _Pricing:
    """What it takes to have so many bytes of a device, beside what comes free anyway."""

    def __init__(
        self, draft: Draft, each: int, basis: Mapping[str, int], found: list[tuple[ModelView, ReplicaView]]
    ) -> None:
        self._draft, self._each, self._basis, self._found = draft, each, basis, found
        self._rank = {replica.id: number for number, (_, replica) in enumerate(found)}

    def cheapest(self, choice: Choice, last: tuple[str, ...]) -> tuple[str, ...]:
        """As many devices as are taken. Whoever yields first on a device tells what it costs at least there, so that
        most devices of a large fleet need no closer look."""
        bounds = sorted((self._least(device), number) for number, device in enumerate(choice.allowed))
        best: list[tuple[_Price, bool, int]] = []
        for least, number in bounds:
            if len(best) == choice.count and best[-1][0][:2] <= (False, least):
                break
            device = choice.allowed[number]
            best = sorted([*best, (self._price(device), device not in last, number)])[: choice.count]
        return tuple(choice.allowed[number] for _, _, number in best)

    def can_be_had(self, device: str) -> bool:
        """Those who may yield there give enough."""
        return not self._price(device)[0]

    def _least(self, device: str) -> list[tuple[bool, float]]:
        if not self._lacking(device, {}):
            return []
        ranks = (self._rank.get(replica.id) for _, replica in self._draft.room.on_device[device])
        first = min((rank for rank in ranks if rank is not None), default=None)
        return [_FOR_NOTHING] if first is None else [self._use(*self._found[first])]

    def _price(self, device: str) -> _Price:
        short = self._lacking(device, {})
        here = [pair for pair in self._draft.room.on_device[device] if pair[1].id in self._rank]
        here.sort(key=lambda pair: self._rank[pair[1].id])
        some = cheapest(self._draft, options(self._draft, here, short), short) if short else iter(())
        victims = fewest(some, lambda chosen: self._lacking(device, chosen), self._draft)
        missing = sum(self._lacking(device, victims).values())
        uses = sorted((self._use(victim.model, victim.replica) for victim in victims.values()), reverse=True)
        return missing > 0, uses, missing or self._draft.room.free(device)

    def _use(self, model: ModelView, replica: ReplicaView) -> tuple[bool, float]:
        """How much it would be missed: the order in which victims yield."""
        if not self._draft.counts_costs:
            return busy(model, replica), last_used(replica)
        return busy(model, replica), missed(self._draft, model, replica)

    def _lacking(self, device: str, some: Mapping[str, Victim]) -> Amounts:
        back = self._basis[device] + sum(victim.frees.get(device, 0) for victim in some.values())
        return self._draft.room.lack({device: self._each}, {device: back})


def _place(room: Room, model: ModelView, replica: ReplicaView, choice: Choice, devices: tuple[str, ...]) -> Place:
    """In the order of the budgets, which is that of the machine."""
    ordered = tuple(device for device in choice.allowed if device in devices)
    if not choice.told:
        return Place((), room.need(model, replica, None if choice.count else ()))
    return Place(ordered, room.need(model, replica, ordered))
