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
kvcached's controller (`/action/...`, `/model/...`) and of llama-swap (`/unload`, `/api/models/...`) do not look at
their body, as those do not.
"""
_LLAMA_SWAP = """
## llama-swap

`/running`, `/unload`, `/api/models/unload`, `/api/models/sleep` and `/logs` answer as llama-swap does (the order to
sleep: its fork llmsnap), with these differences:

- An engine is drained before it is stopped: running requests may end, for as long as `timeouts.drain` lets them.
  `force=1` cuts them at once, as llama-swap does. The answer comes when the engine is gone; 202 if that takes longer
  than `wait`.
- Orders answer `OK` (or `{"msg": "ok"}` where there is no model in the path); from 202 on the answer is the JSON of
  other orders. An engine that cannot sleep is 409, where llmsnap answers 500. Where the sleep failed and the engine was
  stopped instead, the answer is 200 and begins with `OK`, as there.
- `GET /unload` changes state, so it needs the admin scope, and a browser's request from a page of another site is 403.
- `state` is one of starting, ready, stopping, sleepPending, asleep and waking; `roost_state` is roost's own word.
- In `/logs`, `/logs/stream` and `/logs/stream/upstream` each line of an engine begins with `MODEL | `. To a key limited
  to some models `upstream` shows theirs alone; where roost's own log is part of the answer, such a key gets 403. A
  model called `proxy` or `upstream` has its log under `/api/v1/models/{name}/logs`.

`/upstream/{name}/PATH` passes PATH on to the model's engine. `/upstream/{name}` is redirected to its first page, `GET
/upstream/{name}/`, which loads the model. Any other GET does not, so that a probe keeps no model awake; a page of
another site does not either.

In `/v1/models`, `status.value` is roost's state; `status.loaded` and `status.sleeping` say whether it answers at once.

## Waiting for a model

With `loading_state: true` a streamed `POST /v1/chat/completions` whose model is not ready is answered after half a
second with 200 and chunks whose `delta` has a `reasoning_content`: what the request waits for, a sign of life each
second, and how long it took. The engine's own events follow unchanged; its header fields are dropped. Refusals that are
known at once keep their status. What fails later, an answer that is no stream of events among it, comes as
`data: {"error": {...}}` and `data: [DONE]`; the connection lives on.

With `heartbeat: 10s` any streamed POST to the model hears an SSE comment that often while it waits, the first one
after that time: `: roost position=3 expected_s=12`. Clients skip comments. What is not known is left out. Header,
failures and end are as above; on `/v1/messages` an error is `event: error`, as Anthropic's clients expect it.

A request whose wait is known to pass its deadline is refused at once: 503 `would_wait_too_long`, with the computed
Retry-After. With `fallback: [other]` another model answers instead: `X-Roost-Fallback: other`, or, if comments are out
already, `: roost fallback=other`. docs/fairness.md says who is served when.

In the status of a model, `queue` is who waits (`depth`, `by_class`, `oldest_wait_s`) and what the last of them has to
expect (`expected`); `turn` says that another model waits for its room, and when it gets it. `/api/v1/requests` has each
waiting request's `position` and `expected_s`.
"""
_ORDERS = """
## Answers of orders

`{"success", "changed", "state", "message"}`. 200: done. 202: not there when the wait was over, or sooner where its
memory is held back for longer than the wait; it goes on.
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

## Journal

`GET /api/v1/journal` has each plan that ordered something, denied an order, or left requests blocked that were not
before, newest first: `id`, `at`, `actions` with their reasons, `blocked`, `denied`, `notes`. It outlives roost, within
`server.journal_size` and `server.journal_age`; a plan stands in it within a second. `roost replay --id N` makes one
anew.

A model's `totals` count since roost first saw it, over all restarts; statistics under Traffic begin anew with each.

## Events

`GET /api/v1/events` is a stream of server-sent events: one JSON object each, with a comment every 15 s while
nothing happens. A reader that falls too far behind is let go; connect again and read the present state first. A model
that comes or goes while roost runs is an event of type `model`, with `what` `added` or `removed`; until a removed one
is gone, its entry in `/api/v1/models` has `leaving: true`.
"""


def page(rows: Sequence[Row] = ROWS) -> str:
    """The whole page as Markdown."""
    return _INTRO + "\n## Routes\n\n" + _routes(rows) + _OPTIONS + "\n" + _options() + _LLAMA_SWAP + _ORDERS


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
    examples = schema.get("examples")
    if isinstance(examples, list):
        return ", ".join(f"`{example}`" for example in examples)
    if schema["type"] == "string":
        return "`90`, `5m`, `24h`"
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return "true or false"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
