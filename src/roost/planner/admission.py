"""Whether a request gets a replica now, waits, or is refused: pure functions over what the gate knows.

Keeps nothing, reads no clock. Called by `control/gate.py` for each request; the path to a ready replica makes
no object at all. `Prospect` is the predicted wait of one that must wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar
from urllib.parse import quote

from roost.core.lifecycle import State
from roost.core.plan import HELD_BACK, Blocked
from roost.core.request import Fault, Refusal
from roost.core.spec import ModelSpec
from roost.core.units import counted, format_duration

RETRY_AFTER_MAX_S = 120.0
"""The OpenAI client ignores a Retry-After above it."""
TOO_LONG = "would_wait_too_long"
"""Code of the refusal of one whose predicted wait is past its deadline."""
IN_VAIN_BY = 1.25
"""A wait is called too long only if it is predicted to be this many times what the request has left."""
COMING = frozenset({State.READY, State.STARTING, State.WAKING, State.DRAINING, State.SUSPENDING})
"""States in which even a request that may not wake the model waits."""

_PLIGHTS = {State.BACKOFF: "has crashed", State.FAILED: "has failed"}


class Enqueue(Enum):
    """The request waits its turn."""

    ENQUEUE = auto()


ENQUEUE = Enqueue.ENQUEUE


class Seat(Protocol):
    """One replica as admission sees it."""

    @property
    def state(self) -> State: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def load(self) -> int:
        """Requests at its engine: of an adapter also those for others there."""
        ...

    @property
    def handicap(self) -> int:
        """Added to its requests where the least busy replica is sought: large for one that keeps failing."""
        ...


S = TypeVar("S", bound=Seat)
S_co = TypeVar("S_co", bound=Seat, covariant=True)


class Lane(Protocol[S_co]):
    """One model as admission sees it."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> ModelSpec: ...
    @property
    def seats(self) -> Sequence[S_co]: ...
    @property
    def depth(self) -> int:
        """Requests that wait."""
        ...

    @property
    def wakers(self) -> int:
        """Those of them that may wake the model."""
        ...

    @property
    def expected_wait_s(self) -> float:
        """When a place in a full queue is likely to be free."""
        ...


class Asking(Protocol):
    """What of a request matters here."""

    @property
    def may_wake(self) -> bool: ...


def pick(seats: Sequence[S], concurrency: int | None) -> S | None:
    """The ready replica below its limit with the fewest requests, the first of equals; one that keeps failing only
    where no other can take it. None if there is none."""
    best: S | None = None
    least = 0
    for seat in seats:
        if seat.state is State.READY and (concurrency is None or seat.load < concurrency):
            load = seat.load + seat.handicap
            if best is None or load < least:
                best, least = seat, load
    return best


def admit(lane: Lane[S], request: Asking) -> S | Enqueue | Refusal:
    """The replica to use, ENQUEUE, or why not. Who already waits goes first."""
    depth, limit = lane.depth, lane.spec.max_requests
    if limit is not None and depth + sum(seat.in_flight for seat in lane.seats) >= limit:
        return too_many(lane, limit)
    if depth == 0:
        seat = pick(lane.seats, lane.spec.concurrency)
        if seat is not None:
            return seat
    if depth >= lane.spec.queue.size:
        return queue_full(lane)
    if not (request.may_wake and lane.spec.wake_on_request) and not coming(lane):
        return not_awake(lane)
    return ENQUEUE


def coming(lane: Lane[Seat]) -> bool:
    """The model is up or on its way, or somebody waits who will bring it up."""
    return lane.wakers > 0 or any(seat.state in COMING for seat in lane.seats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """The predicted wait of one request, by its parts, in seconds; None: nothing has been learned of it."""

    queue_s: float | None
    """Until those before it are served."""
    room_s: float | None
    """Until others have made room."""
    rise_s: float | None
    """The load or wake."""
    service_s: float | None = 0.0
    """Its own answer, where the deadline is for the whole of it."""
    certain_s: float = 0.0
    """What of room and rise has been learned, or cannot be shorter: no guess is in it."""
    is_retry: bool = False
    """What is in the way is that it failed and is not tried again before a certain moment."""
    is_waking: bool = False
    """The way up is a wake."""

    @property
    def wait_s(self) -> float | None:
        """Until it is let in; None where a part is not known."""
        if self.queue_s is None or self.room_s is None or self.rise_s is None:
            return None
        return self.queue_s + self.room_s + self.rise_s

    @property
    def total_s(self) -> float | None:
        """Until it is answered; None where a part is not known."""
        wait = self.wait_s
        return None if wait is None or self.service_s is None else wait + self.service_s

    @property
    def known_s(self) -> float:
        """Until it is answered, by what is known alone: unless all is, it takes longer."""
        return sum(part or 0.0 for part in (self.queue_s, self.room_s, self.rise_s, self.service_s))

    @property
    def parts(self) -> dict[str, float | None]:
        """By name, with their sum."""
        return {"queue_s": self.queue_s, "room_s": self.room_s, "rise_s": self.rise_s, "wait_s": self.wait_s}


def queue_s(ahead: int, concurrency: int | None, ready: int, hold_s: float | None) -> float | None:
    """How long the `ahead` requests before one keep it waiting, a lease lasting `hold_s` on average and `ready`
    replicas serving; 0 ready: once the first of them is up. None: nobody knows how long a lease lasts."""
    if concurrency is None:
        return 0.0
    slots = concurrency * max(1, ready)
    turns = (ahead + 1) / slots if ready else float(ahead // slots)
    return turns * hold_s if hold_s is not None else None if turns else 0.0


def in_vain(prospect: Prospect, left_s: float) -> bool:
    """Whether the request would wait past its deadline, by a margin, and by nothing that is guessed: a part that is not
    known counts for nothing. Its own answer counts for half the time at most: that others took longer says too little
    of this one."""
    known_s = (prospect.queue_s or 0.0) + prospect.certain_s
    return known_s + min(prospect.service_s or 0.0, left_s / 2) > left_s * IN_VAIN_BY


def comes_back_too_late(blocked: Blocked, left_s: float, now: float) -> bool:
    """What its owner or a schedule has of the memory comes back after the deadline: that is known, not predicted."""
    return blocked.code == HELD_BACK and (blocked.not_before or now) - now > left_s * IN_VAIN_BY


def would_wait_too_long(model: str, prospect: Prospect, left_s: float, *, by_client: bool) -> Refusal:
    """503 at once, in place of the same after a wait."""
    total, least = prospect.known_s, "at least " if prospect.total_s is None else ""
    named = {
        "others before it": prospect.queue_s,
        "its next try" if prospect.is_retry else "making room": prospect.room_s,
        "the wake" if prospect.is_waking else "the load": prospect.rise_s,
        "the answer": prospect.service_s,
    }
    parts = ", ".join(f"{name} {format_duration(part)}" for name, part in named.items() if part)
    setting = "the client's own deadline" if by_client else "queue.max_wait"
    retry = bounded_retry(total)
    message = (
        f'Model "{model}" is expected to need {least}{format_duration(total)} for this request ({parts}), and it may '
        f"take {format_duration(left_s)} ({setting}). Try again in {retry:.0f} s."
    )
    return Refusal(status=503, code=TOO_LONG, message=message, fault=Fault.GATEWAY, retry_after_s=retry)


def queue_full(lane: Lane[Seat]) -> Refusal:
    """429 with a computed Retry-After."""
    retry, waiting = bounded_retry(lane.expected_wait_s), counted(lane.depth, "request", "waits", "wait")
    message = (
        f'The queue of model "{lane.name}" is full: {waiting} (queue.size {lane.spec.queue.size}). '
        f"Try again in {retry:.0f} s."
    )
    return Refusal(status=429, code="queue_full", message=message, fault=Fault.GATEWAY, retry_after_s=retry)


def too_many(lane: Lane[Seat], limit: int) -> Refusal:
    """429 with a computed Retry-After: those who run and those who wait are as many as may be."""
    retry, running = bounded_retry(lane.expected_wait_s), sum(seat.in_flight for seat in lane.seats)
    message = (
        f'Model "{lane.name}" has all the requests it may: {running} {"runs" if running == 1 else "run"} and '
        f"{lane.depth} {'waits' if lane.depth == 1 else 'wait'} (max_requests {limit}). Try again in {retry:.0f} s."
    )
    return Refusal(status=429, code="too_many_requests", message=message, fault=Fault.GATEWAY, retry_after_s=retry)


def not_awake(lane: Lane[Seat]) -> Refusal:
    """503 without Retry-After: trying again would not help, somebody must wake (or load) the model first."""
    states = [seat.state for seat in lane.seats] or [State.COLD]
    state = State.ASLEEP if State.ASLEEP in states else states[0]
    plight, name = _PLIGHTS.get(state, f"is {state}"), quote(lane.name, safe="")
    if lane.spec.wake_on_request:
        message = (
            f'Model "{lane.name}" {plight}, and this request may not wake it. Send a POST with a key that may, '
            f"or POST /api/v1/models/{name}/wake."
        )
    else:
        message = (
            f'Model "{lane.name}" {plight}, and requests do not wake it (wake_on_request: false). '
            f"POST /action/wakeup/{name} or POST /api/v1/models/{name}/wake does."
        )
    return Refusal(status=503, code="model_asleep", message=message, fault=Fault.GATEWAY)


def bounded_retry(seconds: float) -> float:
    """Whole seconds between 1 and what clients heed."""
    return float(min(max(1, -int(-seconds // 1)), int(RETRY_AFTER_MAX_S)))
