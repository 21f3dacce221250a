"""One request's record from head to settled, and the answers a gate can give it.

`Request` is the one mutable value: the data plane writes it, telemetry and the log read it once it is settled.
Times are monotonic seconds, unknown is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec


class Phase(StrEnum):
    """Where a request is: the word in logs, metrics and dashboard."""

    ACCEPTED = "accepted"
    IDENTIFIED = "identified"
    AUTHORISED = "authorised"
    ENTERED = "entered"
    QUEUED = "queued"
    CONNECTED = "connected"
    STREAMING = "streaming"
    SETTLED = "settled"


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    """The engine's whole answer went out, whatever its status."""
    REFUSED = "refused"
    """roost answered itself: 4xx and 5xx with a reason."""
    CLIENT_GONE = "client_gone"
    """The client left first (499 in the log)."""
    ENGINE_FAILED = "engine_failed"
    """The engine was refused, gone, silent or broke off; with `Request.hidden` its answer failed under status 200."""


class HiddenFailure(StrEnum):
    """How an answer failed though its status says 200 and its framing is whole."""

    ABORT = "abort"
    """It ends with a finish reason "abort" that roost did not cause."""
    ERROR_CHUNK = "error_chunk"
    """It holds an error object where the rest of the answer should be."""
    BARE_END = "bare_end"
    """It ends in the middle of an event or of its JSON, in bare text, or without what ends such a stream."""


class Fault(StrEnum):
    """Whose fault a refusal is."""

    CLIENT = "client"
    GATEWAY = "gateway"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is roost's own. `message` is a sentence for the client; `retry_after_s` becomes a header."""

    status: int
    code: str
    message: str
    fault: Fault = Fault.CLIENT
    retry_after_s: float | None = None
    close: bool = False
    """The connection ends after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a waiting request may be told of its wait."""

    is_ready: bool
    """The model is up: others are served first."""
    sentence: str
    position: int | None = None
    """1 for the next one that is served."""
    expected_s: float | None = None
    """Seconds until it is, by what has been learned; None: nothing has."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect: host and port, or the path of a Unix socket. `base` is what stands before every path there,
    empty or like `/api`."""

    host: str
    port: int
    socket_path: str | None = None
    tls: bool = False
    base: str = ""

    def __str__(self) -> str:
        return self.socket_path or self.authority

    @property
    def authority(self) -> str:
        """What the Host header says: with TLS on its usual port the bare name, as certificates and virtual hosts do."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.tls and self.port == 443 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:8000`, `https://example.org/api`."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a model name leads to. `name` is the configured model, `asked` what the client wrote."""

    name: str
    asked: str
    spec: ModelSpec
    rewrite: str | None = None
    """The `model` to put into the request, None to leave it as it came."""
    set_params: Mapping[str, Any] = field(default_factory=dict)
    """The fields to set in a JSON request under this name."""


class Request:
    """The life of one request.

    Fields not yet known live on the class, so that making a record costs two assignments on the hot path.
    """

    method: str = ""
    path: str = ""
    client: str = ""
    key: KeySpec | None = None
    route: Route | None = None
    stream: bool = False
    opens: bool = False
    """A GET of an engine's first page, which loads the model as a POST does."""
    phase: Phase = Phase.ACCEPTED
    deadline_at: float | None = None
    """When the client itself will give up, where it said so."""
    queued_at: float | None = None
    leased_at: float | None = None
    replica: str | None = None
    sent_at: float | None = None
    first_byte_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    outcome: Outcome | None = None
    error: str = ""
    hidden: HiddenFailure | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    events: int = 0
    """Pieces of an SSE answer that carried data."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    retried: bool = False
    has_fallback: bool = False
    """Another model may answer in place of the one that was asked for."""
    fallback_for: str = ""
    """The model that was asked for, where another one answers in its place."""

    def __init__(self, id: str, received_at: float, **known: Any) -> None:
        self.id = id
        self.received_at = received_at
        if known:
            self.__dict__.update(known)

    @property
    def may_wake(self) -> bool:
        """False where the request must not load or wake a model: GET, HEAD, and keys that may not."""
        asks = self.opens or (self.method != "GET" and self.method != "HEAD")
        return asks and (self.key is None or self.key.may_wake)

    @property
    def counts(self) -> bool:
        """False where the request is no traffic and keeps no model awake."""
        return self.key is None or self.key.counts
