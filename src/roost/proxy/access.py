"""What the head alone decides: request id, Host, Origin, key, and whether the path is served at all.

Asked by `phases.accepted` before any body is read. Each function returns a refusal or None.
"""

from typing import TYPE_CHECKING

from roost.core.request import Outcome, Refusal
from roost.proxy.origin import cors_lines
from roost.proxy.refuse import reason_phrase

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

OWN = ("/health", "/ready", "/metrics", "/v1/models", "/api")
"""Paths (and all below them) that roost's own API answers."""
CONTROLLER = (
    *("/models", "/models/idle", "/models/active", "/get_server_info", "/traffic/stats", "/sleep/status"),
    *("/sleep/candidates", "/model/traffic/stats", "/model/traffic/idle", "/model/traffic/active"),
    *("/model/sleep/status", "/model/sleep/candidates"),
)
"""What else it answers, for users of kvcached's controller. Exactly these: `/sleep` and `/models/load` are engines'."""
CONTROLLER_BELOW = (
    *("/traffic/stats/", "/action/sleep/", "/action/wakeup/", "/model/traffic/stats/", "/model/sleep/"),
    "/model/wake/",
)
"""What comes after these is a model's name."""
LLAMA_SWAP = ("/running", "/unload", "/logs", "/logs/stream")
"""And for users of llama-swap; what else it has is under `/api`."""
_OWN_EXACTLY = frozenset({"/", *OWN, *CONTROLLER, *LLAMA_SWAP})
_OWN_BELOW = (*(f"{path}/" for path in OWN), *CONTROLLER_BELOW, "/logs/stream/")
OPEN = frozenset({"/", "/health", "/ready"})
"""Answered without a key: load balancers ask them."""
UPSTREAM = "/upstream/"
MAX_REQUEST_ID = 128
SAME_SITE = frozenset({b"same-origin", b"none"})
"""What `Sec-Fetch-Site` says of our own pages and of addresses that people type."""


def request_id(x: "Exchange") -> str:
    given = x.head.request_id
    if given and len(given) <= MAX_REQUEST_ID and given.isascii():
        text = given.decode("ascii")
        if text.isprintable() and " " not in text and not x.plane.is_taken(text):  # a blank would end it in the log
            return text
    return x.plane.request_id()


def is_own(path: str) -> bool:
    """True if roost's own API answers the path."""
    return path in _OWN_EXACTLY or path.startswith(_OWN_BELOW)


def stranger(x: "Exchange") -> Refusal | None:
    head, plane = x.head, x.plane
    host = head.host or b""
    if head.host is not None and not plane.hosts.allows(host):
        name = host.decode("latin-1")[:100]
        message = f"The Host {name!r} is not one of this server's; add it to server.hosts if it is."
        return Refusal(status=403, code="unknown_host", message=message)
    if head.origin is not None and not plane.origins.allows(head.origin, host):
        origin = head.origin.decode("latin-1")[:100]
        message = f"Web pages of {origin!r} may not call this server; add it to server.cors_origins if they may."
        return Refusal(status=403, code="foreign_origin", message=message)
    return None


def check_key(x: "Exchange") -> Refusal | None:
    ring = x.plane.keys
    preflight = x.request.method == "OPTIONS" and x.head.origin is not None  # answered here, never passed on
    if ring.empty or x.path in OPEN or preflight:
        return None
    if x.head.api_key is None:
        message = "An API key is needed: send it as 'Authorization: Bearer KEY'."
        return Refusal(status=401, code="missing_api_key", message=message)
    x.request.key = ring.find(x.head.api_key)
    if x.request.key is None:
        return Refusal(status=401, code="invalid_api_key", message="This API key is not known here.")
    return None


def preflight(x: "Exchange") -> None:
    origin = x.head.origin or b""
    x.request.status = 204
    x.send(b"HTTP/1.1 204 No Content\r\n" + cors_lines(origin, preflight=True) + b"\r\n")
    x.settle(Outcome.OK, persistent=x.head.persistent and not x.has_body)


def redirect(x: "Exchange", path: str) -> None:
    """Permanently to another path of ours, with the same query; other methods than GET and HEAD keep their body."""
    x.request.status = status = 301 if x.request.method in ("GET", "HEAD") else 308
    persistent = x.head.persistent and not x.has_body
    lines = [
        b"HTTP/1.1 %d %s" % (status, reason_phrase(status)),
        b"location: " + path.encode() + (b"?" + x.query if x.query else b""),
        b"content-length: 0",
        b"x-request-id: " + x.request.id.encode(),
        *(() if persistent else (b"connection: close",)),
    ]
    x.send(b"\r\n".join(lines) + b"\r\n" + cors(x) + b"\r\n")
    x.settle(Outcome.OK, persistent=persistent)


def is_cross_site(x: "Exchange") -> bool:
    """Another site's page asks, by the word of its browser. A page's pictures and links carry no Origin."""
    told = (line.partition(b":")[2] for line in x.head.forward if line[:15].lower() == b"sec-fetch-site:")
    return any(site.strip().lower() not in SAME_SITE for site in told)


def check_path(x: "Exchange") -> Refusal | None:
    path = x.path
    if x.to_admin:
        return None
    if x.request.method == "CONNECT":
        return Refusal(status=405, code="method_not_allowed", message="roost is no forward proxy.")
    if path.startswith(UPSTREAM):
        x.streams_body = x.has_body
        return None
    if path.startswith("/v1/") or x.plane.paths.is_inference(path):
        return None
    message = f"No route {path!r} here. Inference is under /v1/, an engine's own paths under /upstream/MODEL/."
    return Refusal(status=404, code="not_found", message=message)


def close_if_body(x: "Exchange", refusal: Refusal) -> Refusal:
    """An unread body would be read as the next request: the connection must end."""
    if not x.has_body or refusal.close:
        return refusal
    return Refusal(status=refusal.status, code=refusal.code, message=refusal.message, fault=refusal.fault, close=True)


def cors(x: "Exchange") -> bytes:
    """Header lines for the answer to a page of a configured origin; empty for everybody else."""
    origin = x.head.origin
    if origin is None or not x.plane.origins.is_foreign_allowed(origin):
        return b""
    return cors_lines(origin, preflight=False)
