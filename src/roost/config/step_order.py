"""How a model's own steps fit together: what a condition looks at has ended before, and whom a step runs with stands
beside it.

Same form as `checks`, with paths of the native tree. Numbers in messages count from 1, as `if.step` does. Called by
`load`.
"""

from collections.abc import Iterator, Sequence

from roost.config.checks import Scene
from roost.config.step_checks import LISTS, Entry, entries, value_at
from roost.core.problems import Problem
from roost.core.step_spec import ConditionSpec, StepSpec


def order(scene: Scene) -> Iterator[Problem]:
    """What a step says of the others: what it looks at came before it, and whom it runs with is its neighbour."""
    for name, model in scene.spec.models.items():
        for key in LISTS:
            starts = group_starts(getattr(model, key))
            whole = scene.is_whole(("models", name, key))
            for index, entry in enumerate(entries(scene, name, model, key)):
                alone = starts.count(starts[index]) == 1
                if entry.step.parallel is not False and alone and whole:
                    hint = "Only steps that follow each other and have the same value run together."
                    message = f"{entry.shown(('parallel',))} stands at no neighbour, so this step runs alone"
                    yield entry.problem(("parallel",), message, hint, "warning")
                if entry.step.condition is not None and entry.is_whole(("if",)):
                    yield from _condition(entry, entry.step.condition, index, starts[index])


def group_starts(steps: Sequence[StepSpec]) -> list[int]:
    """For each step the index of the first one it runs together with: its own where it runs alone."""
    starts: list[int] = []
    for index, step in enumerate(steps):
        together = index > 0 and step.parallel is not False and _same(step.parallel, steps[index - 1].parallel)
        starts.append(starts[-1] if together else index)
    return starts


def _same(one: bool | str, other: bool | str) -> bool:
    """`true` and "true" are two values."""
    return type(one) is type(other) and one == other


def _condition(entry: Entry, condition: ConditionSpec, index: int, start: int) -> Iterator[Problem]:
    looks = condition.status is not None or condition.at is not None
    if not looks and condition.level is None and condition.equals is None:
        yield entry.problem(("if",), "says nothing", "Write status, at (with equals) or level, or take it out.")
    elif not looks and condition.step != "previous":
        hint = "Write the status or the place to look at."
        yield entry.problem(("if", "step"), "asks nothing of that step", hint, "warning")
    yield from value_at(entry, condition, ("if",))
    if looks:
        yield from _lookedvalue_at(entry, condition, index, start)


def _lookedvalue_at(entry: Entry, condition: ConditionSpec, index: int, start: int) -> Iterator[Problem]:
    """Steps that run together look at what came before them."""
    wanted = start if condition.step == "previous" else condition.step
    earlier = "step: 1" if start == 1 else f"a step from 1 to {start}"
    if start == 0:
        hint = "Take it out, or ask for the level: if: {level: 2}."
        yield entry.problem(("if",), "looks at an earlier step, and none ends before this one begins", hint)
    elif wanted > index:
        message = f"step {wanted} does not come before this one, which is step {index + 1}"
        yield entry.problem(("if", "step"), message, f"Write {earlier}.")
    elif wanted > start:
        message = f"step {wanted} runs together with this one, so its answer is not there yet"
        yield entry.problem(("if", "step"), message, f"Look at a step before them: {earlier}.")


CHECKS = (order,)
