"""Which model a request names, and what must change in it for the engine. Called by `phases.identified`.

Refuses on the exchange and returns None where there is no route; raises BadBody or BadForm for a body that
cannot be read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlencode

from roost.core.request import Refusal, Route
from roost.core.server_spec import Scope
from roost.protocol.forms import form_field
from roost.protocol.openai import BadBody, change, peek
from roost.proxy import access
from roost.proxy.access import UPSTREAM, close_if_body
from roost.proxy.keys import may_use, scopes_of

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

Offer = Callable[["Exchange", str, str], bool]
MAX_QUERY_FIELDS = 100
_U_ESCAPE = re.compile(r"%u([0-9A-Fa-f]{4})")


@dataclass(slots=True)
class Original:
    """A request as its client sent it, kept where another model may have to answer it."""

    route: Route
    kind: str
    """Where it names its model: json, form or query."""
    body: bytes
    target: bytes
    deadline_at: float | None
    others: list[str] = field(default_factory=list)
    """The models that have not been asked yet."""
    refusal: Refusal | None = None
    """Why the model that was asked for does not answer."""


def model_route(x: "Exchange", offer: Offer) -> Route | None:
    """By JSON body, form field or `?model=`. None where there is none yet: it is refused, or, where `offer` gives True
    for the name, found out later, with `fitted` to follow."""
    name, kind = _asked_model(x)
    if name is None:
        message = "The request names no model: put 'model' into the JSON body, the form or the query."
        x.refuse(Refusal(status=400, code="model_missing", message=message))
        return None
    route = x.plane.fleet.resolve(name)
    if route is None and offer(x, name, kind):
        return None
    if route is None or not may_use(x.request.key, route.name):
        x.refuse(unknown_model(name))
        return None
    return fitted(x, route, kind)


def fitted(x: "Exchange", route: Route, kind: str) -> Route | None:
    """The route, with the request as its engine wants it; `kind` says where the name stood. Refuses what the engine
    does not serve."""
    if not x.path.startswith("/v1/") and not x.plane.paths.serves(route, x.path):
        message = f"The engine of model {route.name!r} does not serve {x.path}."
        x.refuse(Refusal(status=404, code="not_found", message=message))
        return None
    if x.plane.paths.controls(route, x.path if _is_plain(x.path) else _plain(x.path)):
        message = f"{x.path} controls the engine; an admin key may use /upstream/{route.name}{x.path}."
        x.refuse(Refusal(status=403, code="control_path", message=message))
        return None
    if route.spec.fallback:
        x.original = Original(route, kind, x.body, x.target, x.request.deadline_at, list(route.spec.fallback))
        x.request.has_fallback = True
    fit_to_engine(x, route, kind)
    return route


def _asked_model(x: "Exchange") -> tuple[str | None, str]:
    content_type = x.head.content_type[:19].lower()
    if x.body and content_type == b"multipart/form-data":
        field = form_field(x.body, x.head.content_type, "model")
        if field is not None:
            return field.value, "form"
    elif x.body:
        asked = peek(x.body)
        x.request.stream = asked.stream
        if asked.model is not None:
            return asked.model, "json"
    if x.query.count(b"&") >= MAX_QUERY_FIELDS:
        raise BadBody(f"the query has more than {MAX_QUERY_FIELDS} fields")
    for key, value in parse_qsl(x.query.decode("ascii")) if x.query else ():
        if key == "model":
            return value, "query"
    return None, ""


def fit_to_engine(x: "Exchange", route: Route, kind: str) -> None:
    """Put the served name and the configured parameters into the request; most requests go as they came."""
    spec = route.spec
    if kind == "json" and (route.rewrite is not None or route.set_params or spec.strip_params):
        x.body = change(x.body, route.rewrite, route.set_params, spec.strip_params)
    elif kind == "form" and route.rewrite is not None:
        field = form_field(x.body, x.head.content_type, "model")
        if field is not None:
            x.body = x.body[: field.start] + route.rewrite.encode() + x.body[field.stop :]
    elif kind == "query" and route.rewrite is not None:
        pairs = parse_qsl(x.query.decode("ascii"), keep_blank_values=True)
        changed = urlencode([(key, route.rewrite if key == "model" else value) for key, value in pairs])
        x.target = f"{x.path}?{changed}".encode()


def upstream_route(x: "Exchange") -> Route | None:
    """`/upstream/{model}/{path}`: raw access; names may hold slashes, encoded or not. A GET of the engine's first page
    loads the model, as llama-swap's users know it; other GETs do not."""
    raw = x.path[len(UPSTREAM) :]
    found = x.plane.fleet.match_prefix(unquote(raw))
    if found is None or not may_use(x.request.key, found[0].name):
        x.refuse(close_if_body(x, unknown_model(unquote(raw).partition("/")[0])))
        return None
    route, rest = found
    x.target = _rest_of(raw, route.asked).encode() + (b"?" + x.query if x.query else b"")
    if x.plane.paths.controls(route, _plain(rest)) and Scope.ADMIN not in scopes_of(x.request.key):
        message = f"{rest} controls the engine of {route.name!r}: that needs a key with the admin scope."
        x.refuse(close_if_body(x, Refusal(status=403, code="admin_scope_needed", message=message)))
        return None
    if not rest:  # relative links of the engine's pages need the slash
        access.redirect(x, f"{x.path}/")
        return None
    x.request.opens = rest == "/" and x.request.method == "GET" and not access.is_cross_site(x)
    return route


def _rest_of(raw: str, name: str) -> str:
    """What follows the model's name, still encoded as it came; `/` if nothing does."""
    at = raw.find("/")
    while at >= 0:
        if unquote(raw[:at]) == name:
            return raw[at:]
        at = raw.find("/", at + 1)
    return "/"


def _is_plain(path: str) -> bool:
    return "%" not in path and "//" not in path and "/." not in path


def _plain(path: str) -> str:
    """The path as an engine's router may read it: decoded (llama-server also knows %uXXXX), no empty or dot
    segments."""
    parts: list[str] = []
    path = _U_ESCAPE.sub(lambda found: chr(int(found[1], 16)), path)
    for part in unquote_to_bytes(path.encode("utf-8", "replace")).decode("utf-8", "replace").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def unknown_model(name: str) -> Refusal:
    """The same words for a model that is not there and one the key may not use."""
    message = f"The model {name[:200]!r} does not exist or this key may not use it. GET /v1/models lists yours."
    return Refusal(status=404, code="model_not_found", message=message)
