"""The OpenAPI 3.1 document, made from the table of routes. Pure but for the response that serves it."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from roost import __version__
from roost.admin.answers import answer_json
from roost.admin.ask import DEFAULT_WAIT_S, MAX_WAIT_S
from roost.admin.caller import Need
from roost.admin.holding import MOST_REASON
from roost.admin.manage import JOURNAL_MOST, JOURNAL_ROWS
from roost.admin.schema_forms import ref
from roost.admin.schemas import SCHEMAS
from roost.admin.streams import LINES, MOST_LINES
from roost.admin.traffic import WINDOW_S
from roost.telemetry.traffic import HORIZON_S, MAX_BUCKETS

if TYPE_CHECKING:
    from roost.admin.routes import Row

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "wait": (
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": DEFAULT_WAIT_S},
        "Seconds to wait for it; 202 if it is not there by then. 0 does not wait.",
    ),
    "force": (
        {"type": "boolean", "default": False},
        "Do not wait for running requests: an answer that has begun is cut, a request without one waits again.",
    ),
    "level": (
        {"type": "integer", "enum": [1, 2]},
        "Sleep level: 1 keeps the weights in host memory, 2 drops them. Left out: as configured.",
    ),
    "lines": ({"type": "integer", "minimum": 1, "maximum": MOST_LINES, "default": LINES}, "How many lines."),
    "window": (
        {"type": "number", "exclusiveMinimum": 0, "maximum": HORIZON_S, "default": WINDOW_S},
        "Seconds over which rates are taken.",
    ),
    "threshold": (
        {"type": "number", "exclusiveMinimum": 0},
        "Seconds without a request from which a model counts as idle. Left out: `policy.idle_threshold`.",
    ),
    "span": ({"type": "string", "default": "1h"}, f"How far back, at most {HORIZON_S // 3600}h."),
    "bucket": (
        {"type": "string", "default": "1m"},
        f"Length of one stretch; whole minutes where the span is over an hour, and at most {MAX_BUCKETS} of them.",
    ),
    "all": ({"type": "boolean", "default": False}, "All models, also where `server.models_list` is `loaded`."),
    "loaded": (
        {"type": "boolean", "default": False},
        "Only the loaded ones, also where `server.models_list` is `all`.",
    ),
    "since": ({"type": "string", "default": "1h"}, "How far back."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": JOURNAL_MOST, "default": JOURNAL_ROWS},
        "How many at most.",
    ),
    "no-history": ({"type": "boolean", "default": False}, "Only what comes from now on."),
    "device": ({"type": "string", "examples": ["gpu0"]}, "A device with a budget, or `host`."),
    "amount": ({"type": "string", "examples": ["20GiB"]}, "How much of it. Left out: all of it."),
    "for": ({"type": "string", "examples": ["30m", "2h"]}, "For how long, at most 30d. Left out: until released."),
    "reason": ({"type": "string", "examples": ["training"]}, f"For those who wonder, up to {MOST_REASON} characters."),
    "follow": ({"type": "boolean", "default": False}, "Keep the stream open for new lines."),
}
NEEDS = {
    Need.NOTHING: "no key",
    Need.ANY: "any key",
    Need.READ: "scope `read`",
    Need.ADMIN: "scope `admin`",
}
_PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")
_PLACES = {"name": "Name or alias of a model; slashes may be written raw or as %2F.", "id": "The request's id."}
_PLACES["device"] = "Name of the device."


def document(rows: "Sequence[Row]") -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.plain_path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "roost",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def served(rows: "Sequence[Row]") -> Response:
    return answer_json(document(rows))


def _operation(row: "Row") -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _operation_id(row),
        "summary": row.summary,
        "description": f"Needs {NEEDS[row.need]}.",
        "security": [] if row.need is Need.NOTHING else [{"key": []}],
        "responses": _responses(row),
    }
    parameters = [_place(name) for name in _PLACEHOLDER.findall(row.path)] + [_query(name) for name in row.options]
    if parameters:
        found["parameters"] = parameters
    if row.method == "POST" and row.options and row.takes_body:
        fields = {name: OPTIONS[name][0] | {"description": OPTIONS[name][1]} for name in row.options}
        schema = {"type": "object", "properties": fields, "additionalProperties": False}
        found["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return found


def _operation_id(row: "Row") -> str:
    """`post_api_v1_models_name_load`."""
    words = re.findall(r"\w+", _PLACEHOLDER.sub(r"\1", row.path))
    return "_".join([row.method.lower(), *words])


def _place(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": _PLACES[name], "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    schema, text = OPTIONS[name]
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _responses(row: "Row") -> dict[str, Any]:
    statuses = row.statuses if row.need is Need.NOTHING else (*row.statuses, 401, 403)
    return {str(status): _response(row, status) for status in sorted(statuses)}


def _response(row: "Row", status: int) -> dict[str, Any]:
    own = status < 400 or status in (409, 503)
    if own and "/" in row.answer:
        content: dict[str, Any] = {row.answer: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": ref(row.answer if own else "Error")}}
    return {"description": HTTPStatus(status).phrase, "content": content}
