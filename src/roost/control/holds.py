"""Devices, or a part of them, given back to their owner for a while: `roost hold` and `roost release`.

Keeps the list, tells when one ends, and hands it to whoever writes it down, in wall-clock time, so that it holds over a
restart. Decides nothing: the budget shrinks, and the planner does the rest. Owned by `app`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from roost import clock
from roost.core.units import format_duration, format_size
from roost.logs import log

_SLACK_S = 0.01
"""A timer may fire a little early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One device's owner has it, or a part of it. Times are monotonic seconds."""

    device: str
    since: float
    amount: int | None = None
    """Bytes; None: all of it."""
    until: float | None = None
    """None: until it is released."""
    reason: str = ""
    by: str = ""

    @property
    def sentence(self) -> str:
        """`20.0 GiB of gpu0 is held for its owner for 2h 00m: training run`."""
        what = self.device if self.amount is None else f"{format_size(self.amount)} of {self.device}"
        ends = "until it is released" if self.until is None else f"for {format_duration(self.until - self.since)}"
        return f"{what} is held for its owner {ends}{f': {self.reason}' if self.reason else ''}"


class Holds:
    """One hold a device at most. `save` gets all of them after each change; `nudge` asks the planner to look."""

    def __init__(
        self, save: Callable[[list[dict[str, Any]]], None] = lambda kept: None, nudge: Callable[[], None] = lambda: None
    ) -> None:
        self._save = save
        self.nudge = nudge
        self._holds: dict[str, Hold] = {}
        self._timer: asyncio.TimerHandle | None = None

    def current(self, now: float) -> Mapping[str, Hold]:
        """Device -> its hold."""
        return {name: hold for name, hold in self._holds.items() if hold.until is None or hold.until > now}

    def place(self, hold: Hold) -> None:
        """From now on, in place of an earlier one of the device."""
        self._holds[hold.device] = hold
        log.info("%s asks: %s", hold.by, hold.sentence)
        self._changed()

    def release(self, device: str, by: str) -> bool:
        """False if it is not held."""
        if device not in self.current(clock.now()):
            return False
        del self._holds[device]
        log.info("%s releases %s", by, device)
        self._changed()
        return True

    def restore(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """What `save` got in an earlier life; what has ended meanwhile, or cannot be read, is left out."""
        now, wall = clock.now(), clock.wall()
        for facts in kept:
            hold = _hold(facts, now, wall)
            if hold is not None and (hold.until is None or hold.until > now):
                self._holds[hold.device] = hold
                log.info("as before the restart, %s", hold.sentence)
        self._await_next_end()

    def close(self) -> None:
        """Nothing ends any more; what is written down stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self) -> None:
        try:
            self._save([_facts(hold) for hold in self.current(clock.now()).values()])
        except OSError as error:
            log.warning("the holds could not be written down and end with this roost: %s", error)
        self._await_next_end()
        self.nudge()

    def _await_next_end(self) -> None:
        self.close()
        ends = [hold.until for hold in self._holds.values() if hold.until is not None]
        if ends:
            wait = max(0.0, min(ends) - clock.now()) + _SLACK_S
            self._timer = asyncio.get_running_loop().call_later(wait, self._ended)

    def _ended(self) -> None:
        now = clock.now()
        for name in [name for name in self._holds if name not in self.current(now)]:
            del self._holds[name]
            log.info("%s is held no longer: its time is over", name)
        self._changed()


def _facts(hold: Hold) -> dict[str, Any]:
    return {
        "device": hold.device,
        "amount": hold.amount,
        "since_unix": clock.to_wall(hold.since),
        "until_unix": None if hold.until is None else clock.to_wall(hold.until),
        "reason": hold.reason,
        "by": hold.by,
    }


def _hold(facts: Mapping[str, Any], now: float, wall: float) -> Hold | None:
    device, amount, until = facts.get("device"), facts.get("amount"), facts.get("until_unix")
    if not isinstance(device, str) or not isinstance(amount, int | None) or not isinstance(until, int | float | None):
        return None
    since = facts.get("since_unix")
    return Hold(
        device=device,
        amount=amount,
        since=now + (since - wall if isinstance(since, int | float) else 0.0),
        until=None if until is None else now + until - wall,
        reason=str(facts.get("reason", "")),
        by=str(facts.get("by", "")),
    )
