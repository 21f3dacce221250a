"""What the planner says, where the words depend on whom it is about. `now` is 1000."""

import pytest

from roost.core.lifecycle import State
from roost.core.policy_spec import PolicySpec
from roost.core.spec import EngineKind, ModelSpec
from roost.core.units import counted
from roost.core.view import Goal, Wish
from tests.unit.planner.test_plan import DRAINING, READY, model, planned


@pytest.mark.parametrize(
    ("spec", "owned", "end"),
    [
        (
            ModelSpec(command="x"),
            True,
            "roost does not know the sleep calls of its engine. Write them as sleep_steps and wake_steps, or unload it "
            "instead.",
        ),
        (
            ModelSpec(url="http://127.0.0.1:9"),
            False,
            "roost does not know the sleep calls of its engine. Write them as sleep_steps and wake_steps.",
        ),
        (
            ModelSpec(engine=EngineKind.LLAMACPP),
            True,
            "engine kind llamacpp has no sleep calls. Unload it instead.",
        ),
        (
            ModelSpec(engine=EngineKind.LLAMACPP, url="http://127.0.0.1:9"),
            False,
            "engine kind llamacpp has no sleep calls.",
        ),
    ],
)
def test_an_order_to_sleep_without_sleep_calls_says_what_to_do(spec: ModelSpec, owned: bool, end: str) -> None:
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=999.0)
    made = planned(model("a", READY, spec=spec, owned=owned, sleep_levels=(), wish=wish))
    assert made.denied["a"].sentence == f'Model "a" cannot be put to sleep: {end}'


def test_one_is_counted_as_one() -> None:
    waits = planned(
        model("a", waiting_since=990.0), model("c", State.WAKING), policy=PolicySpec(max_starts=1)
    ).blocked["a"].sentence  # fmt: skip
    assert waits == 'Model "a" waits for its turn: 1 engine is starting (max_starts 1).'
    wish = Wish(goal=Goal.ASLEEP, by="cli", asked_at=990.0, force_at=1000.0)
    busy = planned(model("a", DRAINING, in_flight=1, wish=wish)).denied["a"].sentence
    assert busy.startswith('Model "a" still answers 1 request after 10 s')


def test_counted() -> None:
    assert [counted(number, "request") for number in (0, 1, 2)] == ["0 requests", "1 request", "2 requests"]
    assert counted(1, "request", "waits", "wait") == "1 request waits"
    assert counted(2, "request", "waits", "wait") == "2 requests wait"
