"""Where a message body ends: fixed length and chunked, for bodies that are collected and bodies that pass.

Pure state machines: bytes in, pieces or positions out. Raise BadHead on framing that two readers could read
differently (RFC 9112 §7.1). Called by `proxy/session.py` (collect) and `proxy/relay.py` (follow).
"""

import re

from roost.protocol.head import BadHead
from roost.protocol.headers import special_kind

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_EXTENSION = rb";" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"[\t\x20\x21\x23-\x5b\x5d-\x7e]*"))?'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*")
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[\t\x20-\x7e\x80-\xff]*")
MAX_SIZE_LINE = 1024
MAX_TRAILERS = 8192


class TooLarge(Exception):
    """A body over its limit."""


def chunk_size(line: bytes) -> int:
    """Bytes of the chunk that the line (without CRLF) announces. Raises BadHead."""
    match = _SIZE_LINE.fullmatch(line)
    if match is None:
        raise BadHead("a malformed chunk size")
    return int(match.group(1), 16)


class FixedBody:
    """Collects a body of known length."""

    __slots__ = ("parts", "want")

    def __init__(self, length: int) -> None:
        self.want = length
        self.parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes | None:
        """None while more is needed; then the bytes after the body."""
        if len(data) <= self.want:
            self.want -= len(data)
            self.parts.append(data)
            return None if self.want else b""
        self.parts.append(data[: self.want])
        rest = data[self.want :]
        self.want = 0
        return rest

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def take(self) -> bytes:
        """What was collected so far; forgets it."""
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = []
        return body


class ChunkedBody:
    """Takes the chunks of a body apart. Trailers are read and dropped (RFC 9110 §6.5.1 allows it)."""

    __slots__ = ("_body", "_line", "_need", "_trailers", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._body = bytearray()  # not a list of pieces: chunks of two bytes would cost twenty times their size
        self.size = 0
        self._need = 0  # bytes left of this chunk's data plus its CRLF
        self._line = b""
        self._trailers = -1  # bytes of trailers seen, -1 before the last chunk

    def feed(self, data: bytes) -> bytes | None:
        """None while more is needed; then the bytes after the body. Raises BadHead, TooLarge."""
        if self._line:
            data, self._line = self._line + data, b""
        at = 0
        while at < len(data) or self._need == 0:
            if self._need:
                at = self._data(data, at)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._keep(data[at:])
                return None
            line = data[at:end]
            at = end + 2
            if self._trailers >= 0:
                if not line:
                    return data[at:]
                self._count_trailer(line)
            else:
                self._begin_chunk(line)
        return None

    def take(self) -> bytes:
        """What was decoded so far; forgets it."""
        body, self._body = bytes(self._body), bytearray()
        return body

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_SIZE_LINE:
            raise BadHead("a chunk size line that does not end")
        if b"\n" in rest or b"\r" in rest[:-1]:
            raise BadHead("a chunk size line that ends in LF without CR")
        self._line = rest

    def _begin_chunk(self, line: bytes) -> None:
        size = chunk_size(line)
        if size == 0:
            self._trailers = 0
            return
        self.size += size
        if self.size > self.limit:
            raise TooLarge
        self._need = size + 2

    def _count_trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        match = _TRAILER.fullmatch(line)
        if match is None or self._trailers > MAX_TRAILERS or special_kind(match[1].lower()) is not None:
            raise BadHead("malformed trailers")

    def _data(self, data: bytes, at: int) -> int:
        take = min(self._need, len(data) - at)
        payload = min(take, max(self._need - 2, 0))
        if payload:
            self._body += data[at : at + payload]
        tail = data[at + payload : at + take]
        expected = b"\r\n"[2 - min(self._need, 2) :]
        if tail and not expected.startswith(tail):
            raise BadHead("a chunk that is longer than its size says")
        self._need -= take
        return at + take


class ChunkFollower:
    """Follows a chunked body that passes through as it came, to know where it ends."""

    __slots__ = ("_line", "_need", "_trailers")

    def __init__(self) -> None:
        self._need = 0
        self._line = b""
        self._trailers = False

    def end(self, data: bytes) -> int:
        """-1 while the body goes on, else the position in `data` just after its last byte. Raises BadHead."""
        size = len(data)
        need = self._need
        if need > size:  # the common case of a long chunk
            self._need = need - size
            return -1
        carried = len(self._line)
        if carried:
            data, self._line = self._line + data, b""
            size += carried
        at = need
        while True:
            if at >= size:
                self._need = at - size
                return -1
            stop = data.find(b"\r\n", at)
            if stop < 0:
                self._carry(data[at:])
                return -1
            if self._trailers:
                if stop == at:
                    return stop + 2 - carried
                at = stop + 2
                continue
            length = chunk_size(data[at:stop])
            at = stop + 2
            if length:
                at += length + 2
            else:
                self._trailers = True

    def _carry(self, rest: bytes) -> None:
        if len(rest) > MAX_TRAILERS:
            raise BadHead("a chunk size line that does not end", 502)
        self._need = 0
        self._line = rest
