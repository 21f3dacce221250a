"""The only maker of tasks: each has a name, is kept alive, and reports the exception nobody awaited."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from roost.logs import log

T = TypeVar("T")
_alive: set[asyncio.Task[Any]] = set()
END_S = 2.0


def spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start `work` now; a strong reference is held until it ends (asyncio itself keeps only a weak one)."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _alive.add(task)
    task.add_done_callback(_ended)
    return task


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel those of them that run, and wait until they have let go of what they had; no longer than `END_S`."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=END_S)


def _ended(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s ended with an error: %s", task.get_name(), error, exc_info=error)
