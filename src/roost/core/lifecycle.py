"""The life of a replica as one table: state x event -> state. A missing cell is illegal and raises.

Pure data and one function. Only `host/replica.py` calls `advance`; the docs' table is generated from here.
Busy and idle are not states: they are the in-flight count.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """What a replica is, as the log, the API and the metrics spell it."""

    COLD = "cold"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    SUSPENDING = "suspending"
    ASLEEP = "asleep"
    WAKING = "waking"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"
    STUCK = "stuck"


COLD: Final = State.COLD
READY: Final = State.READY
DRAINING: Final = State.DRAINING
ASLEEP: Final = State.ASLEEP
"""For those who ask thousands of times a second: Python 3.11 finds a member of an enumeration by calling a function."""


class Order(StrEnum):
    """What the planner or the operator wants done: imperative."""

    LOAD = "load"
    WAKE = "wake"
    SLEEP = "sleep"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    STOP = "stop"


class Fact(StrEnum):
    """What was seen to have happened: past participle."""

    READY = "ready"
    """Answers and is verified."""
    FELL_ASLEEP = "fell asleep"
    """Sleeps: by our order, by its own idle timer, or by someone else's call."""
    FOUND_AWAKE = "found awake"
    """Believed asleep, yet someone woke it; it must be verified before it serves."""
    UNLOADED = "unloaded by others"
    GONE = "gone"
    """The process group is empty, the address refuses, or the model left its host's list."""
    GONE_AFTER_FAILURE = "gone after failure"
    """Stopped by us because it failed: the next start backs off."""
    TIMED_OUT = "timed out"
    PROBES_LOST = "probes lost"
    STALLED = "stalled"
    """Answers its probes while its running answers and its own counters stand still."""
    STEP_FAILED = "failed"
    TRIES_USED_UP = "tries used up"
    SURVIVED_KILL = "alive after SIGKILL"


Event = Order | Fact

_S = State
TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        _S.COLD: {Order.LOAD: _S.STARTING, Fact.READY: _S.READY, Fact.FELL_ASLEEP: _S.ASLEEP},
        _S.STARTING: {
            Order.STOP: _S.STOPPING,
            Fact.READY: _S.READY,
            Fact.FELL_ASLEEP: _S.ASLEEP,
            Fact.GONE: _S.BACKOFF,
            Fact.TIMED_OUT: _S.STOPPING,
        },
        _S.READY: {
            Order.DRAIN: _S.DRAINING,
            Order.STOP: _S.STOPPING,
            Fact.FELL_ASLEEP: _S.ASLEEP,
            Fact.UNLOADED: _S.COLD,
            Fact.GONE: _S.BACKOFF,
            Fact.PROBES_LOST: _S.STOPPING,
            Fact.STALLED: _S.DRAINING,
        },
        _S.DRAINING: {
            Order.UNDRAIN: _S.READY,
            Order.SLEEP: _S.SUSPENDING,
            Order.STOP: _S.STOPPING,
            Fact.FELL_ASLEEP: _S.ASLEEP,
            Fact.GONE: _S.BACKOFF,
            Fact.PROBES_LOST: _S.STOPPING,
            Fact.STALLED: _S.DRAINING,
        },
        _S.SUSPENDING: {
            Order.STOP: _S.STOPPING,
            Fact.FELL_ASLEEP: _S.ASLEEP,
            Fact.STEP_FAILED: _S.STOPPING,
            Fact.GONE: _S.BACKOFF,
        },
        _S.ASLEEP: {
            Order.WAKE: _S.WAKING,
            Order.SLEEP: _S.SUSPENDING,
            Order.STOP: _S.STOPPING,
            Fact.FOUND_AWAKE: _S.WAKING,
            Fact.GONE: _S.COLD,
        },
        _S.WAKING: {
            Order.STOP: _S.STOPPING,
            Fact.READY: _S.READY,
            Fact.STEP_FAILED: _S.STOPPING,
            Fact.GONE: _S.BACKOFF,
        },
        _S.STOPPING: {
            Fact.GONE: _S.COLD,
            Fact.GONE_AFTER_FAILURE: _S.BACKOFF,
            Fact.SURVIVED_KILL: _S.STUCK,
        },
        _S.BACKOFF: {
            Order.LOAD: _S.STARTING,
            Order.STOP: _S.COLD,
            Fact.TRIES_USED_UP: _S.FAILED,
            Fact.READY: _S.READY,
        },
        _S.FAILED: {Order.LOAD: _S.STARTING},
        _S.STUCK: {Fact.GONE: _S.COLD},
    }
)

RESIDENT = frozenset({_S.STARTING, _S.READY, _S.DRAINING, _S.SUSPENDING, _S.WAKING, _S.STOPPING, _S.STUCK})
"""States in which the whole awake footprint must be counted: going up, up, or not yet seen to be down."""
SETTLED = frozenset({_S.COLD, _S.READY, _S.ASLEEP, _S.BACKOFF, _S.FAILED, _S.STUCK})
"""States with no work of ours under way."""


class IllegalMove(Exception):
    """An event in a state that has no cell for it: a bug in the caller, said in a sentence."""


def advance(state: State, event: Event) -> State:
    """The next state. Raises IllegalMove naming what would have been legal."""
    after = TRANSITIONS[state].get(event)
    if after is None:
        legal = ", ".join(sorted(TRANSITIONS[state])) or "nothing"
        raise IllegalMove(f"a replica that is {state} cannot take '{event}'; it can take: {legal}")
    return after
