"""What comes up: models that requests wait for, that an operator wants ready, that the config wants preloaded.

The oldest want goes first and keeps the room promised to it, so nobody younger slips past. A load or wake is
ordered only when it fits now; else room is made (`victims`) or a sentence says what it waits for. Pure.
"""

from dataclasses import dataclass

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Demand, Load, Ordered, Preload, Reason, Wake
from roost.core.units import format_duration
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.draft import Draft
from roost.planner.lower import goes_down, stuck
from roost.planner.victims import make_room

_UNDER_WAY = frozenset({State.READY, State.STARTING, State.WAKING})
_EASIEST = (
    State.ASLEEP,
    State.DRAINING,
    State.SUSPENDING,
    State.COLD,
    State.STOPPING,
    State.BACKOFF,
    State.FAILED,
    State.STUCK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A model that should be ready, since when, and why. `evicts`: others may yield for it."""

    model: ModelView
    since: float
    reason: Reason
    evicts: bool = True


def wants(draft: Draft) -> list[Want]:
    """All of them, the oldest first; preloads after those somebody waits for, in config order."""
    found = [want for model in draft.view.models if (want := _want(draft, model)) is not None]
    return sorted(found, key=lambda want: (not want.evicts, want.since if want.evicts else 0.0))


def _want(draft: Draft, model: ModelView) -> Want | None:
    wish = None if model.name in draft.denied else model.wish
    waiting_since = draft.now if model.oldest_wait_at is None else model.oldest_wait_at
    if wish is not None:
        if any(goes_down(wish, replica) for replica in model.replicas):
            return None
        since = min(wish.asked_at, waiting_since)
        return Want(model=model, since=since, reason=Ordered(goal=wish.goal, by=wish.by))
    if model.waiting:
        reason = Demand(waiting=model.waiting, waited_s=draft.now - waiting_since)
        return Want(model=model, since=waiting_since, reason=reason)
    if draft.policy.auto and any(_kept(draft, model, replica) for replica in model.replicas):
        return Want(model=model, since=draft.now, reason=Preload(), evicts=False)
    return None


def _kept(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """To be brought up without anybody waiting: not yet up since roost began, or crashed and to be kept."""
    if not replica.owned:
        return False
    if replica.state is State.COLD:
        return model.spec.preload and replica.since <= draft.view.started_at
    return replica.state is State.BACKOFF and (model.spec.preload or model.pinned)


def rise(draft: Draft, want: Want) -> None:
    """Bring the model up, begin to make room for it, or say what it waits for."""
    replicas = want.model.replicas
    if not replicas or any(r.state in _UNDER_WAY or not draft.free(r) for r in replicas):
        return
    replica = min(replicas, key=lambda r: _EASIEST.index(r.state))
    match replica.state:
        case State.ASLEEP:
            _start(draft, want, replica, Wake(replica=replica.id, reason=want.reason))
        case State.COLD | State.BACKOFF | State.FAILED:
            hindrance = _hindrance(draft, want, replica)
            if hindrance is None:
                _start(draft, want, replica, Load(replica=replica.id, reason=want.reason))
            elif want.evicts:
                draft.block(hindrance)
        case State.STUCK:
            draft.block(stuck(want.model, replica))
        case _:
            pass  # on its way down; it comes up from there


def _hindrance(draft: Draft, want: Want, replica: ReplicaView) -> Blocked | None:
    """Why what is down may not be started now. An operator's order does not wait for the next try."""
    name, spec = want.model.name, want.model.spec
    if not replica.owned:
        sentence = f'Model "{name}" waits until {spec.url or "its engine"} answers; roost does not start it.'
        return Blocked(model=name, sentence=sentence)
    if isinstance(want.reason, Ordered) and want.reason.goal in (Goal.READY, Goal.RESTARTED):
        return None
    if replica.state is State.COLD or (replica.retry_at is not None and replica.retry_at <= draft.now):
        return None
    cause = f": {replica.last_error.rstrip('.')}" if replica.last_error else ""
    often = "" if replica.failures < 2 else f" {replica.failures} times"
    failed = f'Model "{name}" failed to run{often}{cause}'
    if replica.state is State.FAILED:
        later = replica.retry_at
        itself = "" if later is None else f"A request in {format_duration(later - draft.now)} tries it again, or now: "
        again = f"{itself or 'Once the cause is gone: '}roost load {name}"
        return Blocked(model=name, sentence=f"{failed}. {again}", final=True, code="model_failed")
    draft.at(replica.retry_at)
    wait = "" if replica.retry_at is None else f" in {format_duration(replica.retry_at - draft.now)}"
    return Blocked(model=name, sentence=f"{failed}. The next try is{wait or ' soon'}.")


def _start(draft: Draft, want: Want, replica: ReplicaView, action: Load | Wake) -> None:
    room, model = draft.room, want.model
    need = room.need(model, replica)
    if not room.fits(need):
        if want.evicts:
            draft.block(make_room(draft, model, replica, want.since))
        return
    limit = max(1, draft.policy.spec.max_starts)
    if draft.starts < limit:
        draft.do(action)
        draft.starts += 1
        room.take(need)
    elif want.evicts:
        room.promise(need)
        sentence = f'Model "{model.name}" waits for its turn: {draft.starts} engines are starting (max_starts {limit}).'
        draft.block(Blocked(model=model.name, sentence=sentence))
