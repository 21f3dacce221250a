"""What a collected body costs while it is collected."""

import tracemalloc

from roost.protocol.framing import ChunkedBody


def test_tiny_chunks_take_no_more_memory_than_their_bytes() -> None:
    size = 200_000
    wire = b"2\r\nxy\r\n" * (size // 2) + b"0\r\n\r\n"
    body = ChunkedBody(1 << 20)
    tracemalloc.start()
    try:
        assert body.feed(wire) == b""
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2 * size
    assert body.take() == b"xy" * (size // 2)
