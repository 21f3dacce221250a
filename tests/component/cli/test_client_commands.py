"""Client commands over the real API on a Unix socket: what they send, what they say, how they end."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from roost.cli import order_cmd
from roost.core.view import Goal
from tests.support.command_line import Ended, FullConsole, beside, model, roost, serving, write_server

Play = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all instances; nothing of the developer's own is seen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("ROOST_URL", "ROOST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "roost"


def console(**more: Any) -> FullConsole:
    return FullConsole(entries=[model("a", aliases=["gpt"]), model("team/b", "asleep", level=1)], **more)


def run(folder: Path, over: FullConsole, *commands: tuple[str, ...]) -> list[Ended]:
    """The commands one after another, while the API is served from `folder`."""

    async def main() -> list[Ended]:
        async with asyncio.timeout(30), serving(folder, over):
            return [await beside(*command) for command in commands]

    return asyncio.run(main())


def test_status_finds_the_roost_by_itself_as_a_table_and_as_json(home: Path) -> None:
    table, text = run(home / "one", console(), ("status",), ("status", "--json"))
    assert (table.code, text.code) == (0, 0)
    assert "team/b" in table.out
    assert "asleep 1" in table.out
    assert json.loads(text.out)["models"][1]["name"] == "team/b"


def test_status_of_one_model_tells_its_sleeps_and_wakes(home: Path) -> None:
    shown, text, unknown = run(
        home / "one", console(), ("status", "team/b"), ("status", "team/b", "--json"), ("status", "no")
    )
    assert (shown.code, text.code, unknown.code) == (0, 0, 1)
    assert shown.out.startswith("team/b  asleep 1 ")
    assert "has not been put to sleep" in shown.out
    assert json.loads(text.out)["sequences"] == []


@pytest.mark.parametrize(
    ("command", "goal", "told"),
    [
        (("load", "gpt"), Goal.READY, {"force": False, "level": None, "wait_s": 600.0}),
        (("wake", "a", "--wait", "0"), Goal.READY, {"wait_s": 0.0}),
        (("load", "a", "--no-wait"), Goal.READY, {"wait_s": 0.0}),
        (("wake", "a", "--no-wait"), Goal.READY, {"wait_s": 0.0}),
        (("sleep", "a", "--no-wait"), Goal.ASLEEP, {"wait_s": 0.0}),
        (("restart", "a", "--no-wait"), Goal.RESTARTED, {"wait_s": 0.0}),
        (("unload", "a", "--no-wait", "--wait", "9"), Goal.STOPPED, {"wait_s": 0.0}),
        (("sleep", "a", "--level", "2", "--force"), Goal.ASLEEP, {"level": 2, "force": True}),
        (("unload", "a"), Goal.STOPPED, {"by": "cli"}),
        (("restart", "a", "--wait", "5"), Goal.RESTARTED, {"wait_s": 5.0}),
    ],
)
def test_orders_arrive_as_they_were_meant(
    home: Path, command: tuple[str, ...], goal: Goal, told: dict[str, Any]
) -> None:
    over = console()
    (ended,) = run(home / "one", over, command)
    assert (ended.code, ended.out) == (0, "Done.\n")
    ((name, meant, options),) = over.orders
    assert (name, meant) == ("a", goal)
    assert told.items() <= options.items()


def test_names_with_slashes_reach_their_model(home: Path) -> None:
    over = console()
    run(home / "one", over, ("wake", "team/b"))
    assert over.orders[0][0] == "team/b"


def test_unload_all_orders_every_model_and_names_those_that_refused(home: Path) -> None:
    refused = {"success": False, "state": "ready", "message": "no", "status": 409}
    over = console(results={"a": refused})
    (ended,) = run(home / "one", over, ("unload", "--all", "--no-wait"))
    assert {options["wait_s"] for _, _, options in over.orders} == {0.0}
    assert [name for name, _, _ in over.orders] == ["a", "team/b"]
    assert (ended.code, ended.err) == (1, "Not unloaded: a.\n")


@pytest.mark.parametrize(
    ("status", "wait", "code"), [(409, "5", 1), (503, "5", 1), (202, "5", 1), (202, "0", 0), (200, "5", 0)]
)
def test_a_refusal_is_its_sentence_and_status_1_and_so_is_a_wait_in_vain(
    home: Path, status: int, wait: str, code: int
) -> None:
    result = {"success": status == 200, "message": "A sentence.", "status": status}
    (ended,) = run(home / "one", console(results={"a": result}), ("load", "a", "--wait", wait))
    assert ended.code == code
    assert (ended.err if code else ended.out) == "A sentence.\n"


def test_who_waits_long_is_told_for_what(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Event()
    said: list[str] = []

    def echo(text: str, *, err: bool = False) -> None:
        said.append(text)
        if err:
            told.set()

    class Slow(FullConsole):
        async def order(self, name: str, goal: Goal, **options: Any) -> dict[str, Any]:
            assert await asyncio.to_thread(told.wait, 20)
            return await super().order(name, goal, **options)

    monkeypatch.setattr(order_cmd, "SILENT_S", 0.01)
    monkeypatch.setattr("roost.cli.order_cmd.typer.echo", echo)
    over = Slow(entries=[model("a", blocked='Model "a" waits for "b".')])
    (ended,) = run(home / "one", over, ("load", "a", "--wait", "60"))
    assert ended.code == 0
    assert said == ['Model "a" waits for "b". Waiting up to 60 s; Ctrl-C ends the wait only.', "Done."]


def test_an_unknown_model_is_said_in_the_server_s_words(home: Path) -> None:
    for ended in run(home / "one", console(), ("load", "nobody"), ("logs", "nobody"), ("pin", "nobody")):
        assert ended.code == 1
        assert "nobody" in ended.err
        assert ended.out == ""


def test_a_plan_without_actions_tells_its_notes(home: Path) -> None:
    class Noted(FullConsole):
        def plan(self) -> dict[str, Any]:
            return super().plan() | {"notes": ["2 are awake, and none can yield."]}

    (plan,) = run(home / "one", Noted(entries=[model("a")]), ("plan",))
    assert plan.out == "2 are awake, and none can yield.\n"


def test_logs_plan_requests_pin_and_cancel(home: Path) -> None:
    over = console()
    logs, plan, pin, cancel, gone = run(
        home / "one", over, ("logs", "a", "-n", "2"), ("plan",), ("pin", "a"), ("cancel", "own/id"), ("cancel", "r9")
    )
    assert logs.out == "line 198\nline 199\n"
    assert plan.out == "Nothing to do now.\n"
    assert (pin.code, cancel.code, gone.code) == (0, 0, 1)
    assert over.cancelled == ["own/id"]
    assert "r9" in gone.err


def test_events_are_a_line_each_until_roost_ends(home: Path) -> None:
    over = console()
    change = {"type": "state", "replica": "a/0", "model": "a", "before": "cold", "after": "starting", "reason": "why"}
    told = {"type": "order", "model": "a", "goal": "ready", "by": "cli", "message": "Done."}

    async def main(*more: str) -> Ended:
        async with asyncio.timeout(30), serving(home / "one", over):
            reader = asyncio.ensure_future(beside("events", *more))  # noqa: TID251 - a test's own
            while over.hub.readers == 0:
                await asyncio.sleep(0)
            over.hub.publish(change)
            over.hub.publish(told)
            over.hub.close()
            return await reader

    ended = asyncio.run(main())
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "a/0: cold -> starting (why)\ncli asked for a to be ready: Done.\n"


@pytest.mark.parametrize(
    "command",
    [("load",), ("unload",), ("unload", "a", "--all"), ("nonsense",), ("load", "a", "--wait", "-1"), ("sleep", "--x")],
)
def test_wrong_usage_is_status_2(command: tuple[str, ...]) -> None:
    ended = roost(*command)
    assert ended.code == 2
    assert ended.err


def test_without_a_running_roost_the_way_out_is_named(home: Path) -> None:
    write_server(home / "dead", pid=2**22 + 7)
    write_server(home / "reused", started_at=0.0)
    (home / "broken").mkdir()
    (home / "broken" / "server.json").write_text("{")
    ended = roost("status")
    assert ended.code == 2
    assert "roost up" in ended.err


def test_several_are_listed_and_one_can_be_named(home: Path) -> None:
    write_server(home / "two")
    unclear, meant, wrong = run(
        home / "one", console(), ("status",), ("status", "-i", "one"), ("down", "--instance", "three")
    )
    assert (unclear.code, meant.code, wrong.code) == (2, 0, 2)
    assert all(name in unclear.err for name in ("one", "two", "--instance"))
    assert "three" in wrong.err


def test_the_instance_that_is_named_wins_over_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_URL", "http://127.0.0.1:1")
    named, by_folder = run(
        home / "one", console(), ("status", "-i", "one"), ("status", "--state-dir", str(home / "one"))
    )
    assert (named.code, by_folder.code) == (0, 0)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # httpcore's, on a refused Unix connect
def test_a_socket_nobody_listens_on_is_said_in_a_sentence(home: Path) -> None:
    write_server(home / "one")
    ended = roost("status")
    assert ended.code == 2
    assert "cannot be reached" in ended.err


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://", "ftp://x", "http://[bad", "http://127.0.0.1:1"])
def test_a_wrong_url_is_said_in_a_sentence(url: str) -> None:
    ended = roost("status", "--url", url)
    assert ended.code == 2
    assert url in ended.err
    assert "Traceback" not in ended.err


class _Stranger(BaseHTTPRequestHandler):
    """A server that answers 200 to everything, as a web page's may."""

    def answer(self) -> None:
        body = getattr(self.server, "body", b"")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr, which the test reads."""


@pytest.mark.parametrize("body", [b'{"ok": true}', b"[1]", b"7", b"<html>", b""])
@pytest.mark.parametrize(
    "command",
    [("status",), ("plan",), ("requests",), ("load", "a"), ("unload", "--all"), ("pin", "a"), ("cancel", "r")],
)
def test_another_server_s_200_is_no_success(command: tuple[str, ...], body: bytes) -> None:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        server.__dict__["body"] = body
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            ended = roost(*command, "--url", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert (ended.code, ended.out) == (2, "")
    assert "is no roost" in ended.err


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    ended = roost("status", "--url", "http://127.0.0.1:1", "--api-key", "schlüssel\n")
    assert ended.code == 2
    assert "schlüssel" not in ended.err


def test_a_device_is_held_listed_and_released(home: Path) -> None:
    over = console()
    held, listed, released, empty = run(
        home / "one",
        over,
        ("hold", "gpu0", "--amount", "20GiB", "--for", "2h", "--reason", "training"),
        ("hold",),
        ("release", "gpu0"),
        ("hold",),
    )
    assert [one.code for one in (held, listed, released, empty)] == [0, 0, 0, 0]
    assert held.out == "gpu0 is held.\n"
    assert listed.out == "20.0 GiB of gpu0 until in 7200 s, by cli: training\n"
    assert empty.out == "Nothing is held.\n"


def test_a_hold_that_cannot_be_says_why(home: Path) -> None:
    unknown, long = run(home / "one", console(), ("hold", "gpu9"), ("hold", "gpu0", "--for", "99d"))
    assert (unknown.code, long.code) == (1, 1)
    assert "those that have one: gpu0" in unknown.err
    assert "at most 30d" in long.err
