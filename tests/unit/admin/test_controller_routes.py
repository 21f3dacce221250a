"""The endpoints of kvcached's controller in both spellings, over a console without a roost behind it."""

from typing import Any

import pytest

from roost.admin.answers import encode
from roost.admin.routes import ROWS
from roost.core.view import Goal
from roost.proxy.access import is_own
from tests.support.console import FakeConsole, entry
from tests.unit.admin.test_api import ADMIN, INFER, LIMITED, READ, ask, error, get

STATS = {
    *("total_requests", "successful_requests", "failed_requests", "request_rate", "avg_response_time"),
    *("last_activity_time", "idle_time_seconds", "is_idle"),
}
ADDED = {"success_rate", "cancelled_requests", "avg_ttft", "in_flight", "queue_depth", "state"}
SPELLINGS = [
    ("GET /traffic/stats", "GET /model/traffic/stats"),
    ("GET /traffic/stats/team/b", "GET /model/traffic/stats/team%2Fb"),
    ("GET /models/idle?threshold=5", "GET /model/traffic/idle?threshold=5"),
    ("GET /models/active", "GET /model/traffic/active"),
    ("GET /sleep/status", "GET /model/sleep/status"),
    ("GET /sleep/candidates", "GET /model/sleep/candidates"),
    ("POST /action/sleep/team/b", "POST /model/sleep/team/b"),
    ("POST /action/wakeup/team%2Fb", "POST /model/wake/team/b"),
]


def sleeper() -> FakeConsole:
    """`a` has been asked, `team/b` sleeps, `team/b/logs` could."""
    return FakeConsole(
        traffics={
            "a": {"total_requests": 3, "last_activity_time": 1e9, "idle_time_seconds": 0.0, "in_flight": 1},
            "team/b": {"idle_time_seconds": 500.0, "state": "asleep"},
        },
        rests={
            "team/b": {"asleep": True, "asleep_since": 1e9, "asleep_s": 7.0, "level": 1, "manual": True, "reason": "x"},
            "team/b/logs": {"candidate": True, "idle_s": 400.0, "wake_on_request": False},
        },
    )


def body(path: str, headers: dict[str, str] | None = None, console: FakeConsole | None = None) -> dict[str, Any]:
    answer = get(path, headers, console or sleeper())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_both_spellings_answer_the_same(one: str, other: str) -> None:
    answers = [ask(sleeper(), *line.split(" ")) for line in (one, other)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


def test_statistics_have_the_controller_s_fields_for_every_model_also_without_traffic() -> None:
    found = body("/traffic/stats?window=30")
    assert found["window_seconds"] == 30
    assert set(found["traffic_stats"]) == {"a", "team/b", "team/b/logs"}
    for stats in found["traffic_stats"].values():
        assert set(stats) == STATS | ADDED
    untouched = found["traffic_stats"]["team/b/logs"]
    assert (untouched["last_activity_time"], untouched["success_rate"], untouched["avg_response_time"]) == (
        None,
        None,
        0,
    )
    assert untouched["idle_time_seconds"] == 10.0


def test_a_configured_model_without_traffic_is_200_under_its_own_name() -> None:
    found = body("/traffic/stats/gpt", console=FakeConsole())
    assert found["model_stats"]["model_name"] == "a"
    assert set(found["model_stats"]) == STATS | ADDED | {"model_name"}
    assert found["window_seconds"] == 60


def test_idle_goes_by_the_configured_threshold_unless_the_query_has_one() -> None:
    console = FakeConsole(idle_threshold_s=9.0)
    assert body("/traffic/stats", console=console)["traffic_stats"]["a"]["is_idle"] is True
    console.idle_threshold_s = 10.0
    assert body("/traffic/stats", console=console)["traffic_stats"]["a"]["is_idle"] is False  # longer, not as long
    assert body("/models/idle", console=console)["idle_models"] == []
    idle = body("/models/idle?threshold=9.5", console=console)
    assert idle["idle_models"] == ["a", "team/b", "team/b/logs"]
    assert (idle["idle_threshold_seconds"], idle["idle_models_count"]) == (9.5, 3)


def test_every_model_is_either_idle_or_active_and_in_flight_is_active() -> None:
    idle, active = body("/models/idle?threshold=9"), body("/models/active?threshold=9&window=30")
    assert idle["idle_models"] == ["team/b", "team/b/logs"]
    assert active["active_models"] == ["a"]
    assert set(idle) == {"idle_models", "idle_threshold_seconds", "idle_model_details", "idle_models_count"}
    assert set(active) == {
        *("active_models", "idle_threshold_seconds", "window_seconds"),
        *("active_model_details", "active_models_count"),
    }
    details = idle["idle_model_details"]["team/b"]
    assert {"idle_time_seconds", "total_requests", "last_activity_time"} <= details.keys()
    details = active["active_model_details"]["a"]
    assert {"request_rate", "total_requests", "avg_response_time", "last_activity_time"} <= details.keys()
    assert (active["window_seconds"], active["active_models_count"], active["idle_threshold_seconds"]) == (30, 1, 9)


BAD = ["0", "-1", "-0.5", "abc", "", "nan", "inf", "-inf", "1e999", "1e-999", "1_0", "²", "٣", "0x10", "1 2"]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("path", ["/traffic/stats", "/traffic/stats/a", "/models/active", "/api/v1/traffic"])
def test_a_bad_window_is_400(path: str, value: str) -> None:
    answer = ask(FakeConsole(), "GET", path, params={"window": value})
    assert (answer.status_code, error(answer)["code"]) == (400, "bad_option")
    assert "'window'" in error(answer)["message"]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("path", ["/models/idle", "/models/active"])
def test_a_bad_threshold_is_400(path: str, value: str) -> None:
    answer = ask(FakeConsole(), "GET", path, params={"threshold": value})
    assert (answer.status_code, error(answer)["code"]) == (400, "bad_option")
    assert "'threshold'" in error(answer)["message"]


def test_a_window_over_a_day_is_400_with_the_bound_and_a_broken_one_is_fine() -> None:
    answer = get("/traffic/stats?window=86401")
    assert answer.status_code == 400
    assert "86400" in error(answer)["message"]
    console = FakeConsole()
    assert body("/traffic/stats?window=86400", console=console)["window_seconds"] == 86400
    assert body("/traffic/stats?window=1.5", console=console)["window_seconds"] == 1.5
    assert console.windows == [86400, 1.5]


@pytest.mark.parametrize("path", ["/models/idle?threshold=1e300", "/models/active?threshold=1e18"])
def test_a_huge_threshold_is_a_number_like_any_other(path: str) -> None:
    assert body(path)["idle_threshold_seconds"] in (1e300, 1e18)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_nothing_is_infinity(number: float) -> None:
    assert encode({"idle_time_seconds": number}) == b'{"idle_time_seconds":null}'


@pytest.mark.parametrize(
    "line",
    [
        *("GET /traffic/stats/nobody", "GET /model/traffic/stats/org%2Fnobody", "GET /traffic/stats/"),
        *("POST /action/sleep/nobody", "POST /model/sleep/no/body", "POST /action/wakeup/nobody"),
        *("POST /model/wake/nobody", "GET /health/nobody", "GET /api/v1/traffic/nobody/history"),
    ],
)
def test_an_unknown_model_is_404_in_openai_s_form(line: str) -> None:
    answer = ask(FakeConsole(), *line.split(" "))
    assert (answer.status_code, error(answer)["code"]) == (404, "model_not_found")


def test_sleep_status_has_the_controller_s_fields() -> None:
    found = body("/sleep/status")
    models = found.pop("models")
    assert found == {
        "sleeping_models": {
            "team/b": {
                "sleep_start_time": 1e9,
                "sleep_duration": 7.0,
                "manual_sleep": True,
                "level": 1,
                "reason": "x",
            }
        },
        "sleep_candidates": ["team/b/logs"],
        "auto_sleep_enabled": True,
        "idle_threshold_seconds": 300,
        "wakeup_on_request": True,
    }
    assert models["team/b/logs"] == {
        "state": "ready",
        "wake_on_request": False,
        "sleep_after_seconds": 300.0,
        "pinned": False,
    }


def test_wakeup_on_request_is_false_only_where_no_model_wakes() -> None:
    never: dict[str, Any] = {"wake_on_request": False}
    console = FakeConsole(rests={"a": never, "team/b": never})
    assert body("/sleep/status", console=console)["wakeup_on_request"] is True
    console.rests["team/b/logs"] = never
    assert body("/sleep/status", console=console)["wakeup_on_request"] is False


def test_sleep_candidates_have_the_controller_s_fields() -> None:
    found = body("/sleep/candidates")
    assert found == {
        "sleep_candidates": ["team/b/logs"],
        "candidate_details": {
            "team/b/logs": {
                "idle_time_seconds": 400.0,
                "total_requests": 0,
                "last_activity_time": None,
                "can_sleep": True,
                "sleep_after_seconds": 300.0,
            }
        },
        "idle_threshold_seconds": 300,
        "auto_sleep_enabled": True,
    }
    assert body("/sleep/candidates", console=FakeConsole())["candidate_details"] == {}


@pytest.mark.parametrize(
    ("path", "goal"),
    [
        ("/action/sleep/", Goal.ASLEEP),
        ("/action/wakeup/", Goal.READY),
        ("/model/sleep/", Goal.ASLEEP),
        ("/model/wake/", Goal.READY),
    ],
)
@pytest.mark.parametrize("name", ["team/b", "team%2Fb"])
def test_an_order_names_its_caller_waits_as_long_as_others_and_ignores_its_body(
    path: str, goal: Goal, name: str
) -> None:
    console = FakeConsole()
    answer = ask(console, "POST", path + name, headers=ADMIN, content=b'{"anything": [')
    assert answer.status_code == 200
    assert answer.json() == {
        "model_name": "team/b",
        "success": True,
        "message": "Done.",
        "changed": True,
        "state": "ready",
    }
    assert console.orders == [("team/b", goal, {"by": "api:ops", "level": None, "wait_s": 600.0, "force": False})]


def test_an_order_takes_its_options_from_the_query() -> None:
    console = FakeConsole()
    assert ask(console, "POST", "/action/sleep/a?level=2&wait=3&force=yes").status_code == 200
    assert console.orders == [("a", Goal.ASLEEP, {"by": "cli", "level": 2, "wait_s": 3.0, "force": True})]
    for query in ("level=3", "wait=nan", "levle=1"):
        assert ask(console, "POST", f"/action/sleep/a?{query}").status_code == 400
    assert ask(console, "POST", "/action/wakeup/a?level=1").status_code == 400
    assert len(console.orders) == 1


@pytest.mark.parametrize(("status", "code"), [(409, "cannot_obey"), (503, "engine_refused")])
def test_an_order_not_obeyed_has_its_body_and_an_error_beside_it(status: int, code: str) -> None:
    result = {"success": False, "changed": False, "state": "cold", "message": "It cannot.", "status": status}
    answer = ask(FakeConsole(results={"a": result}), "POST", "/action/sleep/gpt")
    found = answer.json()
    assert answer.status_code == status
    assert error(answer)["code"] == code
    assert (found["model_name"], found["success"], found["changed"], found["message"]) == (
        "a",
        False,
        False,
        "It cannot.",
    )


def test_a_state_already_reached_is_success_without_a_change() -> None:
    result = {"changed": False, "state": "asleep", "message": 'Model "a" is asleep already.'}
    answer = ask(FakeConsole(results={"a": result}), "POST", "/model/sleep/a")
    assert answer.status_code == 200
    assert (answer.json()["success"], answer.json()["changed"]) == (True, False)


def test_models_named_like_paths_are_reached() -> None:
    names = ["status", "candidates", "a", "a/history", "a/logs", "idle", "stats/x"]
    console = FakeConsole(entries=[entry(name) for name in names])
    for name in names:
        assert body(f"/traffic/stats/{name}", console=console)["model_stats"]["model_name"] == name
        assert body(f"/api/v1/traffic/{name}/history", console=console)["name"] == name
        assert ask(console, "POST", f"/model/sleep/{name}").json()["model_name"] == name
    assert [name for name, _, _ in console.orders] == names
    assert "sleeping_models" in body("/model/sleep/status", console=console)
    assert "sleep_candidates" in body("/model/sleep/candidates", console=console)


def test_history_takes_durations_and_says_the_bound() -> None:
    found = body("/api/v1/traffic/gpt/history?span=24h&bucket=1h")
    assert (found["name"], found["span_seconds"], found["bucket_seconds"], len(found["buckets"])) == (
        "a",
        86400,
        3600,
        24,
    )
    assert len(body("/api/v1/traffic/a/history")["buckets"]) == 60
    assert len(body("/api/v1/traffic/a/history?span=300&bucket=5")["buckets"]) == 60
    for query, says in {
        "span=25h&bucket=1h": "86400",
        "span=2h&bucket=90": "minutes",
        "span=1h&bucket=1s": "1440",
    }.items():
        answer = get(f"/api/v1/traffic/a/history?{query}")
        assert (answer.status_code, error(answer)["code"]) == (400, "bad_option")
        assert says in error(answer)["message"]


@pytest.mark.parametrize("value", ["never", "abc", "-5", "0", "1.5", "", "nan", "1e300", "99999999999999h"])
@pytest.mark.parametrize("option", ["span", "bucket"])
def test_a_bad_duration_is_400(option: str, value: str) -> None:
    answer = ask(FakeConsole(), "GET", "/api/v1/traffic/a/history", params={option: value})
    assert (answer.status_code, error(answer)["code"]) == (400, "bad_option")
    assert repr(option) in error(answer)["message"]


def test_traffic_of_all_models_is_a_list_under_the_api() -> None:
    found = body("/api/v1/traffic?window=5", READ)
    assert found["window_seconds"] == 5
    assert [one["name"] for one in found["models"]] == ["a", "team/b", "team/b/logs"]
    assert set(found["models"][0]) == STATS | ADDED | {"name"}


def test_models_serves_both_worlds() -> None:
    found = body("/models")
    assert found["object"] == "list"
    assert found["data"] == body("/v1/models")["data"]
    address = "http://127.0.0.1:9"
    assert found["models"]["team/b"] == {"endpoint": address, "endpoints": [address]}
    assert set(found["models"]) == {"a", "team/b"}  # the third is not listed


def test_server_info_tells_what_runs() -> None:
    found = body("/get_server_info")
    assert (found["status"], found["version"], found["uptime_s"], found["config_hash"]) == (
        "serving",
        "1",
        1.5,
        "c0ffee",
    )
    assert found["models"]["team/b"]["state"] == "asleep"
    assert found["models"]["a"]["endpoints"][0]["endpoint"] == "http://127.0.0.1:9"
    assert (found["engines"], found["devices"]) == (["simulated"], {"gpu0": 1})
    limited = body("/get_server_info", LIMITED)
    assert set(limited["models"]) == {"team/b", "team/b/logs"}
    assert "devices" not in limited


def test_health_of_models_says_which_address_answers() -> None:
    serving = [
        {"replica": "a/0", "endpoint": "http://h:1", "answers": True},
        {"replica": "a/1", "endpoint": "http://h:2", "answers": False},
    ]
    console = FakeConsole(entries=[entry("a", endpoints=serving)])
    found = body("/health/a", READ, console)
    assert found["model"] == "a"
    assert found["health"] == {"http://h:1": True, "http://h:2": False}
    assert (found["name"], found["status"], found["state"]) == ("a", "healthy", "ready")
    both = body("/health/all", READ, console)
    assert (both["model"], both["health"]) == ("all", {"a": found["health"]})
    assert both["models"][0]["name"] == "a"


def test_addresses_are_for_keys_that_may_read() -> None:
    assert body("/health/team/b", INFER)["health"] == {"team/b/0": True}
    assert "127.0.0.1" not in get("/health/all", INFER).text
    assert get("/models", INFER).status_code == 403


def test_health_is_text_for_who_prefers_it() -> None:
    text = {"accept": "text/plain, application/json;q=0.5"}
    healthy = get("/health", text)
    assert (healthy.text, healthy.headers["content-type"]) == ("OK\n", "text/plain; charset=utf-8")
    assert get("/health", text, FakeConsole(reasons=["a failed"])).text == "DEGRADED\na failed\n"
    for accept in ("*/*", "text/plain, */*", "application/json"):
        answer = get("/health", {"accept": accept})
        assert (answer.json(), answer.headers["vary"]) == ({"status": "healthy"}, "Accept")


def test_a_limited_key_sees_only_its_models_in_every_list() -> None:
    names = {"team/b", "team/b/logs"}
    assert set(body("/traffic/stats", LIMITED)["traffic_stats"]) == names
    assert {one["name"] for one in body("/api/v1/traffic", LIMITED)["models"]} == names
    assert set(body("/models/idle?threshold=5", LIMITED)["idle_models"]) == names
    assert set(body("/models/active", LIMITED)["active_models"]) <= names
    assert set(body("/sleep/status", LIMITED)["models"]) == names
    assert set(body("/models", LIMITED)["models"]) == {"team/b"}
    assert set(body("/health/all", LIMITED)["health"]) == names
    for line in ("GET /traffic/stats/a", "POST /action/sleep/a", "POST /model/wake/gpt"):
        assert ask(FakeConsole(), *line.split(" "), headers=LIMITED).status_code == 404


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_every_route_is_reached_through_the_one_port(row: Any) -> None:
    for name in ("a", "team/b", "team%2Fb"):
        assert is_own(row.plain_path.replace("{name}", name).replace("{id}", "r1"))


@pytest.mark.parametrize(
    "path",
    [
        *("/sleep", "/wake_up", "/is_sleeping", "/models/load", "/models/unload", "/models/sse", "/models/idle/x"),
        *("/model", "/model/traffic", "/traffic", "/action", "/action/sleep", "/model/sleep", "/sleep/status/x"),
        *("/server_info", "/get_server_info/x", "/sleep/", "/modelsx", "/v1/chat/completions", "/v1/models2"),
    ],
)
def test_other_paths_stay_the_engines(path: str) -> None:
    assert not is_own(path)


def test_a_post_to_a_read_route_says_what_it_takes() -> None:
    answer = ask(FakeConsole(), "POST", "/traffic/stats")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
