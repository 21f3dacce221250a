"""`roost selftest` as a user meets it: exit status, lines, JSON, and what it says where it cannot begin."""

import json
from typing import Any

import httpx
import pytest

from roost.cli import selftest_cmd
from tests.support.command_line import Ended, roost
from tests.support.fake_router import FakeModel, FakeRouter

URL = "http://127.0.0.1:8080"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOST_URL", "ROOST_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def against(router: FakeRouter, monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[Ended, list[httpx.Request]]:
    """The command with the router at the other end of whatever it connects to; and what arrived there."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return router.handle(request)

    class Client(httpx.Client):
        def __init__(self, **options: Any) -> None:
            super().__init__(transport=httpx.MockTransport(handle), **options)

    monkeypatch.setattr(httpx, "Client", Client)
    return roost("selftest", *args), asked


def test_all_well_is_zero_and_a_line_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, asked = against(FakeRouter(), monkeypatch)
    assert (ended.code, ended.err) == (0, "")
    *lines, blank, summary = ended.out.splitlines()
    assert all(line.startswith("✓ ") for line in lines)
    assert (blank, summary.startswith(f"{URL}: {len(lines)} passed, 0 failed, 0 skipped in ")) == ("", True)
    assert asked[0].url == f"{URL}/health"


def test_one_broken_promise_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, _ = against(FakeRouter(health="degraded"), monkeypatch)
    assert ended.code == 1
    assert '✗ health: expected status "healthy"; came "degraded": a\n' in ended.out


def test_json_is_one_report_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    router = FakeRouter(models={"a": FakeModel(can_sleep=False)})
    ended, _ = against(router, monkeypatch, "--json")
    report = json.loads(ended.out)
    assert (report["success"], report["failed"], report["skipped"]) == (True, 0, 1)
    assert len(report["checks"]) == report["passed"] + 1
    (skipped,) = [check for check in report["checks"] if check["verdict"] == "skipped"]
    assert (skipped["name"], skipped["model"]) == ("sleep", "a")


def test_url_key_and_models_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    router = FakeRouter()
    ended, asked = against(router, monkeypatch, "gpu1:9000/v1", "--api-key", "secret", "--model", "e")
    assert ended.code == 0
    assert {(one.url.host, one.url.port, one.headers["authorization"]) for one in asked} == {
        ("gpu1", 9000, "Bearer secret")
    }
    assert router.models["org/big"].total == 0


def test_the_environment_may_name_url_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_URL", "https://gpu2")
    monkeypatch.setenv("ROOST_API_KEY", "secret")
    _, asked = against(FakeRouter(), monkeypatch)
    assert (asked[0].url.scheme, asked[0].url.host, asked[0].headers["authorization"]) == (
        "https",
        "gpu2",
        "Bearer secret",
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("http://127.0.0.1:1",), "Nothing answers at http://127.0.0.1:1"),
        (("ftp://host",), "is not an address"),
        (("--api-key", "schlüssel"), "The API key has characters"),
        (("--timeout", "soon"), "is not a duration"),
        (("--timeout", "never"), "is not a duration"),
    ],
)
def test_where_it_cannot_begin_it_is_two(args: tuple[str, ...], said: str) -> None:
    ended = roost("selftest", *args)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_ctrl_c_ends_it_with_the_usual_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(line: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(selftest_cmd, "say", pressed)
    ended, _ = against(FakeRouter(), monkeypatch)
    assert (ended.code, ended.err) == (130, "Interrupted.\n")
