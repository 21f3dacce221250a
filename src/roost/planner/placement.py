"""On which devices a replica comes up: where it fits now, else where making room costs least.

Where it fits, the devices that are left with least go first, so that large models find room later; of equals the ones
it ran on last, then the order of the config. A replica takes as many devices as its engine is told to; a sleeper wakes
where it is. Orders nothing. Pure; called by `rise` and `preload`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from roost.core.view import ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.room import Amounts, Room
from roost.planner.rungs import last_used
from roost.planner.victims import Newcomer, Victim, busy, candidates, fewest, forced_out, freed, options
from roost.planner.weights import Choice

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


def cheapest(draft: Draft, newcomer: Newcomer) -> Newcomer:
    """The same with the devices where the fewest of use must yield for it; they may lack room for good."""
    room, model, replica = draft.room, newcomer.model, newcomer.replica
    choice = room.choice(model, replica)
    if choice.fixed or len(choice.allowed) < choice.count:
        place = _place(room, model, replica, choice, choice.allowed)
        return replace(newcomer, need=place.need)
    found = candidates(draft, newcomer)
    forced = forced_out(draft, newcomer, found) or []
    basis = freed(room.soon, forced)
    rank = {other.id: number for number, (_, other) in enumerate(found)}

    def price(device: str) -> tuple[_Price, bool]:
        here = sorted((p for p in room.on_device[device] if p[1].id in rank), key=lambda p: rank[p[1].id])
        return _price(draft, {device: choice.each}, basis, here), device not in replica.last_devices

    ranked = sorted(choice.allowed, key=price)
    return replace(newcomer, need=_place(room, model, replica, choice, tuple(ranked[: choice.count])).need)


def _price(
    draft: Draft, wanted: Amounts, basis: Mapping[str, int], found: list[tuple[ModelView, ReplicaView]]
) -> _Price:
    """What it takes to have these bytes of one device, beside what comes free anyway."""
    room = draft.room

    def lacking(some: Mapping[str, Victim]) -> Amounts:
        return room.lack(wanted, freed(basis, some.values()))

    short = lacking({})
    victims = fewest(options(draft, found, short), lacking) if short else {}
    missing = sum(lacking(victims).values())
    uses = sorted(((busy(v.model, v.replica), last_used(v.replica)) for v in victims.values()), reverse=True)
    left = sum(room.free(device) for device in wanted)
    return missing > 0, uses, missing or left


def _place(room: Room, model: ModelView, replica: ReplicaView, choice: Choice, devices: tuple[str, ...]) -> Place:
    """In the order of the budgets, which is that of the machine."""
    ordered = tuple(device for device in choice.allowed if device in devices)
    if not choice.told:
        return Place((), room.need(model, replica, None if choice.count else ()))
    return Place(ordered, room.need(model, replica, ordered))
