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
from roost.core.step import Probe, Step

CONNECT_S = 2.0
MAX_BODY = 1 << 20


class Caller:
    """The HTTP clients for one engine."""

    def __init__(
        self, address: Address, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._address = address
        self._base = f"http://{host}:{address.port}"
        self._transport = transport
        self._client = _plain_client(transport, {"authorization": f"Bearer {api_key}"} if api_key else {})
        self._elsewhere: dict[bool, httpx.AsyncClient] = {}
        """Encrypted or not -> the client for addresses that are not this engine's; it has no key to give away."""

    async def close(self) -> None:
        for client in (self._client, *self._elsewhere.values()):
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
        client = await self._client_for(step.base)
        content, headers = body_of(step), list(step.headers)
        if content is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", "application/json"))
        url = (step.base or self._base) + _target(step)
        async with client.stream(step.method, url, content=content, headers=headers, timeout=timeout) as answer:
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_BODY:
                    break
            return answer.status_code, bytes(body)

    async def _client_for(self, base: str | None) -> httpx.AsyncClient:
        if base is None:
            return self._client
        encrypted = base.startswith("https:")
        client = self._elsewhere.get(encrypted)
        if client is None:
            client = await self._make(encrypted)
            client = self._elsewhere.setdefault(encrypted, client)
        return client

    async def _make(self, encrypted: bool) -> httpx.AsyncClient:
        if not encrypted or self._transport is not None:
            return _plain_client(self._transport, {})
        return await asyncio.to_thread(_verifying_client)  # reading the system's certificates takes 20 ms

    async def answers(self, probe: Probe) -> bool:
        """True if the probe's GET says yes."""
        try:
            status, _ = await self.call(Step(method="GET", path=probe.path, timeout_s=probe.timeout_s))
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


def _plain_client(transport: httpx.AsyncBaseTransport | None, headers: dict[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        headers=headers,
        limits=_LIMITS,
        trust_env=False,
        follow_redirects=False,
        verify=False,  # noqa: S501 - plain http only; reading the system's certificates takes 20 ms a client
    )


def _verifying_client() -> httpx.AsyncClient:
    trusted = ssl.create_default_context()
    return httpx.AsyncClient(limits=_LIMITS, trust_env=False, follow_redirects=False, verify=trusted)
