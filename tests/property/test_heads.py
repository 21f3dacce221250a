"""The head parser and the framing against hostile bytes, with httptools as the oracle.

`ROOST_FUZZ_SECONDS` lengthens the random walk (60 in `./check`, more by hand).
"""

import os
import random
import time

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.protocol.framing import ChunkedBody, ChunkFollower, FixedBody, TooLarge
from roost.protocol.head import BadHead, parse_request_head, parse_response_head

SECONDS = float(os.environ.get("ROOST_FUZZ_SECONDS", "4"))
SEEDS = [
    b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive, x-y\r\nX-Y: \xff\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
]
BITS = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]
BITS += [b"\x0b", b"chunked", b"0\r\n\r\n", b"HTTP/1.1", b"\xff", b",", b";", b"+", b"0x", b"Host: b\r\n", b"-1"]


class Oracle:
    """What httptools makes of one message."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        if not self.complete:  # of the first message only: a pipelined one is judged in its turn
            self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def ours(message: bytes) -> tuple[bytes, bytes] | None:
    """(method, body) if we take the message as complete; None if we refuse it or want more."""
    end = message.find(b"\r\n\r\n")
    if end < 0:
        return None
    try:
        head = parse_request_head(message[: end + 2], 100)
        body = ChunkedBody(1000) if head.chunked else FixedBody(head.length or 0)
        rest: bytes | None = message[end + 4 :]
        if head.chunked or head.length:
            rest = body.feed(message[end + 4 :])
        if rest is None:
            return None
    except (BadHead, TooLarge):
        return None
    return head.method, body.take()


def mutate(rng: random.Random, message: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(message) + 1)
        match rng.randrange(4):
            case 0:
                message = message[:at] + rng.choice(BITS) + message[at:]
            case 1:
                message = message[:at] + message[at + rng.randint(1, 4) :]
            case 2:
                message = message[:at] + bytes([rng.randrange(256)]) + message[at + 1 :]
            case _:
                other = rng.choice(SEEDS)
                message = message[:at] + other[rng.randrange(len(other)) :]
    return message


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_what_we_take_httptools_takes_alike() -> None:
    """Anything we pass on must mean the same to another parser: same body, no more, no less."""
    rng = random.Random(7)
    until = time.process_time() + SECONDS
    taken = 0
    while time.process_time() < until:
        message = mutate(rng, rng.choice(SEEDS))
        mine = ours(message)
        if mine is None or mine[0] not in (b"POST", b"GET"):
            continue
        taken += 1
        oracle = Oracle()
        parser = httptools.HttpRequestParser(oracle)
        try:
            parser.feed_data(message)
        except httptools.HttpParserUpgrade:
            continue
        except httptools.HttpParserError:
            if oracle.complete and oracle.body == mine[1]:
                continue  # it chokes on what follows the message, which we would refuse in its turn
            if stricter(message):
                continue
            raise AssertionError(f"httptools refuses what we take: {message!r}") from None
        assert oracle.complete, message
        assert oracle.body == mine[1], (message, oracle.body, mine)
    assert taken > 100


def stricter(message: bytes) -> bool:
    """Where llhttp alone is stricter, harmlessly: characters in targets and in header values' tails."""
    head = message[: message.find(b"\r\n\r\n")]
    target = head.split(b" ")[1] if head.count(b" ") else b""
    upgrade = b"upgrade" in head.lower()
    return (
        bool(target.strip(b"/?=&#_-.~%!$'()*+,;:@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
        or upgrade
        or b"connection" in head.lower()
    )


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_garbage_is_refused_never_raised_through(data: bytes) -> None:
    for parse in (lambda: parse_request_head(data, 100), lambda: parse_response_head(data)):
        try:
            parse()
        except BadHead as bad:
            assert bad.status in (400, 417, 431, 501, 502, 505)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.lists(st.integers(1, 30), min_size=1),
    st.binary(max_size=5),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_chunked_bodies_survive_any_cutting(chunks: list[bytes], cuts: list[int], after: bytes) -> None:
    wire = b"".join(b"%x;e=1\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\nT: 1\r\n\r\n"
    data = wire + after
    body, follower = ChunkedBody(1 << 20), ChunkFollower()
    at, turn, ended = 0, 0, None
    rest: bytes | None = None
    while at < len(data) and rest is None:
        piece = data[at : at + cuts[turn % len(cuts)]]
        rest = body.feed(piece)
        end = follower.end(piece)
        ended = at + end if end >= 0 else None
        at += len(piece)
        turn += 1
    assert body.take() == b"".join(chunks)
    assert rest is not None
    assert at - len(rest) == len(wire)
    assert ended == len(wire)
