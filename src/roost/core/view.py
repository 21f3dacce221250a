"""The fleet at one moment, frozen: all that the planner may know.

Pure. Built by `control/observe`, read by `planner`. Times are monotonic seconds, unknown is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from roost.core.footprint import Footprint
from roost.core.forecast import Forecast, Outlooks, ReturnCosts
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.schedule import BudgetWindow, Window
from roost.core.spec import ModelSpec

if TYPE_CHECKING:
    from roost.core.reason import Reason


class Goal(StrEnum):
    """Where a drain leads, and what an operator may ask a model to become."""

    READY = "ready"
    """Every replica that there is room for comes up; met as soon as one of them is ready."""
    ASLEEP = "asleep"
    """Every replica that runs sleeps."""
    STOPPED = "stopped"
    """Nothing of it runs any more."""
    RESTARTED = "restarted"
    """Every replica has gone down once, and all that there is room for are ready again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An operator's order for one model, standing until it is met or refused."""

    goal: Goal
    by: str
    """Who asked: `cli`, `api:<key name>`."""
    asked_at: float
    force_at: float | None = None
    """From then on running requests no longer hold it up."""
    level: int | None = None
    gone_down: frozenset[str] = frozenset()
    """RESTARTED only: the replicas whose old process is gone; what is left of them is to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """One device whose memory is shared out, or the host (`HOST`)."""

    name: str
    budget: int
    """Bytes that roost's replicas may hold together: the reserve, what is held back for its owner and what others use
    are taken off already."""
    whole: int | None = None
    """Bytes of it when nothing is held back and no others use the device; None: as much as `budget`, `held_back` and
    `others` come to."""
    others: int = 0
    """Bytes that processes which are none of roost's use; for the sentences."""
    held_back: int = 0
    """Bytes given back to their owner (`roost hold`); for the sentences."""
    held_until: float | None = None
    """When they come back; None: not held, or until somebody says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica as its owner (`host/replica.py`) and the gate see it."""

    id: str
    model: str
    state: State
    since: float
    """When it entered this state."""
    owned: bool = True
    """False: runs elsewhere (keeper foreign); roost may sleep and wake but never start or stop it."""
    host: str = ""
    """The entry of `hosts` that holds it; its model may have replicas in several."""
    sleep_levels: tuple[int, ...] = ()
    """Levels its engine can be ordered into; empty: it has no sleep order."""
    no_sleep: str = ""
    """Why it has no sleep level although its engine's kind does; a sentence with the fix."""
    level: int | None = None
    """The level it sleeps at, in SUSPENDING the one it goes to; None also for the engine's own sleep, 0 where it is
    only paused (by someone else)."""
    in_flight: int = 0
    stranded: int = 0
    """In ASLEEP: those of them that were let in while it was ready. Someone else put it to sleep meanwhile, or paused
    it, and they are not answered before it wakes."""
    became_ready_at: float | None = None
    idle_since: float | None = None
    """max(became ready, last completion, last manual wake); None while requests run or it is not ready."""
    came_up_at: float | None = None
    """When it last became ready, or was last told to be up; kept while it sleeps."""
    last_used_at: float | None = None
    last_sleep_at: float | None = None
    """Start of its last sleep."""
    last_load_at: float | None = None
    """When roost last ordered it to start; None for one that it found running."""
    retry_at: float | None = None
    """In BACKOFF and FAILED: not before this; None in FAILED means only an operator may."""
    failures: int = 0
    last_error: str = ""
    absent: str = ""
    """Why the server that it lives in has it not, and cannot load it; a sentence, or empty."""
    unlisted: bool = False
    """The server that it lives in lists what it can load, and not this one: a load will most likely be refused, so it
    is tried without room, and counts for nothing before it is listed."""
    revive: bool = False
    """It was stopped to be started afresh at once, whether or not anybody waits (a step's `on_failure: restart`)."""
    footprint: Footprint | None = None
    """What it holds in each state, the larger of claimed and measured; None: as the model's spec says."""
    devices: tuple[str, ...] = ()
    """The devices it runs on; empty while nothing of it runs, or where nobody chose."""
    last_devices: tuple[str, ...] = ()
    """The devices it runs on, or ran on last."""
    lingering: int = 0
    """Bytes on each of its devices that it has given back (asleep or stopped) and that are not yet seen free: they
    still count as held."""
    base: str = ""
    """The replica whose engine it is loaded into, of an adapter; empty: it has an engine of its own, or lives in a
    server of others."""
    drain_goal: Goal | None = None
    """In DRAINING: what the drain is for."""
    drain_idle: bool = False
    """In DRAINING: its reason was idleness, so a new request may undrain it."""
    drain_reason: "Reason | None" = None
    """In DRAINING: why it was ordered, so that the sleep or stop that ends it says the same; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model: its spec, what waits for it and what the operator wants."""

    name: str
    spec: ModelSpec
    replicas: tuple[ReplicaView, ...]
    waiting: int = 0
    """Requests in its queue that may wake it."""
    oldest_wait_at: float | None = None
    onlookers: int = 0
    """Requests in its queue that may not wake it: they wait for a free place while it is up."""
    oldest_onlooker_at: float | None = None
    unserved_since: float | None = None
    """Since when somebody has waited all the time who may wake it and nobody has been served; None: not known."""
    priority: Priority | None = None
    """The highest class of those who wait; None: as its spec says."""
    hold_s: float | None = None
    """How long a request of it takes on average; None: not known."""
    pinned: bool = False
    """Pinned by config, by a schedule or by the operator."""
    called: Window | None = None
    """A schedule that wants it up, unless an operator has sent it down since it opened."""
    rests: Window | None = None
    """A schedule that wants it down whenever it is idle."""
    forecast: Forecast | None = None
    """How soon it is likely wanted again; None: nothing has been learned, or `FleetView.outlooks` says it."""
    return_s: ReturnCosts | None = None
    """How long it takes to bring it back from each rung; None: not known."""
    host: str = ""
    """The entry of `hosts` or the model that holds it; empty: its replicas are servers of their own."""
    wish: Wish | None = None
    came_at: float = 0.0
    """When it was added to a running roost; 0 for one that was there from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """Everything, at `now`."""

    now: float
    models: tuple[ModelView, ...]
    memory: MemorySpec = field(default_factory=MemorySpec)
    """As the schedule has it now."""
    windows: Mapping[str, BudgetWindow] = field(default_factory=dict)
    """Device -> the schedule that sets its budget now; an empty name is `max_resident`."""
    schedule_changes_at: float | None = None
    """When a schedule opens or closes next."""
    devices: tuple[DeviceView, ...] | None = None
    """As they are now; None: as `memory` says."""
    places: Mapping[str, int] = field(default_factory=dict)
    """`ModelView.host`, of adapters `ReplicaView.base` -> models that may be loaded there at once; one without entry
    has no bound."""
    pending: Mapping[str, str] = field(default_factory=dict)
    """Replica id -> order given and not yet seen to have an effect; the planner orders nothing more for it."""
    started_at: float = 0.0
    outlooks: Outlooks | None = field(default=None, compare=False)
    """Who says how soon a model is likely wanted again, where its own view does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The planner's second argument: choices, not facts."""

    spec: PolicySpec = field(default_factory=PolicySpec)
    auto: bool = True
    """False: no idle sleep, no preload (a router that only forwards)."""
