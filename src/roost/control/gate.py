"""Who may use which replica now: routes, leases, queues and the one in-flight count. Implements `proxy.ports.Fleet`.

It decides by `planner.admission` alone, never starts, wakes or stops anything, and makes no task, future or timer:
it nudges the control loop where a request must wait or a drain has come to its end. Called by the data plane,
by the owners' changes, by the loop (final sentences) and by `app` (sweep, close).
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from roost.control.health import Health
from roost.control.lane import Entry, Lane, Lease
from roost.control.outlook import prospect
from roost.control.ports import LeaseLike, Owner, Waiter
from roost.control.refusing import refusal_for, removed, too_late, turned_away
from roost.control.routes import Routes
from roost.control.seat import Seat
from roost.core.events import Changed
from roost.core.lifecycle import Fact, Order, State
from roost.core.plan import Plan, Turn
from roost.core.request import Fault, Refusal, Request, Route
from roost.core.spec import ModelSpec, RoostSpec
from roost.logs import log
from roost.planner.admission import (
    ENQUEUE,
    Prospect,
    admit,
    comes_back_too_late,
    coming,
    in_vain,
    not_awake,
    pick,
    would_wait_too_long,
)

_HELD_BY_LEASES = frozenset({State.DRAINING, State.ASLEEP})
"""What becomes of a replica in these may wait for its last lease."""


class Gate:
    """The one admission decision and all leases. `nudge` is called when the planner should look."""

    def __init__(self, spec: RoostSpec, owners: Sequence[Owner], nudge: Callable[[], None]) -> None:
        self._routes = Routes({})
        self._nudge = nudge
        self._closed: Refusal | None = None
        self._lanes: dict[str, Lane] = {}
        self.hear_arrival: Callable[[str, float], None] = _nobody_hears
        """Told of every request that counts as traffic and may wake its model."""
        self.hear_hint: Callable[[str, float], None] = _nobody_hears
        """Told of the models that clients say they will ask for next."""
        self._seats: dict[str, Seat] = {}
        self._health = Health()
        self._turns: Mapping[str, Turn] = {}
        self._unknown: set[str] = set()
        """Models that nobody finds by a name yet."""
        self.refusals: Counter[tuple[str, str]] = Counter()
        """Requests refused, by model and code; only ever rises."""
        for name, model in spec.models.items():
            self.add(name, model, [owner for owner in owners if owner.model == name])

    def add(
        self, name: str, model: ModelSpec, owners: Sequence[Owner], came_at: float = 0.0, *, known: bool = True
    ) -> None:
        """A model that requests may name from now on; none of its names may lead anywhere yet (`owner_of`). Not
        `known`: nobody finds it by a name before `make_known`; `route_of` leads there."""
        lane = self._lanes[name] = Lane(name, model)
        lane.came_at, lane.closed = came_at, self._closed
        lane.on_release, lane.on_emptied = self._released, self._nudge
        lane.on_answered, lane.on_failed = self._health.answered, self._health.failed
        base = self._lanes.get(model.inside) if model.inside is not None else None
        if base is not None and name in base.spec.adapters:
            lane.host = base
            base.guests.append(lane)
        self.add_seats(name, owners)
        if known:
            self._routes.add(name, model)
        else:
            self._unknown.add(name)

    def add_seats(self, name: str, owners: Sequence[Owner]) -> None:
        """Further replicas of a model."""
        lane = self._lanes[name]
        for owner in owners:
            host = lane.host.seats[len(lane.seats)] if lane.host is not None else None
            seat = self._seats[owner.id] = Seat(lane, owner, host)
            lane.seats.append(seat)

    def drop_seat(self, replica: str) -> None:
        """A replica that has nothing under way is gone; its model stays."""
        seat = self._seats.pop(replica)
        seat.lane.seats.remove(seat)
        self._health.forget(seat)

    def make_known(self, name: str) -> None:
        """Requests find the model by its names from now on."""
        self._unknown.discard(name)
        self._routes.add(name, self._lanes[name].spec)

    def route_of(self, name: str) -> Route:
        """The route to a model by its own name, also where nobody finds it."""
        return Routes({name: self._lanes[name].spec}).routes[name]

    def guests_of(self, name: str) -> list[str]:
        """The models that live inside this one's engines; none for one that is not there."""
        lane = self._lanes.get(name)
        return [] if lane is None else [guest.name for guest in lane.guests]

    def close_lane(self, name: str, refusal: Refusal) -> None:
        """The model is being removed: nobody finds or enters it any more, those who wait are told so, leases run on."""
        lane = self._lanes[name]
        self._routes.remove(name)
        lane.closed = refusal
        self._refuse(lane, list(lane.queue), refusal)

    def forget(self, name: str) -> None:
        """It is gone. A lease that is still out may be given back as ever."""
        self._unknown.discard(name)
        lane = self._lanes.pop(name)
        if lane.host is not None:
            lane.host.guests.remove(lane)
        for seat in lane.seats:
            self._health.forget(seat)
            del self._seats[seat.owner.id]
        for counted_as in [one for one in self.refusals if one[0] == name]:
            del self.refusals[counted_as]  # names come and go without end

    def owner_of(self, asked: str) -> str | None:
        """The model that a name leads to, or still leads to while that is being removed; None if it is free."""
        return asked if asked in self._lanes else self._routes.owner(asked)

    def resolve(self, name: str) -> Route | None:
        return self._routes.resolve(name)

    def match_prefix(self, path: str) -> tuple[Route, str] | None:
        return self._routes.match_prefix(path)

    def enter(self, request: Request, route: Route, waiter: Waiter, now: float) -> Lease | Entry | Refusal:
        """See `proxy.ports.Fleet`. Lease: counts already. Entry: the waiter will be called. Refusal: the answer."""
        lane = self._lanes.get(route.name)
        if lane is None:  # it entered once, lost its engine, and meanwhile the model was removed
            return removed(route.name)
        if lane.closed is not None:
            return self._count(lane, lane.closed)
        if request.counts and request.may_wake:
            self.hear_arrival(route.name, now)
            if lane.host is not None:
                self.hear_arrival(lane.host.name, now)
        answer = admit(lane, request)
        if isinstance(answer, Seat):
            if answer.handicap:
                self._health.granted(answer, now)
            return Lease(answer, request.counts, now)
        if answer is not ENQUEUE:
            assert isinstance(answer, Refusal)
            return self._count(lane, turned_away(lane, request, answer))
        entry = Entry(lane, request, waiter, now)
        if entry.deadline_at <= now:
            return self._count(lane, too_late(entry, now))
        refusal = self._in_vain(entry, prospect(entry, lane.queue.ahead_of(entry), now), now)
        if refusal is not None:
            return self._count(lane, refusal)
        lane.add(entry)
        if not any(seat.state is State.READY for seat in lane.seats):
            lane.fresh.append(entry)
        self._nudge()
        return entry

    def hint(self, route: Route, now: float) -> None:
        """See `proxy.ports.Fleet`."""
        self.hear_hint(route.name, now)

    def another(self, lease: LeaseLike, now: float) -> Lease | None:
        """See `proxy.ports.Fleet`: a lease on another ready replica; the first one is given back with it."""
        assert isinstance(lease, Lease)
        lane = lease.seat.lane
        others = [seat for seat in lane.seats if seat is not lease.seat]
        seat = pick(others, lane.spec.concurrency)
        if seat is None or lane.closed is not None or not lease.is_out:
            return None
        if seat.handicap:
            self._health.granted(seat, now)
        second = Lease(seat, lease.counts, now)
        lease.release(now)
        return second

    def passed(self, replica: str, now: float) -> Lease:
        """A lease for a request that went to its replica without asking here, whatever the replica's state: it
        counts as traffic, and a drain waits for it."""
        return Lease(self._seats[replica], True, now, passing=True)

    def replica_changed(self, change: Changed) -> None:
        """Hear of an owner's change: serve the queue when ready; tell those who may not wake it when it went down."""
        seat = self._seats.get(change.replica)
        if seat is None:
            return  # its model was removed
        lane = seat.lane
        if change.after is State.WAKING:
            seat.found_awake = change.event is Fact.FOUND_AWAKE
        elif change.after is State.READY:
            if change.event is not Order.UNDRAIN:
                self._health.forget(seat)
            _note_rise(seat, change)
            lane.blocked = None
            lane.forget_recalled()
            self._serve(lane, change.at)
            for guest in lane.guests:
                self._serve(guest, change.at)
        elif lane.depth and not coming(lane):
            self._refuse_idle_waiters(lane)

    def refuse_all(self, model: str, refusal: Refusal) -> None:
        """Everybody who waits for the model gets this answer now."""
        lane = self._lanes[model]
        self._refuse(lane, list(lane.queue), refusal)

    def note_plan(self, plan: Plan, now: float) -> None:
        """What the last plan said about each model, for the sentence of those whose time runs out; who came since the
        plan before it and would wait in vain is told so now."""
        self._turns = plan.turns
        for name, lane in self._lanes.items():
            lane.blocked, lane.blocked_at = plan.blocked.get(name), now
            if not lane.fresh:
                continue
            for entry in lane.fresh_ones():
                place = lane.queue.place(entry)
                refusal = None if place is None else self._in_vain(entry, prospect(entry, place - 1, now), now)
                if refusal is not None:
                    self._refuse(lane, [entry], refusal)

    def sweep(self, now: float) -> None:
        """Refuse those whose time is over, try again what was avoided. Coarse: `app` calls it about four times a
        second."""
        self._health.sweep(now)
        for lane in self._lanes.values():
            if lane.recalled_at is not None and lane.recalled_until <= now:
                lane.forget_recalled()
                self._nudge()
            if not lane.depth:
                continue
            for entry in [entry for entry in lane.queue if entry.deadline_at <= now]:
                self._refuse(lane, [entry], too_late(entry, now))
            if lane.depth and not coming(lane):
                self._refuse_idle_waiters(lane)

    def close(self) -> None:
        """roost shuts down: nobody enters any more, and those who wait are refused. Leases run on."""
        self._closed = Refusal(
            status=503,
            code="shutting_down",
            message="roost is shutting down. Try again in a few seconds.",
            fault=Fault.GATEWAY,
            retry_after_s=5.0,
            close=True,
        )
        for lane in self._lanes.values():
            lane.closed = self._closed
            self._refuse(lane, list(lane.queue), self._closed)

    def names(self) -> Collection[str]:
        """The models that are known, in the order they were added."""
        return [name for name in self._lanes if name not in self._unknown] if self._unknown else self._lanes.keys()

    def lanes(self) -> Iterable[Lane]:
        """All models in the order in which they came, to read; also those that are being removed."""
        return self._lanes.values()

    def lane(self, model: str) -> Lane:
        """The queue and seats of a model, to read."""
        return self._lanes[model]

    def seat(self, replica: str) -> Seat:
        """In-flight and last use of a replica, to read."""
        return self._seats[replica]

    @property
    def in_flight(self) -> int:
        """Leases out, all models."""
        return sum(seat.own_in_flight for seat in self._seats.values())

    @property
    def queue_depth(self) -> int:
        """Requests without a lease, all models."""
        return sum(lane.depth for lane in self._lanes.values())

    def _released(self, seat: Seat, now: float) -> None:
        state = seat.owner.state
        if seat.host is not None:
            self._released(seat.host, now)
        if state is State.READY:
            waiting = [lane for lane in (seat.lane, *seat.lane.guests) if lane.depth]
            if waiting:
                for lane in sorted(waiting, key=_longest_wait) if len(waiting) > 1 else waiting:
                    self._serve(lane, now)
            elif seat.owner.id in self._turns:
                self._nudge()  # its turn is over: it has nothing more to do
        elif state in _HELD_BY_LEASES and seat.in_flight == 0:
            self._nudge()

    def _serve(self, lane: Lane, now: float) -> None:
        """Hand leases out in order while there is room. A waiter may give its lease back, or enter, within its
        call; the flag keeps that from growing the stack."""
        if lane.serving or not lane.depth:
            return
        lane.serving = True
        try:
            while lane.depth and (seat := pick(lane.seats, lane.spec.concurrency)) is not None:
                self._offer(lane.take_first(now), seat, now)
        finally:
            lane.serving = False
        self._nudge()  # who waits for this model's room may go on when its own waiters are served

    def _offer(self, entry: Entry, seat: Seat, now: float) -> None:
        used_before = [(one, one.last_granted) for one in (seat, seat.host) if one is not None]
        if seat.handicap:
            self._health.granted(seat, now)
        lease = Lease(seat, entry.counts, now)
        try:
            taken = entry.waiter.granted(lease)
        except Exception:
            log.exception("a waiting request for %s failed as it got its lease", seat.owner.id)
            taken = False
        if not taken:
            lease.revoke()
            for one, before in used_before:
                one.last_granted = before

    def _refuse(self, lane: Lane, entries: Iterable[Entry], refusal: Refusal) -> None:
        told = False
        for entry in entries:
            if not lane.drop(entry):
                continue  # left while an earlier one was told
            told = True
            self._count(lane, refusal)
            try:
                entry.waiter.refused(refusal)
            except Exception:
                log.exception("a waiting request for model %r failed as it was refused", lane.name)
        if told:
            self._nudge()

    def _in_vain(self, entry: Entry, prospect: Prospect, now: float) -> Refusal | None:
        """The refusal of one that would wait past its deadline. Its model is brought up all the same: the client is
        told to come back when it is there."""
        lane, left = entry.lane, entry.deadline_at - now
        blocked = lane.blocked
        if blocked is not None and comes_back_too_late(blocked, left, now):
            return refusal_for(blocked, now)
        if blocked is not None and blocked.indefinite and entry.request.has_fallback:
            return refusal_for(blocked, now)  # another model answers
        if not in_vain(prospect, left):
            return None
        refusal = would_wait_too_long(lane.name, prospect, left, by_client=entry.by_client)
        if entry.may_wake and prospect.rise_s != 0.0:
            lane.recall(now, now + (refusal.retry_after_s or 0.0))
            self._nudge()
        return refusal

    def _refuse_idle_waiters(self, lane: Lane) -> None:
        self._refuse(lane, [entry for entry in lane.queue if not entry.may_wake], not_awake(lane))

    def _count(self, lane: Lane, refusal: Refusal) -> Refusal:
        self.refusals[lane.name, refusal.code] += 1
        return refusal


def _nobody_hears(model: str, now: float) -> None:
    """Until someone wants to learn."""


def _longest_wait(lane: Lane) -> float:
    """When the first of those came who wait for it."""
    known = (lane.oldest_wait_at, lane.oldest_onlooker_at)
    return min((moment for moment in known if moment is not None), default=math.inf)


def _note_rise(seat: Seat, change: Changed) -> None:
    """Remember how long a load or a wake took, each for itself."""
    if change.before is State.STARTING and change.took_s is not None:
        seat.lane.last_load_s = change.took_s
    elif change.before is State.WAKING and change.took_s is not None and not seat.found_awake:
        seat.lane.last_wake_s = change.took_s
