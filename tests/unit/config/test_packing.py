"""Whether models fit side by side; against trying everything."""

from itertools import combinations, product
from random import Random

from roost.config.packing import Item, can_pack


def tried_out(items: list[Item], rooms: dict[str, int]) -> bool:
    ways = [list(combinations([d for d in rooms if d in item.allowed], item.count)) for item in items]
    for way in product(*ways):
        held = dict.fromkeys(rooms, 0)
        for item, devices in zip(items, way, strict=True):
            for device in devices:
                held[device] += item.each
        if all(held[device] <= rooms[device] for device in rooms):
            return True
    return False


def test_it_agrees_with_trying_everything() -> None:
    rng, said = Random(5), set()
    for _ in range(300):
        rooms = {f"g{number}": rng.randint(1, 12) for number in range(rng.randint(1, 4))}
        items = []
        for _ in range(rng.randint(1, 5)):
            allowed = rng.sample(list(rooms), rng.randint(1, len(rooms)))
            items.append(Item(rng.randint(1, 6), rng.randint(1, len(allowed)), frozenset(allowed)))
        found = can_pack(items, rooms)
        assert found is tried_out(items, rooms), (items, rooms)
        said.add(found)
    assert said == {True, False}


def test_what_would_take_too_long_is_left_open() -> None:
    rooms = {f"g{number}": 60 + number for number in range(16)}
    items = [Item(51, 1, frozenset(rooms)) for _ in range(17)]
    assert can_pack(items, rooms) is None
