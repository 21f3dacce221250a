"""An event loop whose clock jumps to the next timer when nothing else is ready: no test waits for real time.

`run(main())` runs a coroutine on it; `roost.clock.now` reads the same clock meanwhile. For tests without sockets.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.loop: VirtualLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and self.loop is not None:
            if timeout is None:
                raise RuntimeError("deadlock: nothing is scheduled and nothing is ready")
            self.loop.moment += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1000.0 s so that a forgotten zero shows."""

    def __init__(self) -> None:
        self.moment = 1000.0
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.moment


def run(main: Coroutine[Any, Any, T], limit_s: float = 86400.0) -> T:
    """Run to the end; fails if it takes more than `limit_s` virtual seconds."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner, mock.patch("roost.clock.now", loop.time):

        async def bounded() -> T:
            async with asyncio.timeout(limit_s):
                return await main

        return runner.run(bounded())
