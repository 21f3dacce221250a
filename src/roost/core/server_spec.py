"""The port, its keys and its limits, as the configuration has them: `server`. See `spec`. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from roost.core.policy_spec import Priority
from roost.core.units import STRICT, BindPort, Count, Duration, MaybeDuration, PositiveDuration, Share, Size

MIB = 1024 * 1024


class Scope(StrEnum):
    """What a key may do; admin includes read and infer, read is for status and metrics."""

    INFER = "infer"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """One API key."""

    __pydantic_config__ = STRICT

    name: str
    """What logs and metrics call the key; never the key itself."""
    key: str = field(repr=False)
    """The secret; usually `${env:NAME}`."""
    scopes: tuple[Scope, ...] = (Scope.INFER,)
    """infer, read, admin."""
    models: tuple[str, ...] | None = None
    """Names or globs (`team-a/*`) this key may use; all when left out."""
    may_wake: bool = True
    """False: requests with this key never load or wake a model (probes of a gateway in front)."""
    counts: bool = True
    """False: requests with this key do not count as traffic and keep no model awake."""
    requests_per_minute: Count | None = None
    """Over it: 429 with Retry-After."""
    priority: Priority | None = None
    """high, normal or low: whose requests go first in a queue; the model's own when left out."""
    weight: Share = 1.0
    """Its share where requests of several keys wait for one model: a key of weight 2 is served twice as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """Bounds on what a client may send. At the bound the answer is 408, 413 or 431, never silence."""

    __pydantic_config__ = STRICT

    head_size: Size = 32 * 1024
    """Request line and headers together."""
    head_fields: Count = 100
    """Number of header fields."""
    head_timeout: PositiveDuration = 10.0
    """From the first byte of a head to its last."""
    body_size: Size = 64 * MIB
    """One request's body (base64 images and audio are large)."""
    body_idle_timeout: PositiveDuration = 30.0
    """Between two pieces of a body."""
    held_bodies: Size = 512 * MIB
    """Bodies held for all requests together that wait, or whose body still comes in; over it 503 with Retry-After."""
    send_timeout: MaybeDuration = 600.0
    """A client that takes no byte of its answer for this long, though more is there for it, is cut."""
    keep_alive: Duration = 75.0
    """An idle client connection is closed after this."""
    connections: Count = 16384
    """Open client connections; over it new ones are closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """The port roost serves on."""

    __pydantic_config__ = STRICT

    name: str | None = None
    """The instance's name: its state directory and tmux prefix; a hash of the config's path when left out."""
    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback needs `keys`, or `open: true`."""
    port: BindPort = 8080
    """Port to bind; 0 picks a free one."""
    open: bool = False
    """Allow serving without keys on an address that is not loopback."""
    keys: tuple[KeySpec, ...] = ()
    """API keys; without any, loopback clients may do everything."""
    hosts: tuple[str, ...] = ()
    """Names that a request's Host header may carry, besides loopback names and addresses; `*`: any name."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call this port."""
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    """Bounds on client input."""
    shutdown_timeout: Duration = 30.0
    """How long answers may run on after Ctrl-C or SIGTERM."""
    listen: bool = True
    """False: engines run and are supervised, but no inference port opens; `roost serve` opens it later."""
    detach: bool = False
    """True: `roost up` goes to the background by itself and returns once the engines are started."""
    session_prefix: str = "roost-"
    """Begin of the names of tmux sessions, where `launcher` is tmux."""
    models_list: Literal["all", "loaded"] = "all"
    """What `/v1/models` lists: all models, or the loaded ones; `?all=true` and `?loaded=true` ask for the other."""
    health: Literal["json", "text"] = "json"
    """What `/health` answers to who asks for neither form: an object, or `OK`."""
    request_log: bool = True
    """One line per request."""
    journal_size: Size = 64 * MIB
    """How much of its plans roost keeps in its state directory, with what each was made from; the oldest go first. 0:
    none."""
    journal_age: PositiveDuration = 14 * 86400.0
    """Plans older than this go, too."""
