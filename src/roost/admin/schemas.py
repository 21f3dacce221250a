"""The shapes that the API answers, as JSON Schema for the OpenAPI document. Values only; fields are only ever added."""

from roost.admin.schema_forms import (
    ANY,
    FLAG,
    NUMBER,
    NUMBER_OR_NONE,
    STATE,
    TEXT,
    TEXT_OR_NONE,
    WHOLE,
    WHOLE_OR_NONE,
    Schema,
    list_of,
    object_,
    ref,
)
from roost.admin.schemas_learned import FORECAST, RETURNS
from roost.core.step import Operation

_ERROR = object_(
    message={"type": "string", "description": "A sentence: what happened, to whom, what to do next."},
    type=TEXT,
    code=TEXT,
    param=TEXT_OR_NONE,
    fault={"type": "string", "enum": ["client", "gateway", "engine"]},
    request_id=TEXT,
)
_SERVING = object_(
    replica=TEXT,
    endpoint=TEXT,
    state=STATE,
    level=WHOLE_OR_NONE,
    answers=FLAG,
    in_flight=WHOLE,
    since_s={"type": "number", "description": "How long it has been in this state."},
    reason=TEXT_OR_NONE,
    last_error=TEXT_OR_NONE,
    devices={"type": "array", "items": TEXT, "description": "Where it runs or ran last, where that was chosen."},
    failures={"type": "integer", "description": "Requests that it failed since roost started."},
    avoided_s={
        "type": ["number", "null"],
        "description": "Others get its requests for so long, for it kept failing; 0: it is tried now; null: no.",
    },
)
_HOST = object_(
    name={"type": "string", "description": "Its entry under `hosts`."},
    url=TEXT,
    preset={"type": ["string", "null"], "description": "Null until it has answered."},
    why={"type": ["string", "null"], "description": "What that preset was seen by."},
    trouble={"type": "string", "description": "Why it is not known what is loaded there, or empty."},
    loaded=list_of(TEXT),
    offers=list_of(TEXT),
)
_STEP = object_(
    name={"type": "string", "description": "`POST /wake_up?tags=weights`"},
    at=TEXT,
    duration_s=NUMBER,
    status={"type": ["integer", "null"], "description": "Null where no answer came."},
    error={"type": "string", "description": "A sentence, or empty."},
    attempts={"type": "integer", "description": "Calls made; 0 for a step that was skipped."},
    skipped={"type": "string", "description": "Why it was not done, or empty."},
    check={"type": "boolean", "description": "No step, but a request that verifies the engine."},
)
_SEQUENCE = object_(
    replica=TEXT,
    model=TEXT,
    operation={"type": "string", "enum": [operation.value for operation in Operation]},
    level=WHOLE_OR_NONE,
    at=TEXT,
    took_s=NUMBER,
    error=TEXT_OR_NONE,
    slowest={"type": ["string", "null"], "description": "The name of the step that took longest."},
    freed_bytes={"type": ["integer", "null"], "description": "What a sleep gave back, where it can be measured."},
    memory=TEXT_OR_NONE,
    steps=list_of(_STEP),
)
_STATE_HELD = object_(device_bytes=WHOLE_OR_NONE, host_bytes=WHOLE_OR_NONE, source=TEXT, host_source=TEXT)
_HOLD = object_(
    device=TEXT,
    amount_bytes={"type": ["integer", "null"], "description": "Null: all of it."},
    since=TEXT,
    until={"type": ["string", "null"], "description": "Null: until it is released."},
    reason=TEXT,
    by=TEXT,
)
_BUDGET = object_(
    name=TEXT,
    budget_bytes={"type": "integer", "description": "What roost's engines may hold together now."},
    size_bytes={"type": ["integer", "null"], "description": "Null where it cannot be read."},
    others_bytes={"type": "integer", "description": "Used by processes that are none of roost's."},
    held_back_bytes=WHOLE,
    held_until=TEXT_OR_NONE,
    reason=TEXT_OR_NONE,
    holders=list_of(object_(replica=TEXT, bytes=WHOLE, measured=FLAG)),
)
_SCHEDULES = object_(
    open=list_of(
        object_(
            when=TEXT,
            timezone=TEXT,
            since=TEXT,
            until=TEXT_OR_NONE,
            pin=list_of(TEXT),
            sleep=list_of(TEXT),
            max_resident=WHOLE_OR_NONE,
            devices=ANY,
        )
    ),
    next_change=TEXT_OR_NONE,
)
_QUEUE = object_(
    depth=WHOLE,
    by_class=object_(high=WHOLE, normal=WHOLE, low=WHOLE),
    oldest_wait_s=NUMBER_OR_NONE,
    expected={
        "type": ["object", "null"],
        "description": "Of the last one that waits, in seconds: queue_s, room_s, rise_s and wait_s, their sum; null "
        "where it is not known.",
    },
)
_MODEL = object_(
    name=TEXT,
    aliases=list_of(TEXT),
    engine=TEXT,
    task=TEXT,
    state=STATE,
    since=ANY,
    level=WHOLE_OR_NONE,
    in_flight=WHOLE,
    queue_depth=WHOLE,
    queue=_QUEUE,
    turn={
        "type": ["object", "null"],
        "description": "Another model waits for its room: for_model, and ends_in_s; null there: not before its "
        "requests of a higher class are served.",
    },
    pinned=FLAG,
    idle_s=NUMBER_OR_NONE,
    pid=WHOLE_OR_NONE,
    port=WHOLE_OR_NONE,
    last_error=TEXT_OR_NONE,
    notices=list_of(TEXT),
    reason=TEXT_OR_NONE,
    blocked={"type": ["string", "null"], "description": "Why the planner cannot serve it now."},
    listed=FLAG,
    leaving={"type": "boolean", "description": "It is being removed: no new requests, its running ones end."},
    display_name=TEXT_OR_NONE,
    command={"type": ["string", "null"], "description": "What its engine was started with, without keys."},
    drain_goal=TEXT_OR_NONE,
    idle_limit_s={"type": ["number", "null"], "description": "Idle time until it is put to sleep or stopped."},
    description=TEXT_OR_NONE,
    metadata=ANY,
    context_length=WHOLE_OR_NONE,
    modalities=ANY,
    tools=ANY,
    devices={"type": "array", "items": TEXT, "description": "Where it runs, where that was chosen."},
    lingering_bytes={"type": "integer", "description": "Given back on each device and not yet seen free."},
    footprint=object_(
        **{
            rung: object_(counts=_STATE_HELD, claimed=_STATE_HELD, measured=_STATE_HELD)
            for rung in ("awake", "level1", "level2")
        }
    )
    | {"description": "What it holds in each state: the larger of claimed and measured counts."},
    forecast=FORECAST,
    returns=RETURNS,
    endpoint={"type": "string", "description": "Base address of the replica that stands for it."},
    endpoints=list_of(_SERVING),
    totals=object_(
        requests=WHOLE,
        successful=WHOLE,
        failed=WHOLE,
        cancelled=WHOLE,
        prompt_tokens=WHOLE,
        completion_tokens=WHOLE,
        last_used=TEXT_OR_NONE,
        since={"type": "string", "description": "When roost began to count; restarts do not end it."},
    ),
    parent={"type": ["string", "null"], "description": "The model whose engine it is loaded into, of an adapter."},
    host=_HOST | {"type": ["object", "null"], "description": "The server of someone else that it lives in."},
    history={"type": "array", "description": "Its last changes of state; of one model asked for by name."},
    sequences=list_of(_SEQUENCE) | {"description": "Its last sleeps, wakes and loads; likewise."},
    steps=list_of(_STEP) | {"description": "The steps of all of these; likewise."},
) | {"required": ["name", "state"]}
_REQUEST = object_(
    id=TEXT,
    model=TEXT_OR_NONE,
    phase=TEXT,
    age_s=NUMBER,
    client=TEXT,
    key=TEXT_OR_NONE,
    stream=FLAG,
    replica=TEXT_OR_NONE,
    bytes_out=WHOLE,
    events=WHOLE,
    fallback_for={"type": ["string", "null"], "description": "The model that was asked for, if another one answers."},
    position={"type": ["integer", "null"], "description": "Its place in the queue, 1 for the next one."},
    expected_s={"type": ["number", "null"], "description": "Seconds that it is expected to wait on."},
)
_OPENAI_MODEL = object_(
    id=TEXT,
    object={"const": "model"},
    created=WHOLE,
    owned_by=TEXT,
    name={"type": "string", "description": "For people."},
    status=object_(value=STATE, loaded=FLAG, sleeping=FLAG),
    capabilities=object_(modalities=list_of(TEXT), tools=FLAG, context=WHOLE),
    aliases=list_of(TEXT),
    task=TEXT,
    context_length=WHOLE_OR_NONE,
    modalities=ANY,
    tools=ANY,
    description=TEXT_OR_NONE,
    metadata=ANY,
) | {"required": ["id", "object", "created", "owned_by"]}
_RUNNING = object_(
    model=TEXT,
    state={"enum": ["starting", "ready", "stopping", "sleepPending", "asleep", "waking"]},
    cmd={"type": "string", "description": "The command line, without keys."},
    proxy={"type": "string", "description": "Base address of its engine."},
    ttl={"type": "integer", "description": "Seconds of idleness until it is put to sleep or stopped; 0: never."},
    name=TEXT,
    description=TEXT,
    roost_state=STATE,
    level=WHOLE_OR_NONE,
)
_ORDER = object_(success=FLAG, changed=FLAG, state=STATE, message=TEXT, error=_ERROR)
_STATS_FIELDS: Schema = {
    "total_requests": WHOLE,
    "successful_requests": WHOLE,
    "failed_requests": WHOLE,
    "cancelled_requests": {"type": "integer", "description": "The client left first."},
    "success_rate": {"type": ["number", "null"], "description": "Of those that were not cancelled."},
    "request_rate": {"type": "number", "description": "Requests per second over the window."},
    "avg_response_time": {"type": "number", "description": "Seconds from head to last byte, over successes."},
    "avg_ttft": {"type": ["number", "null"], "description": "Seconds to the first token or byte, over successes."},
    "last_activity_time": {"type": ["number", "null"], "description": "Unix seconds; now while requests run."},
    "idle_time_seconds": {"type": "number", "description": "0 while requests run or wait."},
    "is_idle": FLAG,
    "in_flight": WHOLE,
    "queue_depth": WHOLE,
    "state": STATE,
}
_BUCKET = object_(
    start=TEXT,
    start_unix=NUMBER,
    seconds=NUMBER,
    requests=WHOLE,
    successful=WHOLE,
    failed=WHOLE,
    cancelled=WHOLE,
    requests_per_s=NUMBER,
    avg_response_time=NUMBER_OR_NONE,
    avg_ttft=NUMBER_OR_NONE,
    tokens_in=WHOLE,
    tokens_out=WHOLE,
)
_SLEEPER = object_(
    sleep_start_time={"type": "number", "description": "Unix seconds."},
    sleep_duration=NUMBER,
    manual_sleep={"type": "boolean", "description": "An operator's order put it to sleep."},
    level=WHOLE_OR_NONE,
    reason=TEXT_OR_NONE,
)


def _by_name(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _some(*names: str) -> Schema:
    return object_(**{name: _STATS_FIELDS[name] for name in names})


_TRAFFIC: dict[str, Schema] = {
    "Stats": object_(**_STATS_FIELDS),
    "TrafficStats": object_(traffic_stats=_by_name(ref("Stats")), window_seconds=NUMBER),
    "ModelStats": object_(model_stats=object_(model_name=TEXT, **_STATS_FIELDS), window_seconds=NUMBER),
    "IdleModels": object_(
        idle_models=list_of(TEXT),
        idle_threshold_seconds=NUMBER,
        idle_model_details=_by_name(
            _some("idle_time_seconds", "total_requests", "last_activity_time", "state", "in_flight")
        ),
        idle_models_count=WHOLE,
    ),
    "ActiveModels": object_(
        active_models=list_of(TEXT),
        idle_threshold_seconds=NUMBER,
        window_seconds=NUMBER,
        active_model_details=_by_name(ref("Stats")),
        active_models_count=WHOLE,
    ),
    "Traffic": object_(window_seconds=NUMBER, models=list_of(object_(name=TEXT, **_STATS_FIELDS))),
    "TrafficHistory": object_(name=TEXT, span_seconds=WHOLE, bucket_seconds=WHOLE, buckets=list_of(_BUCKET)),
    "SleepStatus": object_(
        sleeping_models=_by_name(_SLEEPER),
        sleep_candidates=list_of(TEXT),
        auto_sleep_enabled=FLAG,
        idle_threshold_seconds=NUMBER,
        wakeup_on_request={"type": "boolean", "description": "False only if it is false for every model."},
        models=_by_name(object_(state=STATE, wake_on_request=FLAG, sleep_after_seconds=NUMBER_OR_NONE, pinned=FLAG)),
    ),
    "SleepCandidates": object_(
        sleep_candidates=list_of(TEXT),
        candidate_details=_by_name(
            _some("idle_time_seconds", "total_requests", "last_activity_time")
            | {"description": "And `can_sleep`, which is true, and `sleep_after_seconds`."}
        ),
        idle_threshold_seconds=NUMBER,
        auto_sleep_enabled=FLAG,
    ),
}

SCHEMAS: dict[str, Schema] = {
    "Hello": object_(name=TEXT, version=TEXT, links={"type": "object", "additionalProperties": TEXT}),
    "Health": object_(status={"enum": ["healthy", "degraded"]}, reasons=list_of(TEXT)),
    "ModelHealth": object_(
        name=TEXT,
        status={"enum": ["healthy", "unhealthy"]},
        state=STATE,
        last_error=TEXT_OR_NONE,
        model=TEXT,
        health=_by_name(FLAG),
    ),
    "HealthAll": object_(
        status={"enum": ["healthy", "degraded"]},
        models=list_of(ref("ModelHealth")),
        model={"const": "all"},
        health=_by_name(_by_name(FLAG)),
    ),
    "BothModels": object_(
        object={"const": "list"},
        data=list_of(ref("OpenAIModel")),
        models=_by_name(object_(endpoint=TEXT, endpoints=list_of(TEXT))),
    ),
    "ServerInfo": object_(
        status={"enum": ["starting", "serving", "stopping"]},
        version=TEXT,
        uptime_s=NUMBER,
        config_hash=TEXT,
        models=_by_name(ref("Model")),
        engines=list_of(TEXT),
        devices=ANY,
        max_resident=WHOLE_OR_NONE,
    ),
    "Ready": object_(ready=FLAG),
    "OpenAIModel": _OPENAI_MODEL,
    "OpenAIModels": object_(object={"const": "list"}, data=list_of(ref("OpenAIModel"))),
    "Status": object_(
        version=TEXT,
        pid=WHOLE,
        uptime_s=NUMBER,
        instance=TEXT,
        address=TEXT,
        state={"enum": ["starting", "serving", "stopping"]},
        config_hash=TEXT,
        models=list_of(ref("Model")),
        memory=ANY,
        schedules=_SCHEDULES,
    ),
    "Model": _MODEL,
    "Running": object_(running=list_of(_RUNNING)),
    "Unloaded": object_(msg={"const": "ok"}),
    "Models": object_(models=list_of(ref("Model"))),
    "Order": _ORDER,
    "Orders": object_(success=FLAG, message=TEXT, models={"type": "object", "additionalProperties": ref("Order")}),
    "ModelOrder": object_(model_name=TEXT, success=FLAG, changed=FLAG, state=STATE, message=TEXT, error=_ERROR),
    "Plan": object_(
        actions=list_of(ANY), blocked=ANY, notes=list_of(TEXT), next_check_in_s=NUMBER_OR_NONE, schedules=_SCHEDULES
    ),
    "Journal": object_(
        plans=list_of(
            object_(
                id=WHOLE,
                at=TEXT,
                at_unix=NUMBER,
                actions=list_of(ANY),
                blocked=list_of(ANY),
                denied=list_of(ANY),
                notes=list_of(TEXT),
            )
        )
    ),
    "Devices": object_(devices=list_of(_BUDGET)),
    "Holds": object_(holds=list_of(_HOLD)),
    "Held": object_(success=FLAG, changed=FLAG, message=TEXT, hold=_HOLD),
    "Requests": object_(requests=list_of(_REQUEST)),
    "Cancelled": object_(id=TEXT, cancelled=FLAG),
    "Error": object_(error=_ERROR) | {"required": ["error"]},
    **_TRAFFIC,
    "Document": {"type": "object", "description": "This document."},
}
