"""HTTP calls on one engine's own address, and on the other addresses that its steps name. Made by `host/replica.py`,
used by `steps`, `work` and `watching`.

Never decides what to call; never follows redirects or proxy variables, and sends the engine's key to the engine alone.
"""

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import urlencode

import httpx

from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import NO_HEALTH_PATH, Probe, Step

CONNECT_S = 2.0
MAX_BODY = 1 << 20


class Caller:
    """The HTTP clients for one engine."""

    def __init__(
        self, address: Address, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._address = address
        self._key = api_key
        self._transport = transport
        self._clients: dict[bool, httpx.AsyncClient] = {}
        """Encrypted or not -> its client."""

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def call(self, step: Step) -> tuple[int, bytes]:
        """One try: (status, body, cut at 1 MiB). Raises StepError where no whole answer came in the step's time."""
        try:
            async with asyncio.timeout(step.timeout_s):
                return await self._call(step)
        except httpx.ConnectTimeout:
            limit = min(CONNECT_S, step.timeout_s)
            raise StepError(f"{step.name} could not connect within {limit:g} s") from None
        except (httpx.TimeoutException, TimeoutError):
            raise StepError(f"{step.name} got no answer within {step.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise StepError(f"{step.name} got no answer: {error or type(error).__name__}") from None

    async def _call(self, step: Step) -> tuple[int, bytes]:
        timeout = httpx.Timeout(step.timeout_s, connect=min(CONNECT_S, step.timeout_s))
        base = step.base or self._address.url
        client = await self._client_for(encrypted=base.startswith("https:"))
        content, headers = body_of(step), list(step.headers)
        if self._key is not None and step.base is None:  # no other address gets it
            headers.append(("authorization", f"Bearer {self._key}"))
        if content is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", "application/json"))
        url = base + _target(step)
        async with client.stream(step.method, url, content=content, headers=headers, timeout=timeout) as answer:
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_BODY:
                    break
            return answer.status_code, bytes(body)

    async def _client_for(self, *, encrypted: bool) -> httpx.AsyncClient:
        client = self._clients.get(encrypted)
        if client is None:
            plain = not encrypted or self._transport is not None
            # Reading the system's certificates takes 20 ms.
            client = _plain_client(self._transport) if plain else await asyncio.to_thread(_verifying_client)
            client = self._clients.setdefault(encrypted, client)
        return client

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
        """True if the port accepts: all that may be asked of an engine whose memory is released."""
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(self._address.host, self._address.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

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


# A step must not meet a connection that the engine just closed: some do after each 500.
_LIMITS = httpx.Limits(max_keepalive_connections=0)


def _plain_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        limits=_LIMITS,
        trust_env=False,
        follow_redirects=False,
        verify=False,  # noqa: S501 - plain http only; reading the system's certificates takes 20 ms a client
    )


def _verifying_client() -> httpx.AsyncClient:
    trusted = ssl.create_default_context()
    return httpx.AsyncClient(limits=_LIMITS, trust_env=False, follow_redirects=False, verify=trusted)
