"""What `policy.schedules` want beside budgets: models that are to be up, and models that are to be down while idle.

A model that a schedule pins comes up as one that an operator wants, after everybody who waits: idle models yield for
it, those with requests queued do not. One that a schedule sends to sleep goes down as soon as nothing is left to do,
and comes back by a request alone. The windows are in the view. Pure; called by `rise`, `lower` and `plan`.
"""

from typing import Literal

from roost.core.lifecycle import State
from roost.core.plan import Drain
from roost.core.reason import Scheduled
from roost.core.schedule import Window
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft

_LOOK_S = 5.0
"""How often to look at a model that is to go down once it is idle: nothing else tells when its last request ends."""
_UP = frozenset({State.READY, State.STARTING, State.WAKING})
_HOPELESS = frozenset({State.FAILED, State.STUCK})
"""A schedule does not try again what has used up its tries."""


def call_of(draft: Draft, model: ModelView) -> Scheduled | None:
    """Why a model should be up though nobody waits for it; None if no schedule says so."""
    if model.called is None or not draft.policy.auto or all(one.state in _HOPELESS for one in model.replicas):
        return None
    return _reason(draft, model.called, "pin")


def is_missed(model: ModelView) -> bool:
    """A schedule wants it up, and nothing of it is."""
    return model.called is not None and not any(replica.state in _UP for replica in model.replicas)


def let_rest(draft: Draft) -> None:
    """Let idle models down whose schedule says so, else note when they may."""
    if not draft.policy.auto:
        return
    for model in [one.model for one in draft.special]:
        if model.rests is None or model.wish is not None or model.waiting:
            continue
        for replica in model.replicas:
            if replica.state is State.READY and draft.free(replica):
                _let_down(draft, model, replica, model.rests)


def _let_down(draft: Draft, model: ModelView, replica: ReplicaView, window: Window) -> None:
    if not (replica.sleep_levels or replica.owned):
        return
    if replica.idle_since is None:
        draft.at(draft.now + _LOOK_S)
        return
    due = draft.stays_until(replica)
    if replica.sleep_levels and replica.last_sleep_at is not None:
        due = max(due, replica.last_sleep_at + model.spec.min_sleep_duration)
    if due > draft.now:
        draft.at(due)
        return
    goal = Goal.ASLEEP if replica.sleep_levels else Goal.STOPPED
    draft.do(Drain(replica=replica.id, goal=goal, reason=_reason(draft, window, "sleep")))


def _reason(draft: Draft, window: Window, setting: Literal["pin", "sleep"]) -> Scheduled:
    ends_in_s = None if window.until is None else window.until - draft.now
    return Scheduled(window=str(window), setting=setting, ends_in_s=ends_in_s)
