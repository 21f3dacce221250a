"""HTTP with one router: a question, and its answer as a value.

Owns the time-outs and the ids of the requests. Never raises for what the server does. Called by the checks.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from roost import clock
from roost.selftest.shapes import Kind, lacks, shown

LOOK_S = 30.0
"""Longest wait for an answer that waits for no engine."""
ANSWER_MAX = 64 * 1024 * 1024
DENIED = (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """An answer. `status` is None where none came; then `trouble` says why."""

    status: int | None
    body: Any = None
    """What its JSON says; None where it is no JSON."""
    text: str = ""
    content_type: str = ""
    trouble: str = ""
    took_s: float = 0.0

    @property
    def error(self) -> Mapping[str, Any]:
        """The error object; empty where there is none."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return error if isinstance(error, dict) else {}

    @property
    def said(self) -> str:
        """Status and message, for people."""
        if self.status is None:
            return f"no answer: {self.trouble}"
        body = self.body if isinstance(self.body, dict) else {}
        message = self.error.get("message") or body.get("message") or self.text
        return f"HTTP {self.status}: {str(message)[:300]}" if message else f"HTTP {self.status}"

    @property
    def denied(self) -> bool:
        """The key may not do this."""
        return self.status in DENIED

    def fault(self, status: int = 200, /, **fields: Kind) -> str | None:
        """What is wrong: another status, no JSON object, a field that is missing or of another kind."""
        return self.said if self.status != status else lacks(self.body, fields)

    def fault_of_text(self) -> str | None:
        """What is wrong with an answer in plain text."""
        if self.status != 200:
            return self.said
        if not self.content_type.startswith("text/plain"):
            return f"content type {shown(self.content_type)}"
        return None if self.text.strip() else "an empty text"

    def refusal_fault(self, status: int) -> str | None:
        """What is wrong with a refusal that should have this status, and a sentence."""
        if self.status != status:
            return self.said
        return None if self.error.get("message") else f"a {status} without error.message: {shown(self.text)}"


@dataclass(slots=True, kw_only=True)
class Talk:
    """The questions. `limit_s`: longest wait for an answer of an engine, its loading or waking included."""

    client: httpx.Client
    limit_s: float
    prefix: str = field(default_factory=lambda: f"selftest-{secrets.token_hex(4)}-")
    """How the ids of this run's requests begin."""
    _asked: int = 0

    def get(self, path: str, accept: str = "application/json", **query: Any) -> Got:
        return self._ask("GET", path, limit_s=min(LOOK_S, self.limit_s), params=query, headers={"accept": accept})

    def order(self, path: str) -> Got:
        """A POST without a body, such as sleep and wake."""
        return self._ask("POST", path, limit_s=self.limit_s)

    def infer(self, path: str, body: Mapping[str, Any]) -> Got:
        return self._ask("POST", path, limit_s=self.limit_s, json=dict(body))

    def _ask(
        self, method: str, path: str, *, limit_s: float, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Got:
        self._asked += 1
        given = {**(headers or {}), "x-request-id": f"{self.prefix}{self._asked}"}
        began = clock.now()
        try:
            with self.client.stream(method, path, headers=given, timeout=limit_s, **more) as answer:
                raw = _whole(answer, began + limit_s)
        except httpx.TimeoutException:
            return Got(status=None, trouble=f"it took more than {limit_s:g} s")
        except (httpx.HTTPError, _Endless) as error:
            return Got(status=None, trouble=str(error) or type(error).__name__)
        text = raw.decode(errors="replace")
        return Got(
            status=answer.status_code,
            body=_decoded(text),
            text=text,
            content_type=answer.headers.get("content-type", ""),
            took_s=clock.now() - began,
        )


class _Endless(Exception):
    """An answer past its bounds."""


def _whole(answer: httpx.Response, deadline: float) -> bytes:
    """The body; httpx's own limit holds only between two pieces."""
    raw = bytearray()
    for piece in answer.iter_bytes():
        raw += piece
        if clock.now() > deadline:
            raise httpx.ReadTimeout("the answer goes on")
        if len(raw) > ANSWER_MAX:
            raise _Endless(f"an answer of more than {ANSWER_MAX} bytes")
    return bytes(raw)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def events(text: str) -> Iterator[str]:
    """The data of each event of a stream."""
    for block in text.replace("\r\n", "\n").split("\n\n"):
        data = [line.removeprefix("data:").strip() for line in block.split("\n") if line.startswith("data:")]
        if data:
            yield "\n".join(data)
