"""A WebSocket echo at `/v1/realtime`: each frame comes back as it was, fragments included (RFC 6455).

Owns one upgraded connection, in place of a library that nothing else here needs. uvicorn hands it the transport and
the request's head; the header `x-sim-model` tells which engine answered.
"""

import asyncio
from base64 import b64encode
from hashlib import sha1
from typing import Any, cast

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FRAME_MAX = 16 * 1024 * 1024
_CLOSE, _PING, _PONG = 8, 9, 10
_TOO_BIG = b"\x03\xf1"  # close code 1009


class EchoProtocol(asyncio.Protocol):
    """One connection; `model` is set by the subclass that the server makes."""

    model = ""

    def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:
        self._connections = server_state.connections
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None

    def shutdown(self) -> None:
        """Called by the server when it stops: 1001, going away."""
        self._write(_CLOSE, b"\x03\xe9")
        self._close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            self._shake_hands()
        while self._open and self._frame():
            pass

    def _shake_hands(self) -> None:
        head, mark, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not mark or self._transport is None:
            return
        self._buffer = bytearray(rest)
        request, *lines = head.split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        path = request.split(b" ")[1].partition(b"?")[0]
        key = fields.get(b"sec-websocket-key")
        if path != b"/v1/realtime" or key is None:
            status = b"400 Bad Request" if key is None else b"404 Not Found"
            self._transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._close()
            return
        accept = b64encode(sha1(key + _GUID).digest())  # noqa: S324 - the handshake's own hash
        name = self.model.encode("ascii", "backslashreplace")
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\nx-sim-model: " + name + b"\r\n\r\n"
        )
        self._open = True

    def _frame(self) -> bool:
        """Take one frame out of the buffer; False where it is not complete yet."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            at += width
            if len(buffer) < at:
                return False
            size = int.from_bytes(buffer[2:at], "big")
        if size > _FRAME_MAX or not buffer[1] & 0x80:
            self._write(_CLOSE, _TOO_BIG if size > _FRAME_MAX else b"\x03\xea")
            self._close()
            return False
        if len(buffer) < at + 4 + size:
            return False
        mask, payload = bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : at + 4 + size])
        head = buffer[0]
        del buffer[: at + 4 + size]
        self._take(head, _unmask(mask, payload))
        return True

    def _take(self, head: int, payload: bytes) -> None:
        match head & 0x0F:
            case 8:
                self._write(_CLOSE, payload[:2])
                self._close()
            case 9:
                self._write(_PONG, payload)
            case 10:
                pass
            case code:
                self._write(code, payload, final=bool(head & 0x80))

    def _write(self, code: int, payload: bytes, *, final: bool = True) -> None:
        if self._transport is None:
            return
        size = len(payload)
        if size < 126:
            length = bytes((size,))
        elif size < 65536:
            length = b"\x7e" + size.to_bytes(2, "big")
        else:
            length = b"\x7f" + size.to_bytes(8, "big")
        self._transport.write(bytes(((0x80 if final else 0) | code,)) + length + payload)

    def _close(self) -> None:
        self._open = False
        if self._transport is not None:
            self._transport.close()


def _unmask(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    repeated = mask * (size // 4 + 1)
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:size], "big")).to_bytes(size, "big")
