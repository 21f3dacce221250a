"""Health by outcome: a replica whose requests keep failing is avoided for a growing while, as long as another one of
its model can take the request.

Only counts and sets `Seat.handicap`; who gets a request is still `planner.admission.pick`. Makes no timer: `gate.sweep`
says when a while is over. Costs a healthy replica nothing: its seat has no `Ailing`. Called by leases and the gate.
"""

from dataclasses import dataclass

from roost.control.seat import Seat
from roost.core.units import counted, format_duration
from roost.logs import log

IN_A_ROW = 3
"""Failures one after another that are enough; nginx gives up after one, Envoy after five."""
WINDOW_S = 30.0
"""After it all counts are halved, and halved counts that show no failure are forgotten."""
FEWEST = 10
"""Outcomes within the window before a share of them says anything."""
SHARE = 0.5
FIRST_S = 5.0
LONGEST_S = 300.0
"""The first while; each further one without a clean window between is twice as long, up to this."""
PROBE_S = 30.0
"""A probing request that has not been answered by then no longer keeps the next one back."""
LAST = 1 << 40
"""The handicap of a replica that is avoided: it comes after all others, and is taken where they cannot be."""
FIRST = -LAST
"""The handicap of one whose while is over: the next request goes there, alone, to see."""


class Ailing:
    """What is counted of a replica that has failed lately."""

    __slots__ = ("avoided_at", "bad", "good", "last_failed_at", "probe_at", "row", "times", "until", "why", "window_at")

    def __init__(self, now: float) -> None:
        self.row = 0
        """Failures since the last answer."""
        self.bad = 0
        self.good = 0
        self.window_at = now
        self.last_failed_at = now
        self.why = ""
        """Its last failure, in words."""
        self.times = 0
        """How often it was avoided without a clean window between."""
        self.avoided_at: float | None = None
        self.until = 0.0
        self.probe_at: float | None = None
        """When the request went out that shall show whether it answers again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A replica that is avoided, as status pages show it."""

    replica: str
    for_s: float
    """Seconds until it is tried again; 0: a probing request is due or under way."""
    in_a_row: int
    failed: int
    answered: int
    """Of the requests of about the last half minute."""
    why: str

    @property
    def sentence(self) -> str:
        """For people, with the numbers."""
        then = f"for another {format_duration(self.for_s)}" if self.for_s else "until a request is answered by it"
        return f"{self.replica} is avoided {then}: {_numbers(self.in_a_row, self.failed, self.answered)}; {self.why}"


class Health:
    """All replicas that fail. One per gate."""

    def __init__(self) -> None:
        self._ailing: dict[str, Seat] = {}

    def failed(self, seat: Seat, why: str, now: float) -> None:
        """A request got no answer of its engine, or an error for one."""
        seat.failures += 1
        ailing = seat.ailing
        if ailing is None:
            ailing = seat.ailing = Ailing(now)
            self._ailing[seat.owner.id] = seat
        _age(ailing, now)
        ailing.row += 1
        ailing.bad += 1
        ailing.last_failed_at = now
        ailing.why = why
        if ailing.avoided_at is not None:
            if ailing.probe_at is not None:
                self._avoid(seat, ailing, now)
        elif len(seat.lane.seats) > 1 and _too_much(ailing):
            self._avoid(seat, ailing, now)

    def answered(self, seat: Seat, now: float) -> None:
        """A request got its answer; asked for only where the replica has failed lately."""
        ailing = seat.ailing
        if ailing is None:
            return
        _age(ailing, now)
        ailing.good += 1
        ailing.row = 0
        if ailing.probe_at is not None:
            log.info("%s answers again, and is avoided no longer", seat.owner.id)
            ailing.avoided_at = ailing.probe_at = None
            ailing.bad = ailing.good = 0
            seat.handicap = 0

    def granted(self, seat: Seat, now: float) -> None:
        """A request goes to a replica whose while is over: until it is answered the others wait for what it shows."""
        if seat.ailing is not None and seat.handicap == FIRST:
            seat.ailing.probe_at = now
            seat.handicap = LAST

    def sweep(self, now: float) -> None:
        """End what is over. Touches only replicas that have failed lately."""
        for seat in list(self._ailing.values()):
            ailing = seat.ailing
            if ailing is None:
                continue
            _age(ailing, now)
            if ailing.avoided_at is None:
                if not ailing.bad and now - ailing.last_failed_at >= WINDOW_S * (1 + ailing.times):
                    self.forget(seat)
            elif now >= ailing.until and (ailing.probe_at is None or now - ailing.probe_at >= PROBE_S):
                ailing.probe_at = None
                seat.handicap = FIRST

    def forget(self, seat: Seat) -> None:
        """It is another process now, or gone: what the old one did says nothing."""
        if seat.ailing is not None:
            seat.ailing, seat.handicap = None, 0
            del self._ailing[seat.owner.id]

    def _avoid(self, seat: Seat, ailing: Ailing, now: float) -> None:
        while_s = min(FIRST_S * 2 ** min(ailing.times, 30), LONGEST_S)
        ailing.times += 1
        ailing.avoided_at = now if ailing.avoided_at is None else ailing.avoided_at
        ailing.until = now + while_s
        ailing.probe_at = None
        seat.handicap = LAST
        numbers = _numbers(ailing.row, ailing.bad, ailing.good)
        lasting = format_duration(while_s)
        log.warning("%s is avoided for %s, time %d: %s; %s", seat.owner.id, lasting, ailing.times, numbers, ailing.why)


def avoided(seat: Seat, now: float) -> Avoided | None:
    """How a replica is avoided; None if it is not."""
    ailing = seat.ailing
    if ailing is None or ailing.avoided_at is None:
        return None
    return Avoided(
        replica=seat.owner.id,
        for_s=max(0.0, ailing.until - now),
        in_a_row=ailing.row,
        failed=ailing.bad,
        answered=ailing.good,
        why=ailing.why,
    )


def _numbers(row: int, bad: int, good: int) -> str:
    if row >= IN_A_ROW:
        return f"{counted(row, 'request')} in a row failed"
    return f"{bad} of its last {counted(bad + good, 'request')} failed"


def _too_much(ailing: Ailing) -> bool:
    seen = ailing.bad + ailing.good
    return ailing.row >= IN_A_ROW or (seen >= FEWEST and ailing.bad > seen * SHARE)


def _age(ailing: Ailing, now: float) -> None:
    """Old outcomes count less; whole integers, once a window."""
    while now - ailing.window_at >= WINDOW_S and (ailing.bad or ailing.good):
        ailing.bad >>= 1
        ailing.good >>= 1
        ailing.window_at += WINDOW_S
    if not (ailing.bad or ailing.good):
        ailing.window_at = now
