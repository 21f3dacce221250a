"""What goes down: drains that have come to their end, drains taken back, and orders to sleep, stop or restart.

Leases are never cut before an operator's `force_at`. Pure; called by `plan` before anything rises.
"""

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Drain, Ordered, Reason, Sleep, Stop, Undrain, Wanted
from roost.core.spec import ModelSpec
from roost.core.units import format_duration
from roost.core.view import Goal, ModelView, ReplicaView, Wish
from roost.planner.draft import Draft

_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})


def lower(draft: Draft, model: ModelView) -> None:
    """Orders for the model's replicas that lead down, or end a way down."""
    wish = model.wish
    for replica in model.replicas:
        if not draft.free(replica):
            continue
        if wish is not None and wish.goal is Goal.ASLEEP:
            _to_sleep(draft, model, replica, wish)
        elif wish is not None and goes_down(wish, replica):
            _to_stop(draft, model, replica, wish)
        elif replica.state is State.DRAINING:
            _drain_on(draft, model, replica)


def goes_down(wish: Wish, replica: ReplicaView) -> bool:
    """The wish still has this replica to take down. A restart of what does not run is only a start."""
    match wish.goal:
        case Goal.STOPPED | Goal.ASLEEP:
            return True
        case Goal.RESTARTED:
            return not wish.restart_began and replica.state not in _NOTHING_RUNS
        case _:
            return False


def sleep_level(spec: ModelSpec, levels: tuple[int, ...], asked: int | None = None) -> int:
    """The level to sleep at: the one asked for, else the configured one, else the nearest the engine has."""
    wanted = spec.sleep_level if asked is None else asked
    return max((level for level in levels if level <= wanted), default=min(levels))


def _drain_on(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    reason = _take_back(model, replica)
    if reason is not None:
        draft.do(Undrain(replica=replica.id, reason=reason))
    elif replica.in_flight == 0:
        goal = replica.drain_goal or Goal.STOPPED
        _end_drain(draft, model, replica, replica.drain_reason or Ordered(goal=goal, by="roost"))


def _take_back(model: ModelView, replica: ReplicaView) -> Reason | None:
    """Why the drain should not go on, or None if it should. A drain that makes room for another model goes on."""
    wish, cause = model.wish, replica.drain_reason
    if isinstance(cause, Ordered):  # its wish no longer stands
        return Ordered(goal=Goal.READY, by=wish.by if wish is not None else cause.by)
    if model.pinned:
        return Ordered(goal=Goal.READY, by="pin")
    if not replica.drain_idle:
        return None
    if wish is not None:
        return Ordered(goal=wish.goal, by=wish.by)
    return Wanted(waiting=model.waiting) if model.waiting else None


def _end_drain(draft: Draft, model: ModelView, replica: ReplicaView, reason: Reason) -> None:
    if replica.drain_goal is Goal.ASLEEP and replica.sleep_levels:
        level = sleep_level(model.spec, replica.sleep_levels)
        draft.do(Sleep(replica=replica.id, level=level, reason=reason))
    elif replica.owned:
        draft.do(Stop(replica=replica.id, reason=reason))
    else:
        draft.do(Undrain(replica=replica.id, reason=reason))


def _to_stop(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> None:
    reason = Ordered(goal=wish.goal, by=wish.by)
    if not replica.owned:
        sentence = f'Model "{model.name}" runs elsewhere ({model.spec.url}): roost neither starts nor stops it.'
        draft.deny(Blocked(model=model.name, sentence=sentence, final=True, code="not_owned"))
        return
    overdue = wish.force_at is not None and draft.now >= wish.force_at
    match replica.state:
        case State.READY if not overdue:
            draft.do(Drain(replica=replica.id, goal=wish.goal, reason=reason))
        case State.STARTING | State.ASLEEP | State.BACKOFF:
            draft.do(Stop(replica=replica.id, reason=reason))
        case State.DRAINING if replica.in_flight == 0:
            draft.do(Stop(replica=replica.id, reason=reason))
        case State.READY | State.DRAINING | State.WAKING | State.SUSPENDING:
            if overdue:
                draft.do(Stop(replica=replica.id, reason=reason, forced=True))
            else:
                draft.at(wish.force_at)
        case State.STUCK:
            draft.deny(stuck(model, replica))
        case _:
            pass


def stuck(model: ModelView, replica: ReplicaView) -> Blocked:
    """Its old processes are still there after SIGKILL."""
    cause = f" ({replica.last_error})" if replica.last_error else ""
    sentence = f'Model "{model.name}" cannot move: its old processes survived SIGKILL and hold their memory{cause}.'
    return Blocked(model=model.name, sentence=sentence, final=True, code="model_stuck")


def _to_sleep(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> None:
    refusal = _cannot_sleep(model, replica, wish)
    if refusal is not None:
        code, sentence = refusal
        draft.deny(Blocked(model=model.name, sentence=sentence, final=True, code=code))
        if replica.state is State.DRAINING:
            _drain_on(draft, model, replica)
        return
    reason = Ordered(goal=Goal.ASLEEP, by=wish.by)
    match replica.state:
        case State.READY:
            draft.do(Drain(replica=replica.id, goal=Goal.ASLEEP, reason=reason))
        case State.DRAINING:
            _sleep_when_idle(draft, model, replica, wish)
        case _:
            pass


def _sleep_when_idle(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> None:
    """Sleep takes no leases with it unless the operator said so at once: at the deadline the order is refused."""
    reason = Ordered(goal=Goal.ASLEEP, by=wish.by)
    overdue = wish.force_at is not None and draft.now >= wish.force_at
    if replica.in_flight == 0 or (overdue and _forced(wish)):
        level = sleep_level(model.spec, replica.sleep_levels, wish.level)
        draft.do(Sleep(replica=replica.id, level=level, reason=reason))
    elif overdue:
        waited = format_duration(draft.now - wish.asked_at)
        sentence = (
            f'Model "{model.name}" still answers {replica.in_flight} request(s) after {waited}, so it was not put '
            "to sleep. Try again later, or order it with force to cut them."
        )
        draft.deny(Blocked(model=model.name, sentence=sentence, final=True, code="still_busy"))
        if not isinstance(replica.drain_reason, Ordered):
            return  # it drains for another cause, which goes on
        draft.do(Undrain(replica=replica.id, reason=Ordered(goal=Goal.READY, by=wish.by)))
    else:
        draft.at(wish.force_at)


def _forced(wish: Wish) -> bool:
    return wish.force_at is not None and wish.force_at <= wish.asked_at


def _cannot_sleep(model: ModelView, replica: ReplicaView, wish: Wish) -> tuple[str, str] | None:
    levels = replica.sleep_levels
    if not levels:
        return "cannot_sleep", (
            f'Model "{model.name}" cannot be put to sleep by an order: its engine has none. Unload it instead.'
        )
    if wish.level is not None and wish.level not in levels:
        known = ", ".join(map(str, levels))
        return "cannot_sleep", f'Model "{model.name}" has no sleep level {wish.level}; its engine knows {known}.'
    if replica.state is State.ASLEEP and wish.level not in (None, replica.level):
        return "cannot_sleep", (
            f'Model "{model.name}" already sleeps at level {replica.level or "its own"} and cannot change it asleep. '
            "Wake it first, or unload it."
        )
    if replica.state in _NOTHING_RUNS or replica.state is State.STUCK:
        return "not_awake", f'Model "{model.name}" is {replica.state}: there is nothing to put to sleep.'
    return None
