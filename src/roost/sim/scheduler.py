"""Who runs and who waits inside the engine: admission and steps behind two gates, as vLLM's pause modes need them.

Owns pacing and aborts. It knows nothing of weights, sleep or HTTP. Called by `engine`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from roost.sim.flags import Behaviour

_BREATHE_EVERY = 16


class Mode(StrEnum):
    """What a pause does to running requests."""

    ABORT = "abort"
    WAIT = "wait"
    KEEP = "keep"


@dataclass(eq=False, slots=True, kw_only=True)
class Run:
    """One request inside the engine. `script` replaces the words where the form of the answer is fixed."""

    id: str
    key: str
    limit: int
    script: Sequence[str] | None = None
    finish: str = "stop"
    aborted: bool = False
    cut: str | None = None
    """Its body ends bare, with this text."""
    model: str = ""
    unsound: bool = False
    """Its adapter was dropped and not loaded again: garbage."""
    produced: int = 0
    held: "asyncio.Future[None] | None" = field(default=None, repr=False)
    napping: "asyncio.Future[None] | None" = field(default=None, repr=False)

    @property
    def length(self) -> int:
        return len(self.script) if self.script is not None else self.limit

    def abort(self) -> None:
        """End it with finish_reason abort, at once even if it naps or is held."""
        self.aborted = True
        _wake(self.held)
        _wake(self.napping)


def _wake(sleeper: "asyncio.Future[None] | None") -> None:
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)


class Scheduler:
    """`admitting` lets waiting runs in, `stepping` lets running ones compute; both closed is a pause."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.admitting = True
        self.stepping = True
        self.running: set[Run] = set()
        self.waiting: set[Run] = set()
        self._nobody_runs = asyncio.Event()
        self._nobody_runs.set()

    async def admit(self, run: Run) -> None:
        """Returns when the run may start (or was aborted while it waited)."""
        self.waiting.add(run)
        while not self.admitting and not run.aborted:
            await self._hold(run)
        self.waiting.discard(run)
        self.running.add(run)
        self._nobody_runs.clear()

    def leave(self, run: Run) -> None:
        """The run is over, or its client gone."""
        self.waiting.discard(run)
        self.running.discard(run)
        if not self.running:
            self._nobody_runs.set()

    async def pace(self, run: Run, index: int) -> None:
        """Returns when the token at `index` is due, or the run aborted."""
        delay = self._behaviour.token_delay if index else self._behaviour.first_token_delay
        if delay > 0:
            await self._nap(run, delay)
        elif index % _BREATHE_EVERY == 0:
            await asyncio.sleep(0)
        while not run.aborted and self._stands_still(index):
            await self._hold(run)

    def _stands_still(self, index: int) -> bool:
        return not self.stepping or self._behaviour.stall or index == self._behaviour.hang_mid_stream

    async def pause(self, mode: Mode) -> None:
        """Close the gates; returns when no run computes any more. Mode wait has no time-out of its own."""
        self.admitting = False
        match mode:
            case Mode.ABORT:
                self.abort()
            case Mode.WAIT if self.stepping:
                await self._nobody_runs.wait()
            case _:
                pass
        self.stepping = False

    def resume(self) -> None:
        """Open both gates; everybody held looks again."""
        self.admitting = self.stepping = True
        self.look_again()

    def look_again(self) -> None:
        """Everybody held looks whether it may go on."""
        for run in (*self.running, *self.waiting):
            _wake(run.held)

    def cut(self, model: str, said: str) -> None:
        """The answers of this model end bare, with this text."""
        for run in (*self.running, *self.waiting):
            if run.model == model:
                run.cut = said
                run.abort()

    def abort(self, ids: Iterable[str] = ()) -> int:
        """End these requests, all when none is named; returns how many."""
        wanted = set(ids)
        found = [run for run in (*self.running, *self.waiting) if not wanted or run.id in wanted]
        for run in found:
            run.abort()
        return len(found)

    async def _hold(self, run: Run) -> None:
        run.held = asyncio.get_running_loop().create_future()
        try:
            await run.held
        finally:
            run.held = None

    async def _nap(self, run: Run, delay: float) -> None:
        if run.aborted:
            return
        loop = asyncio.get_running_loop()
        run.napping = loop.create_future()
        timer = loop.call_later(delay, _wake, run.napping)
        try:
            await run.napping
        finally:
            run.napping = None
            timer.cancel()
