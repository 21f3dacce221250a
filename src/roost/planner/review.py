"""Two plans for one view, held against each other: what counts as the same decision, and what is news.

Pure. A decision is what is ordered, refused or given up; the words and figures of its reason are not. Called by
`control/controller.py` (what the journal keeps) and `roost replay`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from roost.core.plan import Action, Blocked, Plan
from roost.core.reason import Preload

T = TypeVar("T")
_SAME_REASON = Preload()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two plans decide otherwise. None: nothing is decided there."""

    about: str
    """A replica, or a model that is blocked, denied or settled."""
    before: Action | Blocked | str | None
    after: Action | Blocked | str | None


def differences(before: Plan, after: Plan) -> list[Difference]:
    """Replicas first, then models; within each the order of the plan before."""
    actions = _pairs({one.replica: one for one in before.actions}, {one.replica: one for one in after.actions})
    found = [Difference(name, old, new) for name, old, new in actions if _order(old) != _order(new)]
    for mine, other in ((before.blocked, after.blocked), (before.denied, after.denied)):
        refusals = _pairs(mine, other)
        found += [Difference(name, old, new) for name, old, new in refusals if _verdict(old) != _verdict(new)]
    ends = _pairs(_settled(before), _settled(after))
    return found + [Difference(name, old, new) for name, old, new in ends if old != new]


def is_reworded(before: Plan, after: Plan) -> bool:
    """Whether plans without differences give other reasons for what they decide."""
    return _said(before) != _said(after)


def is_news(before: Plan | None, made: Plan) -> bool:
    """Whether it orders something, or blocks or denies somebody whom the plan before did not, or finally where that
    one did not."""
    if made.actions or made.denied:
        return True
    known = {} if before is None else before.blocked
    return any(_verdict(known.get(name)) != _verdict(blocked) for name, blocked in made.blocked.items())


def _pairs(before: Mapping[str, T], after: Mapping[str, T]) -> list[tuple[str, T | None, T | None]]:
    return [(name, before.get(name), after.get(name)) for name in {**before, **after}]


def _order(action: Action | None) -> Action | None:
    return None if action is None else replace(action, reason=_SAME_REASON)


def _verdict(blocked: Blocked | None) -> tuple[bool, str] | None:
    return None if blocked is None else (blocked.final, blocked.code)


def _settled(made: Plan) -> dict[str, str]:
    return dict.fromkeys(made.settled, "the order is settled")


def _said(made: Plan) -> tuple[dict[str, str], ...]:
    refused = ({name: one.sentence for name, one in found.items()} for found in (made.blocked, made.denied))
    return ({one.replica: str(one.reason) for one in made.actions}, *refused)
