"""Who yields, who sleeps and when, as the configuration has it: `policy`. See `spec`. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from roost.core.units import STRICT, Count, Duration, PositiveDuration, Size


class Priority(StrEnum):
    """Whose requests go first where not all can go at once."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What else holds at certain hours. While several windows are open, pins add up and the smaller budget counts."""

    __pydantic_config__ = STRICT

    when: str
    """Days and hours: `mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00`, `fri 12:00-13:00,18:00-24:00`; a window past
    midnight belongs to the day it began on."""
    timezone: str = "local"
    """`local`, `UTC` or a name of the time zone database (`Europe/Berlin`)."""
    pin: tuple[str, ...] = ()
    """Models that are brought up and stay. Idle models make room for them; requests that wait for others go first. What
    an operator orders for them holds until the window closes."""
    sleep: tuple[str, ...] = ()
    """Models that are put to sleep, or stopped where they cannot sleep, as soon as they are idle; a request still
    brings them back. A pinned model stays up."""
    max_resident: Count | None = None
    """In place of `memory.max_resident`."""
    devices: dict[str, Size] = field(default_factory=dict)
    """In place of the budgets of `memory.devices`; `host` is in place of `memory.host`. 0 gives a device back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """Who yields, and how."""

    __pydantic_config__ = STRICT

    evict_by: Literal["sleep", "unload"] = "sleep"
    """sleep: put the victim to sleep where its engine can and that frees enough; unload: always stop it."""
    residency: Duration = 0.0
    """A model that just became ready is not evicted before this."""
    eviction: Literal["cost", "lru"] = "cost"
    """Who yields first where bytes or places lack. cost: whoever is cheapest to do without: the seconds that bringing
    it back takes, times how soon it is likely wanted, over the memory it gives back. lru: the least recently used."""
    idle: Literal["fixed", "break-even", "histogram"] = "fixed"
    """When an idle model goes down. fixed: after `sleep_after` and `unload_after`. break-even: once it has been idle
    for as long as bringing it back takes, and others want its memory. histogram: when its own gaps between requests
    say that it is not wanted soon; as fixed where they say nothing yet."""
    wake_ahead: bool = False
    """Models come up before they are likely wanted, into free memory or in place of models that are wanted later."""
    turn: Duration = 30.0
    """Where models contend for the same memory: how long a model that is up goes on while another one waits, as long as
    it has requests; counted from when it became ready or the other one began to wait, whichever is later. 0: it serves
    what it has, and takes no new ones."""
    last_resort: tuple[Literal["residency", "pin"], ...] = ()
    """What may be broken where a request could else not be served at all: the minimum residency, or a pin."""
    on_drain_deadline: Literal["wait", "cut"] = "wait"
    """What happens to requests that still run when a model has drained for `timeouts.drain` to make room. wait: they
    run on, and the newcomer is refused once it has waited too long. cut: they are cut."""
    schedules: tuple[ScheduleSpec, ...] = ()
    """What else holds at certain hours."""
    max_starts: Count = 4
    """Engines that may be starting or waking at once."""
    launch_delay: Duration = 0.0
    """Between the starts of two `preload` engines."""
    auto_sleep: bool = True
    """False: nothing is put to sleep or stopped for being idle."""
    idle_threshold: PositiveDuration = 300.0
    """What the statistics call idle: this long without a request. `sleep_after` decides who is put to sleep."""
    check_interval: PositiveDuration = 30.0
    """Longest time between two looks at the fleet. Whatever is due sooner, such as an idle model, is done when due."""
