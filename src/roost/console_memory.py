"""What the API shows of memory: budgets and who holds what of them, footprints, holds; and the doors to hold a device.

Reads the account and the board; changes nothing but the holds. Used by `console` alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from roost import clock
from roost.control.budgets import Board
from roost.control.holds import Hold
from roost.control.schedule import Standing
from roost.core.footprint import HOST, Held
from roost.core.lifecycle import RESIDENT, State
from roost.core.memory_spec import MemorySpec
from roost.core.reason import WENT_BACK
from roost.core.units import format_size
from roost.core.view import DeviceView, FleetView
from roost.host.account import Account
from roost.host.footprints import Rung
from roost.host.replica import Replica
from roost.planner.weights import takes_place

_NOTHING_RUNS = frozenset({State.COLD, State.BACKOFF, State.FAILED})


class MemoryFacts:
    """Memory as `admin.ports.Console` has it; `standing` gives what schedules say now."""

    def __init__(
        self, standing: Callable[[], Standing], replicas: Sequence[Replica], board: Board, account: Account
    ) -> None:
        self._standing = standing
        self._replicas = replicas
        self._board = board
        self._account = account

    def of(self, replica: Replica) -> dict[str, Any]:
        """Part of a model's facts."""
        return {
            "devices": list(replica.devices),
            "lingering_bytes": replica.lingering,
            "footprint": self._account.footprints.facts(replica),
        }

    def reason(self, replica: Replica) -> str | None:
        """Why it is as it is; that it made way for an owner is no longer so once nothing is held for one."""
        held = replica.reason_kind == "over_budget" and WENT_BACK in replica.reason
        over = held and not self._board.holds.current(clock.now())
        return f"{replica.reason}; nothing is held for an owner any more" if over else replica.reason or None

    def budgets(self) -> list[dict[str, Any]]:
        seen, names = self._account.watch.seen(), self._board.names(self._memory())
        holds = self._board.holds.current(clock.now())
        facts = []
        for view in self._board.views(self._memory(), clock.now()):
            size, hold = seen.get(view.name), holds.get(view.name)
            facts.append(
                {
                    "name": view.name,
                    "budget_bytes": view.budget,
                    "size_bytes": None if size is None else size.size,
                    "others_bytes": view.others,
                    "held_back_bytes": view.held_back,
                    "held_until": _iso(view.held_until),
                    "reason": None if hold is None else hold.reason,
                    "holders": list(self._holders(view, names)),
                }
            )
        return facts

    def _holders(self, view: DeviceView, names: Sequence[str]) -> Iterable[dict[str, Any]]:
        for replica in self._replicas:
            held = _held(replica)
            if held is None:
                continue
            shown = self._account.watch.held(replica.id)
            if view.name == HOST:
                amount, measured = held.host, False
            elif shown:
                amount, measured = shown.get(view.name, 0), True
            else:
                where = replica.devices or replica.spec.devices or names[:1]
                amount, measured = held.device if view.name in where else 0, False
            if amount:
                yield {"replica": replica.id, "bytes": amount, "measured": measured}

    def holds(self) -> list[dict[str, Any]]:
        return [_hold(hold) for hold in self._board.holds.current(clock.now()).values()]

    def hold(
        self, device: str, *, amount: int | None, for_s: float | None, reason: str, by: str
    ) -> dict[str, Any] | None:
        if device not in self._board.names(self._memory()):
            return None
        size = self._size(device)
        if amount is not None and amount > size:
            message = f"{device} has {format_size(size)}, so {format_size(amount)} of it cannot be held. Leave the "
            message += "amount out to hold all of it."
            return {"success": False, "changed": False, "message": message, "hold": None}
        now = clock.now()
        until = None if for_s is None else now + for_s
        hold = Hold(device=device, since=now, amount=amount, until=until, reason=reason, by=by)
        self._board.holds.place(hold)
        message = f"{hold.sentence}. Models that have no room beside it leave once their requests are done."
        return {"success": True, "changed": True, "message": message, "hold": _hold(hold)}

    def _size(self, device: str) -> int:
        """What there is of it at most: as it is seen, and where it is not, as its budget is written."""
        seen = self._account.watch.seen().get(device)
        if seen is not None:
            return seen.size
        memory = self._memory()
        window = self._standing().budgets.get(device)
        now = memory.host if device == HOST else memory.devices.get(device)
        return max(now or 0, 0 if window is None else window.usual or 0)

    def _memory(self) -> MemorySpec:
        return self._standing().memory

    def release(self, device: str, *, by: str) -> dict[str, Any] | None:
        changed = self._board.holds.release(device, by)
        if not changed and device not in self._board.names(self._memory()):
            return None
        message = f"{device} is roost's again." if changed else f"{device} was not held."
        return {"success": True, "changed": changed, "message": message, "hold": None}


def resident_facts(view: FleetView) -> dict[str, int]:
    """How many are awake, as `max_resident` counts them, and how many serve from elsewhere and take no place."""
    replicas = [replica for model in view.models for replica in model.replicas]
    resident = sum(takes_place(replica, replica.state) for replica in replicas)
    others = [r for r in replicas if not r.base and r.state in RESIDENT and not takes_place(r, r.state)]
    return {"resident": resident, "elsewhere": len(others)}


def _held(replica: Replica) -> Held | None:
    """What it should hold now; None where nothing of it runs."""
    footprint = replica.footprint
    if footprint is None or replica.state in _NOTHING_RUNS:
        return None
    if replica.state is not State.ASLEEP:
        return footprint.awake
    held = getattr(footprint, Rung.of(replica.level))
    assert isinstance(held, Held)
    return held


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "device": hold.device,
        "amount_bytes": hold.amount,
        "since": _iso(hold.since),
        "until": _iso(hold.until),
        "reason": hold.reason,
        "by": hold.by,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else clock.iso(clock.to_wall(moment))
