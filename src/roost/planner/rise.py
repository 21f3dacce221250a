"""What comes up because requests wait for it, or an operator or a schedule wants it ready. Preloads are next door, in
`preload`.

The want whose turn it is (`turns`) goes first and keeps the room promised to it, so nobody later slips past. A load
or wake is ordered only when it fits now; else room is made (`victims`) or a sentence says what it waits for. Of a model
with several replicas the easiest one comes first; the others follow as long as the want stands, into room that is free
anyway. Pure; called by `plan`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from roost.core.lifecycle import State
from roost.core.plan import Blocked, Load, Wake
from roost.core.reason import Demand, Ordered, Scheduled, Stranded
from roost.core.units import counted, format_duration
from roost.core.view import Goal, ModelView, ReplicaView
from roost.planner.beside import judge, may_come
from roost.planner.draft import Draft
from roost.planner.guests import is_guest, lacks_base, waits_for_base
from roost.planner.lower import goes_down, stuck
from roost.planner.placement import Place, fitting, least_missed
from roost.planner.scheduled import call_of
from roost.planner.turns import standing
from roost.planner.victims import hopeless, make_room
from roost.planner.waits import with_wait
from roost.planner.yielding import Newcomer

_UNDER_WAY = frozenset({State.READY, State.STARTING, State.WAKING})
_MOVING = frozenset({State.STARTING, State.WAKING, State.SUSPENDING, State.STOPPING})
"""Moves that end by themselves and soon: the order to bring a model up waits for them."""
_UP_AGAIN = frozenset({Goal.READY, Goal.RESTARTED})
_EASIEST = (
    State.ASLEEP,
    State.DRAINING,
    State.SUSPENDING,
    State.COLD,
    State.STOPPING,
    State.BACKOFF,
    State.FAILED,
    State.STUCK,
    State.READY,
    State.STARTING,
    State.WAKING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A model that should be ready, since when, and why. Others may yield for its first replica."""

    model: ModelView
    since: float
    rank: int = 0
    """Of its class, 0 the highest."""
    reason: Demand | Ordered | Stranded | Scheduled
    replica: ReplicaView | None = None
    """The one that must come up, whatever its siblings do; None: the easiest."""


def wants(draft: Draft) -> list[Want]:
    """All of them, in the order of their turns; before them those for requests that were let in already."""
    found = [want for one in draft.special if one.is_wanted for want in _wants(draft, one.model)]
    return sorted(found, key=lambda want: (want.replica is None, want.rank, want.since))


def _wants(draft: Draft, model: ModelView) -> Iterator[Want]:
    """Stranded requests are nobody's choice any more: neither `wake_on_request` nor an order that leads down, which
    lets them end first, keeps them where they are."""
    for replica in model.replicas:
        if replica.stranded:
            reason = Stranded(requests=replica.stranded, asleep_s=draft.now - replica.since)
            yield Want(model=model, since=replica.since, reason=reason, replica=replica)
    want = _want(draft, model)
    if want is None:
        return
    base = next((one for one in draft.models if one.name == model.host), None) if is_guest(model) else None
    if base is not None and base.wish is None and not base.waiting:
        yield replace(want, model=base)
    yield want


def _want(draft: Draft, model: ModelView) -> Want | None:
    wish = None if model.name in draft.denied else model.wish
    rank, since = standing(draft, model)
    if wish is not None:
        if wish.goal not in _UP_AGAIN or all(goes_down(wish, replica) for replica in model.replicas):
            return None
        since = min(wish.asked_at, since)
        return Want(model=model, since=since, rank=rank, reason=Ordered(goal=wish.goal, by=wish.by))
    if model.waiting:
        waiting_since = draft.now if model.oldest_wait_at is None else model.oldest_wait_at
        reason = Demand(waiting=model.waiting, waited_s=draft.now - waiting_since)
        return Want(model=model, since=since, rank=rank, reason=reason)
    call = call_of(draft, model)
    return None if call is None else Want(model=model, since=since, rank=rank, reason=call)


def rise_first(draft: Draft, want: Want) -> None:
    """While no replica of the model is up or coming: bring the easiest one up, begin to make room for it, or say what
    it waits for. The same for a certain replica that is wanted."""
    replica = want.replica or _easiest(draft, want.model)
    if replica is None or not draft.free(replica):
        return
    if lacks_base(draft, replica):
        draft.block(waits_for_base(draft, want.model, replica))
        return
    match replica.state:
        case State.ASLEEP:
            _start(draft, want, replica)
        case State.COLD | State.BACKOFF | State.FAILED:
            hindrance = _hindrance(draft, want, replica)
            if hindrance is None:
                _start(draft, want, replica)
            else:
                _tell(draft, want, hindrance)
        case State.STUCK:
            _tell(draft, want, stuck(want.model, replica))
        case _:
            pass  # on its way down; it comes up from there


def _easiest(draft: Draft, model: ModelView) -> ReplicaView | None:
    """The first to come up; None if there is none, or if one is up or coming or wanted for itself."""
    if any(r.state in _UNDER_WAY or r.stranded or not draft.free(r) for r in model.replicas):
        return None
    return min(model.replicas, key=lambda replica: _order(draft, model, replica), default=None)


def _order(draft: Draft, model: ModelView, replica: ReplicaView) -> tuple[bool, tuple[bool, int, float], int]:
    return lacks_base(draft, replica) or replica.unlisted, _effort(replica), _crowd(draft, model, replica)


def _crowd(draft: Draft, model: ModelView, replica: ReplicaView) -> int:
    """How many models its server holds or is about to, where the model could go to another server instead."""
    if not replica.host or len(model.replicas) < 2:
        return 0
    others = (one for other in draft.models for one in other.replicas if one.host == replica.host)
    return sum(draft.is_here(one) or one.id in draft.actions for one in others)


def rise_others(draft: Draft, want: Want) -> None:
    """The model's other replicas, where they fit beside everything that is up and promised. An order to be up that
    finds nothing more to do is settled."""
    if want.replica is not None or _is_enough(want):
        return
    model, to_come = want.model, False
    for replica in sorted(model.replicas, key=_effort):
        if draft.free(replica) and (model.wish is None or not goes_down(model.wish, replica)):
            to_come |= _follow(draft, want, replica)
        else:
            to_come = True
    ready = any(replica.state is State.READY for replica in model.replicas)
    if isinstance(want.reason, Ordered) and ready and not to_come and model.name not in draft.denied:
        draft.settled.append(model.name)


def _is_enough(want: Want) -> bool:
    """Inside a server that holds several models a second copy takes the place of another one: it is worth that only if
    the first one is up and requests still wait."""
    spread = len({replica.host for replica in want.model.replicas}) > 1
    ready = any(replica.state is State.READY for replica in want.model.replicas)
    return spread and not ready and not isinstance(want.reason, Ordered)


def _follow(draft: Draft, want: Want, replica: ReplicaView) -> bool:
    """True if the replica comes up, or will as soon as fewer engines are starting."""
    if lacks_base(draft, replica) or replica.unlisted:
        return False
    match replica.state:
        case State.ASLEEP:
            pass
        case State.COLD | State.BACKOFF | State.FAILED:
            if _hindrance(draft, want, replica) is not None:
                return False
        case state:
            return state in _MOVING
    place = fitting(draft.room, want.model, replica)
    if place is None or not may_come(draft, want.model, replica):
        return False
    if draft.may_start(replica):
        draft.start(want.model, _order_up(replica, want, place), place.need)
    return True


def _effort(replica: ReplicaView) -> tuple[bool, int, float]:
    """Order of preference; what runs elsewhere and is down can only be waited for. Of those that crashed the one that
    may be tried soonest."""
    awaited = not replica.owned and replica.state is not State.ASLEEP
    never = float("inf") if replica.state in (State.BACKOFF, State.FAILED) else 0.0
    return awaited, _EASIEST.index(replica.state), never if replica.retry_at is None else replica.retry_at


def _hindrance(draft: Draft, want: Want, replica: ReplicaView) -> Blocked | None:
    """Why what is down may not be started now. An operator's order does not wait for the next try, once each."""
    name, spec = want.model.name, want.model.spec
    if replica.absent and not (replica.owned and (_first_try_of_order(want, replica) or _is_due(draft, replica))):
        return Blocked(model=name, sentence=replica.absent, final=True, code="model_not_found")
    if not replica.owned:
        sentence = f'Model "{name}" waits until {spec.url or "its engine"} answers; roost does not start it.'
        return Blocked(model=name, sentence=sentence, indefinite=True)
    if _first_try_of_order(want, replica):
        return None
    if _is_due(draft, replica):
        return None
    cause = f": {replica.last_error.rstrip('.')}" if replica.last_error else ""
    often = "" if replica.failures < 2 else f" {replica.failures} times"
    failed = f'Model "{name}" failed to run{often}{cause}'
    if replica.state is State.FAILED:
        later = replica.retry_at
        itself = "" if later is None else f"A request in {format_duration(later - draft.now)} tries it again, or now: "
        again = f"{itself or 'Once the cause is gone: '}roost load {name}"
        return Blocked(model=name, sentence=f"{failed}. {again}", final=True, code="model_failed")
    if replica.retry_at is None:
        return Blocked(
            model=name, sentence=f'Model "{name}" waits for its server. {replica.last_error}', indefinite=True
        )
    draft.at(replica.retry_at)
    return Blocked(
        model=name,
        sentence=f"{failed}. The next try is in {format_duration(replica.retry_at - draft.now)}.",
        room_s=None if fitting(draft.room, want.model, replica) is None else 0.0,
        not_before=replica.retry_at,
    )


def _is_due(draft: Draft, replica: ReplicaView) -> bool:
    return replica.state is State.COLD or (replica.retry_at is not None and replica.retry_at <= draft.now)


def _first_try_of_order(want: Want, replica: ReplicaView) -> bool:
    wish = want.model.wish
    if wish is None or not isinstance(want.reason, Ordered):
        return False
    return replica.last_load_at is None or replica.last_load_at < wish.asked_at


def _start(draft: Draft, want: Want, replica: ReplicaView) -> None:
    room, model = draft.room, want.model
    verdict = judge(draft, model, replica)
    place = fitting(room, model, replica)
    if place is None or not verdict.clear:
        _tell(draft, want, _make_room(draft, Newcomer(model, replica, want.since, verdict), place))
    elif draft.may_start(replica):
        draft.start(model, _order_up(replica, want, place), place.need)
    else:
        draft.promise(model, want.rank, place.need, verdict)
        limit, starting = draft.policy.spec.max_starts, counted(draft.starts, "engine", "is starting", "are starting")
        sentence = f'Model "{model.name}" waits for its turn: {starting} (max_starts {limit}).'
        _tell(draft, want, Blocked(model=model.name, sentence=sentence))


def _tell(draft: Draft, want: Want, blocked: Blocked) -> None:
    """A schedule has nobody who waits and could be refused."""
    if isinstance(want.reason, Scheduled) and blocked.final:
        draft.notes.append(blocked.sentence)
    else:
        draft.block(blocked)


def _make_room(draft: Draft, newcomer: Newcomer, place: Place | None) -> Blocked:
    """Where it fits only groups or matrix are against it; else where it costs least."""
    possible = hopeless(draft, newcomer)
    if isinstance(possible, Blocked):
        return possible
    placed = least_missed(draft, possible) if place is None else replace(possible, need=place.need)
    return with_wait(draft, placed, make_room(draft, placed))


def _order_up(replica: ReplicaView, want: Want, place: Place) -> Load | Wake:
    if replica.state is State.ASLEEP:
        return Wake(replica=replica.id, reason=want.reason)
    return Load(replica=replica.id, reason=want.reason, devices=place.told)
