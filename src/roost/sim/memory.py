"""Memory that the simulated weights really take, so that resident size rises and falls as with a real engine."""

import mmap


class Claim:
    """An anonymous mapping with every page touched; taken and given back as a whole."""

    def __init__(self) -> None:
        self._pages: mmap.mmap | None = None

    @property
    def held(self) -> int:
        """Bytes taken now."""
        return len(self._pages) if self._pages is not None else 0

    def take(self, count: int) -> None:
        """Hold `count` bytes from now on, whatever was held before."""
        self.release()
        if count > 0:
            self._pages = mmap.mmap(-1, count)
            self._pages[:: mmap.PAGESIZE] = b"\x01" * len(range(0, count, mmap.PAGESIZE))

    def release(self) -> None:
        """Give it back to the system at once."""
        if self._pages is not None:
            self._pages.close()
            self._pages = None
