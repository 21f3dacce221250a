"""What schemas are made of: objects, lists, references and plain values. See `schemas`. Values only."""

from typing import Any

from roost.core.lifecycle import State

Schema = dict[str, Any]


def object_(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields}


def list_of(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Schema = {"type": "string"}
TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer"}
WHOLE_OR_NONE: Schema = {"type": ["integer", "null"]}
NUMBER: Schema = {"type": "number"}
NUMBER_OR_NONE: Schema = {"type": ["number", "null"]}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
STATE: Schema = {"type": "string", "enum": [state.value for state in State]}
