"""What goes down: drains that have come to their end, drains taken back, and orders to sleep, stop or restart.

Leases are never cut before an operator's `force_at`, or the drain deadline of an engine that stands still or, with
`policy.on_drain_deadline: cut`, of one that makes room. Pure; called by `plan` before anything rises.
"""

from roost.core.footprint import HOST
from roost.core.lifecycle import State
from roost.core.plan import Blocked, Drain, Sleep, Stop, Undrain
from roost.core.reason import Evict, Ordered, OverBudget, Reason, Spared, Stalled, Wanted, with_rung
from roost.core.spec import EngineKind
from roost.core.units import counted, format_duration
from roost.core.view import Goal, ModelView, ReplicaView, Wish
from roost.planner.draft import Draft
from roost.planner.room import rising
from roost.planner.rungs import Rung, clear_bed, no_bed, rest
from roost.planner.scheduled import is_missed
from roost.planner.weights import sleep_level

_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})
_UNDER_WAY = frozenset({State.READY, State.STARTING, State.WAKING})
_NOT_AWAKE = _NOTHING_RUNS | {State.STUCK}


def lower(draft: Draft, model: ModelView) -> None:
    """Orders for the model's replicas that lead down, or end a way down."""
    wish = model.wish
    refusal = None if wish is None else _refusal(draft, model, wish)
    if refusal is not None:
        draft.deny(refusal)
    for replica in model.replicas:
        if not draft.free(replica):
            continue
        if wish is not None and refusal is None and goes_down(wish, replica):
            if wish.goal is Goal.ASLEEP and not _is_stalled(replica):
                _to_sleep(draft, model, replica, wish)
            elif wish.goal is Goal.ASLEEP:
                _end_stalled(draft, model, replica)
            else:
                _to_stop(draft, model, replica, wish)
        elif _is_stalled(replica):
            _end_stalled(draft, model, replica)
        elif replica.state is State.DRAINING:
            _drain_on(draft, model, replica)


def goes_down(wish: Wish, replica: ReplicaView) -> bool:
    """The wish still has this replica to take down. A restart of what does not run is only a start, and what runs
    elsewhere is never stopped: it serves on while the model's other replicas go."""
    match wish.goal:
        case Goal.ASLEEP:
            return True
        case Goal.STOPPED:
            return replica.owned
        case Goal.RESTARTED:
            return replica.owned and replica.id not in wish.gone_down and replica.state not in _NOTHING_RUNS
        case _:
            return False


def _is_stalled(replica: ReplicaView) -> bool:
    return replica.state is State.DRAINING and isinstance(replica.drain_reason, Stalled)


def _end_stalled(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    """An engine that stands still is stopped when its leases are back, or when they have had the time of a drain; a
    pin does not spare it, and nobody waits for it to sleep."""
    overdue_at = replica.since + model.spec.timeouts.drain
    reason = replica.drain_reason
    if reason is not None and (replica.in_flight == 0 or draft.now >= overdue_at):
        draft.do(Stop(replica=replica.id, reason=reason, forced=replica.in_flight > 0))
    else:
        draft.at(overdue_at)


def _drain_on(draft: Draft, model: ModelView, replica: ReplicaView) -> None:
    reason = _take_back(draft, model, replica)
    if reason is not None:
        draft.do(Undrain(replica=replica.id, reason=reason))
    elif replica.in_flight == 0 or _is_cut(draft, model, replica):
        goal = replica.drain_goal or Goal.STOPPED
        _end_drain(draft, model, replica, replica.drain_reason or Ordered(goal=goal, by="roost"))


def _is_cut(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Its requests have had the time of a drain, somebody needs its room, and the config says that this is enough."""
    overdue_at = cut_at(draft, model, replica)
    draft.at(overdue_at)
    return overdue_at is not None and draft.now >= overdue_at


def cut_at(draft: Draft, model: ModelView, replica: ReplicaView) -> float | None:
    """When the requests that it has are cut, if it drains to make room, or were to from now on; None: never."""
    if draft.policy.spec.on_drain_deadline != "cut":
        return None
    if replica.state is not State.DRAINING:
        return draft.now + model.spec.timeouts.drain
    return replica.since + model.spec.timeouts.drain if isinstance(replica.drain_reason, Evict | OverBudget) else None


def _take_back(draft: Draft, model: ModelView, replica: ReplicaView) -> Reason | None:
    """Why the drain should not go on, or None if it should."""
    wish, cause = model.wish, replica.drain_reason
    if isinstance(cause, Ordered):  # its wish no longer stands
        return Ordered(goal=Goal.READY, by=wish.by if wish is not None else cause.by)
    broken = isinstance(cause, Evict) and cause.last_resort == "pin" and "pin" in draft.policy.spec.last_resort
    if model.pinned and not broken:
        return Ordered(goal=Goal.READY, by="pin")
    if isinstance(cause, Evict) and not _room_is_wanted(draft, model, replica, cause):
        return Spared(for_model=cause.for_model)
    if isinstance(cause, OverBudget) and not _is_over(draft, model, replica):
        return Spared()
    if not replica.drain_idle:
        return None
    if wish is not None:
        return Ordered(goal=wish.goal, by=wish.by)
    return Wanted(waiting=model.waiting) if model.waiting else None


def _room_is_wanted(draft: Draft, model: ModelView, replica: ReplicaView, cause: Evict) -> bool:
    """Whether anybody could still need what the drain frees. Whoever it was begun for may have left, or have found
    room elsewhere; but while others are to come up into what it frees it goes on, for they may count on it. Groups and
    matrix are not asked again: then anybody who is to come up counts."""
    after = State.ASLEEP if replica.drain_goal is Goal.ASLEEP else State.COLD
    freed = {key for key, amount in draft.room.frees(model, replica, after).items() if amount > 0}
    for other in draft.models:
        own = other.name == model.name or other.host == model.name
        to_come = [one for one in other.replicas if one.stranded] if own else _to_come(draft, other)
        if any(cause.rule or not freed.isdisjoint(_could_use(draft, other, one)) for one in to_come):
            return True
    return False


def _to_come(draft: Draft, model: ModelView) -> list[ReplicaView]:
    """The replicas of which one is to come up and may need room for it; none where one is up or on its way already, but
    for those that requests are stranded with."""
    stranded = [replica for replica in model.replicas if replica.stranded]
    wished = model.wish is not None and model.wish.goal in (Goal.READY, Goal.RESTARTED)
    if not (model.waiting or wished or is_missed(model)):
        return stranded
    pending = draft.view.pending
    under_way = any(rising(replica, pending.get(replica.id)) in _UNDER_WAY for replica in model.replicas)
    return stranded if under_way else list(model.replicas)


def _could_use(draft: Draft, model: ModelView, replica: ReplicaView) -> set[str]:
    """The devices and places of which it may take something."""
    room = draft.room
    devices = room.choice(model, replica).allowed
    return {key for key, amount in room.need(model, replica, devices).items() if amount > 0}


def _is_over(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """With the replica, whose drain would free something of it, a budget is still exceeded."""
    room, after = draft.room, State.ASLEEP if replica.drain_goal is Goal.ASLEEP else State.COLD
    freed = room.frees(model, replica, after)
    return any(freed.get(key, 0) > 0 for key in room.excess({}))


def _end_drain(draft: Draft, model: ModelView, replica: ReplicaView, reason: Reason) -> None:
    if replica.drain_goal is Goal.ASLEEP and replica.sleep_levels:
        rung = rest(draft, model, replica)
        if not rung.why or not clear_bed(draft, model, replica, reason):
            _come_to_rest(draft, model, replica, rung, reason)
    elif replica.owned:
        draft.do(Stop(replica=replica.id, reason=reason, forced=replica.in_flight > 0))
    else:
        draft.do(Undrain(replica=replica.id, reason=reason))


def _come_to_rest(draft: Draft, model: ModelView, replica: ReplicaView, rung: Rung, reason: Reason) -> None:
    """What a sleep takes of host memory is taken from now on: several may go to sleep at once."""
    said = with_rung(reason, rung.why)
    if rung.level is None:
        draft.do(Stop(replica=replica.id, reason=said))
        return
    if HOST in draft.room.budget:
        draft.room.take({HOST: max(0, draft.room.host_need(model, replica, rung.level))})
    draft.do(Sleep(replica=replica.id, level=rung.level, reason=said))


def _refusal(draft: Draft, model: ModelView, wish: Wish) -> Blocked | None:
    """Why the order cannot be obeyed at all."""
    found: tuple[str, str] | None = None
    if wish.goal is Goal.ASLEEP:
        found = _cannot_sleep(draft, model, wish)
    elif wish.goal is not Goal.READY and model.replicas and not any(r.owned for r in model.replicas):
        where = f" ({model.spec.url})" if model.spec.url else ""
        found = "not_owned", f'Model "{model.name}" runs elsewhere{where}: roost neither starts nor stops it.'
    return None if found is None else Blocked(model=model.name, sentence=found[1], final=True, code=found[0])


def _to_stop(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> None:
    reason = Ordered(goal=wish.goal, by=wish.by)
    overdue = wish.force_at is not None and draft.now >= wish.force_at
    match replica.state:
        case State.READY if not overdue:
            draft.do(Drain(replica=replica.id, goal=wish.goal, reason=reason))
        case State.ASLEEP if replica.stranded and not overdue:
            draft.at(wish.force_at)  # it wakes for them first
        case State.STARTING | State.ASLEEP | State.BACKOFF:
            draft.do(Stop(replica=replica.id, reason=reason, forced=replica.stranded > 0))
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
    reason = Ordered(goal=Goal.ASLEEP, by=wish.by)
    match replica.state:
        case State.READY:
            draft.do(Drain(replica=replica.id, goal=Goal.ASLEEP, reason=reason))
        case State.DRAINING:
            _sleep_when_idle(draft, model, replica, wish)
        case _:
            pass


def _sleep_when_idle(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> None:
    """Sleep takes no leases with it unless the operator said so at once: at the deadline the order is refused. So it is
    where there is no bed any more, for an order to sleep is none to stop."""
    reason = Ordered(goal=Goal.ASLEEP, by=wish.by)
    overdue = wish.force_at is not None and draft.now >= wish.force_at
    if replica.in_flight == 0 or (overdue and _forced(wish)):
        rung = rest(draft, model, replica, wish.level)
        if rung.level is not None:
            _come_to_rest(draft, model, replica, rung, reason)
        elif wish.level is not None or not clear_bed(draft, model, replica, reason):
            _deny_sleep(draft, model, replica, wish, "no_host_memory", _no_bed(draft, model, replica, wish))
    elif overdue:
        waited, requests = format_duration(draft.now - wish.asked_at), counted(replica.in_flight, "request")
        sentence = (
            f'Model "{model.name}" still answers {requests} after {waited}, so it was not put to sleep. '
            "Try again later, or order it with force to cut what runs."
        )
        _deny_sleep(draft, model, replica, wish, "still_busy", sentence)
    else:
        draft.at(wish.force_at)


def _deny_sleep(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish, code: str, sentence: str) -> None:
    """It serves on, unless it drains for another cause, which goes on."""
    draft.deny(Blocked(model=model.name, sentence=sentence, final=True, code=code))
    if isinstance(replica.drain_reason, Ordered):
        draft.do(Undrain(replica=replica.id, reason=Ordered(goal=Goal.READY, by=wish.by)))


def _no_bed(draft: Draft, model: ModelView, replica: ReplicaView, wish: Wish) -> str:
    level = sleep_level(model.spec, replica.sleep_levels, wish.level)
    return no_bed(draft, model, replica, level)


def _forced(wish: Wish) -> bool:
    return wish.force_at is not None and wish.force_at <= wish.asked_at


def _cannot_sleep(draft: Draft, model: ModelView, wish: Wish) -> tuple[str, str] | None:
    """Code and sentence. What does not run is passed over as long as another replica has something to sleep."""
    running = [r for r in model.replicas if r.state not in _NOT_AWAKE or not draft.free(r)]
    why = next((replica.no_sleep for replica in running or model.replicas if replica.no_sleep), "")
    if why:
        instead = " Until then unload it instead." if any(replica.owned for replica in model.replicas) else ""
        return "cannot_sleep", f'Model "{model.name}" cannot be put to sleep: {why}{instead}'
    if any(not replica.sleep_levels for replica in running or model.replicas):
        return "cannot_sleep", _no_calls(model)
    for replica in running or model.replicas:
        if wish.level is not None and wish.level not in replica.sleep_levels:
            known = ", ".join(map(str, replica.sleep_levels))
            return "cannot_sleep", f'Model "{model.name}" has no sleep level {wish.level}; its engine knows {known}.'
        if replica.state is State.ASLEEP and wish.level not in (None, replica.level):
            return "cannot_sleep", (
                f'Model "{model.name}" already sleeps at level {replica.level or "its own"} and cannot change it '
                "asleep. Wake it first, or unload it."
            )
    for replica in running:
        if (
            wish.level is not None
            and replica.state is State.READY
            and rest(draft, model, replica, wish.level).level is None
        ):
            return "no_host_memory", no_bed(draft, model, replica, wish.level)
    if running or not model.replicas:
        return None
    state = model.replicas[0].state
    return "not_awake", f'Model "{model.name}" is {state}: there is nothing to put to sleep.'


def _no_calls(model: ModelView) -> str:
    """Its kind has no sleep calls: what can be done instead."""
    spec = model.spec
    if spec.server is not None:
        cause, remedy = f'it lives inside "{spec.server}", and is loaded there or not', []
    elif spec.engine in (None, EngineKind.COMMAND):
        cause = "roost does not know the sleep calls of its engine"
        remedy = ["write them as sleep_steps and wake_steps"]
    else:
        cause, remedy = f"engine kind {spec.engine} has no sleep calls", []
    if any(replica.owned for replica in model.replicas):
        remedy.append("unload it instead")
    advice = ", or ".join(remedy)
    end = f" {advice[0].upper()}{advice[1:]}." if advice else ""
    return f'Model "{model.name}" cannot be put to sleep: {cause}.{end}'
