"""A thin HTTP/1.1 client that measures: kept-alive connections, whole and chunked bodies, pieces as they arrive.

Owns sockets. Nothing but what a load generator needs: no redirects, cookies or compression. httpx made 300 requests
a second where this makes thousands, and a generator must not be what is measured. Called by `ask`.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from roost.loadgen.plan import Server

_HEAD_MAX = 64 * 1024
_PIECE = 64 * 1024
_IDLE_MAX = 4096
CONNECT_S = 10.0


CANNOT_CONNECT = "cannot connect"
_FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


class Broken(Exception):
    """The answer did not come, or not to its end; the text says how in a few words."""


@dataclass(slots=True)
class Answer:
    """Head of an answer; `pieces` is read to its end before the connection is used again."""

    status: int
    fields: dict[str, str]
    connection: "_Connection"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises Broken where it ends too soon."""
        try:
            async for piece in self.connection.body(self.fields):
                yield piece
        except _FAILURES as error:
            raise Broken("answer broke off") from error
        self.connection.done = True

    async def whole(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.keep = True
        self.done = True

    async def exchange(self, request: bytes) -> Answer:
        """Send, and read the head. EOFError or OSError where the connection ends before it."""
        self.done = False
        self._writer.write(request)
        await self._writer.drain()
        while True:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
            version, status = line.split(" ")[:2]
            if not status.startswith("1"):
                break
        self.keep = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        return Answer(int(status), fields, self)

    async def body(self, fields: dict[str, str]) -> AsyncGenerator[bytes, None]:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                piece = await self._reader.read(min(left, _PIECE))
                if not piece:
                    raise EOFError
                left -= len(piece)
                yield piece
        else:
            self.keep = False
            while piece := await self._reader.read(_PIECE):
                yield piece

    @property
    def reusable(self) -> bool:
        return self.keep and self.done and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._writer.close()


class Client:
    """Connections to one server. `close` when done."""

    def __init__(self, server: Server, api_key: str | None) -> None:
        self._server = server
        self._idle: list[_Connection] = []
        key = f"authorization: Bearer {api_key}\r\n" if api_key else ""
        self._common = f"host: {server.authority}\r\nuser-agent: roost-bench\r\naccept: */*\r\n{key}"

    async def send(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The head of the answer. Raises Broken. A kept connection that the server closed meanwhile is replaced
        once; a request on a fresh connection is never repeated."""
        request = self._request(method, path, body)
        while self._idle:
            connection = self._idle.pop()
            if not connection.reusable:
                connection.close()
                continue
            try:
                return await self._exchange(connection, request)
            except Broken:
                break
        return await self._exchange(await self._connect(), request)

    async def _exchange(self, connection: _Connection, request: bytes) -> Answer:
        try:
            return await connection.exchange(request)
        except _FAILURES as error:
            connection.close()
            raise Broken("no answer") from error
        except BaseException:
            connection.close()
            raise

    def release(self, answer: Answer) -> None:
        """The answer is finished with, read to its end or not."""
        if answer.connection.reusable and len(self._idle) < _IDLE_MAX:
            self._idle.append(answer.connection)
        else:
            answer.connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        content = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
        head = f"{method} {self._server.prefix}{path} HTTP/1.1\r\n{self._common}{content}\r\n"
        return head.encode("latin-1") + body

    async def _connect(self) -> _Connection:
        server = self._server
        try:
            async with asyncio.timeout(CONNECT_S):
                streams = await asyncio.open_connection(
                    server.host, server.port, ssl=True if server.tls else None, limit=_HEAD_MAX
                )
        except (OSError, TimeoutError) as error:
            raise Broken(CANNOT_CONNECT) from error
        return _Connection(*streams)
