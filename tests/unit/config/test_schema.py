"""The JSON Schema and the reference page."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from roost.config.reference import reference_markdown
from roost.config.schema import json_schema
from roost.core.spec import ModelSpec

ROOT = Path(__file__).parents[3]


def test_every_section_is_closed_and_every_key_has_a_text() -> None:
    schema = json_schema()
    sections: list[dict[str, Any]] = [schema, *(one for one in schema["$defs"].values() if "properties" in one)]
    assert len(sections) == 23
    for section in sections:
        assert section["additionalProperties"] is False
        assert all(property_.get("description") for property_ in section["properties"].values())


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = json_schema()
    assert (schema["title"], schema["$schema"]) == (
        "roost configuration",
        "https://json-schema.org/draft/2020-12/schema",
    )
    model = schema["$defs"]["ModelSpec"]["properties"]
    assert {"$ref": "#/$defs/Interpolated"} in model["port"]["anyOf"]
    assert {"$ref": "#/$defs/Interpolated"} in model["args"]["anyOf"]
    assert model["args"]["anyOf"][0]["items"]["type"] == ["string", "number", "boolean"]
    assert model["weights"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert model["sleep_after"]["description"].startswith("Idle time")


def test_the_page_is_in_step() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference_markdown(), (
        "run: python -m roost.config.reference > docs/configuration.md"
    )


def test_the_page_has_every_key_with_its_default() -> None:
    page = reference_markdown()
    assert all(f"| `{field.name}` |" in page for field in fields(ModelSpec))
    assert "| `sleep_after` | duration or `never` | `5m` |" in page
    assert "| `unload_after` | duration or `never` | `never` |" in page
    assert "| `head_size` | size | `32 KiB` |" in page
    assert "| `key` | string | required |" in page
