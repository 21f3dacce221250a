"""One HTTP request and its answer over ASGI, in the few forms the handlers need.

Owns reading the body within a bound, JSON and event-stream answers, and noticing that the client left. A small layer
instead of a framework: importing one would double the time to start. Called by `application` and the handlers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from roost.tasks import spawn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]
BODY_MAX = 256 * 1024 * 1024


class Refused(Exception):
    """An error answer in vLLM's form."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.param = status, kind, param


class ClientLeft(Exception):
    """The client went away before its request was complete."""


class Exchange:
    """What a handler gets."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.headers: list[tuple[str, str]] = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        self.client_left = False
        self.begun = False
        self.complete = False
        self.instead: str | None = None
        """The body of a 2xx answer, in place of the handler's."""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.query_string, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    async def body(self) -> bytes:
        """The whole body. Raises ClientLeft, and Refused 413 over the bound."""
        whole = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            whole += message.get("body", b"")
            if len(whole) > BODY_MAX:
                raise Refused(413, "RequestEntityTooLarge", f"the body is over {BODY_MAX} bytes")
            if not message.get("more_body"):
                return bytes(whole)

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object; Refused 400 where it is none."""
        raw = await self.body()
        try:
            value = json.loads(raw or b"{}")
        except ValueError as error:
            raise Refused(400, "BadRequestError", f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise Refused(400, "BadRequestError", "the body is not a JSON object")
        return value

    @asynccontextmanager
    async def ended_with_the_client(self) -> AsyncIterator[None]:
        """The block is cancelled when the client leaves; the request body must have been read before."""
        here = asyncio.current_task()
        assert here is not None
        watcher = spawn(self._watch(here), "client watch")
        try:
            yield
        finally:
            watcher.cancel()

    async def _watch(self, work: "asyncio.Task[Any]") -> None:
        await self.departure()
        if not self.complete:
            work.cancel()

    async def departure(self) -> None:
        """Returns when the client is gone; whatever it still sends is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = not self.complete

    async def answer(self, status: int, value: Any, headers: Headers = ()) -> None:
        """A JSON answer."""
        await self.raw(status, json.dumps(value).encode(), "application/json", headers)

    async def raw(self, status: int, body: bytes, content_type: str = "text/plain", headers: Headers = ()) -> None:
        """An answer of known length. A 500 closes the connection, as vLLM's does."""
        if self.instead is not None and status < 300:
            body = self.instead.encode()
        closing = (("connection", "close"),) if status == 500 else ()
        await self._head(
            status, (("content-type", content_type), ("content-length", str(len(body))), *closing, *headers)
        )
        await self._tail(body)

    async def begin_events(self) -> None:
        """Head of an event stream; events follow, then `end`."""
        await self._head(200, (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")))

    async def event(self, value: Any, name: str | None = None) -> None:
        """One event; `name` for the streams that name theirs."""
        prefix = f"event: {name}\n" if name else ""
        data = value if isinstance(value, str) else json.dumps(value)
        body = f"{prefix}data: {data}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, bare: str = "") -> None:
        """The end of the stream; `bare` goes before it as it stands."""
        await self._tail(bare.encode())

    async def _head(self, status: int, headers: Headers) -> None:
        self.begun = True
        raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _tail(self, body: bytes) -> None:
        self.complete = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
