"""HTTP calls on one engine's own address, and on the other addresses that its steps name. Made by `host/replica.py`,
used by `steps`, `work` and `watching`.

Never decides what to call; never follows redirects or proxy variables, and sends the engine's key to the engine alone.
"""

import asyncio
import errno
import json
import ssl
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import httpx

from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import NO_HEALTH_PATH, Probe, Step

CONNECT_S = 2.0
MAX_BODY = 1 << 20


class Reach(StrEnum):
    """What becomes of a connection to an engine's port."""

    ACCEPTS = "accepts"
    REFUSES = "refuses"
    """Nobody listens there."""
    SILENT = "silent"
    """No answer at all: a network that is down, a machine that is off or overloaded."""


class Caller:
    """How one engine is reached. Transports without the client around them: half the time of a call."""

    def __init__(
        self, address: Address, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._address = address
        self._key = api_key
        self._transport = transport
        self._ways: dict[bool, httpx.AsyncBaseTransport] = {}
        """Encrypted or not -> what sends there."""

    async def close(self) -> None:
        for way in self._ways.values():
            await way.aclose()
        self._ways.clear()

    async def call(self, step: Step) -> tuple[int, bytes]:
        """One try: (status, body, cut at 1 MiB). Raises StepError where no whole answer came in the step's time."""
        try:
            async with asyncio.timeout(step.timeout_s):
                return await self._call(step)
        except httpx.ConnectTimeout:
            limit = min(CONNECT_S, step.timeout_s)
            raise StepError(f"{step.name} could not connect to {self._place(step)} within {limit:g} s") from None
        except httpx.ConnectError as error:
            why = "" if str(error) in _SAYS_NOTHING else f": {error}"
            raise StepError(f"{step.name} could not connect to {self._place(step)}{why}") from None
        except (httpx.TimeoutException, TimeoutError):
            raise StepError(f"{step.name} got no answer within {step.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise StepError(f"{step.name} got no answer: {error or type(error).__name__}") from None

    def _place(self, step: Step) -> str:
        return (step.base or self._address.url).partition("://")[2].partition("/")[0]

    async def _call(self, step: Step) -> tuple[int, bytes]:
        base = step.base or self._address.url
        way = await self._way(encrypted=base.startswith("https:"))
        is_question = step.method == "GET" and self._transport is None
        for _ in range(_KEPT if is_question else 0):
            request, connection = self._request(step, base), _Connection()
            request.extensions["trace"] = connection.hear
            try:
                return await _sent(way, request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # An engine may end a connection that it kept, without a word and just as a step goes out on it. Whether
                # it has read that step cannot be told, so only a question is asked again: an order given twice can end
                # an engine (SGLang takes back no memory that it did not release).
                if connection.is_new or connection.answered:
                    raise
        return await _sent(way, self._request(step, base))

    def _request(self, step: Step, base: str) -> httpx.Request:
        content, headers = body_of(step), list(step.headers)
        if self._key is not None and step.base is None:  # no other address gets it
            headers.append(("authorization", f"Bearer {self._key}"))
        if content is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", "application/json"))
        timeout = httpx.Timeout(step.timeout_s, connect=min(CONNECT_S, step.timeout_s)).as_dict()
        return httpx.Request(
            step.method, base + _target(step), content=content, headers=headers, extensions={"timeout": timeout}
        )

    async def _way(self, *, encrypted: bool) -> httpx.AsyncBaseTransport:
        if self._transport is not None:
            return self._transport
        way = self._ways.get(encrypted)
        if way is None:
            # Reading the system's certificates takes 20 ms.
            trusted = await asyncio.to_thread(ssl.create_default_context) if encrypted else False
            made = httpx.AsyncHTTPTransport(verify=trusted, limits=_LIMITS, trust_env=False)
            way = self._ways.setdefault(encrypted, made)
        return way

    async def answers(self, probe: Probe) -> bool:
        """True if the probe's GET says yes; without a path for it, if the port accepts."""
        if probe.path == NO_HEALTH_PATH:
            return await self.connects()
        try:
            status, _ = await self.call(Step(method="GET", path=probe.path, timeout_s=probe.timeout_s))
            if status == 404 and probe.otherwise is not None:
                status, _ = await self.call(Step(method="GET", path=probe.otherwise, timeout_s=probe.timeout_s))
        except StepError:
            return False
        return status in probe.ok

    async def connects(self) -> bool:
        """True if the port accepts."""
        return await self.reach() is Reach.ACCEPTS

    async def reach(self) -> Reach:
        """Whether the port accepts: all that may be asked of an engine whose memory is released."""
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(self._address.host, self._address.port)
        except OSError as error:  # of a name with several addresses, all their errors in one text
            return Reach.REFUSES if f"[Errno {errno.ECONNREFUSED}]" in str(error) else Reach.SILENT
        writer.close()
        return Reach.ACCEPTS

    async def ask(self, step: Step) -> tuple[int, Any] | None:
        """(status, decoded JSON or None); None where no answer came."""
        try:
            status, body = await self.call(step)
        except StepError:
            return None
        try:
            return status, json.loads(body)
        except ValueError:
            return status, None


def body_of(step: Step) -> bytes | None:
    """What a step sends; None where it sends no body."""
    if step.text is not None:
        return step.text.encode()
    if step.json is None:
        return None
    return json.dumps(step.json, ensure_ascii=False, separators=(",", ":")).encode()


def _target(step: Step) -> str:
    if not step.query:
        return step.path
    return f"{step.path}{'&' if '?' in step.path else '?'}{urlencode(step.query)}"


async def _sent(way: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    answer = await way.handle_async_request(request)
    try:
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_BODY:
                break
        return answer.status_code, bytes(body)
    finally:
        await answer.aclose()


class _Connection:
    """What became of the one that a request went out on."""

    def __init__(self) -> None:
        self.is_new = False
        self.answered = False

    async def hear(self, name: str, info: object) -> None:
        """Called by httpcore at each of its stages."""
        self.is_new |= name.startswith("connection.connect")
        self.answered |= name == "http11.receive_response_headers.complete"


_SAYS_NOTHING = frozenset({"", "All connection attempts failed"})
_KEPT = 4
_LIMITS = httpx.Limits(max_keepalive_connections=_KEPT, keepalive_expiry=1.0)
"""The steps of one sequence follow each other on one connection; between sequences none is held."""
