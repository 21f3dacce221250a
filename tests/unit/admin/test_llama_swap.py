"""llama-swap's endpoints over a console without a roost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from roost.admin import api
from roost.admin.llama_swap import Merged
from roost.core.lifecycle import State
from roost.core.view import Goal
from tests.support.console import FakeConsole, entry
from tests.unit.admin.test_api import ADMIN, LIMITED, ask, error, get


def test_running_shows_what_is_not_stopped_in_the_words_of_llama_swap() -> None:
    console = FakeConsole(
        entries=[
            entry("a", command="serve a", idle_limit_s=300.0, display_name="The A", description="one"),
            *(entry(str(state), state=str(state)) for state in State if state is not State.READY),
            entry("to sleep", state="draining", drain_goal="asleep"),
        ]
    )
    shown = get("/running", console=console).json()["running"]
    assert shown[0] == {
        "model": "a",
        "state": "ready",
        "cmd": "serve a",
        "proxy": "http://127.0.0.1:9",
        "ttl": 300,
        "name": "The A",
        "description": "one",
        "roost_state": "ready",
        "level": None,
    }
    assert {one["model"]: one["state"] for one in shown[1:]} == {
        "starting": "starting",
        "draining": "stopping",
        "suspending": "sleepPending",
        "asleep": "asleep",
        "waking": "waking",
        "stopping": "stopping",
        "stuck": "stopping",
        "to sleep": "sleepPending",
    }
    assert shown[1]["ttl"] == 0


def test_running_shows_a_limited_key_its_models_alone() -> None:
    assert [one["model"] for one in get("/running", LIMITED).json()["running"]] == ["team/b"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/unload"), ("POST", "/api/models/unload")])
def test_unload_stops_everything_and_waits_for_it(method: str, path: str) -> None:
    console = FakeConsole(entries=[entry("a", owned=True), entry("team/b", state="asleep"), entry("x", owned=False)])
    answer = ask(console, method, f"{path}?wait=7", headers=ADMIN)
    assert answer.status_code == 200
    assert answer.text == "OK" if method == "GET" else answer.json() == {"msg": "ok"}
    asked = {"by": "api:ops", "level": None, "wait_s": 7.0, "force": False}
    assert console.orders == [("a", Goal.STOPPED, asked), ("team/b", Goal.STOPPED, asked)]


def test_unload_tells_what_is_not_unloaded() -> None:
    console = FakeConsole(results={"a": {"success": False, "message": "Not yet.", "status": 202}})
    answer = ask(console, "GET", "/unload")
    assert answer.status_code == 202
    assert answer.json()["models"]["a"]["message"] == "Not yet."


def test_a_head_of_unload_changes_nothing() -> None:
    console = FakeConsole()
    assert ask(console, "HEAD", "/unload").status_code == 200
    assert console.orders == []


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_another_sites_page_cannot_unload_by_a_picture(site: str, status: int) -> None:
    console = FakeConsole()
    answer = ask(console, "GET", "/unload", headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status
    assert bool(console.orders) is (status == 200)
    if status == 403:
        assert error(answer)["code"] == "foreign_page"


@pytest.mark.parametrize("name", ["team/b", "team%2Fb"])
@pytest.mark.parametrize(("order", "goal"), [("unload", Goal.STOPPED), ("sleep", Goal.ASLEEP)])
def test_an_order_for_one_model(order: str, goal: Goal, name: str) -> None:
    console = FakeConsole()
    answer = ask(console, "POST", f"/api/models/{order}/{name}", content=b"not looked at")
    assert (answer.status_code, answer.text) == (200, "OK")
    assert [(one, wanted) for one, wanted, _ in console.orders] == [("team/b", goal)]


@pytest.mark.parametrize("order", ["unload", "sleep"])
def test_an_order_for_an_unknown_or_hidden_model_is_404(order: str) -> None:
    console = FakeConsole()
    assert ask(console, "POST", f"/api/models/{order}/nope").status_code == 404
    assert ask(console, "POST", f"/api/models/{order}/a", headers=LIMITED).status_code == 404
    assert console.orders == []


SLEEPS = {
    "cannot sleep": ({"success": False, "message": "It has no sleep order.", "status": 409}, 409, "no sleep order"),
    "stopped instead": (
        {"success": False, "message": "sleep step 1 failed", "status": 503, "state": "cold"},
        200,
        "OK, stopped instead: sleep step 1 failed",
    ),
    "its engine crashed": (
        {"success": False, "message": "exit status 1", "status": 503, "state": "backoff"},
        503,
        "exit status 1",
    ),
    "not yet": ({"success": True, "message": "It drains.", "status": 202}, 202, "It drains."),
}


@pytest.mark.parametrize(("result", "status", "text"), SLEEPS.values(), ids=SLEEPS.keys())
def test_a_sleep_that_goes_otherwise(result: dict[str, Any], status: int, text: str) -> None:
    answer = ask(FakeConsole(results={"a": result}), "POST", "/api/models/sleep/a?level=2")
    assert answer.status_code == status
    assert text in answer.text


def test_logs_are_the_kept_lines_of_roost_and_then_of_each_engine() -> None:
    answer = get("/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[:3] == ["roost 0", "roost 1", "a | line 0"]
    assert lines.count("team/b | line 199") == 1
    assert len(lines) == 2 + 3 * 200


def test_logs_are_bounded() -> None:
    text = get("/logs", console=FakeConsole(logs=["x" * 99] * 9000, own_logs=["y" * 99] * 9000)).text
    assert 180 * 1024 < len(text) <= 200 * 1024
    assert text.count("y\n") == 1024


def test_who_may_not_know_of_all_models_sees_no_log_of_roost() -> None:
    for path in ("/logs", "/logs/stream", "/logs/stream/proxy"):
        assert error(get(path, LIMITED))["code"] == "limited_key"
    assert get("/logs/stream/a", LIMITED).status_code == 404


async def read_until(console: FakeConsole, path: str, end: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The body of an endless answer up to `end`, fed with a line of each log once somebody listens."""
    body, seen = bytearray(), asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            body.extend(message["body"])
            if end in body:
                seen.set()

    async def receive() -> Any:
        await seen.wait()
        return {"type": "http.disconnect"}

    async def feed() -> None:
        while not seen.is_set():
            if console.lines.readers + console.own_lines.readers:
                console.lines.publish({"line": "new"})
                console.own_lines.publish({"line": "own new"})
            await asyncio.sleep(0)

    raw = [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()]
    where, _, query = path.partition("?")
    scope = {"type": "http", "method": "GET", "path": where, "query_string": query.encode(), "headers": raw}
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(feed())
        await api.build(console)({**scope, "raw_path": where.encode(), "root_path": ""}, receive, send)
        while console.lines.readers + console.own_lines.readers:
            await asyncio.sleep(0)  # let go of every log, however it ended
    return bytes(body)


STREAMS = {
    "/logs/stream": (b"roost 0\nroost 1\na | line 0\n", b"own new\n"),
    "/logs/stream/proxy": (b"roost 0\nroost 1\n", b"own new\n"),
    "/logs/stream/upstream": (b"a | line 0\n", b"team/b | new\n"),
    "/logs/stream/a": (b"line 0\n", b"new\n"),
    "/logs/stream/team/b": (b"line 0\n", b"new\n"),
    "/logs/stream/team/b?no-history": (b"new\n", b"new\n"),
    "/logs/stream/proxy?no-history=true": (b"own new\n", b"own new\n"),
    "/logs/stream?no-history": (b"", b"team/b | new\n"),
}


@pytest.mark.parametrize(("path", "begin", "end"), [(p, b, e) for p, (b, e) in STREAMS.items()], ids=STREAMS.keys())
def test_a_followed_log_is_its_history_and_what_comes(path: str, begin: bytes, end: bytes) -> None:
    body = asyncio.run(read_until(FakeConsole(), path, end))
    assert body.startswith(begin)
    if "no-history" in path:
        assert b"line 0" not in body
        assert b"roost 0" not in body


def test_a_limited_key_follows_the_engines_it_may_know_of() -> None:
    body = asyncio.run(read_until(FakeConsole(), "/logs/stream/upstream", b"team/b | new\n", LIMITED))
    assert b"a | " not in body


def test_merged_logs_end_when_all_have_ended_and_a_slow_reader_holds_them_up() -> None:
    taken = []

    async def source(name: str, count: int) -> AsyncIterator[str]:
        for n in range(count):
            taken.append(name)
            yield f"{name}{n}"

    async def main() -> None:
        merged = Merged({"a ": source("a", 3000), "b ": source("b", 2)})
        first = await anext(merged)
        for _ in range(5000):
            await asyncio.sleep(0)
        assert len(taken) < 1100
        rest = [line async for line in merged]
        assert sorted([first, *rest]) == sorted([*(f"a a{n}" for n in range(3000)), "b b0", "b b1"])
        await merged.aclose()

    asyncio.run(main())


def test_the_list_of_models_has_their_names_for_people_and_abilities() -> None:
    console = FakeConsole(
        entries=[entry("a", display_name="The A", modalities=["text", "image"], tools=True, state="asleep")]
    )
    (shown,) = get("/v1/models", console=console).json()["data"]
    assert shown["name"] == "The A"
    assert shown["capabilities"] == {"modalities": ["text", "image"], "tools": True}
    assert shown["status"] == {"value": "asleep", "loaded": False, "sleeping": True}


def test_a_bad_option_of_a_stream_is_named() -> None:
    answer: httpx.Response = get("/logs/stream?no-history=perhaps")
    assert answer.status_code == 400
    assert "no-history" in error(answer)["message"]
