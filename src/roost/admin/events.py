"""One stream of events for many readers, each with a bounded queue of its own.

A reader that falls behind is dropped: it gets what it has queued, then its stream ends. Publishing never waits.
`app` makes one hub, publishes into it and hands out readers as `Console.events`.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

QUEUE = 1024
"""Events a reader may be behind."""
READERS = 64
"""Readers at once; one more drops the oldest."""

Item = Mapping[str, Any]


class Reader:
    """One reader: an async iterator that ends when it was too slow, is closed, or the hub closes."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._queue: deque[Item] = deque()
        self._ended = False
        self._news = asyncio.Event()

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> Item:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Read no more. Idempotent."""
        self._queue.clear()
        self._hub.forget(self)
        self.end()

    def offer(self, event: Item) -> bool:
        """Queue an event; False if there is no room."""
        if len(self._queue) >= self._hub.queue:
            return False
        self._queue.append(event)
        self._news.set()
        return True

    def end(self) -> None:
        """No more events come; those queued can still be read."""
        self._ended = True
        self._news.set()


class Hub:
    """Bounded broadcast within one event loop."""

    def __init__(self, queue: int = QUEUE, readers: int = READERS) -> None:
        self.queue = queue
        self._most = readers
        self._readers: dict[Reader, None] = {}
        self._closed = False

    @property
    def readers(self) -> int:
        return len(self._readers)

    def publish(self, event: Item) -> None:
        """Tell every reader; those without room are dropped."""
        for reader in [one for one in self._readers if not one.offer(event)]:
            self._drop(reader)

    def subscribe(self) -> Reader:
        """A reader that hears everything from now on."""
        reader = Reader(self)
        if self._closed:
            reader.end()
            return reader
        if len(self._readers) >= self._most:
            self._drop(next(iter(self._readers)))
        self._readers[reader] = None
        return reader

    def forget(self, reader: Reader) -> None:
        self._readers.pop(reader, None)

    def close(self) -> None:
        """End every reader; later ones end at once. Idempotent."""
        self._closed = True
        for reader in list(self._readers):
            self._drop(reader)

    def _drop(self, reader: Reader) -> None:
        self.forget(reader)
        reader.end()
