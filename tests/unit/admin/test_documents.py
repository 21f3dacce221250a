import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from roost.admin import api, openapi, reference
from roost.admin.caller import Need
from roost.admin.routes import ROWS
from roost.admin.schemas import SCHEMAS
from tests.support.console import FakeConsole

ROOT = Path(__file__).parents[3]


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_router_and_document_have_the_same_operations() -> None:
    served = {
        (method, route.path.replace(":path}", "}"))
        for route in api.build(FakeConsole()).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == operations(openapi.document(ROWS))
    assert len(served) == len(ROWS)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    found = set(re.findall(r"#/components/schemas/(\w+)", str(openapi.document(ROWS))))
    assert found == set(SCHEMAS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_each_operation_says_its_parameters_and_its_needs(row: Any) -> None:
    operation = openapi.document(ROWS)["paths"][row.plain_path][row.method.lower()]
    in_path = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", row.plain_path))
    assert bool(operation["security"]) == (row.need is not Need.NOTHING)
    assert ("403" in operation["responses"]) == (row.need is not Need.NOTHING)


def test_operation_ids_are_unique() -> None:
    document = openapi.document(ROWS)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_reference_page_is_in_step() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert page == reference.page(), "Run: python -m roost.admin.reference > docs/api.md"
