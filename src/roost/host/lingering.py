"""Memory that an engine gave back when it ended, and that its devices do not show as free yet: it still counts as held.

Pure bookkeeping over readings; bounded in time. What does not come free in that time is believed to be used by others.
Owned by `devices_watch`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LIMIT_S = 5.0
"""How long a driver may take to free what a process held."""
_SLACK_BYTES, _SLACK_SHARE = 64 << 20, 0.02


@dataclass(slots=True)
class Linger:
    """One replica that is gone."""

    replica: str
    since: float
    bytes: int
    """On each of its devices, not yet seen free."""
    given: int
    before: Mapping[str, int]
    """UUID -> what others used there before."""


class Lingering:
    """By replica."""

    def __init__(self) -> None:
        self._by_replica: dict[str, Linger] = {}

    def __bool__(self) -> bool:
        return bool(self._by_replica)

    def of(self, replica: str) -> int:
        linger = self._by_replica.get(replica)
        return 0 if linger is None else linger.bytes

    def youngest_s(self, now: float) -> float:
        """How long ago the last one began; endless if there is none."""
        return min((now - linger.since for linger in self._by_replica.values()), default=float("inf"))

    def begin(self, linger: Linger) -> None:
        self._by_replica[linger.replica] = linger

    def touches(self, uuid: str) -> bool:
        """Whether what is seen of the device may still be on its way out."""
        return any(uuid in linger.before for linger in self._by_replica.values())

    def see(self, others: Mapping[str, int | None], begun_at: float) -> bool:
        """What others seem to use now, by UUID, in a reading that began then; True if something came free. What cannot
        be told is waited for."""
        before = {replica: linger.bytes for replica, linger in self._by_replica.items()}
        for linger in list(self._by_replica.values()):
            if begun_at < linger.since:
                continue  # that reading may have seen it still running
            over = [_over(others.get(uuid), known) for uuid, known in linger.before.items()]
            if any(one is None for one in over):
                continue
            linger.bytes = min(linger.given, max((one for one in over if one is not None), default=0))
            if linger.bytes <= max(_SLACK_BYTES, _SLACK_SHARE * linger.given):
                del self._by_replica[linger.replica]
        return before != {replica: linger.bytes for replica, linger in self._by_replica.items()}

    def overdue(self, now: float) -> list[Linger]:
        """Those whose time is over; they are let go."""
        found = [linger for linger in self._by_replica.values() if now - linger.since >= LIMIT_S]
        for linger in found:
            del self._by_replica[linger.replica]
        return found

    def drop(self, uuids: Iterable[str]) -> None:
        """Nobody measures these any more."""
        gone = set(uuids)
        for linger in list(self._by_replica.values()):
            if not gone.isdisjoint(linger.before):
                del self._by_replica[linger.replica]


def _over(now: int | None, before: int) -> int | None:
    return None if now is None else max(0, now - before)
