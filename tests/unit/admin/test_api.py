import asyncio
from typing import Any, Literal

import httpx
import pytest

from roost.admin import api
from roost.admin.routes import ROWS
from roost.core.server_spec import ServerSpec
from roost.core.view import Goal
from tests.support.console import FakeConsole, entry

READ = {"X-Roost-Scopes": "read"}
INFER = {"X-Roost-Scopes": "infer"}
ADMIN = {"X-Roost-Scopes": "admin,infer,read", "X-Roost-Key-Name": "ops"}
NONE = {"X-Roost-Scopes": ""}
LIMITED = {"X-Roost-Scopes": "admin,infer,read", "X-Roost-Models": "team/*"}


def ask(
    console: FakeConsole, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(api.build(console), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://roost") as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(main())


def get(path: str, headers: dict[str, str] | None = None, console: FakeConsole | None = None) -> httpx.Response:
    return ask(console or FakeConsole(), "GET", path, headers=headers)


def error(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "code"} <= found.keys()
    return found


def test_hello_leads_on() -> None:
    body = get("/", NONE).json()
    assert body["name"] == "roost"
    for link in body["links"].values():
        assert get(link).status_code == 200


def test_health_is_200_when_degraded_and_tells_why_to_who_may_know() -> None:
    console = FakeConsole(reasons=["a failed"])
    for headers in (None, READ):
        answer = get("/health", headers, console)
        assert (answer.status_code, answer.json()) == (200, {"status": "degraded", "reasons": ["a failed"]})
    for headers in (NONE, LIMITED):
        assert "a failed" not in get("/health", headers, console).text
    assert get("/health", NONE).json() == {"status": "healthy"}


def test_ready_is_503_before_it_is() -> None:
    assert get("/ready", NONE).status_code == 200
    assert get("/ready", NONE, FakeConsole(is_ready=False)).status_code == 503


def test_a_sleeping_model_is_healthy_and_a_failed_one_is_not() -> None:
    asleep = get("/health/team/b", INFER)
    assert (asleep.status_code, asleep.json()["state"]) == (200, "asleep")
    console = FakeConsole(entries=[entry("a", state="failed", last_error="no weights"), entry("b")])
    body = get("/health/all", INFER, console).json()
    assert body["status"] == "degraded"
    assert [(one["name"], one["status"]) for one in body["models"]] == [("a", "unhealthy"), ("b", "healthy")]
    assert body["models"][0]["last_error"] == "no weights"


def test_the_openai_list_has_listed_models_only() -> None:
    data = get("/v1/models", INFER).json()["data"]
    assert [one["id"] for one in data] == ["a", "team/b"]
    assert data[0] | {"created": 0} == {
        "id": "a",
        "object": "model",
        "created": 0,
        "owned_by": "roost",
        "status": {"value": "ready", "loaded": True, "sleeping": False},
        "capabilities": {"context": 4096},
        "aliases": ["gpt"],
        "context_length": 4096,
    }
    assert get("/v1/models/gpt", INFER).json()["id"] == "a"
    assert get("/v1/models/team/b/logs", INFER).json()["id"] == "team/b/logs"


@pytest.mark.parametrize("name", ["team/b", "team%2Fb"])
@pytest.mark.parametrize("base", ["/health/", "/v1/models/", "/api/v1/models/"])
def test_slashes_in_names_are_raw_or_escaped(base: str, name: str) -> None:
    body = get(base + name).json()
    assert body.get("name", body.get("id")) == "team/b"


def test_the_longest_known_name_wins_over_the_logs_of_a_shorter_one() -> None:
    assert get("/api/v1/models/team/b/logs").json()["name"] == "team/b/logs"
    logs = get("/api/v1/models/team/b/logs/logs?lines=2")
    assert (logs.headers["content-type"], logs.text) == ("text/plain; charset=utf-8", "line 198\nline 199\n")


@pytest.mark.parametrize("lines", ["0", "-1", "x", "10001", "²"])
def test_lines_out_of_bounds_are_refused(lines: str) -> None:
    answer = get(f"/api/v1/models/a/logs?lines={lines}")
    assert answer.status_code == 400
    assert "1 to 10000" in error(answer)["message"]


@pytest.mark.parametrize(
    ("action", "goal"),
    [
        ("load", Goal.READY),
        ("wake", Goal.READY),
        ("sleep", Goal.ASLEEP),
        ("unload", Goal.STOPPED),
        ("restart", Goal.RESTARTED),
    ],
)
def test_an_order_reaches_the_console_under_the_model_s_own_name(action: str, goal: Goal) -> None:
    console = FakeConsole()
    answer = ask(console, "POST", f"/api/v1/models/gpt/{action}?wait=5", headers=ADMIN, json={"force": True})
    assert answer.json() == {"success": True, "changed": True, "state": "ready", "message": "Done."}
    assert console.orders == [("a", goal, {"by": "api:ops", "level": None, "wait_s": 5.0, "force": True})]


def test_without_headers_it_is_the_local_operator_with_defaults() -> None:
    console = FakeConsole()
    assert ask(console, "POST", "/api/v1/models/team%2Fb/sleep", json={"level": 2}).status_code == 200
    assert console.orders == [("team/b", Goal.ASLEEP, {"by": "cli", "level": 2, "wait_s": 600.0, "force": False})]


@pytest.mark.parametrize("status", [202, 409, 503])
def test_an_order_s_status_is_the_answer_s(status: int) -> None:
    result = {"success": False, "changed": False, "message": "It cannot.", "status": status}
    answer = ask(FakeConsole(results={"a": result}), "POST", "/api/v1/models/a/load")
    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert ("error" in answer.json()) == (status >= 400)
    if status >= 400:
        assert error(answer)["message"] == "It cannot."


@pytest.mark.parametrize(
    "options",
    [
        {"wait": 1201},
        {"wait": -1},
        {"wait": "soon"},
        {"wait": "nan"},
        {"wait": True},
        {"force": "maybe"},
        {"force": 3},
        {"level": 3},
        {"level": True},
        {"levle": 1},
    ],
)
def test_a_bad_option_is_named_and_nothing_is_ordered(options: dict[str, Any]) -> None:
    console = FakeConsole()
    answer = ask(console, "POST", "/api/v1/models/a/sleep", json=options)
    assert answer.status_code == 400
    assert next(iter(options)) in error(answer)["message"]
    assert console.orders == []


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[1]", 400), (b"[" * 9000, 400), (b" " * 70_000, 413), (b"", 200)]
)
def test_bodies_are_checked_and_bounded(body: bytes, status: int) -> None:
    assert ask(FakeConsole(), "POST", "/api/v1/models/a/load", content=body).status_code == status


def test_only_sleep_takes_a_level() -> None:
    answer = ask(FakeConsole(), "POST", "/api/v1/models/a/load?level=1")
    assert answer.status_code == 400
    assert "wait, force" in error(answer)["message"]
    assert ask(FakeConsole(), "POST", "/api/v1/models/a/load", json={"level": None, "wait": None}).status_code == 200


def test_pin_and_unpin() -> None:
    assert ask(FakeConsole(), "POST", "/api/v1/models/gpt/pin").json()["pinned"] is True
    assert ask(FakeConsole(), "POST", "/api/v1/models/a/unpin").json()["pinned"] is False


def test_unload_all_answers_with_the_worst_and_only_for_models_of_the_key() -> None:
    console = FakeConsole(results={"a": {"success": False, "message": "Busy.", "status": 409}})
    answer = ask(console, "POST", "/api/v1/unload-all?wait=1", headers=ADMIN)
    assert answer.status_code == 409
    assert set(answer.json()["models"]) == {"a", "team/b", "team/b/logs"}
    assert "Not unloaded: a." in error(answer)["message"]
    limited = ask(console, "POST", "/api/v1/unload-all", headers=LIMITED)
    assert (limited.status_code, set(limited.json()["models"])) == (200, {"team/b", "team/b/logs"})


def test_a_request_is_cancelled_by_its_id() -> None:
    console = FakeConsole()
    assert ask(console, "DELETE", "/api/v1/requests/r1").json() == {"id": "r1", "cancelled": True}
    gone = ask(console, "DELETE", "/api/v1/requests/nobody")
    assert (gone.status_code, error(gone)["code"]) == (404, "request_not_found")
    assert ask(console, "DELETE", "/api/v1/requests/r1", headers=LIMITED).status_code == 404
    assert ask(console, "DELETE", "/api/v1/requests/own/id").status_code == 200
    assert console.cancelled == ["r1", "own/id"]


def test_a_limited_key_sees_its_models_everywhere_and_no_others_anywhere() -> None:
    names = {"team/b", "team/b/logs"}
    assert {one["name"] for one in get("/api/v1/models", LIMITED).json()["models"]} == names
    assert {one["name"] for one in get("/health/all", LIMITED).json()["models"]} == names
    assert [one["id"] for one in get("/v1/models", LIMITED).json()["data"]] == ["team/b"]
    status = get("/api/v1/status", LIMITED).json()
    assert {one["name"] for one in status["models"]} == names
    assert "memory" not in status
    assert [one["id"] for one in get("/api/v1/requests", LIMITED).json()["requests"]] == ["r2"]
    assert get("/api/v1/requests/recent", LIMITED).json()["requests"] == []
    for path in ("/metrics", "/api/v1/plan"):
        assert error(get(path, LIMITED))["code"] == "limited_key"


@pytest.mark.parametrize("base", ["/health/", "/v1/models/", "/api/v1/models/"])
def test_hidden_and_unknown_models_look_the_same(base: str) -> None:
    hidden, unknown = get(base + "gpt", LIMITED), get(base + "xyz", LIMITED)
    assert hidden.status_code == unknown.status_code == 404
    assert hidden.text.replace("gpt", "xyz") == unknown.text
    assert error(hidden)["code"] == "model_not_found"


def test_an_order_on_a_hidden_model_is_404_before_its_options_are_read() -> None:
    console = FakeConsole()
    assert ask(console, "POST", "/api/v1/models/a/load?nonsense=1", headers=LIMITED).status_code == 404
    assert console.orders == []


def _concrete(path: str) -> str:
    return path.replace("{name}", "a").replace("{id}", "r1").replace("{device}", "gpu0")


@pytest.mark.parametrize("row", [r for r in ROWS if not r.endless], ids=lambda r: r.method + r.path)
def test_every_route_is_open_to_its_scopes_and_to_no_others(row: Any) -> None:
    allowed = {
        "nothing": [NONE, INFER, READ, ADMIN],
        "any": [INFER, READ, ADMIN],
        "read": [READ, ADMIN],
        "admin": [ADMIN],
    }[row.need]
    for headers in (NONE, INFER, READ, ADMIN):
        body = {"device": "gpu0"} if "device" in row.options else None
        answer = ask(FakeConsole(), row.method, _concrete(row.plain_path), headers=headers, json=body)
        assert answer.status_code == (200 if headers in allowed else 403)
        if headers not in allowed:
            assert error(answer)["code"] == "missing_scope"


def test_admin_alone_includes_read() -> None:
    assert get("/api/v1/status", {"X-Roost-Scopes": "admin"}).status_code == 200


@pytest.mark.parametrize("row", [row for row in ROWS if row.method == "GET"], ids=lambda row: row.path)
def test_head_wherever_get(row: Any) -> None:
    assert ask(FakeConsole(), "HEAD", _concrete(row.plain_path)).status_code == 200


def test_unknown_routes_and_methods_are_json() -> None:
    missing = get("/api/v1/nothing")
    assert (missing.status_code, error(missing)["code"]) == (404, "not_found")
    wrong = ask(FakeConsole(), "PUT", "/api/v1/status")
    assert (wrong.status_code, error(wrong)["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


def test_a_bug_is_a_json_500_that_tells_no_details() -> None:
    answer = get("/api/v1/status", console=FakeConsole(fails=True))
    assert answer.status_code == 500
    assert "broken on purpose" not in answer.text
    assert error(answer)["code"] == "internal_error"


def test_key_names_beyond_ascii_are_read_as_utf_8() -> None:
    console = FakeConsole()
    headers = {b"x-roost-scopes": b"admin", b"x-roost-key-name": b"J%C3%BCrgen"}
    assert ask(console, "POST", "/api/v1/models/a/load", headers=headers).status_code == 200  # type: ignore[arg-type]
    assert console.orders[0][2]["by"] == "api:Jürgen"


def test_an_error_carries_the_request_s_id() -> None:
    assert error(get("/v1/models/xyz", {"X-Request-Id": "id-7"}))["request_id"] == "id-7"


def test_unload_all_leaves_out_what_runs_elsewhere() -> None:
    console = FakeConsole(entries=[entry("ours", owned=True), entry("theirs", owned=False)])
    assert ask(console, "POST", "/api/v1/unload-all").status_code == 200
    assert [name for name, _, _ in console.orders] == ["ours"]


def test_the_list_of_models_is_all_or_the_loaded_ones_as_configured_or_asked() -> None:
    def names(query: str, configured: Literal["all", "loaded"]) -> list[str]:
        console = FakeConsole(server=ServerSpec(models_list=configured))
        return [one["id"] for one in get(f"/v1/models{query}", INFER, console).json()["data"]]

    assert names("", "all") == names("?all=true", "loaded") == ["a", "team/b"]
    assert names("", "loaded") == names("?loaded=true", "all") == ["a"]
    assert names("?loaded=true&all=1", "loaded") == ["a", "team/b"]


def test_health_is_plain_where_that_is_configured_unless_json_is_asked_for() -> None:
    console = FakeConsole(server=ServerSpec(health="text"))
    assert get("/health", {**NONE, "accept": "*/*"}, console).text == "OK\n"
    assert get("/health", {**NONE, "accept": "application/json"}, console).json() == {"status": "healthy"}


def test_the_journal_takes_its_bounds_and_is_not_for_limited_keys() -> None:
    plans = get("/api/v1/journal?since=5m&limit=2", READ).json()["plans"]
    assert [(one["id"], one["at_unix"]) for one in plans] == [(2, 700.0), (1, 700.0)]
    assert get("/api/v1/journal").json()["plans"][0]["id"] == 100
    for wrong in ("since=soon", "limit=0", "limit=1001"):
        assert error(get(f"/api/v1/journal?{wrong}"))["code"] == "bad_option"
    assert get("/api/v1/journal", LIMITED).status_code == 403
