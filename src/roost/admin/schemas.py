"""The shapes that the API answers, as JSON Schema for the OpenAPI document. Values only; fields are only ever added."""

from typing import Any

from roost.core.lifecycle import State

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
    pinned=_FLAG,
    idle_s=_NUMBER_OR_NONE,
    pid=_WHOLE_OR_NONE,
    port=_WHOLE_OR_NONE,
    last_error=_TEXT_OR_NONE,
    reason=_TEXT_OR_NONE,
    blocked={"type": ["string", "null"], "description": "Why the planner cannot serve it now."},
    listed=_FLAG,
    description=_TEXT_OR_NONE,
    metadata=_ANY,
    context_length=_WHOLE_OR_NONE,
    modalities=_ANY,
    tools=_ANY,
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
)
_OPENAI_MODEL = _object(
    id=_TEXT,
    object={"const": "model"},
    created=_WHOLE,
    owned_by=_TEXT,
    status=_object(value=_STATE),
    aliases=_list(_TEXT),
    context_length=_WHOLE_OR_NONE,
    modalities=_ANY,
    tools=_ANY,
    description=_TEXT_OR_NONE,
    metadata=_ANY,
) | {"required": ["id", "object", "created", "owned_by"]}
_ORDER = _object(success=_FLAG, changed=_FLAG, state=_STATE, message=_TEXT, error=_ERROR)

SCHEMAS: dict[str, Schema] = {
    "Hello": _object(name=_TEXT, version=_TEXT, links={"type": "object", "additionalProperties": _TEXT}),
    "Health": _object(status={"enum": ["healthy", "degraded"]}, reasons=_list(_TEXT)),
    "ModelHealth": _object(
        name=_TEXT, status={"enum": ["healthy", "unhealthy"]}, state=_STATE, last_error=_TEXT_OR_NONE
    ),
    "HealthAll": _object(status={"enum": ["healthy", "degraded"]}, models=_list(ref("ModelHealth"))),
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
    ),
    "Model": _MODEL,
    "Models": _object(models=_list(ref("Model"))),
    "Order": _ORDER,
    "Orders": _object(success=_FLAG, message=_TEXT, models={"type": "object", "additionalProperties": ref("Order")}),
    "Plan": _object(actions=_list(_ANY), blocked=_ANY, next_check_in_s=_NUMBER_OR_NONE),
    "Requests": _object(requests=_list(_REQUEST)),
    "Cancelled": _object(id=_TEXT, cancelled=_FLAG),
    "Error": _object(error=_ERROR) | {"required": ["error"]},
    "Document": {"type": "object", "description": "This document."},
}
