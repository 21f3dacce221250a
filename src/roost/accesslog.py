"""Requests as they settle: one log line each, written in batches, and the last ones for the API.

Plugged into the data plane by `app` together with telemetry. Never formats on the hot path more than one line.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from roost import clock
from roost.core.request import Request
from roost.logs import log

RECENT = 200
BATCH = 512


class Recorder(Protocol):
    """What telemetry offers."""

    def began(self, request: Request) -> None: ...
    def settled(self, request: Request) -> None: ...
    def gap(self, request: Request, seconds: float) -> None: ...


class Watch:
    """Implements `proxy.ports.Watcher`: telemetry first, then the log and the recent list."""

    def __init__(self, recorder: Recorder, write: Callable[[str], None] | None) -> None:
        self.began = recorder.began
        self.gap = recorder.gap
        self._settled = recorder.settled
        self._write = write
        self._lines: list[str] = []
        self._lost = False
        """The last write failed, and that was said."""
        self.recent: deque[Request] = deque(maxlen=RECENT)
        self.last_byte_at: dict[str, float] = {}
        """Replica -> when one of its answers last ended."""

    def settled(self, request: Request) -> None:
        self._settled(request)
        self.recent.append(request)
        if request.replica is not None and request.first_byte_at is not None and request.ended_at is not None:
            self.last_byte_at[request.replica] = request.ended_at
        if self._write is not None:
            self._lines.append(line(request))
            if len(self._lines) >= BATCH:
                self.flush()

    def flush(self) -> None:
        """Write what has gathered; `app` calls it a few times a second. Never raises: a full disk or a reader that went
        away costs these lines, and neither the request that settles nor the sweep that comes with it."""
        if not self._lines or self._write is None:
            return
        text = "\n".join(self._lines)
        self._lines.clear()
        try:
            self._write(f"{text}\n")
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            if not self._lost:
                log.error("the request log cannot be written, its lines are lost until it can: %s", error)
            self._lost = True
        else:
            self._lost = False


def line(request: Request) -> str:
    """`12:00:01 POST /v1/completions 200 ok a 0.412s first 0.030s wait 0.000s in 812 out 4011 tokens 12+96 id=…`."""
    ended = request.ended_at or request.received_at
    route = request.route
    text = (
        f"{_clock_text()} {request.method or '-'} {request.path or '-'} {request.status} {request.outcome} "
        f"{route.name if route is not None else '-'} {ended - request.received_at:.3f}s"
    )
    first = request.first_token_at or request.first_byte_at
    if first is not None:
        text += f" first {first - request.received_at:.3f}s"
    if request.queued_at is not None:
        text += f" wait {(request.leased_at or ended) - request.queued_at:.3f}s"
    text += f" in {request.bytes_in} out {request.bytes_out}"
    if request.completion_tokens is not None:
        text += f" tokens {request.prompt_tokens or 0}+{request.completion_tokens}"
    if request.key is not None:
        text += f" key={request.key.name}"
    if request.fallback_for:
        text += f" fallback-for={request.fallback_for}"
    if request.retried:
        text += " retried"
    text += f" id={request.id}"
    return f"{text} error={request.error!r}" if request.error else text


_second = (0, "")


def _clock_text() -> str:
    """The time of day, formatted once a second."""
    global _second
    now = int(clock.wall())
    if _second[0] != now:
        _second = (now, time.strftime("%H:%M:%S", time.localtime(now)))
    return _second[1]


def summary(request: Request, now: float) -> dict[str, Any]:
    """A request for the API: in flight or settled."""
    ended = request.ended_at
    return {
        "id": request.id,
        "model": request.route.name if request.route is not None else None,
        "fallback_for": request.fallback_for or None,
        "method": request.method,
        "path": request.path,
        "client": request.client,
        "key": request.key.name if request.key is not None else None,
        "phase": str(request.phase),
        "outcome": str(request.outcome) if request.outcome is not None else None,
        "status": request.status,
        "stream": request.stream,
        "replica": request.replica,
        "age_s": round((ended or now) - request.received_at, 4),
        "received_at": clock.iso(clock.to_wall(request.received_at)),
        "ttft_s": _since(request, request.first_token_at or request.first_byte_at),
        "queue_s": None
        if request.queued_at is None
        else round((request.leased_at or ended or now) - request.queued_at, 4),
        "bytes_in": request.bytes_in,
        "bytes_out": request.bytes_out,
        "events": request.events,
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": request.completion_tokens,
        "error": request.error or None,
        "hidden_failure": str(request.hidden) if request.hidden is not None else None,
    }


def _since(request: Request, moment: float | None) -> float | None:
    return None if moment is None else round(moment - request.received_at, 4)
