"""What to send, to whom, how fast and for how long: the plan of one measurement.

Pure values and their check. Made by the CLI or a test, performed by `run`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from roost.core.errors import RoostError
from roost.core.spec import Task
from roost.loadgen.arrivals import Arrivals, Closed, Ramp, Replay, ends

Prompt = str | tuple[dict[str, Any], ...]
"""A text, or the messages of a chat."""


class PlanError(RoostError):
    """A plan that cannot be carried out; the text says what to give instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model and its share of the requests."""

    name: str
    weight: float = 1.0
    task: Task = Task.GENERATE


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect. `prefix` is what stands before `/v1` in every path."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def server(url: str) -> Server:
    """The server of `http://host:8080`, with or without `/v1` at the end. PlanError on what is no such address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PlanError(f"{url!r} is not an address ({error}); write it like http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https") or not host:
        raise PlanError(f"{url!r} is not an address; write it like http://127.0.0.1:8080")
    tls = parts.scheme == "https"
    return Server(host, port or (443 if tls else 80), tls, parts.path.rstrip("/").removesuffix("/v1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One stream of requests. Arrivals without an end of their own need one: `duration_s` or `requests`. Several plans
    may be carried out together, such as one for each model."""

    url: str
    targets: tuple[Target, ...]
    arrivals: Arrivals
    begins_after_s: float = 0.0
    duration_s: float | None = None
    requests: int | None = None
    stream: bool = True
    max_tokens: int = 64
    prompt_words: int = 32
    prompts: tuple[Prompt, ...] = ()
    """In turn; made of `prompt_words` words each when there are none."""
    warm_up: int = 0
    """Requests to each model before the measurement, not counted."""
    api_key: str | None = None
    timeout_s: float = 600.0
    """Per request; over it the request counts as an error."""
    max_in_flight: int = 4096
    """Open loop: what would go beyond is not sent and counts as the error `not sent`."""
    seed: int = 0
    """Of arrival times, choice of models and prompts."""

    def check(self) -> None:
        """PlanError on the first thing that is wrong."""
        server(self.url)
        if not self.targets:
            raise PlanError("There is no model to send to. Name one with --model.")
        if self.duration_s is None and self.requests is None and not ends(self.arrivals):
            raise PlanError("Give a duration or a number of requests; the measurement would not end.")
        for name, value in (
            ("concurrency, rate or peak", _pace(self.arrivals)),
            ("duration", self.duration_s),
            ("requests", self.requests),
            ("max_tokens", self.max_tokens),
            ("prompt words", self.prompt_words),
            ("timeout", self.timeout_s),
            *((f"weight of {target.name}", target.weight) for target in self.targets),
        ):
            if value is not None and value <= 0:
                raise PlanError(f"{name} must be above 0, not {value}.")


def _pace(arrivals: Arrivals) -> float | None:
    match arrivals:
        case Replay():
            return None
        case Ramp(peak=peak):
            return peak
        case Closed(concurrency=concurrency):
            return concurrency
        case _:
            return arrivals.rate
