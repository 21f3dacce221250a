"""One thread for calls that may hang in a driver: the loop never waits for them, and never for more than one.

Not from the loop's own pool, whose threads the interpreter awaits at its end. Used by `measure` and `devices_watch`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OneThread(Generic[T]):
    """Runs one call at a time; who comes meanwhile waits for his turn, within his limit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: asyncio.Future[T] | None = None

    async def run(self, job: Callable[[], T], limit_s: float) -> T:
        """What `job` gives or raises; TimeoutError after `limit_s`, though its thread may go on."""
        async with asyncio.timeout(limit_s):
            while self._under_way is not None:  # its asker may have been called away
                await asyncio.wait((self._under_way,))
            return await asyncio.shield(self._begin(job))

    def _begin(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        self._under_way = done = loop.create_future()

        def end(result: T | None, error: Exception | None) -> None:
            self._under_way = None
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
                done.exception()  # whoever asked may be gone: then nobody is to be told

        def work() -> None:
            result, failure = None, None
            try:
                result = job()
            except Exception as error:  # whatever a driver's library may raise
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end, result, failure)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return done
