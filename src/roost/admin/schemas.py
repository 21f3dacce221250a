"""The shapes that the API answers, as JSON Schema for the OpenAPI document. Values only; fields are only ever added."""

from typing import Any

from roost.core.lifecycle import State
from roost.core.step import Operation

Schema = dict[str, Any]


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Schema = {"type": "string"}
_TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
_WHOLE: Schema = {"type": "integer"}
_WHOLE_OR_NONE: Schema = {"type": ["integer", "null"]}
_NUMBER: Schema = {"type": "number"}
_NUMBER_OR_NONE: Schema = {"type": ["number", "null"]}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {}
_STATE: Schema = {"type": "string", "enum": [state.value for state in State]}

_ERROR = _object(
    message={"type": "string", "description": "A sentence: what happened, to whom, what to do next."},
    type=_TEXT,
    code=_TEXT,
    param=_TEXT_OR_NONE,
    fault={"type": "string", "enum": ["client", "gateway", "engine"]},
    request_id=_TEXT,
)
_SERVING = _object(
    replica=_TEXT,
    endpoint=_TEXT,
    state=_STATE,
    level=_WHOLE_OR_NONE,
    answers=_FLAG,
    in_flight=_WHOLE,
    failures={"type": "integer", "description": "Requests that it failed since roost started."},
    avoided_s={
        "type": ["number", "null"],
        "description": "Others get its requests for so long, for it kept failing; 0: it is tried now; null: no.",
    },
)
_HOST = _object(
    name={"type": "string", "description": "Its entry under `hosts`."},
    url=_TEXT,
    preset={"type": ["string", "null"], "description": "Null until it has answered."},
    why={"type": ["string", "null"], "description": "What that preset was seen by."},
    trouble={"type": "string", "description": "Why it is not known what is loaded there, or empty."},
    loaded=_list(_TEXT),
    offers=_list(_TEXT),
)
_STEP = _object(
    name={"type": "string", "description": "`POST /wake_up?tags=weights`"},
    at=_TEXT,
    duration_s=_NUMBER,
    status={"type": ["integer", "null"], "description": "Null where no answer came."},
    error={"type": "string", "description": "A sentence, or empty."},
    attempts={"type": "integer", "description": "Calls made; 0 for a step that was skipped."},
    skipped={"type": "string", "description": "Why it was not done, or empty."},
    check={"type": "boolean", "description": "No step, but a request that verifies the engine."},
)
_SEQUENCE = _object(
    replica=_TEXT,
    model=_TEXT,
    operation={"type": "string", "enum": [operation.value for operation in Operation]},
    level=_WHOLE_OR_NONE,
    at=_TEXT,
    took_s=_NUMBER,
    error=_TEXT_OR_NONE,
    slowest={"type": ["string", "null"], "description": "The name of the step that took longest."},
    freed_bytes={"type": ["integer", "null"], "description": "What a sleep gave back, where it can be measured."},
    memory=_TEXT_OR_NONE,
    steps=_list(_STEP),
)
_STATE_HELD = _object(device_bytes=_WHOLE_OR_NONE, host_bytes=_WHOLE_OR_NONE, source=_TEXT)
_HOLD = _object(
    device=_TEXT,
    amount_bytes={"type": ["integer", "null"], "description": "Null: all of it."},
    since=_TEXT,
    until={"type": ["string", "null"], "description": "Null: until it is released."},
    reason=_TEXT,
    by=_TEXT,
)
_BUDGET = _object(
    name=_TEXT,
    budget_bytes={"type": "integer", "description": "What roost's engines may hold together now."},
    size_bytes={"type": ["integer", "null"], "description": "Null where it cannot be read."},
    others_bytes={"type": "integer", "description": "Used by processes that are none of roost's."},
    held_back_bytes=_WHOLE,
    held_until=_TEXT_OR_NONE,
    reason=_TEXT_OR_NONE,
    holders=_list(_object(replica=_TEXT, bytes=_WHOLE, measured=_FLAG)),
)
_SCHEDULES = _object(
    open=_list(
        _object(
            **dict.fromkeys(("when", "timezone", "since"), _TEXT),
            until=_TEXT_OR_NONE,
            **dict.fromkeys(("pin", "sleep"), _list(_TEXT)),
            max_resident=_WHOLE_OR_NONE,
            devices=_ANY,
        )
    ),
    next_change=_TEXT_OR_NONE,
)
_QUEUE = _object(
    depth=_WHOLE,
    by_class=_object(high=_WHOLE, normal=_WHOLE, low=_WHOLE),
    oldest_wait_s=_NUMBER_OR_NONE,
    expected={
        "type": ["object", "null"],
        "description": "Of the last one that waits, in seconds: queue_s, room_s, rise_s and wait_s, their sum; null "
        "where nothing has been learned.",
    },
)
_MODEL = _object(
    name=_TEXT,
    aliases=_list(_TEXT),
    engine=_TEXT,
    task=_TEXT,
    state=_STATE,
    since=_ANY,
    level=_WHOLE_OR_NONE,
    in_flight=_WHOLE,
    queue_depth=_WHOLE,
    queue=_QUEUE,
    turn={
        "type": ["object", "null"],
        "description": "Another model waits for its room: for_model, and ends_in_s; null there: not before its "
        "requests of a higher class are served.",
    },
    pinned=_FLAG,
    idle_s=_NUMBER_OR_NONE,
    pid=_WHOLE_OR_NONE,
    port=_WHOLE_OR_NONE,
    last_error=_TEXT_OR_NONE,
    notices=_list(_TEXT),
    reason=_TEXT_OR_NONE,
    blocked={"type": ["string", "null"], "description": "Why the planner cannot serve it now."},
    listed=_FLAG,
    leaving={"type": "boolean", "description": "It is being removed: no new requests, its running ones end."},
    display_name=_TEXT_OR_NONE,
    command={"type": ["string", "null"], "description": "What its engine was started with, without keys."},
    drain_goal=_TEXT_OR_NONE,
    idle_limit_s={"type": ["number", "null"], "description": "Idle time until it is put to sleep or stopped."},
    description=_TEXT_OR_NONE,
    metadata=_ANY,
    context_length=_WHOLE_OR_NONE,
    modalities=_ANY,
    tools=_ANY,
    devices={"type": "array", "items": _TEXT, "description": "Where it runs, where that was chosen."},
    lingering_bytes={"type": "integer", "description": "Given back on each device and not yet seen free."},
    footprint=_object(
        **{
            rung: _object(counts=_STATE_HELD, claimed=_STATE_HELD, measured=_STATE_HELD)
            for rung in ("awake", "level1", "level2")
        }
    )
    | {"description": "What it holds in each state: the larger of claimed and measured counts."},
    endpoint={"type": "string", "description": "Base address of the replica that stands for it."},
    endpoints=_list(_SERVING),
    totals=_object(
        requests=_WHOLE,
        successful=_WHOLE,
        failed=_WHOLE,
        cancelled=_WHOLE,
        prompt_tokens=_WHOLE,
        completion_tokens=_WHOLE,
        last_used=_TEXT_OR_NONE,
        since={"type": "string", "description": "When roost began to count; restarts do not end it."},
    ),
    host=_HOST | {"type": ["object", "null"], "description": "The server of someone else that it lives in."},
    history={"type": "array", "description": "Its last changes of state; of one model asked for by name."},
    sequences=_list(_SEQUENCE) | {"description": "Its last sleeps, wakes and loads; likewise."},
    steps=_list(_STEP) | {"description": "The steps of all of these; likewise."},
) | {"required": ["name", "state"]}
_REQUEST = _object(
    id=_TEXT,
    model=_TEXT_OR_NONE,
    phase=_TEXT,
    age_s=_NUMBER,
    client=_TEXT,
    key=_TEXT_OR_NONE,
    stream=_FLAG,
    replica=_TEXT_OR_NONE,
    bytes_out=_WHOLE,
    events=_WHOLE,
    fallback_for={"type": ["string", "null"], "description": "The model that was asked for, if another one answers."},
    position={"type": ["integer", "null"], "description": "Its place in the queue, 1 for the next one."},
    expected_s={"type": ["number", "null"], "description": "Seconds that it is expected to wait on."},
)
_OPENAI_MODEL = _object(
    id=_TEXT,
    object={"const": "model"},
    created=_WHOLE,
    owned_by=_TEXT,
    name={"type": "string", "description": "For people."},
    status=_object(value=_STATE, loaded=_FLAG, sleeping=_FLAG),
    capabilities=_object(modalities=_list(_TEXT), tools=_FLAG, context=_WHOLE),
    aliases=_list(_TEXT),
    task=_TEXT,
    context_length=_WHOLE_OR_NONE,
    modalities=_ANY,
    tools=_ANY,
    description=_TEXT_OR_NONE,
    metadata=_ANY,
) | {"required": ["id", "object", "created", "owned_by"]}
_RUNNING = _object(
    model=_TEXT,
    state={"enum": ["starting", "ready", "stopping", "sleepPending", "asleep", "waking"]},
    cmd={"type": "string", "description": "The command line, without keys."},
    proxy={"type": "string", "description": "Base address of its engine."},
    ttl={"type": "integer", "description": "Seconds of idleness until it is put to sleep or stopped; 0: never."},
    name=_TEXT,
    description=_TEXT,
    roost_state=_STATE,
    level=_WHOLE_OR_NONE,
)
_ORDER = _object(success=_FLAG, changed=_FLAG, state=_STATE, message=_TEXT, error=_ERROR)
_STATS_FIELDS: Schema = {
    "total_requests": _WHOLE,
    "successful_requests": _WHOLE,
    "failed_requests": _WHOLE,
    "cancelled_requests": {"type": "integer", "description": "The client left first."},
    "success_rate": {"type": ["number", "null"], "description": "Of those that were not cancelled."},
    "request_rate": {"type": "number", "description": "Requests per second over the window."},
    "avg_response_time": {"type": "number", "description": "Seconds from head to last byte, over successes."},
    "avg_ttft": {"type": ["number", "null"], "description": "Seconds to the first token or byte, over successes."},
    "last_activity_time": {"type": ["number", "null"], "description": "Unix seconds; now while requests run."},
    "idle_time_seconds": {"type": "number", "description": "0 while requests run or wait."},
    "is_idle": _FLAG,
    "in_flight": _WHOLE,
    "queue_depth": _WHOLE,
    "state": _STATE,
}
_BUCKET = _object(
    start=_TEXT,
    start_unix=_NUMBER,
    seconds=_NUMBER,
    requests=_WHOLE,
    successful=_WHOLE,
    failed=_WHOLE,
    cancelled=_WHOLE,
    requests_per_s=_NUMBER,
    avg_response_time=_NUMBER_OR_NONE,
    avg_ttft=_NUMBER_OR_NONE,
    tokens_in=_WHOLE,
    tokens_out=_WHOLE,
)
_SLEEPER = _object(
    sleep_start_time={"type": "number", "description": "Unix seconds."},
    sleep_duration=_NUMBER,
    manual_sleep={"type": "boolean", "description": "An operator's order put it to sleep."},
    level=_WHOLE_OR_NONE,
    reason=_TEXT_OR_NONE,
)


def _by_name(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _some(*names: str) -> Schema:
    return _object(**{name: _STATS_FIELDS[name] for name in names})


_TRAFFIC: dict[str, Schema] = {
    "Stats": _object(**_STATS_FIELDS),
    "TrafficStats": _object(traffic_stats=_by_name(ref("Stats")), window_seconds=_NUMBER),
    "ModelStats": _object(model_stats=_object(model_name=_TEXT, **_STATS_FIELDS), window_seconds=_NUMBER),
    "IdleModels": _object(
        idle_models=_list(_TEXT),
        idle_threshold_seconds=_NUMBER,
        idle_model_details=_by_name(
            _some("idle_time_seconds", "total_requests", "last_activity_time", "state", "in_flight")
        ),
        idle_models_count=_WHOLE,
    ),
    "ActiveModels": _object(
        active_models=_list(_TEXT),
        idle_threshold_seconds=_NUMBER,
        window_seconds=_NUMBER,
        active_model_details=_by_name(ref("Stats")),
        active_models_count=_WHOLE,
    ),
    "Traffic": _object(window_seconds=_NUMBER, models=_list(_object(name=_TEXT, **_STATS_FIELDS))),
    "TrafficHistory": _object(name=_TEXT, span_seconds=_WHOLE, bucket_seconds=_WHOLE, buckets=_list(_BUCKET)),
    "SleepStatus": _object(
        sleeping_models=_by_name(_SLEEPER),
        sleep_candidates=_list(_TEXT),
        auto_sleep_enabled=_FLAG,
        idle_threshold_seconds=_NUMBER,
        wakeup_on_request={"type": "boolean", "description": "False only if it is false for every model."},
        models=_by_name(
            _object(state=_STATE, wake_on_request=_FLAG, sleep_after_seconds=_NUMBER_OR_NONE, pinned=_FLAG)
        ),
    ),
    "SleepCandidates": _object(
        sleep_candidates=_list(_TEXT),
        candidate_details=_by_name(
            _some("idle_time_seconds", "total_requests", "last_activity_time")
            | {"description": "And `can_sleep`, which is true, and `sleep_after_seconds`."}
        ),
        idle_threshold_seconds=_NUMBER,
        auto_sleep_enabled=_FLAG,
    ),
}

SCHEMAS: dict[str, Schema] = {
    "Hello": _object(name=_TEXT, version=_TEXT, links={"type": "object", "additionalProperties": _TEXT}),
    "Health": _object(status={"enum": ["healthy", "degraded"]}, reasons=_list(_TEXT)),
    "ModelHealth": _object(
        name=_TEXT,
        status={"enum": ["healthy", "unhealthy"]},
        state=_STATE,
        last_error=_TEXT_OR_NONE,
        model=_TEXT,
        health=_by_name(_FLAG),
    ),
    "HealthAll": _object(
        status={"enum": ["healthy", "degraded"]},
        models=_list(ref("ModelHealth")),
        model={"const": "all"},
        health=_by_name(_by_name(_FLAG)),
    ),
    "BothModels": _object(
        object={"const": "list"},
        data=_list(ref("OpenAIModel")),
        models=_by_name(_object(endpoint=_TEXT, endpoints=_list(_TEXT))),
    ),
    "ServerInfo": _object(
        status={"enum": ["starting", "serving", "stopping"]},
        version=_TEXT,
        uptime_s=_NUMBER,
        config_hash=_TEXT,
        models=_by_name(ref("Model")),
        engines=_list(_TEXT),
        devices=_ANY,
        max_resident=_WHOLE_OR_NONE,
    ),
    "Ready": _object(ready=_FLAG),
    "OpenAIModel": _OPENAI_MODEL,
    "OpenAIModels": _object(object={"const": "list"}, data=_list(ref("OpenAIModel"))),
    "Status": _object(
        version=_TEXT,
        pid=_WHOLE,
        uptime_s=_NUMBER,
        instance=_TEXT,
        address=_TEXT,
        state={"enum": ["starting", "serving", "stopping"]},
        config_hash=_TEXT,
        models=_list(ref("Model")),
        memory=_ANY,
        schedules=_SCHEDULES,
    ),
    "Model": _MODEL,
    "Running": _object(running=_list(_RUNNING)),
    "Unloaded": _object(msg={"const": "ok"}),
    "Models": _object(models=_list(ref("Model"))),
    "Order": _ORDER,
    "Orders": _object(success=_FLAG, message=_TEXT, models={"type": "object", "additionalProperties": ref("Order")}),
    "ModelOrder": _object(model_name=_TEXT, success=_FLAG, changed=_FLAG, state=_STATE, message=_TEXT, error=_ERROR),
    "Plan": _object(
        actions=_list(_ANY), blocked=_ANY, notes=_list(_TEXT), next_check_in_s=_NUMBER_OR_NONE, schedules=_SCHEDULES
    ),
    "Journal": _object(
        plans=_list(
            _object(
                id=_WHOLE,
                at=_TEXT,
                at_unix=_NUMBER,
                actions=_list(_ANY),
                blocked=_list(_ANY),
                denied=_list(_ANY),
                notes=_list(_TEXT),
            )
        )
    ),
    "Devices": _object(devices=_list(_BUDGET)),
    "Holds": _object(holds=_list(_HOLD)),
    "Held": _object(success=_FLAG, changed=_FLAG, message=_TEXT, hold=_HOLD),
    "Requests": _object(requests=_list(_REQUEST)),
    "Cancelled": _object(id=_TEXT, cancelled=_FLAG),
    "Error": _object(error=_ERROR) | {"required": ["error"]},
    **_TRAFFIC,
    "Document": {"type": "object", "description": "This document."},
}
