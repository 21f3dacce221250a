"""Performs what adapters ask for: calls on one engine's own address. Called by `host/work.py`.

Never decides what to call; never follows redirects or proxy variables (an engine is on this machine or named).
"""

import asyncio
import json
from collections.abc import MutableSequence, Sequence
from typing import Any

import httpx

from roost import clock
from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import Probe, Step, StepRecord

CONNECT_S = 2.0
BODY_SHOWN = 300
MAX_BODY = 1 << 20


class Caller:
    """An HTTP client for one engine."""

    def __init__(
        self, address: Address, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._address = address
        self._client = httpx.AsyncClient(
            transport=transport,
            base_url=f"http://{host}:{address.port}",
            headers=headers,
            # A step must not meet a connection that the engine just closed: some do after each 500.
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
            verify=False,  # noqa: S501 - plain http only; reading the system's certificates takes 20 ms a client
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def call(self, step: Step) -> tuple[int, bytes]:
        """(status, body, cut at 1 MiB). Raises StepError where no whole answer came in the step's time."""
        try:
            async with asyncio.timeout(step.timeout_s):
                return await self._call(step)
        except (httpx.TimeoutException, TimeoutError):
            raise StepError(f"{step.name} got no answer within {step.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise StepError(f"{step.name} got no answer: {error or type(error).__name__}") from None

    async def _call(self, step: Step) -> tuple[int, bytes]:
        timeout = httpx.Timeout(step.timeout_s, connect=min(CONNECT_S, step.timeout_s))
        async with self._client.stream(
            step.method, step.path, params=list(step.query), json=step.json, timeout=timeout
        ) as answer:
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_BODY:
                    break
            return answer.status_code, bytes(body)

    async def perform(self, steps: Sequence[Step], records: MutableSequence[StepRecord]) -> None:
        """All steps in order; each one's record is appended as it ends. Raises StepError at the first failure."""
        for number, step in enumerate(steps, 1):
            started = clock.now()
            status, error = None, ""
            try:
                status, body = await self.call(step)
                error = _refused(step, status, body)
            except StepError as problem:
                error = str(problem)
            took = clock.now() - started
            records.append(StepRecord(name=step.name, started_at=started, duration_s=took, status=status, error=error))
            if error:
                raise StepError(f"step {number} of {len(steps)}: {error}")

    async def answers(self, probe: Probe) -> bool:
        """True if the probe's GET says yes."""
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


def _refused(step: Step, status: int, body: bytes) -> str:
    fine = status in step.expect_status if step.expect_status else 200 <= status < 300
    if fine:
        return ""
    text = " ".join(body[:BODY_SHOWN].decode("utf-8", "replace").split())
    return f"{step.name} answered {status}: {text}" if text else f"{step.name} answered {status}"
