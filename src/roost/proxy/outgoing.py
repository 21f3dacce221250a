"""The head of a request as its engine gets it: the client's own fields, roost's request id, and the engine's key.

Builds bytes, sends nothing. Called by `phases`.
"""

from typing import TYPE_CHECKING

from roost.proxy.own import admin_lines

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange
    from roost.proxy.relay import Upstream

_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
"""Methods whose requests get no Content-Length where they have no body."""


def engine_head(x: "Exchange", upstream: "Upstream") -> bytes:
    """Request line and header fields for the engine, up to the empty line."""
    head, route = x.head, x.request.route
    base = upstream.address.base
    target = base.encode() + x.target if base else x.target
    lines = [head.method + b" " + target + b" HTTP/1.1", upstream.host_line, *head.forward]
    if x.loading is not None:  # the client has its head already: nothing could tell it of a coding
        lines = [line for line in lines if line[:16].lower() != b"accept-encoding:"]
    lines.append(b"x-request-id: " + x.request.id.encode())
    if x.to_admin:
        lines = admin_lines(x, lines)
    elif route is not None and route.spec.api_key is not None:
        lines.append(b"authorization: Bearer " + route.spec.api_key.encode())
        if route.spec.url is not None:  # Anthropic's API and its likes take only this
            lines.append(b"x-api-key: " + route.spec.api_key.encode())
    if x.streams_body and head.chunked:
        lines.append(b"transfer-encoding: chunked")
    elif x.streams_body:
        lines.append(b"content-length: %d" % (x.length or 0))
    elif x.body or head.method not in _BODILESS:
        lines.append(b"content-length: %d" % len(x.body))
    if head.upgrade is not None and not x.to_admin:
        lines.append(b"connection: upgrade\r\nupgrade: " + head.upgrade)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
