"""`docs/api.md`, made from the table of routes. `python -m roost.admin.reference` prints it; a test compares."""

from collections.abc import Sequence

from roost.admin.openapi import NEEDS, OPTIONS
from roost.admin.routes import ROWS, Row

_INTRO = """\
# API

This page is generated from the table of routes in `src/roost/admin/routes.py`; do not edit it.
The same table makes the router and the OpenAPI document (`GET /api/v1/openapi.json`).

All routes are on the one port, beside inference. Locally the private socket in the state directory serves them too,
without a key. HEAD works wherever GET does. Asking never wakes a model. Fields are only ever added.
The addresses of engines are told to keys with the `read` scope; in `health` others see the replicas' names instead.

A key limited to some models sees only those: others answer 404, in the same words as a model that does not exist.
Errors are `{"error": {"message", "type", "code", ...}}`; the message says what to do next.
`{name}` is a model's name or alias; its slashes may be written raw or as `%2F`.
"""
_OPTIONS = """
## Options

In the query; orders (POST) under `/api/v1` take them in a JSON body too, which wins over the query. The orders of
kvcached's controller (`/action/...`, `/model/...`) do not look at their body, as that controller does not.
"""
_ORDERS = """
## Answers of orders

`{"success", "changed", "state", "message"}`. 200: done. 202: not there when the wait was over; it goes on.
409: cannot be obeyed now. 503: the engine refused or failed. From 400 on there is an `error` beside it.
A state that is reached already is 200 with `"changed": false`. Under `/action` and `/model` there is `model_name` too.

## Traffic

Every configured model has statistics from the start; names that clients make up never get any. A request counts when
it ends and as what it was: successful if its whole answer went out with a status below 400, cancelled if the client
left first, else failed. A stream that breaks half-way has failed. Times are means over the successful ones:
`avg_response_time` from head to last byte, `avg_ttft` to the first token (the first byte where nothing is streamed).

A model is idle (`is_idle`) if nothing came for longer than `policy.idle_threshold`, or `threshold` in the two lists;
every model is in one of `idle_models` and `active_models`. While a request runs or waits the model is not idle. A model
that never had a request has been idle since roost started or since it became ready, whichever is later.

History is kept for 24 hours: by seconds for the last hour, by minutes before it. The last stretch still fills.

## Events

`GET /api/v1/events` is a stream of server-sent events: one JSON object each, with a comment every 15 s while
nothing happens. A reader that falls too far behind is let go; connect again and read the present state first.
"""


def page(rows: Sequence[Row] = ROWS) -> str:
    """The whole page as Markdown."""
    return _INTRO + "\n## Routes\n\n" + _routes(rows) + _OPTIONS + "\n" + _options() + _ORDERS


def _routes(rows: Sequence[Row]) -> str:
    lines = ["| Route | Needs | Options | What |", "|---|---|---|---|"]
    for row in rows:
        options = ", ".join(f"`{name}`" for name in row.options)
        lines.append(f"| `{row.method} {row.plain_path}` | {NEEDS[row.need]} | {options} | {row.summary} |")
    return "\n".join(lines) + "\n"


def _options() -> str:
    lines = ["| Option | Values | Default | What |", "|---|---|---|---|"]
    for name, (schema, text) in OPTIONS.items():
        default = str(schema.get("default", "")).lower()
        lines.append(f"| `{name}` | {_values(schema)} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def _values(schema: dict[str, object]) -> str:
    choices = schema.get("enum")
    if isinstance(choices, list):
        return " or ".join(str(choice) for choice in choices)
    if "exclusiveMinimum" in schema:
        bound = f" and at most {schema['maximum']}" if "maximum" in schema else ""
        return f"above {schema['exclusiveMinimum']}{bound}"
    if schema["type"] == "string":
        return "`90`, `5m`, `24h`"
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return "true or false"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
