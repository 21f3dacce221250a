"""The JSON Schema of a configuration file, for editors and for other programs. Pure; called by `cli`.

Made from the specs by pydantic; here it only learns what the reader also takes: `${...}` in place of any value,
numbers as words of a command line, null for an empty section.
"""

from typing import Any

from roost.config.validate import adapter

_INTERPOLATED = {"type": "string", "pattern": r"\$\{[^{}]+\}", "description": "`${env:NAME}` or `${macro}`"}
_REF = {"$ref": "#/$defs/Interpolated"}
_WORD = {"type": ["string", "number", "boolean"]}


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the native form, with every key's text as its description."""
    schema = adapter().json_schema()
    for name, section in schema["$defs"].items():
        if "properties" in section:
            section["properties"] = {key: _taken(name, key, below) for key, below in section["properties"].items()}
    schema["$defs"]["Interpolated"] = _INTERPOLATED
    models = schema["properties"]["models"]
    models["additionalProperties"] = {"anyOf": [models["additionalProperties"], {"type": "null"}, _REF]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "roost configuration"}


def _taken(section: str, key: str, property_: dict[str, Any]) -> dict[str, Any]:
    """One key's schema, widened to what the reader takes there."""
    if section == "ModelSpec" and key == "args":
        property_["items"] = _WORD
    if section in ("ModelSpec", "ReplicaSpec") and key == "env":
        property_["additionalProperties"] = _WORD
    outer: dict[str, Any] = {
        name: property_.pop(name) for name in ("title", "description", "default", "examples") if name in property_
    }
    alternatives = property_.pop("anyOf", None) or [property_]
    if not any(alternative.get("type") == "string" for alternative in alternatives):
        alternatives = [*alternatives, _REF]
    return {**outer, "anyOf": alternatives} if len(alternatives) > 1 else {**outer, **property_, **alternatives[0]}
