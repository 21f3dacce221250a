"""Why something is done or cannot be: each action's reason, with its numbers, as a sentence.

Pure values. Made by the planner, shown by log, API, CLI and dashboard.
"""

from dataclasses import dataclass, replace
from typing import Literal

from roost.core.units import counted, format_duration, format_size
from roost.core.view import Goal

WENT_BACK = "went back to its owner"
"""What the sentence of an `OverBudget` that is due to a hold has in it, for those who only have the sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests wait for the model."""

    waiting: int
    waited_s: float
    kind: str = "demand"

    def __str__(self) -> str:
        waiting = counted(self.waiting, "request", "waits", "wait")
        return f"{waiting}, the first for {format_duration(self.waited_s)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """Someone else put it to sleep, or paused it, while it had requests: it cannot answer them before it is awake."""

    requests: int
    asleep_s: float
    kind: str = "stranded"

    def __str__(self) -> str:
        still = counted(self.requests, "request", "is", "are")
        return f"{still} still with it, though someone put it to sleep {format_duration(self.asleep_s)} ago"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """The config says `preload`, or the model is kept in place after a crash."""

    kind: str = "preload"

    def __str__(self) -> str:
        return "preload: true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Nothing came for as long as the config allows."""

    idle_s: float
    after_s: float
    setting: str = "sleep_after"
    rung: str = ""
    """Why it goes down as far as it does, where host memory had a say; the same in the reasons below."""
    kind: str = "idle"

    def __str__(self) -> str:
        said = f"idle for {format_duration(self.idle_s)} ({self.setting} {format_duration(self.after_s)})"
        return said + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What doing without a model is likely to cost (`policy.eviction: cost`)."""

    next_s: float | None
    """When it is likely wanted again; None: its past does not say."""
    back_s: float
    """How long its return takes."""

    def __str__(self) -> str:
        wanted = "not known when it is wanted again"
        if self.next_s is not None:
            wanted = f"likely wanted again in {format_duration(self.next_s)}"
        return f"{wanted}, back in {format_duration(self.back_s)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """Another model needs the room."""

    for_model: str
    idle_s: float
    need_bytes: int = 0
    """0 where only the number of resident models is bounded."""
    max_resident: int | None = None
    setting: str = "max_resident"
    """What that bound is called: `max_loras` for adapters."""
    rule: str = ""
    """What groups or matrix say against both being awake; empty where only room is lacking."""
    worth: Worth | None = None
    """Why it and no other; None: it was the least recently used."""
    turn: str = ""
    """How its turn has ended for that model; empty where it had nothing to do while that one waited."""
    waited_s: float = 0.0
    """How long that one's first request has waited, where a turn ended for it."""
    last_resort: str = ""
    """What is broken for it, as the newcomer could else not be served at all: `pin` or `residency`."""
    rung: str = ""
    kind: str = "evict"

    def __str__(self) -> str:
        return self._said() + self._broken() + _because(self.rung)

    def _said(self) -> str:
        if self.rule:
            return f"makes way for {self.for_model!r}: {self.rule}; last used {format_duration(self.idle_s)} ago"
        need = f"{format_size(self.need_bytes)} for" if self.need_bytes else "a place for"
        bound = f"; {self.setting} {self.max_resident}" if self.max_resident is not None else ""
        if self.turn:
            waited = f"whose first request has waited {format_duration(self.waited_s)}"
            return f"makes {need} {self.for_model!r}, {waited}: {self.turn}{bound}"
        if self.worth is not None:
            return f"makes {need} {self.for_model!r}: idle {format_duration(self.idle_s)}, {self.worth}{bound}"
        return f"makes {need} {self.for_model!r}, least recently used ({format_duration(self.idle_s)} ago){bound}"

    def _broken(self) -> str:
        if not self.last_resort:
            return ""
        return (
            f"; its {self.last_resort} is broken, as {self.for_model!r} could else not be served (policy.last_resort)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverBudget:
    """More is held than a budget allows, though nobody new comes: engines that ran already were found, or the budget
    has become smaller."""

    idle_s: float
    held: int
    """Bytes, or replicas that are awake where there is no device."""
    budget: int
    device: str = ""
    """`host` is host memory; empty: places."""
    server: str = ""
    """Of which server the places are; empty: `memory.max_resident`."""
    setting: str = "max_resident"
    """Which one sets how many."""
    held_back: int = 0
    """Bytes of the device that are held for its owner (`roost hold`)."""
    held_for_s: float | None = None
    """How much longer; None: until somebody says so."""
    window: str = ""
    """Which schedule sets the budget."""
    rung: str = ""
    worth: Worth | None = None
    """Why it and no other; None: it was the least recently used."""
    kind: str = "over_budget"

    def __str__(self) -> str:
        if self.device:
            what = (
                f"{format_size(self.held)} held on {self.device}, its budget is {format_size(self.budget)}{self.window}"
            )
            what += f": {_went_back(self.held_back, self.held_for_s)}" if self.held_back else ""
        elif self.server:
            what = f"{self.held} loaded in {self.server}, its {self.setting} is {self.budget}"
        else:
            what = f"{self.held} awake, max_resident {self.budget}{self.window}"
        if self.worth is not None:
            return f"{what}; idle {format_duration(self.idle_s)}, {self.worth}" + _because(self.rung)
        return f"{what}; least recently used ({format_duration(self.idle_s)} ago)" + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outslept:
    """A sleeper's host memory goes to one that goes to sleep and was of use later."""

    for_model: str
    level: int
    idle_s: float
    need_bytes: int
    kind: str = "outslept"

    def __str__(self) -> str:
        bed = f"{format_size(self.need_bytes)} of host memory for {self.for_model!r} to sleep at level {self.level}"
        return f"makes {bed}, least recently used of those asleep ({format_duration(self.idle_s)} ago)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An operator asked."""

    goal: Goal
    by: str
    rung: str = ""
    kind: str = "operator"

    def __str__(self) -> str:
        return f"{self.by} asked for {self.goal}" + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A drain or transition begun for idleness is taken back: requests came."""

    waiting: int
    kind: str = "wanted"

    def __str__(self) -> str:
        return f"{counted(self.waiting, 'new request')} came while it drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """A drain begun to make room is taken back: the newcomer left, and nobody else waits for room."""

    for_model: str = ""
    """Who the room would have been for; empty where a budget was exceeded and is no longer."""
    kind: str = "spared"

    def __str__(self) -> str:
        if not self.for_model:
            return "the budget is kept without it"
        return f"{self.for_model!r} needs its room no longer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revived:
    """It was stopped only to be started afresh."""

    cause: str = ""
    """What went wrong; empty where nobody said."""
    kind: str = "revived"

    def __str__(self) -> str:
        return f"started afresh after: {self.cause}" if self.cause else "stopped to be started afresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """Its engine answers probes and no request; `host/stall.py` saw it."""

    sentence: str
    """With the numbers."""
    kind: str = "stalled"

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """It has been idle for as long as its return takes, and others want its memory (`policy.idle: break-even`)."""

    idle_s: float
    back_s: float
    for_model: str
    """The first of those that would find no room now."""
    rung: str = ""
    kind: str = "break_even"

    def __str__(self) -> str:
        spent = f"idle for {format_duration(self.idle_s)}, back in {format_duration(self.back_s)}"
        return f"{spent}, and {self.for_model!r} would find no room" + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlikely:
    """Its own gaps say that it is not wanted soon (`policy.idle: histogram`)."""

    idle_s: float
    soon: float
    soon_s: float
    rung: str = ""
    kind: str = "unlikely"

    def __str__(self) -> str:
        idle, within = format_duration(self.idle_s), format_duration(self.soon_s)
        return f"idle for {idle}, and wanted within {within} with a chance of {self.soon:.0%} only" + _because(
            self.rung
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """It is likely wanted soon (`policy.wake_ahead`)."""

    soon: float
    """Chance of a request within `soon_s`."""
    soon_s: float
    back_s: float
    """What the request would have to wait otherwise."""
    sign: str = ""
    """What makes it likely beside its own gaps."""
    kind: str = "ahead"

    def __str__(self) -> str:
        chance = f"wanted within {format_duration(self.soon_s)} with a chance of {self.soon:.0%}"
        sign = f" ({self.sign})" if self.sign else ""
        return f"{chance}{sign}, and it takes {format_duration(self.back_s)} to come up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Colder:
    """A model that comes up ahead of its requests is worth more than this one (`policy.wake_ahead`)."""

    for_model: str
    soon: float
    soon_s: float
    idle_s: float
    worth: Worth | None = None
    rung: str = ""
    kind: str = "colder"

    def __str__(self) -> str:
        own = f"idle {format_duration(self.idle_s)}" + (f", {self.worth}" if self.worth is not None else "")
        wanted = f"wanted within {format_duration(self.soon_s)} with a chance of {self.soon:.0%}"
        return f"makes room for {self.for_model!r}, {wanted}: {own}" + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepsRoom:
    """It is worth less than that whoever comes next finds room at once (`policy.wake_ahead`)."""

    for_model: str
    """The likeliest of those that find room then."""
    others: int
    idle_s: float
    worth: Worth | None = None
    rung: str = ""
    kind: str = "keeps_room"

    def __str__(self) -> str:
        more = f" or {counted(self.others, 'other')}, should one of them" if self.others else ", should it"
        own = f"idle {format_duration(self.idle_s)}" + (f", {self.worth}" if self.worth is not None else "")
        return f"keeps room for {self.for_model!r}{more} be next: {own}" + _because(self.rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A window of `policy.schedules` is open."""

    window: str
    setting: Literal["pin", "sleep"]
    ends_in_s: float | None
    """None: it is always open."""
    rung: str = ""
    kind: str = "scheduled"

    def __str__(self) -> str:
        what = "pinned" if self.setting == "pin" else "idle, and to be down"
        ends = "" if self.ends_in_s is None else f", open for {format_duration(max(0.0, self.ends_in_s))} more"
        return f"{what} by the schedule {self.window}{ends}" + _because(self.rung)


Down = Idle | Evict | OverBudget | BreakEven | Unlikely | Colder | KeepsRoom | Scheduled
"""Why the planner takes a model down by itself."""
Rests = Idle | BreakEven | Unlikely | Scheduled
"""It goes down because nobody asks for it: a request takes that back."""
Reason = Down | Outslept | Demand | Stranded | Preload | Ordered | Wanted | Spared | Revived | Stalled | Ahead


def held_for_owner(amount: int, for_s: float | None) -> str:
    """`20.0 GiB are held for its owner for 1h 30m more`."""
    until = "until roost release" if for_s is None else f"for {format_duration(max(0.0, for_s))} more"
    return f"{format_size(amount)} are held for its owner {until}"


def _went_back(amount: int, for_s: float | None) -> str:
    """In the past tense: a reason is read for as long as its model stays down."""
    until = "until roost release" if for_s is None else f"for {format_duration(max(0.0, for_s))}"
    return f"{format_size(amount)} {WENT_BACK} {until}"


def _because(rung: str) -> str:
    return f"; {rung}" if rung else ""


def with_rung(reason: Reason, rung: str) -> Reason:
    """The reason, which also says why it goes down this far; those that never lead to a sleep say nothing of it."""
    return replace(reason, rung=rung) if isinstance(reason, Down | Ordered) else reason
