"""The walk against a router that keeps its promises, and against one that breaks each of them in turn."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from roost.selftest.lines import Line, Report, Verdict
from roost.selftest.run import Nobody, run
from tests.support.fake_router import Answer, FakeModel, FakeRouter, Tamper, refused


def walk(router: FakeRouter, *models: str) -> Report:
    heard: list[Line] = []
    with router.client() as client:
        report = run(client, models=models, limit_s=5.0, hear=heard.append, pause=lambda seconds: None)
    assert tuple(heard) == report.lines
    return report


def of(report: Report, verdict: Verdict) -> list[str]:
    return [str(line) for line in report.lines if line.verdict is verdict]


def test_a_router_that_keeps_its_promises_passes_everything() -> None:
    report = walk(FakeRouter())
    assert of(report, Verdict.FAILED) == []
    assert of(report, Verdict.SKIPPED) == []
    assert report.good
    titles = {line.check.title for line in report.lines}
    assert {"health", "models", "statistics", "org/big: counts", "org/big: sleep", "e: embedding"} <= titles


def with_field(where: str, value: Any) -> Tamper:
    """Another value at `a/b` of the answer; `...` leaves the field out."""

    def change(status: int, body: Any) -> Answer:
        *path, last = where.split("/")
        inner = body
        for name in path:
            if not isinstance(inner, dict) or name not in inner:
                return status, body
            inner = inner[name]
        if not isinstance(inner, dict):
            return status, body
        if value is ...:
            inner.pop(last, None)
        else:
            inner[last] = value
        return status, body

    return change


def with_status(status: int, *, only: int | None = None) -> Tamper:
    """Another status, for all answers or those that have `only`."""
    return lambda came, body: (status if only in (None, came) else came, body)


def instead(body: Any) -> Tamper:
    return lambda status, _: (status, body)


def first_of(pairs: Any, value: Any) -> Tamper:
    """The value for one key of every object under a field: `("models", "endpoint")`."""
    field, key = pairs

    def change(status: int, body: Any) -> Answer:
        for one in body[field].values() if isinstance(body, dict) and field in body else ():
            one[key] = value
        return status, body

    return change


def without_last_event(status: int, body: Any) -> Answer:
    return status, body.removesuffix("data: [DONE]\n\n") if isinstance(body, str) else body


def nothing_counted(status: int, body: Any) -> Answer:
    for one in body.get("traffic_stats", {}).values():
        one["total_requests"] = one["successful_requests"] = 0
    return status, body


def with_stranger(status: int, body: Any) -> Answer:
    stats = body.get("traffic_stats", {})
    stats["roost-selftest/nobody"] = dict(stats["e"]) if stats else {}
    return status, body


SLASHED = "/traffic/stats/org/big"
BROKEN: list[tuple[str, Tamper, str]] = [
    ("/health", with_field("status", "degraded"), "health"),
    ("/health", lambda status, body: (status, {"status": "healthy"}), "health as text"),
    ("/v1/models", with_field("object", "liste"), "models"),
    ("/v1/models", with_field("data", [{"name": "a"}]), "models"),
    ("/v1/models", with_field("data", []), "models"),
    ("/models", with_field("models", {}), "models, both forms"),
    ("/models", with_field("data", []), "models, both forms"),
    ("/models", first_of(("models", "endpoint"), 1), "models, both forms"),
    ("/health/all", with_field("health", {"e": {}}), "health of all"),
    ("/health/e", with_field("health", {"http://x": "yes"}), "e: health"),
    ("/health/e", with_field("model", "f"), "e: health"),
    ("/get_server_info", with_field("version", ...), "server info"),
    ("/get_server_info", instead({"status": "dummy"}), "server info"),
    ("/health/roost-selftest%2Fnobody", with_status(200), "unknown model"),
    ("/traffic/stats/roost-selftest%2Fnobody", with_status(200), "unknown model"),
    ("/action/sleep/roost-selftest%2Fnobody", with_status(400), "unknown model"),
    ("/action/wakeup/roost-selftest%2Fnobody", with_status(500), "unknown model"),
    ("/v1/completions", with_status(500, only=404), "unknown model"),
    ("/traffic/stats", with_stranger, "unknown model"),
    ("/traffic/stats", with_field("traffic_stats/e", ...), "statistics"),
    ("/traffic/stats", first_of(("traffic_stats", "request_rate"), "fast"), "statistics"),
    ("/traffic/stats", first_of(("traffic_stats", "idle_time_seconds"), float("inf")), "statistics"),
    ("/model/traffic/stats", with_status(404), "statistics"),
    ("/traffic/stats", with_field("window_seconds", 60), "statistics"),
    ("/traffic/stats", with_status(500, only=400), "bad window"),
    ("/models/active", with_status(200, only=400), "bad window"),
    (
        "/models/idle",
        lambda status, body: (status, {"error": "x"}) if status == 400 else (status, body),
        "bad threshold",
    ),
    ("/traffic/stats", nothing_counted, "e: counts"),
    ("/traffic/stats/e", with_field("model_stats/model_name", "f"), "e: its statistics"),
    ("/traffic/stats/e", with_field("window_seconds", 60), "e: its statistics"),
    (SLASHED, with_status(404), "org/big: its statistics"),
    ("/traffic/stats/org%2Fbig", with_status(404), "org/big: its statistics"),
    ("/models/active", with_field("active_models", []), "active"),
    ("/model/traffic/active", with_field("active_models_count", 7), "active"),
    ("/models/idle", with_field("idle_models_count", 7), "idle"),
    ("/models/idle", with_field("idle_models", []), "idle"),
    ("/model/traffic/idle", with_field("idle_threshold_seconds", 1), "idle"),
    ("/v1/completions", with_field("choices", []), "org/big: completion"),
    ("/v1/completions", with_status(502, only=200), "org/big: completion"),
    ("/v1/completions", without_last_event, "org/big: completion, streamed"),
    ("/v1/chat/completions", without_last_event, "org/big: chat, streamed"),
    ("/v1/chat/completions", with_field("choices", [{}]), "org/big: chat"),
    ("/v1/embeddings", with_field("data", [{"embedding": []}]), "e: embedding"),
    ("/sleep/status", with_field("wakeup_on_request", ...), "sleep status"),
    ("/model/sleep/status", with_status(404), "sleep status"),
    ("/sleep/candidates", with_field("candidate_details", []), "sleep candidates"),
    ("/sleep/candidates", with_field("sleep_candidates", ["e"]), "e: asleep"),
    ("/sleep/status", with_field("sleeping_models/e/manual_sleep", False), "e: asleep"),
    ("/sleep/status", with_field("sleeping_models", {}), "e: asleep"),
    ("/v1/models/e", with_field("status/value", "ready"), "e: asleep"),
    ("/action/sleep/e", with_field("changed", False), "e: sleep"),
    ("/action/sleep/e", with_status(503), "e: sleep"),
    ("/model/sleep/e", with_field("changed", True), "e: sleep"),
    ("/model/sleep/org/big", with_status(404), "org/big: sleep"),
    ("/model/wake/e", with_field("changed", False), "e: wake"),
    ("/action/wakeup/e", with_field("success", False), "e: wake"),
    ("/action/wakeup/e", with_field("model_name", "f"), "e: wake"),
]


@pytest.mark.parametrize(("path", "tamper", "title"), BROKEN)
def test_each_broken_promise_is_told(path: str, tamper: Tamper, title: str) -> None:
    report = walk(FakeRouter(tamper={path: tamper}))
    assert not report.good
    assert title in {line.check.title for line in report.lines if line.verdict is Verdict.FAILED}


def test_a_rerank_of_one_is_no_ranking_of_two() -> None:
    router = FakeRouter(models={"r": FakeModel("rerank")})
    assert walk(router).good
    router.tamper["/v1/rerank"] = with_field("results", [{"index": 0}])
    assert of(walk(router), Verdict.FAILED)[0].startswith("✗ r: rerank: expected a ranking of two; came {'results'")


def test_a_sleeper_that_no_request_wakes_is_told() -> None:
    asleep = FakeRouter(models={"e": FakeModel("embed")})
    asked = 0

    def refuse_the_second(path: str, body: dict[str, Any]) -> Answer | None:
        nonlocal asked
        asked += 1
        return refused(503, "model_asleep") if asked == 2 else None

    asleep.engine = refuse_the_second
    (line,) = of(walk(asleep), Verdict.FAILED)
    assert line.endswith("because model_asleep. (has this key may_wake: false?)")


def test_where_requests_may_not_wake_the_refusal_is_what_is_expected() -> None:
    router = FakeRouter(models={"e": FakeModel("embed", wake_on_request=False)})
    report = walk(router)
    assert of(report, Verdict.FAILED) == []
    assert "✓ e: wake: 503 model_asleep, as requests may not wake it" in of(report, Verdict.PASSED)


def test_a_request_that_wakes_although_it_may_not_is_told() -> None:
    router = FakeRouter(models={"a": FakeModel(), "b": FakeModel(task="embed")})
    router.tamper["/sleep/status"] = with_field("models/b/wake_on_request", False)
    (line,) = of(walk(router), Verdict.FAILED)
    assert line.startswith("✗ b: wake: expected 503 model_asleep")


def test_a_router_that_speaks_only_of_all_models_is_believed() -> None:
    router = FakeRouter(models={"b": FakeModel(task="embed", wake_on_request=False)})
    router.tamper["/sleep/status"] = with_field("models", ...)
    assert of(walk(router), Verdict.FAILED) == []


@pytest.mark.parametrize("found", ["ready", "asleep", "cold"])
@pytest.mark.parametrize("wake_on_request", [True, False])
def test_models_are_left_as_they_were_found(found: str, wake_on_request: bool) -> None:
    models = {"a": FakeModel(state=found, wake_on_request=wake_on_request), "b": FakeModel(state=found)}
    router = FakeRouter(models=models)
    assert walk(router).good
    assert [model.state for model in models.values()] == [found, found]


def test_an_interrupted_walk_leaves_models_as_they_were_found() -> None:
    router = FakeRouter(models={"a": FakeModel(), "b": FakeModel()})

    def interrupt(line: Line) -> None:
        if line.check.name == "asleep":
            raise KeyboardInterrupt

    with router.client() as client, pytest.raises(KeyboardInterrupt):
        run(client, models=(), limit_s=5.0, hear=interrupt, pause=lambda seconds: None)
    assert [model.state for model in router.models.values()] == ["ready", "ready"]
    assert "a asleep" in router.orders


def test_a_model_that_cannot_sleep_is_skipped_with_its_reason() -> None:
    report = walk(FakeRouter(models={"a": FakeModel(can_sleep=False)}))
    assert report.good
    assert of(report, Verdict.SKIPPED) == ["- a: sleep: skipped: HTTP 409: No, because cannot_obey."]


@pytest.mark.parametrize(
    ("scopes", "skipped"),
    [
        (("infer", "read"), {"a: wake", "unknown model"}),
        (("infer",), {"a: wake", "statistics", "sleep status", "unknown model"}),
    ],
)
def test_what_the_key_may_not_do_is_skipped_and_said(scopes: tuple[str, ...], skipped: set[str]) -> None:
    report = walk(FakeRouter(models={"a": FakeModel()}, key_may=scopes))
    assert of(report, Verdict.FAILED) == []
    assert skipped <= {line.check.title for line in report.lines if line.verdict is Verdict.SKIPPED}
    assert all("missing_scope" in line for line in of(report, Verdict.SKIPPED))


def test_without_any_right_it_fails_at_the_models_and_says_what_to_give() -> None:
    report = walk(FakeRouter(key_may=()))
    (line,) = of(report, Verdict.FAILED)
    assert line.startswith("✗ models: expected OpenAI's list at /v1/models; came HTTP 403")
    assert line.endswith("Give a key with --api-key or ROOST_API_KEY.")


def test_chat_that_the_engine_does_not_serve_is_skipped_in_its_words() -> None:
    def no_template(path: str, body: dict[str, Any]) -> Answer | None:
        return (400, {"error": {"message": "There is no chat template."}}) if "chat" in path else None

    report = walk(FakeRouter(models={"a": FakeModel()}, engine=no_template))
    assert of(report, Verdict.FAILED) == []
    assert of(report, Verdict.SKIPPED) == ["- a: chat: skipped: the engine says HTTP 400: There is no chat template."]


def test_a_model_that_serves_neither_completions_nor_chat_fails() -> None:
    def nothing(path: str, body: dict[str, Any]) -> Answer | None:
        return 404, {"detail": "Not Found"}

    report = walk(FakeRouter(models={"a": FakeModel()}, engine=nothing))
    assert of(report, Verdict.FAILED) == ["✗ a: answer: expected completions or chat; came neither"]
    assert "- a: sleep and wake: skipped: it did not answer" in of(report, Verdict.SKIPPED)


def sent_by_others(router: FakeRouter, *, age_s: float) -> None:
    """Two more requests at the first look after the walk began, as the list of recent ones shows them."""
    router.recent = [{"id": f"x{n}", "model": "e", "age_s": age_s} for n in range(2)]
    told = 0

    def more(status: int, body: Any) -> Answer:
        nonlocal told
        told += 1
        if told > 1 and status == 200:
            body["traffic_stats"]["e"]["total_requests"] += 2
            body["traffic_stats"]["e"]["successful_requests"] += 1
        return status, body

    router.tamper["/traffic/stats"] = more


@pytest.mark.parametrize(("age_s", "good"), [(0.0, True), (1000.0, False)])
def test_requests_of_others_are_told_apart(age_s: float, good: bool) -> None:
    router = FakeRouter()
    sent_by_others(router, age_s=age_s)
    report = walk(router)
    assert report.good is good
    lines = [str(line) for line in report.lines if line.check.title == "e: counts"]
    assert lines == (
        ["✓ e: counts: 1 more requests, 1 more successful (and 2 of others)"]
        if good
        else ["✗ e: counts: expected 1 more requests, 1 more successful; came 3 more, 2 more successful (0 of others)"]
    )


def test_only_the_models_asked_for_are_put_to_sleep() -> None:
    router = FakeRouter()
    assert walk(router, "e").good
    assert {order.partition(" ")[0] for order in router.orders} == {"e"}
    assert router.models["org/big"].total == 0


def test_a_model_asked_for_that_is_not_there_fails() -> None:
    report = walk(FakeRouter(), "nope")
    (line,) = of(report, Verdict.FAILED)
    assert line.startswith("✗ nope: model asked for: expected it is there; came HTTP 404")


def failing(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error

    return handle


def test_nobody_there_is_said_before_anything_else() -> None:
    transport = httpx.MockTransport(failing(httpx.ConnectError("refused")))
    with httpx.Client(transport=transport, base_url="http://fake") as client, pytest.raises(Nobody, match="refused"):
        run(client, models=(), limit_s=5.0, hear=lambda line: None, pause=lambda seconds: None)


def test_an_engine_that_never_answers_is_asked_once() -> None:
    def silent(path: str, body: dict[str, Any]) -> Answer | None:
        raise httpx.ReadTimeout("silence")

    router = FakeRouter(models={"a": FakeModel()}, engine=silent)
    report = walk(router)
    assert "✗ a: completion: expected an answer in one piece; came no answer: it took more than 5 s" in of(
        report, Verdict.FAILED
    )
    assert not [line for line in report.lines if line.check.name == "chat"]


def test_lines_are_one_line_of_printable_characters() -> None:
    router = FakeRouter(tamper={"/health": with_field("status", "\x1b[31mred\nalert")})
    (line,) = [line for line in of(walk(router), Verdict.FAILED) if "health" in line]
    assert "\x1b" not in line
    assert "\n" not in line
    assert "red alert" in line
