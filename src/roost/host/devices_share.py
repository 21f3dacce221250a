"""Whose memory it is: from one reading of a device to what processes that are none of roost's use of it.

Pure. A reading wobbles and engines come and go: `Steady` keeps the planner from twitching. Called by `devices_watch`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roost.core.lifecycle import State
from roost.host.devices import Gpu

SLACK_BYTES = 256 << 20
SLACK_SHARE = 0.01
"""Of a device: what others use is told anew only when it changed by more than this, or by `SLACK_BYTES`."""
SETTLED = frozenset({State.READY, State.DRAINING, State.ASLEEP})
"""States in which an engine holds what its footprint says; on the way it may hold anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """One engine of roost's that runs, and what it should hold on each of its devices now."""

    replica: str
    state: State
    devices: tuple[str, ...] = ()
    """By name; empty: it may be on any."""
    claim: int | None = None
    """None: nothing is known of it."""


def others_on(name: str, gpu: Gpu, stakes: Iterable[Stake], held: Mapping[str, Mapping[str, int | None]]) -> int | None:
    """Bytes that are none of roost's; None where that cannot be told now. Engines in a container with process numbers
    of its own are not shown: then what they should hold counts, once they stand. `held` is replica -> UUID -> bytes; an
    engine that is shown on some device holds nothing on the others."""
    ours = 0
    for stake in stakes:
        shown = held.get(stake.replica, {})
        if (seen := shown.get(gpu.uuid)) is not None:
            ours += seen
            continue
        elsewhere = bool(shown) and gpu.uuid not in shown
        if elsewhere or stake.claim == 0 or (stake.devices and name not in stake.devices):
            continue
        if stake.claim is None or stake.state not in SETTLED:
            return None
        ours += stake.claim
    return max(0, gpu.used - ours)


def slack_of(size: int) -> int:
    """What counts as no change on a device of that size."""
    return max(SLACK_BYTES, round(SLACK_SHARE * size))


class Steady:
    """What others use, without wobble: less is believed at once, more only when it is seen twice in a row."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.latest = value
        """As it was seen last."""
        self._higher: int | None = None

    @property
    def doubtful(self) -> bool:
        """More was seen once: a second look is due."""
        return self._higher is not None

    def see(self, raw: int, size: int) -> bool:
        """True if it is told otherwise from now on."""
        self.latest, slack = raw, slack_of(size)
        before, self._higher = self._higher, None
        if raw < self.value - slack:
            self.value = raw
            return True
        if raw <= self.value + slack:
            return False
        if before is None:
            self._higher = raw
            return False
        self.value = min(before, raw)
        return True

    def believe(self, raw: int) -> None:
        """It is so, seen once or not."""
        self.value = self.latest = raw
        self._higher = None
