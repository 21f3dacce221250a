"""A plan: actions that may start now, each with its reason; what is blocked and why; when to look again.

Pure values. Made by `planner.plan`, performed by `control/execute`, shown by log, API, CLI and dashboard.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from roost.core.reason import Reason
from roost.core.view import Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    replica: str
    reason: Reason
    devices: tuple[str, ...] = ()
    """Where it is to run; empty: nobody chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    replica: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """No new leases; `goal` (ASLEEP, STOPPED, RESTARTED) is what a later round goes on to."""

    replica: str
    goal: Goal
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Undrain:
    replica: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    replica: str
    level: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """`forced`: leases may still be out; they are cut."""

    replica: str
    reason: Reason
    forced: bool = False


Action = Load | Wake | Drain | Undrain | Sleep | Stop


HELD_BACK = "held_back"
"""Code of a model whose memory its owner, others or a schedule have for the time being."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why a model with waiting requests (or a wish) cannot move now: the sentence a waiting client gets.

    `final`: no later round will help without the operator (FAILED, can never fit, order refused), so the
    waiters are refused now; else they wait on.
    """

    model: str
    sentence: str
    final: bool = False
    code: str = "model_unavailable"
    room_s: float | None = None
    """How long others are likely to need until they have made room for it; None: not known."""
    room_is_guess: bool = False
    """It is told, but nothing has been learned on which somebody could be refused."""
    not_before: float | None = None
    """Before this moment it certainly cannot come up; None: nobody knows of one."""
    indefinite: bool = False
    """It waits for what only others can change, and nobody knows when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A model that is up goes on serving while another one waits for its room."""

    for_model: str
    """Who is next."""
    ends_at: float | None
    """None: not before its requests of a higher class are served, or the adapter is loaded that it came up for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now. Empty actions, blocked, denied and notes: nothing to do until `next_check_at`."""

    actions: tuple[Action, ...] = ()
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    denied: Mapping[str, Blocked] = field(default_factory=dict)
    """Model -> why its operator's wish cannot be met; the wish ends, waiting requests are not touched."""
    settled: tuple[str, ...] = ()
    """Models whose order to be up (READY, RESTARTED) has nothing left to bring up: one replica at least is ready, and
    each other one is up as well, has failed, or finds no room. The order ends."""
    notes: tuple[str, ...] = ()
    """Sentences on what is not as the configuration wants it and cannot be mended now, whoever waits or not."""
    turns: Mapping[str, Turn] = field(default_factory=dict)
    """Replica -> the turn it has, where another model waits for its room."""
    next_check_at: float | None = None
