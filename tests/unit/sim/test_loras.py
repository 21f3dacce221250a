"""Adapters of the simulated vLLM: names, slots, and weights that a level-2 sleep drops."""

import asyncio

import pytest

from roost.sim.engine import Engine
from roost.sim.exchange import Refused
from roost.sim.flags import Behaviour
from roost.sim.loras import Loras
from roost.sim.scheduler import Mode


def loras(**behaviour: object) -> tuple[Loras, Engine]:
    engine = Engine(Behaviour(model="m", enable_lora=True, **behaviour))  # type: ignore[arg-type]
    return Loras(engine), engine


@pytest.mark.parametrize(
    ("name", "path", "status", "said"),
    [
        ("", "p", 400, "must be provided"),
        ("a", None, 400, "must be provided"),
        ("m", "p", 400, "conflicts with a served base model"),
        ("x", "p", 400, "already been loaded"),
        ("a", "gone", 404, "No adapter found for gone"),
    ],
)
def test_what_cannot_be_loaded(name: str, path: str | None, status: int, said: str) -> None:
    some, _ = loras(lora_missing=("gone",))
    some.load("x", "p")
    with pytest.raises(Refused, match=said) as caught:
        some.load(name, path)
    assert caught.value.status == status


def test_names_come_and_go() -> None:
    some, _ = loras()
    some.load("x", "p")
    assert [lora.name for lora in some.loaded()] == ["x"]
    some.unload("x")
    assert some.loaded() == ()
    with pytest.raises(Refused, match="cannot be found"):
        some.unload("x")


def test_more_adapters_than_slots_take_turns() -> None:
    some, _ = loras(max_loras=1)
    some.load("x", "p")
    some.load("y", "q")
    x, y = some.loaded()
    assert some.use(y)
    assert some.swaps == 0
    assert some.use(x)
    assert some.use(y)
    assert some.swaps == 2


def test_level_2_drops_what_stays_listed_until_it_is_loaded_again() -> None:
    some, engine = loras()
    some.load("x", "p")
    for level, sound in ((1, True), (2, False)):
        asyncio.run(_slept(engine, level))
        assert some.use(some.loaded()[0]) is sound
    some.unload("x")
    some.load("x", "p")
    assert some.use(some.loaded()[0])


async def _slept(engine: Engine, level: int) -> None:
    await engine.sleep(level, Mode.ABORT)
    await engine.wake()
    engine.reload_weights()
